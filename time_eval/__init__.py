"""The challenge's timing harness: one container (or one process) a case, wall clock around all of it."""
