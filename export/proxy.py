"""The stand-in for a `jt.Var` while a model is traced."""

import functools

import jittor as jt

from export import context
from export.errors import refusal
from export.symbolic import Shape, Sym, value

BINARY = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide", "mod": "mod",
    "pow": "pow", "matmul": "matmul", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
}
COMPARE = {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal",
}
_UFUNCS = {name: name for name in (*BINARY.values(), *COMPARE.values()) if not name.startswith("bitwise")}
_UFUNCS |= {"power": "pow", "remainder": "mod"}
_READ = "its value does not exist while the model is traced: the exported graph would keep one constant answer for ever"
_READ_INSTEAD = "keep the choice inside the graph, as jt.where(condition, a, b), or return the Var as an output"


class Proxy:
    """A Var of the traced model: `tensor`, the name of the ONNX tensor that holds it, and what Jittor makes of it at
    both traced sizes, `first` and `second`, two lazy Vars that are never computed and only tell shapes and dtypes.
    """

    __slots__ = ("first", "second", "tensor")

    def __init__(self, first, second, tensor):
        self.first, self.second, self.tensor = first, second, tensor

    __class__ = property(lambda self: jt.Var)
    __hash__ = object.__hash__

    def __repr__(self):
        return f"traced Var {self.tensor} {self.dtype}{list(self.shape)}"

    def __getattr__(self, name):
        # Jittor's own methods: while tracing, those written in C dispatch to the lowerings, the others run on Proxies.
        base = name[:-1]
        if name.endswith("_") and not name.startswith("_") and name not in ("all_", "any_") and hasattr(jt.Var, base):
            return lambda *args, **kwargs: self.assign(getattr(self, base)(*args, **kwargs))
        method = getattr(jt.Var, name, None)
        if method is None:
            raise AttributeError(f"'Var' object has no attribute '{name}'")
        return functools.partial(method, self)

    @property
    def shape(self):
        return Shape(context.active.size(self, axis) for axis in range(self.ndim))

    @property
    def ndim(self):
        return len(self.first.shape)

    @property
    def dtype(self):
        return self.first.dtype

    def dim(self):
        return self.ndim

    def numel(self):
        count = 1
        for size in self.shape:
            count = size * count
        return count

    def __len__(self):
        return _known(self.shape[0], "len()")

    def __iter__(self):
        return (self[i] for i in range(_known(self.shape[0], "iteration over its first axis")))

    def clone(self):
        return Proxy(self.first, self.second, self.tensor)

    detach = copy = clone

    def stop_grad(self):
        return self

    start_grad = detach_inplace = stop_fuse = out_hint = stop_grad

    def sync(self, *args, **kwargs):
        return self

    def name(self, *new):
        return self if new else self.tensor

    def is_stop_grad(self):
        return True

    requires_grad = property(lambda self: False, lambda self, wanted: None)

    def assign(self, other):
        """In place, as Jittor does it: every reference to this Var sees the new value, and nothing else does."""
        if type(other) is not Proxy:
            other = Proxy(other, other, context.active.graph.operand(other))
        self.first, self.second, self.tensor = other.first, other.second, other.tensor
        return self

    update = swap = check_cascade_setitem = assign

    @property
    def data(self):
        return _Data(self)

    @data.setter
    def data(self, new):
        self._read("data")

    def _read(self, what):
        raise refusal(what, _READ, _READ_INSTEAD)

    def __bool__(self):
        self._read("a branch on a Var's value (bool)")

    def __int__(self):
        self._read("int() of a Var")

    def __float__(self):
        self._read("float() of a Var")

    def __index__(self):
        self._read("a Var as a Python index or count")

    def __array__(self, *args, **kwargs):
        self._read("a NumPy function on a Var")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        # `array + proxy` comes as np.add; Jittor would read the Var for anything but an operator.
        name = _UFUNCS.get(ufunc.__name__)
        if name is None or method != "__call__" or kwargs:
            self._read("a NumPy function on a Var")
        return getattr(jt, name)(*inputs)

    def __format__(self, spec):
        return repr(self)

    def item(self):
        self._read("item()")

    def numpy(self):
        self._read("numpy()")

    def tolist(self):
        self._read("tolist()")

    def fetch_sync(self):
        self._read("fetch_sync()")

    def __getitem__(self, index):
        return jt.Var.__getitem__(self, index)

    def __setitem__(self, index, new):
        jt.Var.__setitem__(self, index, new)

    def __neg__(self):
        return jt.negative(self)

    def __abs__(self):
        return jt.abs(self)


class _Data:
    """`x.data` of a traced Var: its shape and dtype can be asked, its values cannot."""

    def __init__(self, proxy):
        self.shape, self.ndim, self.dtype = proxy.shape, proxy.ndim, str(proxy.dtype)

    def __getattr__(self, name):
        raise refusal("data", _READ, _READ_INSTEAD)

    def __array__(self, *args, **kwargs):
        raise refusal("data", _READ, _READ_INSTEAD)

    __getitem__ = __setitem__ = __bool__ = __float__ = __int__ = __len__ = __iter__ = __array__


def _known(size, use):
    if type(size) is Sym:
        raise refusal(f"{use} of a Var whose first axis is dynamic",
                      f"the number of steps would be fixed at the traced size of {size!r}",
                      "work on the whole Var at once, or make the axis static (--dynamic)")
    return size


def _install_operators():
    for dunder, name in {**BINARY, **COMPARE}.items():
        # By name, not by function: the function of that name is a patched one while tracing.
        setattr(Proxy, f"__{dunder}__", lambda self, other, name=name: getattr(jt, name)(self, other))
    for dunder, name in BINARY.items():
        setattr(Proxy, f"__r{dunder}__", lambda self, other, name=name: getattr(jt, name)(other, self))
        setattr(Proxy, f"__i{dunder}__", lambda self, other, name=name: self.assign(getattr(jt, name)(self, other)))


_install_operators()


def is_traced(x) -> bool:
    """Whether `x` is a traced Var or a dynamic size, or a list, tuple, dict or slice that holds one."""
    kind = type(x)
    if kind is Proxy or kind is Sym:
        return True
    if isinstance(x, (list, tuple)):
        return any(is_traced(item) for item in x)
    if isinstance(x, dict):
        return any(is_traced(item) for item in x.values())
    if kind is slice:
        return is_traced(x.start) or is_traced(x.stop) or is_traced(x.step)
    return False


def at(x, which: int):
    """`x` as Jittor sees it in trace `which` (0 or 1): Proxies and Syms inside become real Vars and plain numbers.

    Lists are copied, for some of Jittor's functions write into theirs.
    """
    kind = type(x)
    if kind is Proxy:
        return x.second if which else x.first
    if kind is Sym:
        return value(x, which)
    if isinstance(x, list):
        return [at(item, which) for item in x]
    if isinstance(x, tuple):
        return tuple(at(item, which) for item in x)
    if isinstance(x, dict):
        return {key: at(item, which) for key, item in x.items()}
    if kind is slice:
        return slice(at(x.start, which), at(x.stop, which), at(x.step, which))
    return x
