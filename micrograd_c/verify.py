"""Whether a function still does what its program does: `compile(function, verify=True)`."""

from __future__ import annotations

from typing import Any, NamedTuple

from micrograd_c._core import Reference, StaleTraceError, Traced, Value
from micrograd_c._graph import OP_NAMES
from micrograd_c.lines import record_lines
from micrograd_c.listing import CAPTURED, CONSTANT, FIRST_NARY, INPUT


class Recording(NamedTuple):
    """What a function did when it was run: its operations in their order, and the line of each."""

    operations: list[tuple[Any, ...]]  # (name, operand, ...), or ("constant", number)
    results: list[Any]
    lines: list[str | None]


def recording_of(run: Traced, references: list[Reference], lines: record_lines) -> Recording:
    """A trace in a form that can be compared with another.

    An operand is the number of an input, a captured Value, the element of an array, or the number
    of an operation in the order of operations. So one captured Value more does not change the
    operands of all later operations.
    """
    element = {
        value: f"{reference.name}, element {place}"
        for reference in references
        for value, place in zip(reference.values, reference.elements)
    }
    graph = run.graph
    edges = graph.edges.tolist()
    names: list[Any] = []
    found = Recording([], [], [])
    for op, lhs, rhs, data, origin in zip(
        graph.op.tolist(),
        graph.lhs.tolist(),
        graph.rhs.tolist(),
        graph.data.tolist(),
        run.origin.tolist(),
    ):
        if op == 0 and lhs == INPUT:
            names.append(("input", rhs))
        elif op == 0 and lhs == CAPTURED:
            value = run.captured[rhs]
            names.append(element.get(value, Captured(value)))
        elif origin < 0 and op == 0 and not names:
            names.append(1.0)  # the number that every graph begins with
        else:
            if op == 0:
                assert lhs == CONSTANT
                operation: tuple[Any, ...] = "constant", repr(data)
            elif op >= FIRST_NARY:
                operation = OP_NAMES[op], *[names[k] for k in edges[lhs : lhs + rhs]]
            else:
                operation = OP_NAMES[op], names[lhs], names[rhs]
            names.append(("operation", len(found.operations)))
            found.operations.append(operation)
            found.lines.append(lines.of(origin) if origin >= 0 else None)
    found.results.extend(names[k] for k in graph.outputs.tolist())
    return found


class Captured:
    """A captured Value, compared by identity."""

    def __init__(self, value: Value):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Captured) and other.value is self.value

    def __hash__(self) -> int:
        return hash(self.value)

    def __repr__(self) -> str:
        return f"the captured {self.value!r}"


def compare(name: str, was: Recording, now: Recording) -> None:
    """StaleTraceError if a function of that name does other things now."""
    for k in range(max(len(was.operations), len(now.operations))):
        before, after = was.operations[k : k + 1], now.operations[k : k + 1]
        if before != after:
            line = (now if after else was).lines[k]
            raise stale(name, line, before, after, f"operation {k}")
    if was.results != now.results:
        raise stale(name, None, was.results, now.results, "what it returns")


def stale(
    name: str, line: str | None, before: list[Any], after: list[Any], what: str
) -> StaleTraceError:
    return StaleTraceError(
        f"{line}\n"
        * (line is not None)
        + f"{name} no longer does what it did when it was traced. The first difference is {what}:"
        f" it was {text(before)}, now it is {text(after)}. No guard sees what the function read"
        " here (a random number, a file, a clock). Pass it as an argument, or call clear()."
    )


def text(found: list[Any]) -> str:
    if not found:
        return "not there"
    if not isinstance(found[0], tuple) or isinstance(found[0][-1], int):
        return ", ".join(map(operand, found))
    kind, *operands = found[0]
    return f"{kind}({', '.join(map(operand, operands))})" if kind != "constant" else operands[0]


def operand(x: Any) -> str:
    return f"{x[0]} {x[1]}" if isinstance(x, tuple) else str(x)
