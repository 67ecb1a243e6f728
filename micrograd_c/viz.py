"""Pictures of a graph: `trace` and `draw_dot` as micrograd's tutorials have them, and `explore`.

`draw_dot` and `explore` need the graphviz package (`pip install micrograd_c[viz]`), and Graphviz's
own `dot` program where a picture is rendered or laid out. `trace` and `draw_dot` take anything with
micrograd's attributes (data, grad, _prev or _children, _op, and label if it has one), not only
micrograd_c's Value. `draw_dot` draws compiled programs, too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from micrograd_c._core import Program, Value
from micrograd_c.files import write_whole
from micrograd_c.listing import CAPTURED, INPUT, instructions, node_names, shortened

if TYPE_CHECKING:
    import graphviz

__all__ = ["draw_dot", "explore", "trace"]
__dir__ = __all__.copy

TERMS = 4  # of an instruction of a program that are written out; all have their edges
NOTEBOOK_NODES = 200  # nobody can read a picture of more
NOTEBOOK_SECONDS = 5.0  # that a cell waits for dot
EXPLORE_NODES, EXPLORE_EDGES = 200, 600  # nobody can follow more, and dot would take minutes
EXPLORE_BOX = 156, 66  # the size of a node on the page, in pixels
EXPLORE_LABELLED = 60  # edges, up to which each has room for its partial


def trace(root: Any) -> tuple[set[Any], set[tuple[Any, Any]]]:
    """The nodes that `root` depends on, with itself, and the edges between: (operand, result).

    Returns two sets. A Value that one operation uses twice gives one edge. TypeError if root is
    not a Value.

    >>> from micrograd_c import Value
    >>> a = Value(3.0)
    >>> b = a * a
    >>> nodes, edges = trace(b)
    >>> nodes == {a, b}, edges == {(a, b)}
    (True, True)
    """
    _check(root, "a Value")
    nodes = _nodes(root)
    return set(nodes), {(operand, node) for node in nodes for operand in _operands(node)}


def draw_dot(
    root: Any,
    format: str = "svg",
    rankdir: str = "LR",
    *,
    partials: bool = False,
    tangent: Any = None,
) -> graphviz.Digraph:
    """Draw the graph that led to `root`: a box (label, data, grad) for each Value.

    An oval before the box is the operation that made the Value.

    partials=True writes on each edge from an operand the derivative of the operation by it. An
    operand that is used twice then has two edges. A `?` stands for a derivative that only a
    `_backward` of your own knows.

    tangent, a Value, shows in each box the derivative of its Value by that one (forward mode). It
    takes the place of grad, which is the derivative of the root by each Value (reverse mode).

    root may be a Program: there is a box for each instruction (name, operation), for each input and
    constant, and for each captured Value with its present number. Long sums are shortened, but have
    all their edges.

    format is the format of the picture (svg, png, pdf, ...), rankdir the direction to read it in:
    LR, TB, RL or BT. The result is a `graphviz.Digraph`: it shows itself in a notebook,
    `.render(path)` writes a file, and `.source` is the text in DOT.

    ImportError without the graphviz package. ValueError for an unknown format or rankdir, or if
    `tangent` meets an operation whose partial derivatives are unknown. TypeError if `partials` or
    `tangent` is given for a Program, or for Values without `_local_grads`, for example
    micrograd's. Rendering raises graphviz.ExecutableNotFound without the dot program.

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

    >>> a, b = Value(2.0, label="a"), Value(1.0, label="b")
    >>> e = (a + b) * (b + 1)
    >>> print(draw_dot(e, partials=True, tangent=b).source)  # doctest: +NORMALIZE_WHITESPACE
    digraph {
        graph [rankdir=LR]
        n0 [label="{ a | data 2.0000 | d/db 0.0000 }" shape=record]
        n1 [label="{ b | data 1.0000 | d/db 1.0000 }" shape=record]
        n2 [label="{  | data 3.0000 | d/db 1.0000 }" shape=record]
        op2 [label="+"]
        op2 -> n2
        n3 [label="{  | data 1.0000 | d/db 0.0000 }" shape=record]
        n4 [label="{  | data 2.0000 | d/db 1.0000 }" shape=record]
        op4 [label="+"]
        op4 -> n4
        n5 [label="{  | data 6.0000 | d/db 5.0000 }" shape=record]
        op5 [label="*"]
        op5 -> n5
        n0 -> op2 [label=1]
        n1 -> op2 [label=1]
        n1 -> op4 [label=1]
        n3 -> op4 [label=1]
        n2 -> op5 [label=2]
        n4 -> op5 [label=3]
    }
    """
    if not isinstance(root, Program):
        _check(root, "a Value or a Program")
    if isinstance(root, Program) and (partials or tangent is not None):
        raise TypeError("partials and tangent are of Values: a Program has no numbers until called")
    if tangent is not None and not hasattr(tangent, "_local_grads"):
        raise TypeError(
            f"tangent must be a Value with _local_grads, not {type(tangent).__name__} without"
        )
    return _draw(_boxes(root, partials=partials, tangent=tangent), format, rankdir)


def explore(root: Value, path: str | os.PathLike[str] = "graph.html") -> str:
    """Write an HTML page that steps through the graph that led to `root`; returns its path.

    The page steps through three things, node by node, forward and back: how the numbers are
    computed; forward mode (the derivative of each node by an input that you choose); and reverse
    mode (the derivative of the root by each node, which `backward` adds to `grad`). It writes out
    each term of the chain rule. It is one file that loads nothing else. It shows the present
    numbers; the graph stays as it is.

    TypeError if `root` is not a Value. ValueError if its graph has more than 200 nodes or 600
    edges, or an operation whose partial derivatives only a `_backward` of your own knows. OSError
    if the file cannot be written; a file of this name is then as before. ImportError without the
    graphviz package, graphviz.ExecutableNotFound without the dot program, which places the nodes.

    >>> import pathlib, tempfile
    >>> a, b = Value(2.0, label="a"), Value(1.0, label="b")
    >>> e = (a + b) * (b + 1)
    >>> page = explore(e, pathlib.Path(tempfile.mkdtemp()) / "graph.html")
    >>> pathlib.Path(page).read_text()[:15]
    '<!DOCTYPE html>'
    """
    if not isinstance(root, Value):
        raise TypeError(f"root must be a Value, not {type(root).__name__}")
    nodes = _nodes(root, EXPLORE_NODES)
    edges = _edges(nodes) if nodes else []
    if not nodes or len(edges) > EXPLORE_EDGES:
        raise ValueError(
            f"the graph of root has more than {EXPLORE_NODES} nodes or {EXPLORE_EDGES} edges, too"
            " many to follow: explore a smaller model, one sample, or a Value amid the graph"
        )
    write_whole(path, _page(nodes, edges).encode())
    return os.fspath(path)


def _page(nodes: list[Any], edges: list[_Edge]) -> str:
    import json
    from importlib import resources
    from string import Template

    files = resources.files("micrograd_c") / "page"
    # In ASCII and without "<", no label can end the element that holds the data.
    graph = json.dumps(_graph(nodes, edges), allow_nan=False).replace("<", r"\u003c")
    return Template((files / "page.html").read_text("utf-8")).substitute(
        style=(files / "style.css").read_text("utf-8"),
        script=(files / "script.js").read_text("utf-8"),
        graph=graph,
    )


def _graph(nodes: list[Any], edges: list[_Edge]) -> dict[str, Any]:
    """What script.js shows; its first lines say in which form."""
    for _, k, partial in edges:
        if partial is None:
            raise ValueError(_unknown(nodes[k]))
    labels = [_label(node).strip() for node in nodes]
    unused = (name for i in range(1, sys.maxsize) if (name := f"v{i}") not in labels)
    layout = _layout(len(nodes), edges)
    height = float(layout["bb"].split(",")[3])

    def points(text: str) -> list[tuple[float, float]]:
        """As dot has them, with y upwards, and as a page has them."""
        pairs = (point.split(",") for point in text.split())
        return [(round(float(x), 1), round(height - float(y), 1)) for x, y in pairs]

    placed = {item["name"]: points(item["pos"])[0] for item in layout["objects"]}
    drawn = {item["id"]: item for item in layout.get("edges", ())}
    shown_edges = []
    for e, (i, k, partial) in enumerate(edges):
        # A Bezier curve, after the tip of the arrow.
        tip, start, *curve = points(drawn[str(e)]["pos"].removeprefix("e,"))
        shown_edges.append(
            {
                "from": i,
                "to": k,
                "partial": _json_number(partial),
                "path": f"M{_svg([start])}C{_svg(curve)}L{_svg([tip])}",
                "label": points(drawn[str(e)]["lp"])[0] if "lp" in drawn[str(e)] else None,
            }
        )
    return {
        "width": float(layout["bb"].split(",")[2]),
        "height": height,
        "box": EXPLORE_BOX,
        "nodes": [
            {
                "name": label or next(unused),
                "labelled": bool(label),
                "op": str(node._op or ""),
                "value": _json_number(node.data),
                "x": placed[str(i)][0],
                "y": placed[str(i)][1],
            }
            for i, (node, label) in enumerate(zip(nodes, labels))
        ],
        "edges": shown_edges,
    }


def _svg(points: list[tuple[float, float]]) -> str:
    return " ".join(f"{x:g} {y:g}" for x, y in points)


def _json_number(x: float | None) -> float | str | None:
    """JSON has no numbers that are not finite; these are what JavaScript's Number() reads."""
    names = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}
    return names.get(str(x), x)


