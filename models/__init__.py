"""Jittor models, a folder per family. Importing this package sets Jittor's environment, so import it before `jittor`."""

import os

# Without these Jittor searches for CUDA, prints its set-up at every start, imports torch where it is installed, and
# starts a new compile cache for every git branch.
os.environ.setdefault("nvcc_path", "")
os.environ.setdefault("log_silent", "1")
os.environ.setdefault("FIX_TORCH_ERROR", "0")
os.environ.setdefault("cache_name", "default")
