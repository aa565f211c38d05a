"""What a model returns, as a flat list of named Vars."""

import jittor as jt


def flatten(outputs) -> list[tuple[str, object]]:
    """(name, Var) pairs of a Var, or of lists, tuples and dicts of them, nested as they may be.

    A Var alone is "output"; those of a list "output_0", "output_1", ...; those of a dict have its keys; inside each
    other "output_1_0" or "boxes_0". A None is left out.
    """
    if isinstance(outputs, dict):
        return _inside((str(name), output) for name, output in outputs.items())
    if isinstance(outputs, (list, tuple)):
        return _inside((f"output_{i}", output) for i, output in enumerate(outputs))
    return _inside([("output", outputs)])


def _inside(pairs):
    found = []
    for name, output in pairs:
        if isinstance(output, jt.Var):
            found.append((name, output))
        elif isinstance(output, dict):
            found += _inside((f"{name}_{key}", item) for key, item in output.items())
        elif isinstance(output, (list, tuple)):
            found += _inside((f"{name}_{i}", item) for i, item in enumerate(output))
        elif output is not None:
            found.append((name, output))
    return found
