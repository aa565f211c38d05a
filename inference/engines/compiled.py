"""Networks compiled before. OpenVINO keeps what it makes of a network for a shape of inputs (its CACHE_DIR, without the
weights some 0.2 MB) and then has it again in a third of the time; what it cannot use, it compiles anew.
"""

import os
from pathlib import Path

FOLDER = "compiled"
FLAGS = {"avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8",
         "asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve", "sve2"}
"""Instruction sets, as Linux names them, that may change what OpenVINO makes of a network."""

LIMIT = "ONEDNN_MAX_CPU_ISA"
"""Environment variable that names the best instruction set which OpenVINO's kernels may use."""


def compiled_folder(weights: Path, limit: str | None = None) -> Path:
    """Where networks of a weights folder are kept for processors of this kind, see `processor_kind`. It is used where it
    exists; `python -m inference.precompile` makes it. Where it may be written to, shapes that it lacks are added as they
    come."""
    return weights / FOLDER / processor_kind(limit)


def processor_kind(limit: str | None = None) -> str:
    """Such as x86_64-avx2-fma: the architecture, then those of FLAGS that the processor has, then the `limit` to them that
    OpenVINO obeys, if any; None takes that of the environment."""
    flags: set[str] = set()
    try:
        with open("/proc/cpuinfo") as lines:  # the first processor alone: there may be hundreds, all the same
            flags = next((set(line.split()) for line in lines if line.startswith(("flags", "Features"))), flags)
    except OSError:
        pass
    limit = os.environ.get(LIMIT, "") if limit is None else limit
    limited = "".join(letter for letter in limit.lower() if letter.isalnum() or letter == "_")
    return "-".join([os.uname().machine, *sorted(FLAGS & flags), *([f"max_{limited}"] if limited else [])])
