"""Faster Jittor operators for the CPU. `installed()` puts them under `nn.Conv2d`, `nn.Conv3d`, `nn.BatchNorm` and
`nn.relu` for a while, so that a model stays plain Jittor, runs unchanged on a GPU, and is exported from its plain modules.
"""

import contextlib

import jittor as jt
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from models.cpu.batch_norm import batch_norm, channel_affine
from models.cpu.convolution import convolution, has_bfloat16
from models.cpu.relu import relu

__all__ = ["batch_norm", "channel_affine", "convolution", "has_bfloat16", "installed", "relu"]


@contextlib.contextmanager
def installed(bfloat16: bool = False):
    """While active, convolution and batch-norm modules run on this package's operators (on CUDA nothing changes).

    bfloat16 is honoured where `has_bfloat16()`; elsewhere the convolutions stay float32.
    """
    bfloat16 = bfloat16 and has_bfloat16()
    originals = {cls: cls.execute for cls in (nn.Conv2d, nn.Conv3d, nn.BatchNorm)}

    def run_convolution(module, x):
        if jt.flags.use_cuda:
            return originals[type(module)](module, x)
        return convolution(x, module.weight, module.bias, module.stride, module.padding, module.dilation, module.groups,
                           bfloat16)

    def run_batch_norm(module, x):
        if jt.flags.use_cuda or jt.in_mpi or not module.affine:
            return originals[nn.BatchNorm](module, x)
        if not module.is_train:
            scale = module.weight / jt.sqrt(module.running_var + module.eps)
            return channel_affine(x, scale, module.bias - module.running_mean * scale)
        y, mean, variance = batch_norm(x, module.weight, module.bias, module.eps)
        module.running_mean.update(module.running_mean + (mean - module.running_mean) * module.momentum)
        module.running_var.update(module.running_var + (variance - module.running_var) * module.momentum)
        return y

    nn.Conv2d.execute = nn.Conv3d.execute = run_convolution
    nn.BatchNorm.execute = run_batch_norm
    original_relu, nn.relu = nn.relu, lambda x: original_relu(x) if jt.flags.use_cuda else relu(x)
    try:
        yield
    finally:
        nn.relu = original_relu
        for cls, original in originals.items():
            cls.execute = original
