"""Why some of Jittor's operators are not exported, and what to do instead."""

_RULE = "write a rule for it (export/README.md, \"Add an operator\"), or say it in other operations"
_NO_RULE = "the exporter has no rule for this operator"

_REASONS = {
    "check_cascade_setitem": (
        "a traced value is written into a Var that depends on no input, and that Var would not know of it",
        "write into a traced Var, as jt.zeros_like(x), or build the result with jt.concat or jt.stack"),
    "assign": ("a value computed from the inputs is written into a parameter or buffer, and an ONNX graph has no state",
               "keep it in a local variable, or return it as an output"),
    "code": ("it is a kernel in C++, which no ONNX operator can be derived from",
             "write a rule for the module or function that calls it: @lowers(ThatClass) (export/README.md, "
             "\"Add an operator\")"),
    "random": ("the exported graph would keep the numbers drawn now as constants",
               "leave them out in eval mode (is_train False), or make them an input of the model"),
    "fetch": ("a traced Var has no value to fetch", "leave it out of `execute`"),
}
_REASONS["numpy_code"] = ("it is computed by NumPy, outside of any graph", _REASONS["code"][1])
_REASONS["update"] = _REASONS["swap"] = _REASONS["_update"] = _REASONS["share_with"] = _REASONS["assign"]


def why_not(operator: str, caller: str = "") -> tuple[str, str]:
    """(reason, what to do instead) for a C operator of Jittor without a rule. caller: the function of Jittor that the
    user has called, which uses it; as "jittor.misc.unique"."""
    reason, instead = _REASONS.get(operator, (_NO_RULE, _RULE))
    if caller:
        reason = f"{reason} ({caller} calls it)"
        if "@lowers(ThatClass)" in instead:
            instead = instead.replace("@lowers(ThatClass)", f'@lowers("{caller.removeprefix("jittor.")}")')
    return reason, instead
