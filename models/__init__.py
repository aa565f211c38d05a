"""Jittor models, a folder per family. Importing this package sets Jittor's environment, so import it before `jittor`."""

import os

# Without these Jittor searches for CUDA, prints its set-up at every start, and imports torch where it is installed.
os.environ.setdefault("nvcc_path", "")
os.environ.setdefault("log_silent", "1")
os.environ.setdefault("FIX_TORCH_ERROR", "0")
