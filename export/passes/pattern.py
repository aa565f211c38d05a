"""Finding nodes by what they read and who reads them."""

from collections import Counter

import numpy as np

from export.graph import Graph, Node


class Matcher:
    """A graph as it is now: who makes a tensor, who reads it, and what is known of it."""

    def __init__(self, graph: Graph):
        self._graph = graph
        self._makers = {output: node for node in graph.nodes for output in node.outputs}
        self._readers = {name: node for node in graph.nodes for name in node.inputs}
        self._count = Counter(name for node in graph.nodes for name in node.inputs)
        self._count.update(graph.outputs)

    def maker(self, name: str, kind: str) -> Node | None:
        """The node that makes a tensor, if it is of this kind."""
        node = self._makers.get(name)
        return node if node is not None and node.kind == kind else None

    def only_reader(self, name: str, kind: str) -> Node | None:
        """The one node that reads a tensor, if it is the only one and of this kind."""
        node = self._readers.get(name)
        return node if node is not None and node.kind == kind and self._count[name] == 1 else None

    def array(self, name: str) -> np.ndarray | None:
        """The value of a constant."""
        return self._graph.initializers.get(name)

    def number(self, name: str) -> float | None:
        """The value of a constant of one element."""
        array = self.array(name)
        return float(array.reshape(())) if array is not None and array.size == 1 else None

    def with_number(self, node: Node) -> tuple[str | None, float | None]:
        """(tensor, number) of a node with two operands of which one is a number, else (None, None)."""
        for tensor, other in (node.inputs, node.inputs[::-1]):
            if self.number(other) is not None:
                return tensor, self.number(other)
        return None, None

    def rank(self, name: str) -> int | None:
        """How many axes a tensor has, where Jittor has said so."""
        return len(self._graph.values[name][1]) if name in self._graph.values else None
