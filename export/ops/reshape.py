"""Other shapes for the same elements in the same order."""

from export.ops.operands import axis_of
from export.registry import lowers
from export.symbolic import Sym, recipe


@lowers("ops.reshape")
def reshape(g, out, x, shape):
    dims = list(shape)
    inferred = next((axis for axis, dim in enumerate(dims) if type(dim) is not Sym and dim == -1), None)
    if inferred is not None and type(out.shape[inferred]) is not Sym:
        dims[inferred] = out.shape[inferred]
    if sum(type(dim) is Sym for dim in dims) > 1:
        # 0 means "as in the input".
        dims = [0 if _is_kept(x, axis, dim) else dim for axis, dim in enumerate(dims)]
    return reshaped(g, x, dims)


def _is_kept(x, axis, dim):
    return type(dim) is Sym and axis < x.ndim and recipe(x.shape[axis]) == dim.recipe


def reshaped(g, tensor, dims):
    """`tensor` (or a Proxy) in the shape `dims`: ints, Syms, 0 for a size that stays, and at most one -1."""
    dims = list(dims)
    dynamic = [axis for axis, dim in enumerate(dims) if type(dim) is Sym]
    if dynamic and not any(type(dim) is not Sym and dim == -1 for dim in dims):
        # ONNX works out one size by itself: the one that would be the most work for us.
        derived = [axis for axis in dynamic if dims[axis].recipe[0] != "size"]
        dims[(derived or dynamic)[-1]] = -1
    return g.op("Reshape", tensor, g.sizes(dims))


@lowers("flatten")
def flatten(g, out, input, start_dim=0, end_dim=-1):
    x, first, last = input, axis_of(start_dim, input.ndim), axis_of(end_dim, input.ndim)
    merged = 1
    for size in x.shape[first:last + 1]:
        merged = size * merged
    return reshape(g, out, x, [*x.shape[:first], merged, *x.shape[last + 1:]])


@lowers("unsqueeze")
def unsqueeze(g, out, x, dim):
    return g.op("Unsqueeze", x, g.int64s(axis_of(dim, x.ndim + 1)))


@lowers("squeeze")
def squeeze(g, out, x, dim=None):
    # Without dim this assumes (and says so) that no dynamic size is 1.
    axes = [axis_of(dim, x.ndim)] if dim is not None else [axis for axis, size in enumerate(x.shape) if size == 1]
    return g.op("Squeeze", x, g.int64s(*axes)) if axes else x.tensor
