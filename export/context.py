"""The running trace. Tracing patches Jittor for the whole process, so there is one at a time."""

active = None
"""The `export.tracer.Trace` that is running, or None."""
