"""Changes of type."""

from export.registry import RULES, lowers

_DTYPES = (
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool",
)
_ALIASES = {"float": "float32", "double": "float64", "half": "float16", "int": "int32", "long": "int32"}


@lowers("cast", "astype", *_DTYPES, *_ALIASES)
def cast(g, out, x, dtype=None):
    return g.cast(x, out.dtype)


@lowers("ops.unary")
def unary(g, out, x, op):
    """jt.unary(x, op): op is a type or the name of a unary operator."""
    name = op if isinstance(op, str) else getattr(op, "__name__", str(op))
    if name in _DTYPES or name in _ALIASES:
        return g.cast(x, out.dtype)
    return RULES[name].function(g, out, x) if name in RULES else NotImplemented


@lowers("binary")
def binary(g, out, x, y, op):
    """jt.binary(x, y, op): op is the name of a binary operator."""
    rule = RULES.get(str(op)) or RULES.get(f"ops.{op}")
    return rule.function(g, out, x, y) if rule else NotImplemented
