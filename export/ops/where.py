"""Choice, element by element."""

from export.errors import refusal
from export.ops.operands import operand
from export.registry import lowers


@lowers("where", "ternary", "ternary_out_hint")
def where(g, out, condition, x=None, y=None):
    if x is None or y is None:
        raise refusal("where(condition) / nonzero()", "the shape of its result depends on the values",
                      "use the three arguments: jt.where(condition, x, y)")
    return g.op("Where", g.cast(condition, "bool"), operand(g, x, out.dtype), operand(g, y, out.dtype))