def _layout(count: int, edges: list[_Edge]) -> Any:
    """What dot's JSON says of a graph of boxes, with nodes and edges named by their numbers."""
    import json

    width, height = (f"{pixels / 72:.4f}" for pixels in EXPLORE_BOX)
    # The space that "-0.123456" takes on the page, whichever fonts dot finds.
    space = '<<table border="0" fixedsize="true" width="72" height="20"><tr><td></td></tr></table>>'
    few = len(edges) <= EXPLORE_LABELLED
    dot = _digraph()(
        # With these limits dot finds much the same places, and spares minutes.
        graph_attr={"rankdir": "LR", "nslimit": "2", "nslimit1": "2", "mclimit": "0.3"}
        | {"ranksep": "0.4" if few else "1.3"},
        node_attr={"shape": "box", "fixedsize": "true", "width": width, "height": height}
        | {"label": ""},
        edge_attr={"label": space} if few else {},
    )
    for i in range(count):
        dot.node(str(i))
    for e, (i, k, _) in enumerate(edges):
        dot.edge(str(i), str(k), id=str(e))
    return json.loads(dot.pipe(format="json0", encoding="utf-8"))


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
    operands: Collection[tuple[int, str]]  # numbers of boxes, and what the edge from there says


def _boxes(
    root: Any, limit: int = sys.maxsize, partials: bool = False, tangent: Any = None
) -> list[_Box]:
    """What is drawn of a graph or a program; nothing if it has more than `limit` nodes."""
    if isinstance(root, Program):
        return _boxes_of_program(root) if len(root.graph.op) <= limit else []
    nodes = _nodes(root, limit)
    number = {id(node): i for i, node in enumerate(nodes)}
    fields = [_fields(node, _label(node)) for node in nodes]
    if tangent is not None:
        name = _by(tangent)
        fields = [
            (*shown[:2], f"{name} {derivative:.4f}")
            for shown, derivative in zip(fields, _tangents(nodes, tangent))
        ]
    if partials:
        operands = [
            [(number[id(a)], "?" if d is None else f"{d:.4g}") for a, d in _partials(node)]
            for node in nodes
        ]
    else:
        operands = [[(number[id(operand)], "") for operand in _operands(node)] for node in nodes]
    operations = [str(node._op or "") for node in nodes]
    return [_Box(*box) for box in zip(fields, operations, operands)]


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
        boxes.append(_Box((names[i], text), "", dict.fromkeys((number[k], "") for k in operands)))
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
        for k, text in box.operands:
            dot.edge(f"n{k}", f"op{i}" if box.operation else f"n{i}", text or None)
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


