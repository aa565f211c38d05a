"""Faster Jittor operators for the CPU. `installed()` puts them under `nn.Conv2d`, `nn.Conv3d`, `nn.BatchNorm`,
`nn.relu`, `nn.matmul`, `nn.softmax` and `jt.tanh` for a while, so that a model stays plain Jittor, runs unchanged on a
GPU, and is exported from its plain modules. (`a @ b` and names imported out of `nn` stay Jittor's own.)
"""

import contextlib

import jittor as jt
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from models.cpu.batch_norm import batch_norm, channel_affine
from models.cpu.convolution import convolution, has_bfloat16
from models.cpu.matmul import matmul
from models.cpu.relu import relu
from models.cpu.softmax import softmax
from models.cpu.tanh import tanh

__all__ = ["batch_norm", "channel_affine", "convolution", "has_bfloat16", "installed", "matmul", "relu", "softmax", "tanh"]


@contextlib.contextmanager
def installed(bfloat16: bool = False):
    """While active, convolution and batch-norm modules run on this package's operators (on CUDA nothing changes).

    bfloat16 is honoured where `has_bfloat16()`; elsewhere the convolutions stay float32.
    """
    bfloat16 = bfloat16 and has_bfloat16()
    originals = {cls: cls.execute for cls in (nn.Conv2d, nn.Conv3d, nn.BatchNorm)}
    functions = {name: getattr(nn, name) for name in ("relu", "matmul", "softmax")}
    plain_tanh = jt.tanh

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

    def run_relu(x):
        return functions["relu"](x) if jt.flags.use_cuda else relu(x)

    def run_matmul(a, b):
        if jt.flags.use_cuda or min(a.ndim, b.ndim) < 3 or not _are_float32(a, b):
            return functions["matmul"](a, b)
        return matmul(a, b)

    def run_softmax(x, dim=None, log=False):
        if jt.flags.use_cuda or log or dim not in (-1, x.ndim - 1) or not _are_float32(x):
            return functions["softmax"](x, dim, log)
        return softmax(x)

    nn.Conv2d.execute = nn.Conv3d.execute = run_convolution
    nn.BatchNorm.execute = run_batch_norm
    nn.relu, nn.matmul, nn.softmax = run_relu, run_matmul, run_softmax
    jt.tanh = lambda x: plain_tanh(x) if jt.flags.use_cuda else tanh(x, plain_tanh)
    try:
        yield
    finally:
        jt.tanh = plain_tanh
        for name, original in functions.items():
            setattr(nn, name, original)
        for cls, original in originals.items():
            cls.execute = original


def _are_float32(*xs):
    return all(str(x.dtype) == "float32" for x in xs)
