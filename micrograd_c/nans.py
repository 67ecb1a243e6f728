"""`debug_nans`: the operation, and the line, that the first nan or infinity comes from."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

from micrograd_c._core import Program, Value, retraced, set_debug_nans
from micrograd_c._graph import Graph, first_made, optimized

__all__ = ["debug_nans"]


@contextlib.contextmanager
def debug_nans() -> Iterator[None]:
    """Raise FloatingPointError when an operation makes a nan or an infinity out of finite numbers.

    It is for a `with`, or a decorator, and for this thread. MICROGRAD_C_DEBUG_NANS=1 in the
    environment turns it on for a whole program. While it is on, calls take several times as long.

    In compiled calls, mapped calls and derivatives of functions, the error names the line of the
    function. The function runs once more for that. If that cannot be, as for a loaded program or a
    derivative of a derivative, the error names the place in the listing of the program. In sweeps
    over the tape (`backward`, `autograd.grad`, `autograd.jvp`), the error names the operation and
    its operands; the gradients that the sweep reaches are then as they were before it.

    Nans and infinities among the arguments are not errors, nor are those in a branch that `where`,
    `take`, `max` or `min` does not choose. A call that is recorded computes its derivatives at
    once, and these are checked, too; under `pause()` they are not. Eager operations are not
    checked: most of them raise Python's errors anyway.

    >>> import micrograd_c as mg
    >>> f = mg.compile(lambda x: 1.0 / x)
    >>> f(0.0).data
    inf
    >>> try:
    ...     with mg.debug_nans():
    ...         f(0.0)
    ... except FloatingPointError as error:
    ...     print(str(error).split(", ", 1)[1])
    line 1, in <lambda>: f = mg.compile(lambda x: 1.0 / x)
    1.0 / 0.0 = inf, out of finite numbers.
    """
    before = set_debug_nans(1)
    try:
        yield
    finally:
        set_debug_nans(before)


def call_error(
    program: Program, numbers: Any, sample: int | None, wanted: Any, by_captured: bool, heads: int
) -> FloatingPointError:
    """What to raise where a call of a program, with these numbers as its inputs, makes a nan.

    sample: its number, in a mapped call. wanted, by_captured, heads: which derivatives are taken,
    see `first_made`.
    """
    import numpy

    captured = numpy.array([v.data for v in program.captured], numpy.float64)
    if program.graph is program.made_from[2]:
        found = _in_function(program, numbers, wanted, by_captured, heads)
        where = "" if sample is None else f" (sample {sample})"
    else:  # a derivative: look at the function, and at its derivatives by all arguments
        found = _in_function(program, numbers, numpy.ones_like(wanted), False, None)
        where = ""
    if found is None:
        made = first_made(program.graph, numbers, captured, wanted, by_captured, heads)
        assert made is not None
        found = f"{_place(program, made[0])}\n{_what(program.graph, *made)}"
    return FloatingPointError(f"{found}{where}.")


def _in_function(
    program: Program, numbers: Any, wanted: Any, by_captured: bool, heads: int | None
) -> str | None:
    """The line of the function that makes the first nan, and what it does; None if it is not found.

    heads: None stands for all results.
    """
    import numpy

    from micrograd_c.lines import record_lines

    with record_lines() as lines:
        try:
            run = retraced(program, numbers)
        except Exception:  # it did not fail the first time: then it is no longer the same function
            return None
    if run is None or not any(
        _same(graph, program.made_from[2]) for graph in (run.graph, optimized(run.graph))
    ):
        return None
    captured = numpy.array([v.data for v in run.captured], numpy.float64)
    heads = len(run.graph.outputs) if heads is None else heads
    made = first_made(run.graph, numbers, captured, wanted, by_captured, heads)
    line = made and lines.of(run.origin[made[0]])
    return f"{line}\n{_what(run.graph, *made)}" if made and line else None


def _same(one: Any, other: Any) -> bool:
    import numpy

    return all(numpy.array_equal(x, y, equal_nan=True) for x, y in zip(one, other))


def _place(program: Program, node: int) -> str:
    """A node as the listing of its program has it; before that, where the function begins."""
    import inspect

    from micrograd_c.lines import line_text
    from micrograd_c.listing import instructions, node_names

    names = node_names(program)
    text = next(text for i, _, text in instructions(program, names) if i == node)
    listed = f"{names[node]} = {text}, in the listing of {program!r}"
    code = getattr(inspect.unwrap(program.made_from[0]), "__code__", None)  # type: ignore[arg-type]
    return f"{line_text(code, code.co_firstlineno, {})}\n{listed}" if code else listed


class _Numbers(list[float]):
    """Numbers as the names of nodes."""

    def __getitem__(self, k: Any) -> Any:
        return repr(super().__getitem__(k))


def _what(graph: Graph, node: int, reverse: bool, values: Any, adjoints: Any) -> str:
    """What a node does, with the numbers of its operands."""
    from micrograd_c.listing import instruction

    numbers = values.tolist()
    op, lhs, rhs = int(graph.op[node]), int(graph.lhs[node]), int(graph.rhs[node])
    operands, text = instruction(op, lhs, rhs, graph.edges.tolist(), _Numbers(numbers))
    text = f"{text} = {numbers[node]!r}"
    if not reverse:
        return f"{text}, out of finite numbers"
    made = next(float(adjoints[k]) for k in operands if not math.isfinite(adjoints[k]))
    return _reverse(text, float(adjoints[node]), made)


def _reverse(text: str, adjoint: float, made: float) -> str:
    return (
        f"In reverse: {text}, whose adjoint is {adjoint!r}, gives an operand the adjoint {made!r}"
    )


def sweep_error(v: Value, made: float, reverse: bool) -> FloatingPointError:
    """What to raise where the step of a node makes an adjoint or tangent that is not finite."""
    given = [f"{c.label}={c.data!r}" if c.label else repr(c.data) for c in v._children]
    name = v._op or "compiled function"
    if name[0].isalpha():
        text = f"{name}({', '.join(given)})"
    else:
        text = f" {name} ".join(given) if len(given) > 1 else f"{given[0]}{name}"
    text = f"{v.label}{v.label and ' = '}{text} = {v.data!r}"
    if reverse:
        return FloatingPointError(f"{_reverse(text, v.grad, made)}.")
    return FloatingPointError(f"In forward: {text} has the tangent {made!r}, out of finite ones.")
