"""Files that are there whole or not at all."""

import os
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` aside in the folder of `path`, flush it to the disk, and rename it to `path`. Raises OSError, and then
    what was there before is still there, and nothing else."""
    # Not made from the file's name, which may already be as long as a name can be; not `*.npz`, so no reader takes it.
    aside = path.with_name(f".writing-{os.urandom(8).hex()}.tmp")
    try:
        with open(aside, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
