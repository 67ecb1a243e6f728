"""Pictures of a graph: `trace` and `draw_dot` as micrograd's tutorials have them.

`draw_dot` needs the graphviz package (`pip install micrograd_c[viz]`), and Graphviz's own `dot`
program where a picture is rendered. Both functions take anything with micrograd's attributes
(data, grad, _prev or _children, _op, and label if it has one), not only micrograd_c's Value.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import graphviz

__all__ = ["draw_dot", "trace"]

NOTEBOOK_NODES = 200  # nobody can read a picture of more
NOTEBOOK_SECONDS = 5.0  # that a cell waits for dot


def trace(root: Any) -> tuple[set[Any], set[tuple[Any, Any]]]:
    """The nodes that `root` depends on, itself included, and the edges (operand, result).

    Both are sets: a Value used twice by one operation gives one edge.

    >>> from micrograd_c import Value
    >>> a = Value(3.0)
    >>> b = a * a
    >>> nodes, edges = trace(b)
    >>> nodes == {a, b}, edges == {(a, b)}
    (True, True)
    """
    nodes = _nodes(root)
    return set(nodes), {(operand, node) for node in nodes for operand in _operands(node)}


def draw_dot(root: Any, format: str = "svg", rankdir: str = "LR") -> graphviz.Digraph:
    """The graph that led to `root`: a box (label, data, grad) a Value, an oval an operation.

    `format` is what a picture is rendered as (svg, png, pdf, ...), `rankdir` the direction in
    which it is read: LR, TB, RL or BT. The result shows itself in a notebook; its `.render(path)`
    writes a file, its `.source` is the text in DOT, the same in every run.

    Raises ImportError without the graphviz package, and ValueError for an unknown format or
    rankdir. Rendering raises graphviz.ExecutableNotFound without the dot program.

    >>> from micrograd_c import Value
    >>> print(draw_dot(Value(2.0, label="a").exp()).source)  # doctest: +NORMALIZE_WHITESPACE
    digraph {
        graph [rankdir=LR]
        n0 [label="{ a | data 2.0000 | grad 0.0000 }" shape=record]
        n1 [label="{  | data 7.3891 | grad 0.0000 }" shape=record]
        op1 [label=exp]
        op1 -> n1
        n0 -> op1
    }
    """
    return _draw(_nodes(root), format, rankdir)


def _repr_svg(root: Any) -> str | None:
    """The picture for a notebook, or None, for which a notebook shows the text instead.

    None where the graph is large, where dot is too slow at it (its time depends on the shape: a
    Value used at every step of a long chain is the worst), or where graphviz or dot is missing.
    """
    import subprocess  # takes a third of the time that importing micrograd_c does

    nodes = _nodes(root, NOTEBOOK_NODES)
    if not nodes:
        return None
    # Two rounds of placing the nodes look much like dot's usual search, and spare minutes.
    command = ["dot", "-Tsvg", "-Gnslimit=2"]
    try:
        source: bytes = _draw(nodes, "svg", "LR").source.encode()
        done = subprocess.run(
            command, input=source, capture_output=True, timeout=NOTEBOOK_SECONDS, check=True
        )
    except (ImportError, OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode()


def _draw(nodes: list[Any], format: str, rankdir: str) -> graphviz.Digraph:
    if rankdir not in ("LR", "TB", "RL", "BT"):
        raise ValueError(f"rankdir must be LR, TB, RL or BT, not {rankdir!r}")
    dot = _digraph()(format=format, graph_attr={"rankdir": rankdir})
    index = {id(node): i for i, node in enumerate(nodes)}
    for i, node in enumerate(nodes):
        label = _escape(_label(node))
        dot.node(
            f"n{i}", f"{{ {label} | data {node.data:.4f} | grad {node.grad:.4f} }}", shape="record"
        )
        if node._op:
            dot.node(f"op{i}", _escape(str(node._op)))
            dot.edge(f"op{i}", f"n{i}")
    for i, node in enumerate(nodes):
        for operand in _operands(node):
            dot.edge(f"n{index[id(operand)]}", f"op{i}" if node._op else f"n{i}")
    return dot


def _digraph() -> type[graphviz.Digraph]:
    try:
        import graphviz
    except ImportError as error:
        raise ImportError(
            "drawing needs the graphviz package: pip install micrograd_c[viz]"
        ) from error

    @contextmanager
    def advice() -> Iterator[None]:
        try:
            yield
        except graphviz.ExecutableNotFound as error:
            error.args = (
                f"{error}. The dot program is part of Graphviz: apt install graphviz, "
                "brew install graphviz, winget install graphviz or https://graphviz.org/download",
            )
            raise

    class Digraph(graphviz.Digraph):  # type: ignore[misc]  # graphviz has no types
        """A Digraph that says what to install where the dot program is missing."""

        def pipe(self, *args: Any, **kwargs: Any) -> Any:
            with advice():
                return super().pipe(*args, **kwargs)

        def render(self, *args: Any, **kwargs: Any) -> Any:
            with advice():
                return super().render(*args, **kwargs)

    return Digraph


def _nodes(root: Any, limit: int = sys.maxsize) -> list[Any]:
    """The nodes below `root`, operands before results; none if there are more than `limit`.

    Linear in the nodes and edges walked, which end at the limit; no recursion.
    """
    nodes = []
    seen = {id(root)}  # no id is reused: what is seen is on the stack or in nodes
    stack = [(root, iter(_operands(root)))]
    while stack:
        node, operands = stack[-1]
        for operand in operands:
            if id(operand) not in seen:
                if len(seen) == limit:
                    return []
                seen.add(id(operand))
                stack.append((operand, iter(_operands(operand))))
                break
        else:
            nodes.append(node)
            stack.pop()
    return nodes


def _operands(node: Any) -> Collection[Any]:
    """A node's operands, each once, in an order that does not depend on their addresses."""
    operands = getattr(node, "_children", None)
    if operands is None:
        operands = node._prev
    if isinstance(operands, (set, frozenset)):
        return sorted(operands, key=lambda node: (str(node._op), _label(node), str(node.data)))
    return {id(operand): operand for operand in operands}.values()


def _label(node: Any) -> str:
    return str(getattr(node, "label", ""))


def _escape(text: str) -> str:
    """Text for a label in DOT, where nothing in it means a field, an escape or an entity."""
    return text.translate(_ESCAPES)


_ESCAPES = str.maketrans(
    {c: f"\\{c}" for c in "\\{}|"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;", "\n": r"\n"}
)
