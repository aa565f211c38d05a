"""The C++ index arithmetic in the texts of Jittor's `reindex`: "i2*2+i4-1", "@e0(i0,i1) < i2 && i3%4 != 0"."""

import re

_TOKEN = re.compile(r"\s*(?:(?P<number>\d+)|(?P<name>@?[A-Za-z_]\w*)|(?P<sign>&&|\|\||[<>=!]=|[-+*/%<>!?:(),]))")
_LEVELS = (("||",), ("&&",), ("==", "!="), ("<", "<=", ">", ">="), ("+", "-"), ("*", "/", "%"))


def parse(text: str):
    """A tree of ints, names ("i0", "xshape2") and tuples: (sign, left, right), ("-", x), ("!", x), ("?", condition, a,
    b) and ("call", name, argument, ...). Raises ValueError where the text says anything else.
    """
    reader = _Reader(text)
    tree = _choice(reader)
    if reader.token is not None:
        raise ValueError(f"{reader.token!r} is not understood")
    return tree


class _Reader:
    def __init__(self, text):
        self._text, self._place = text, 0
        self.advance()

    def advance(self):
        """The token at hand; `token` is then the next one."""
        taken = getattr(self, "token", None)
        if not self._text[self._place:].strip():
            self.token = None
            return taken
        match = _TOKEN.match(self._text, self._place)
        if match is None:
            raise ValueError(f"{self._text[self._place:].strip()!r} is not understood")
        self._place, self.token = match.end(), match.group().strip()
        return taken

    def expect(self, sign):
        if self.advance() != sign:
            raise ValueError(f"{sign!r} is missing")


def _choice(reader):
    condition = _binary(reader, 0)
    if reader.token != "?":
        return condition
    reader.advance()
    chosen = _choice(reader)
    reader.expect(":")
    return ("?", condition, chosen, _choice(reader))


def _binary(reader, level):
    if level == len(_LEVELS):
        return _unary(reader)
    tree = _binary(reader, level + 1)
    while reader.token in _LEVELS[level]:
        sign = reader.advance()
        tree = (sign, tree, _binary(reader, level + 1))
    return tree


def _unary(reader):
    token = reader.advance()
    if token in ("-", "!"):
        return (token, _unary(reader))
    if token == "(":
        tree = _choice(reader)
        reader.expect(")")
        return tree
    if token is None or not re.match(r"[@\w]", token):
        raise ValueError(f"{token!r} is not understood")
    if token.isdigit():
        return int(token)
    if reader.token != "(":
        return token
    reader.advance()
    arguments = [_choice(reader)]
    while reader.token == ",":
        reader.advance()
        arguments.append(_choice(reader))
    reader.expect(")")
    return ("call", token, *arguments)


def names(tree) -> set[str]:
    """The names in a tree."""
    if isinstance(tree, str):
        return {tree}
    if isinstance(tree, tuple):
        parts = tree[2:] if tree[0] == "call" else tree[1:]
        return set().union(*map(names, parts))
    return set()
