"""Reads a pickle as data: opcodes by pickletools, a stack, a memo, and no way to call or import anything.

Python's own Unpickler looks names up and calls them, writes attributes and keeps a registry of extensions; a filter in
front of it must think of all of that. Here a name stays a string in a `Global`, and what may be done with one is the
business of the two functions that the caller passes. An opcode that checkpoints have no use for is refused.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from models.checkpoints.errors import CheckpointError, brief


@dataclass(frozen=True, eq=False)
class Global:
    """A name that a pickle refers to, "module name". Only a string: nothing is imported."""

    name: str


@dataclass(frozen=True, eq=False)
class Inert:
    """What a harmless call would have made (a setting beside the tensors, say). The call was not made."""

    name: str


_ARGUMENT = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
}
_CONSTANT = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict}
_TUPLE = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
# Hashing a tuple of tuples of tuples ... that all are the same few can take for ever.
_KEYS = (str, int, float, bytes, type(None))


def unpickle(stream: BinaryIO, find: Callable[[str], Global], call: Callable[[Global, object], object],
             persistent: Callable[[object], object]) -> object:
    """The object of the pickle at the stream's position; the stream is left behind its end.

    find        the Global of "module name"; raises CheckpointError for a name that is not allowed
    call        what a Global called with arguments stands for; raises CheckpointError
    persistent  what a persistent id stands for; raises CheckpointError
    Returns dicts, lists, tuples, strings, numbers, Globals and whatever `call` and `persistent` return.

    Raises CheckpointError on a damaged pickle and on opcodes that need more than this.
    """
    try:
        return _run(stream, find, call, persistent)
    except CheckpointError:
        raise
    except Exception as error:  # pickletools raises many kinds on broken bytes, a short stack an IndexError
        raise CheckpointError(f"its pickle must be whole; got {type(error).__name__}: {brief(str(error))}") from error


def _run(stream, find, call, persistent):
    stack, marks, memo = [], [], {}

    def marked() -> list:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    for opcode, argument, _ in pickletools.genops(stream):
        name = opcode.name
        if name in _ARGUMENT:
            stack.append(argument)
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[argument])
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in _CONSTANT:
            stack.append(_CONSTANT[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _TUPLE:
            items = tuple(stack[-_TUPLE[name]:])
            del stack[-_TUPLE[name]:]
            stack.append(items)
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "TUPLE":
            stack.append(tuple(marked()))
        elif name == "LIST":
            stack.append(marked())
        elif name == "DICT":
            items = marked()
            stack.append(_filled({}, items))
        elif name in ("APPEND", "APPENDS"):
            items = marked() if name == "APPENDS" else [stack.pop()]
            _checked(stack[-1], list, name).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = marked() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            _filled(_checked(stack[-1], dict, name), items)
        elif name == "GLOBAL":
            stack.append(find(argument))
        elif name == "STACK_GLOBAL":
            attribute, module = _checked(stack.pop(), str, name), _checked(stack.pop(), str, name)
            stack.append(find(f"{module} {attribute}"))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, function = stack.pop(), _checked(stack.pop(), Global, name)
            stack.append(call(function, arguments))
        elif name == "BUILD":
            # State beside the items of a dict (a state_dict's _metadata) or of something inert: none of it is weights.
            del stack[-1]
            _checked(stack[-1], (dict, Inert), name)
        elif name == "BINPERSID":
            stack.append(persistent(stack.pop()))
        elif name == "POP":
            stack.pop()
        elif name == "POP_MARK":
            marked()
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise CheckpointError(f"its pickle must hold tensors and plain values; got the opcode {name}, which is never run")
    raise CheckpointError("its pickle must end with STOP; got none")


def _checked(value, kind, opcode: str):
    if not isinstance(value, kind):
        raise CheckpointError(f"its pickle must be a sound one; got {opcode} on {brief(value)}")
    return value


def _filled(target: dict, items: list) -> dict:
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, _KEYS):
            raise CheckpointError(f"its pickle must have strings or numbers as keys; got {brief(key)}")
        target[key] = value
    return target
