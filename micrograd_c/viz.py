"""Pictures of a graph: `trace` and `draw_dot` as micrograd's tutorials have them.

`draw_dot` needs the graphviz package (`pip install micrograd_c[viz]`), and Graphviz's own `dot`
program where a picture is rendered. Both functions take anything with micrograd's attributes
(data, grad, _prev or _children, _op, and label if it has one), not only micrograd_c's Value.
`draw_dot` draws compiled programs, too.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from micrograd_c._core import Program
from micrograd_c.program import CAPTURED, INPUT, instructions, node_names, shortened

if TYPE_CHECKING:
    import graphviz

__all__ = ["draw_dot", "trace"]

TERMS = 4  # of an instruction of a program that are written out; all have their edges
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

    Of a Program: a box an instruction (name, operation), an input, a constant and a captured Value,
    this one as it stands at the moment. Long sums are shortened, but have all their edges.

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
    return _draw(_boxes(root), format, rankdir)


def _repr_svg(root: Any) -> str | None:
    """The picture for a notebook, or None, for which a notebook shows the text instead.

    None where the graph is large, where dot is too slow at it (its time depends on the shape: a
    Value used at every step of a long chain is the worst), or where graphviz or dot is missing.
    """
    import subprocess  # takes a third of the time that importing micrograd_c does

    boxes = _boxes(root, NOTEBOOK_NODES)
    if not boxes:
        return None
    # Two rounds of placing the nodes look much like dot's usual search, and spare minutes.
    command = ["dot", "-Tsvg", "-Gnslimit=2"]
    try:
        source: bytes = _draw(boxes, "svg", "LR").source.encode()
        done = subprocess.run(
            command, input=source, capture_output=True, timeout=NOTEBOOK_SECONDS, check=True
        )
    except (ImportError, OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode()


class _Box(NamedTuple):
    fields: tuple[str, ...]
    operation: str  # drawn as an oval before the box, unless empty
    operands: Collection[int]  # numbers of boxes


def _boxes(root: Any, limit: int = sys.maxsize) -> list[_Box]:
    """What is drawn of a graph or a program; nothing if it has more than `limit` nodes."""
    if isinstance(root, Program):
        return _boxes_of_program(root) if len(root.graph.op) <= limit else []
    nodes = _nodes(root, limit)
    number = {id(node): i for i, node in enumerate(nodes)}
    return [
        _Box(
            _fields(node, _label(node)),
            str(node._op or ""),
            [number[id(operand)] for operand in _operands(node)],
        )
        for node in nodes
    ]


def _boxes_of_program(program: Program) -> list[_Box]:
    """The leaves that are used, the instructions, and as the last one what is returned."""
    graph, names = program.graph, node_names(program)
    outputs = graph.outputs.tolist()
    steps = list(instructions(program, names, TERMS))
    steps.append((len(names), outputs, ", ".join(shortened([names[i] for i in outputs], TERMS))))
    names.append("return")
    used = {k for _, operands, _ in steps for k in operands}
    leaves = [i for i in (graph.op == 0).nonzero()[0].tolist() if i in used]
    boxes = []
    for i in leaves:
        kind, k = graph.lhs[i], graph.rhs[i]
        if kind == CAPTURED:
            fields = _fields(program.captured[k], names[i])
        else:
            fields = (names[i], "input") if kind == INPUT else (names[i],)
        boxes.append(_Box(fields, "", ()))
    number = {i: k for k, i in enumerate([*leaves, *(i for i, _, _ in steps)])}
    for i, operands, text in steps:
        boxes.append(_Box((names[i], text), "", dict.fromkeys(number[k] for k in operands)))
    return boxes


def _fields(value: Any, label: str) -> tuple[str, ...]:
    return label, f"data {value.data:.4f}", f"grad {value.grad:.4f}"


def _draw(boxes: list[_Box], format: str, rankdir: str) -> graphviz.Digraph:
    if rankdir not in ("LR", "TB", "RL", "BT"):
        raise ValueError(f"rankdir must be LR, TB, RL or BT, not {rankdir!r}")
    dot = _digraph()(format=format, graph_attr={"rankdir": rankdir})
    for i, box in enumerate(boxes):
        dot.node(f"n{i}", f"{{ {' | '.join(map(_escape, box.fields))} }}", shape="record")
        if box.operation:
            dot.node(f"op{i}", _escape(box.operation))
            dot.edge(f"op{i}", f"n{i}")
    for i, box in enumerate(boxes):
        for k in box.operands:
            dot.edge(f"n{k}", f"op{i}" if box.operation else f"n{i}")
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
