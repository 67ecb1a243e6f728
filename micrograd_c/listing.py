"""A program as text, one instruction a line: what `print(program)` shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from micrograd_c._core import OPS, Program
from micrograd_c._graph import OP_NAMES
from micrograd_c.signatures import argument_name

CONSTANT, INPUT, CAPTURED = range(3)  # kinds of leaves
FIRST_NARY = OP_NAMES.index("plain")
SHOWN = 12  # terms of a sum, rows of a table, that are written out


def listing(program: Program) -> str:
    """A program as text, one instruction a line."""
    names = node_names(program)
    lines = [repr(program)[1:-1]]
    lines += [f"  {names[i]} = {text}" for i, _, text in instructions(program, names)]
    lines.append(f"  return {', '.join(names[i] for i in program.graph.outputs.tolist())}")
    return "\n".join(lines)


def input_names(program: Program) -> list[str]:
    """The name of each input: its argument, numbered where that holds several."""
    names = []
    for argument in program.arguments:
        name = argument_name(argument.name).strip("'")
        name = name if name.isidentifier() else f"argument{name.split(' ')[0]}"
        if argument.count == 1:
            names.append(name)
        else:
            names += [f"{name}[{k}]" for k in range(argument.count)]
    return names


def node_names(program: Program) -> list[str]:
    """A name for each node: an input's, a captured Value's, a constant's number, %0, %1, ..."""
    inputs = input_names(program)
    captured = captured_names(program, set(inputs))
    names = []
    count = 0
    graph = program.graph
    for op, kind, number, data in zip(
        graph.op.tolist(), graph.lhs.tolist(), graph.rhs.tolist(), graph.data.tolist()
    ):
        if op:
            names.append(f"%{count}")
            count += 1
        elif kind == CONSTANT:
            names.append(f"{data:.6g}")
        elif kind == INPUT:
            names.append(inputs[number])
        else:
            names.append(captured[number])
    return names


def captured_names(program: Program, taken: set[str]) -> list[str]:
    """For each captured Value its label, where that is a name and no other's, else c0, c1, ..."""
    labels = [str(v.label) for v in program.captured]
    uses = Counter(labels)
    return [
        label
        if label and label.isprintable() and uses[label] == 1 and label not in taken
        else f"c{k}"
        for k, label in enumerate(labels)
    ]


def instructions(
    program: Program, names: list[str], most: int = SHOWN
) -> Iterator[tuple[int, list[int], str]]:
    """(node, the operands that stand in the text, its operation as text) for each instruction.

    most: how many terms of a sum, and rows of a table, are written out.
    """
    graph = program.graph
    lhs, rhs, edges = graph.lhs.tolist(), graph.rhs.tolist(), graph.edges.tolist()
    for i, op in enumerate(graph.op.tolist()):
        if not op:
            continue
        yield i, *instruction(op, lhs[i], rhs[i], edges, names, most)


def instruction(
    op: int, lhs: int, rhs: int, edges: Any, names: Any, most: int = SHOWN
) -> tuple[list[int], str]:
    """(the operands that stand in the text, the operation as text) of one node.

    names: a list or dict with the names of its operands.
    """
    if op >= FIRST_NARY:
        return _nary(OP_NAMES[op], edges[lhs : lhs + rhs], names, most)
    # What only derivatives are made of is not in OPS.
    name, symbol, arity = OPS[op - 1][:3] if op <= len(OPS) else (OP_NAMES[op], OP_NAMES[op], 2)
    operands = [lhs, rhs][:arity]
    given = [names[k] for k in operands]
    infix = arity == 2 and not symbol[0].isalpha()
    return operands, f" {symbol} ".join(given) if infix else f"{name}({', '.join(given)})"


def _nary(kind: str, edges: Any, names: Any, most: int) -> tuple[list[int], str]:
    given = [names[k] for k in edges]
    if kind == "dot":
        # A term that is no product has node 0, the number 1, for its first factor.
        factors = [(x, y) if x else (y,) for x, y in zip(edges[::2], edges[1::2])]
        factors += [(x,) for x in edges[2 * len(factors) :]]
        terms = ["*".join(names[k] for k in term) for term in factors]
        count = f"  ({len(terms)} terms)" if len(terms) > most else ""
        operands = [k for term in factors for k in term]
        return operands, " + ".join(shortened(terms, most)) + count
    if kind == "take":
        return edges, f"take([{', '.join(shortened(given[1:], most))}], {given[0]})"
    return edges, f"{'detach' if kind == 'plain' else kind}({', '.join(given)})"


def shortened(items: list[str], most: int) -> list[str]:
    """Items, or the first ones and the last if there are more than so many."""
    return items if len(items) <= most else [*items[: most - 1], "...", items[-1]]
