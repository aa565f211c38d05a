"""Why some of Jittor's operators are not exported, and what to do instead."""

_RULE = "write a rule for it (export/README.md, \"Add an operator\"), or say it in other operations"
_NO_RULE = "the exporter has no rule for this operator"

_REASONS = {
    "setitem": ("assignment into a traced Var changes it in place, and an ONNX tensor never changes",
                "build the result with jt.concat, jt.stack or jt.where(condition, new, old)"),
    "assign": ("a value computed from the inputs is written into a parameter or buffer, and an ONNX graph has no state",
               "keep it in a local variable, or return it as an output"),
    "code": ("it is a kernel in C++, which no ONNX operator can be derived from",
             "write a rule for the module or function that calls it: @lowers(ThatClass) (export/README.md, "
             "\"Add an operator\")"),
    "random": ("the exported graph would keep the numbers drawn now as constants",
               "leave them out in eval mode (is_train False), or make them an input of the model"),
    "reindex": ("its index arithmetic is text in C++, which no ONNX operator can be derived from",
                "use the function of Jittor that says the same (roll, flip, pad, PixelShuffle, x[...]), or write a "
                "rule for the function that calls it: @lowers(that_function)"),
    "fetch": ("a traced Var has no value to fetch", "leave it out of `execute`"),
}
_REASONS["numpy_code"] = _REASONS["code"]
_REASONS["update"] = _REASONS["swap"] = _REASONS["_update"] = _REASONS["share_with"] = _REASONS["assign"]
_REASONS["reindex_var"] = _REASONS["reindex_reduce"] = _REASONS["reindex"]


def why_not(operator: str) -> tuple[str, str]:
    """(reason, what to do instead) for a C operator of Jittor without a rule."""
    return _REASONS.get(operator, (_NO_RULE, _RULE))
