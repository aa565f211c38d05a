"""Which of the processes of `mpirun` this is, asked before Jittor, which knows too, may be imported."""

import os


def share() -> tuple[int, int]:
    """(rank, world_size) of this process; (0, 1) without Open MPI's mpirun."""
    return int(os.environ.get("OMPI_COMM_WORLD_RANK", 0)), int(os.environ.get("OMPI_COMM_WORLD_SIZE", 1))
