"""How Jittor's operators are exported: one rule each, written in `export/ops/` or by a user for an operator of their
own.

A rule is a function with the arguments of what it exports. A target is one of

    "exp"               an operator that Jittor has written in C++: the function, the method and the Python operator
    "nn.gelu"           a Python function of the `jittor` package, by whatever name or module it is called
    "nn.Conv2d"         a module class of Jittor: its `execute`
    MyModule, my_func   a class or function of one's own

Names are looked up when a trace begins, so that an operator which other code has replaced by a faster one (as
`models.cpu` does) is exported all the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

OPSETS = range(13, 22)
"""Versions of the ONNX operator set that the lowerings can write."""

RULES: dict[Any, "Rule"] = {}


@dataclass(frozen=True)
class Rule:
    """name: how messages call the operator. function, result: see `lowers` and `rewrites`."""

    name: str
    function: Callable
    rewrites: bool
    result: Callable | None = None


def lowers(*targets, result: Callable | None = None):
    """Decorator: `rule(graph, out, *args, **kwargs)` emits ONNX nodes and returns the name of the result.

    graph is an `export.graph.Graph`; out the result, a Proxy whose shape and dtype Jittor has worked out and whose name
    is not known yet (lists and tuples of them where Jittor returns such; then such of names are returned); the rest are
    the arguments of the call, in which every traced Var is a Proxy and every dynamic size a Sym. For a module class the
    first of them is the module. May return NotImplemented to have Jittor's own Python code traced through instead.

    result: a function of the call's arguments that returns Vars of the shapes and types of its results, for operators
    that would be slow to build, or that cannot be built without computing something. Default: what is exported itself.
    """
    return _register(targets, rewrites=False, result=result)


def rewrites(*targets):
    """Decorator: `rule(*args, **kwargs)` says the same in other Jittor operations, and returns their result."""
    return _register(targets, rewrites=True)


def _register(targets, rewrites, result=None):
    def register(function):
        for target in targets:
            name = target if isinstance(target, str) else target.__qualname__
            RULES[target] = Rule(name, function, rewrites, result)
        return function
    return register
