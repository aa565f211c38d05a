"""Official PyTorch checkpoints to weights of ours, without PyTorch and without running anything that a file asks for.

    python -m models.checkpoints show|convert|where

unpickle reads the opcodes, rebuild says which few names mean something, files knows the two containers of torch.save,
tensors turns a view into an array, convert checks and writes, registry knows the models and where their files come from.
"""
