"""What the exporter says when it cannot do what it was asked."""

from export import context
from export.location import line_of, user_line


class ExportError(RuntimeError):
    """A model that cannot be exported, or an export that is not good enough to be written.

    operator  the Jittor operator, function or Python operation at fault ("setitem", "item()", "nn.Pool"), or what was
              being done ("verification")
    reason    why it cannot be exported
    instead   what to write instead, or ""
    module    path of the module that was running, as in "encoder.blocks[2].attn (Attention)", or ""
    line      the user's source line, as in "nets/vit.py:57: x[:, 0] = 0.", or ""
    """

    def __init__(self, operator: str, reason: str, instead: str = "", module: str = "", line: str = ""):
        self.operator, self.reason, self.instead, self.module, self.line = operator, reason, instead, module, line
        text = f"cannot export {operator}: {reason}"
        for label, value in (("module", module), ("line", line), ("instead", instead)):
            text += f"\n  {label + ':':<9}{value}" if value else ""
        super().__init__(text)


def refusal(operator: str, reason: str, instead: str = "", cause: BaseException | None = None) -> ExportError:
    """An ExportError that knows which module and which line of the user's the running trace is at. cause: the error of
    the model that says so, where the trace has left that line already."""
    module = context.active.where() if context.active else ""
    return ExportError(operator, reason, instead, module, user_line() if cause is None else line_of(cause))
