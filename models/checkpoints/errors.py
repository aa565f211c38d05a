"""What goes wrong with a checkpoint, said in a line."""

from contextlib import contextmanager
from pathlib import Path


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or does not fit. The text names the file, the field, the rule and the value."""


def brief(value: object) -> str:
    """A value out of an untrusted file for a message: short, on one line, and never a container's whole content."""
    if isinstance(value, str):
        return ascii(value[:60]) + ("..." if len(value) > 60 else "")
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int):  # Python refuses to print integers of many thousand digits
        return str(value) if value.bit_length() <= 64 else f"an integer of {value.bit_length()} bits"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (tuple, list, dict, bytes, bytearray)):
        return f"a {type(value).__name__} of {len(value)}"
    return getattr(value, "name", type(value).__name__)


def listed(names, most: int = 20) -> str:
    """Up to `most` names, then "and N more"."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def printable(text: str) -> str:
    """Text for the terminal: as it is, or escaped where it holds control characters or line breaks."""
    return text if text.isprintable() else ascii(text)


@contextmanager
def naming(*paths: Path):
    """Puts the files' names in front of a CheckpointError that leaves the block."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{' + '.join(printable(path.name) for path in paths)}: {error}") from error