def _check(root: Any, wanted: str) -> None:
    """TypeError if root is no Value, nor anything with micrograd's attributes."""
    if not hasattr(root, "_children") and not hasattr(root, "_prev"):
        raise TypeError(f"root must be {wanted}, not {type(root).__name__}")


def _operands(node: Any) -> Collection[Any]:
    """A node's operands, each once, in an order that does not depend on their addresses."""
    operands = getattr(node, "_children", None)
    if operands is None:
        operands = node._prev
    if isinstance(operands, (set, frozenset)):
        return sorted(operands, key=lambda node: (str(node._op), _label(node), str(node.data)))
    return {id(operand): operand for operand in operands}.values()


def _partials(node: Any) -> list[tuple[Any, float | None]]:
    """A node's operands (one that is used twice, twice), and the derivative by each.

    None where it is unknown: where the reverse step is a closure of the user's, or there is none.
    """
    try:
        operands, partials = node._children, node._local_grads
    except AttributeError:
        raise TypeError(
            f"partials and tangent need Values with _local_grads, which {type(node).__name__} lacks"
        ) from None
    own_step = isinstance(node, Value) and node._backward != node._reverse_step
    if own_step or len(partials) != len(operands):
        partials = [None] * len(operands)
    return list(zip(operands, partials))


class _Edge(NamedTuple):
    operand: int  # numbers of nodes
    result: int
    partial: float | None


def _edges(nodes: list[Any]) -> list[_Edge]:
    number = {id(node): i for i, node in enumerate(nodes)}
    return [_Edge(number[id(a)], k, d) for k, node in enumerate(nodes) for a, d in _partials(node)]


def _tangents(nodes: list[Any], variable: Any) -> list[float]:
    """The derivative of each node by `variable`: one forward sweep over those that depend on it."""
    tangents = {id(variable): 1.0}
    for node in nodes:
        for operand, partial in _partials(node):
            if id(operand) not in tangents:
                continue
            if partial is None:
                raise ValueError(_unknown(node))
            tangent = tangents[id(operand)]
            term = partial * tangent if partial and tangent else 0.0  # also of infinity
            tangents[id(node)] = tangents.get(id(node), 0.0) + term
    return [tangents.get(id(node), 0.0) for node in nodes]


def _by(variable: Any) -> str:
    label = _label(variable)
    if not label:
        return "tangent"
    return f"d/d{label}" if label.isidentifier() else f"d/d({label})"


def _unknown(node: Any) -> str:
    label = _label(node)
    return (
        f"the operation {str(node._op)!r} of {repr(label) if label else 'a Value without a label'}"
        " does not tell its partial derivatives, as one with local_grads does"
    )


def _label(node: Any) -> str:
    return str(getattr(node, "label", ""))


def _escape(text: str) -> str:
    """Text for a label in DOT, where nothing in it means a field, an escape or an entity."""
    return text.translate(_ESCAPES)


_ESCAPES = str.maketrans(
    {c: f"\\{c}" for c in "\\{}|"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;", "\n": r"\n"}
)
