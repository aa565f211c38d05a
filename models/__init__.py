"""Jittor models, a folder per family. Importing this package sets Jittor's environment, so import it before `jittor`."""

import os
import signal

# A terminal's Ctrl-C goes to forked children too, of which Jittor makes a pool that compiles. One that dies of it holds the
# pool's lock, for which this process would wait for ever at its end: they leave Ctrl-C to their parent.
os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))

# Without these Jittor searches for CUDA, prints its set-up at every start, imports torch where it is installed, and
# starts a new compile cache for every git branch.
os.environ.setdefault("nvcc_path", "")
os.environ.setdefault("log_silent", "1")
os.environ.setdefault("FIX_TORCH_ERROR", "0")
os.environ.setdefault("cache_name", "default")
# Jittor's compile threads call Python without holding its lock (py_caller in parallel_compiler.cc's threads): on a cold cache
# they crash now and then, or wait for ever. One operator is compiled after the other instead.
os.environ.setdefault("use_parallel_op_compiler", "0")
