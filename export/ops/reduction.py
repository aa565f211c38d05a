"""Sums, means and other reductions over axes."""

from export.errors import refusal
from export.ops.operands import axis_of
from export.registry import lowers

_REDUCTIONS = {
    ("sum", "reduce_add"): "ReduceSum", ("mean",): "ReduceMean", ("max", "reduce_maximum"): "ReduceMax",
    ("min", "reduce_minimum"): "ReduceMin", ("prod", "product", "reduce_multiply"): "ReduceProd",
}
_BY_NAME = {
    "add": "ReduceSum", "sum": "ReduceSum", "mean": "ReduceMean", "maximum": "ReduceMax", "max": "ReduceMax",
    "minimum": "ReduceMin", "min": "ReduceMin", "multiply": "ReduceProd", "prod": "ReduceProd",
}


def reduce(g, kind, tensor, rank, axes=None, keepdims=False):
    """Reduce an operand of `rank` axes over `axes`: an int, a sequence of them, or None or an empty one for all. A
    result without axes has shape (1,), as in Jittor."""
    axes = [axes] if isinstance(axes, int) else list(axes or ())
    axes = sorted(axis_of(axis, rank) for axis in axes) or list(range(rank))
    to_one = len(axes) == rank and not keepdims
    keepdims = int(bool(keepdims) or to_one)
    if g.opset >= (13 if kind == "ReduceSum" else 18):
        result = g.op(kind, tensor, g.int64s(*axes), keepdims=keepdims)
    else:
        result = g.op(kind, tensor, axes=axes, keepdims=keepdims)
    return g.op("Reshape", result, g.int64s(1)) if to_one and rank > 1 else result


def _reduction(kind):
    def lower(g, out, x, dim=None, keepdims=False, dims=None, keepdim=False):
        return reduce(g, kind, g.cast(x, out.dtype), x.ndim, dim if dims is None else dims, keepdims or keepdim)
    return lower


for _names, _kind in _REDUCTIONS.items():
    lowers(*_names)(_reduction(_kind))


@lowers("reduce")
def reduce_by_name(g, out, x, op, dim=None, keepdims=False, dims=None):
    """x.reduce("mean", dims)"""
    if str(op) not in _BY_NAME:
        raise refusal(f"reduce({str(op)!r})", "ONNX has no such reduction")
    return reduce(g, _BY_NAME[str(op)], g.cast(x, out.dtype), x.ndim, dim if dims is None else dims, keepdims)


@lowers("all_", "reduce_logical_and")
def all_(g, out, x, dim=None, keepdims=False, dims=None):
    return _truth(g, out, "ReduceMin", x, dim if dims is None else dims, keepdims)


@lowers("any_", "reduce_logical_or")
def any_(g, out, x, dim=None, keepdims=False, dims=None):
    return _truth(g, out, "ReduceMax", x, dim if dims is None else dims, keepdims)


def _truth(g, out, kind, x, axes, keepdims):
    """ONNX reduces no bools before opset 20: 0 and 1 as int32 instead."""
    truth = g.cast(g.cast(x, "bool"), "int32")
    return g.cast(reduce(g, kind, truth, x.ndim, axes, keepdims), out.dtype)


@lowers("arg_reduce")
def arg_reduce(g, out, x, op, dim, keepdims=False):
    """Index and value of the extreme along an axis; of equals the first."""
    index, value = out
    kind = {"max": "Max", "min": "Min"}[str(op)[:3]]
    axis = axis_of(dim, x.ndim)
    found = g.op(f"Arg{kind}", x, axis=axis, keepdims=int(keepdims))
    return [g.cast(found, index.dtype), reduce(g, f"Reduce{kind}", g.operand(x), x.ndim, axis, keepdims)]


@lowers("cumsum")
def cumsum(g, out, x, dim=None):
    return g.op("CumSum", x, g.scalar(-1 if dim is None else int(dim), "int64"))
