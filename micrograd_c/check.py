"""`check_grads`: derivatives against finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from micrograd_c import autograd
from micrograd_c._core import (
    Program,
    TraceError,
    Value,
    flat_results,
    objects,
    restored_program,
    set_debug_nans,
    shared,
)
from micrograd_c._graph import adjoints, optimized, tangents
from micrograd_c.compiling import parameter_names
from micrograd_c.derivatives import NONE, compiled_function
from micrograd_c.listing import CAPTURED, INPUT
from micrograd_c.signatures import integer_inputs

__all__ = ["check_grads"]

STEPS = 16  # of differences, each half as wide as the one before
ORDERS = 6  # how often they are extrapolated
SLACK = 20.0  # estimated errors by which a derivative may differ
ROUNDING = 1e-9  # relative error that it is granted besides
_UNSETTLED = "do not settle there"
SETTLED = 1e-3  # relative error of finite differences above which they say nothing


def check_grads(
    f: Callable[..., Any],
    *args: Any,
    order: int = 2,
    modes: Sequence[str] = ("forward", "reverse"),
) -> None:
    """Compare derivatives of a function with finite differences: AssertionError if one differs.

    f: a function of numbers, Values, arrays and structures of them, compiled or not. args: the
    arguments to check it at. Derivatives are taken by every float among the arguments and, if f can
    be traced, by every Value that f captures. Integers are held fixed. order: the highest order of
    derivatives. modes: 'forward', 'reverse' or both. The error names the argument and the element,
    and shows both numbers. The name and the arguments are those of `jax.test_util.check_grads`.

    First derivatives are checked on the tape: `autograd.grad` in reverse mode, `autograd.jvp` in
    forward mode. If f can be traced, first derivatives of its program are checked, too. Then
    follow, up to `order`, the derivatives of the order before along a direction, in all pairs of
    modes. For a function that cannot be traced, only first derivatives are checked.

    Central differences are extrapolated to steps of 0 (C. Ridders, "Accurate computation of F'(x)
    and F'(x) F''(x)", 1982). The estimate of their error decides how much a derivative may differ.
    At a kink, every number between the derivatives from the left and from the right is accepted:
    relu at 0 passes. If a derivative jumps, its own derivative may be that from either side. If
    differences do not settle, as for sqrt at 0, that is an AssertionError.

    ValueError for another mode, or an order below 1.

    >>> check_grads(lambda x, y: (x * y).tanh() + x**3, 2.0, 0.5)
    >>> def wrong(x):
    ...     return Value(x.data**2, (x,), "square", local_grads=(3 * x.data,))
    >>> try:
    ...     check_grads(wrong, 2.0, modes=["reverse"])
    ... except AssertionError as error:
    ...     print(str(error).split(" give ")[0])
    reverse mode, on the tape: the derivative by argument 'x' is 6.0; finite differences
    """
    if isinstance(modes, str) or not set(modes) <= {"forward", "reverse"}:
        raise ValueError(f"modes must be some of 'forward' and 'reverse', not {modes!r}")
    if order < 1:
        raise ValueError(f"order must be at least 1, not {order!r}")
    before = set_debug_nans(-1)  # differences may lead beyond where f is defined
    try:
        _check(f, args, order, modes)
    finally:
        set_debug_nans(before)


def _check(f: Any, args: tuple[Any, ...], order: int, modes: Sequence[str]) -> None:
    import numpy

    found: list[tuple[str, Value]] = []
    given = [_with_values(x, name, found) for x, name in zip(args, _argument_names(f, len(args)))]
    program = _program(f, args)
    captured = () if program is None else program.captured
    names = [name for name, _ in found]
    names += [f"the captured Value {v.label or k!r}" for k, v in enumerate(captured)]
    variables = [*(v for _, v in found), *captured]
    results = [f" of result {k}" for k in range(len(_values(f, given)))]
    results = [""] if len(results) == 1 else results
    if not names or not results:
        return
    x = numpy.array([v.data for v in variables])
    root = None if program is None else _Root(program, args, len(x))
    evaluate = _eager(f, given, variables) if root is None else root.rows_of(root.graph, len(x))
    differences = _Differences(evaluate, x)
    for mode in modes:
        matrix = _on_tape(f, given, variables, mode)
        differences.compare(matrix, f"{mode} mode, on the tape", names, results)
    if root is not None:
        root.check(root.graph, numpy.empty(0), differences, names, results, modes, order, "")


# ----------------------------------------------------------------------------- what is checked


def _argument_names(f: Any, count: int) -> Iterator[str]:
    known = parameter_names(f)
    for k in range(count):
        yield f"argument {known[k]!r}" if k < len(known) else f"argument {k + 1}"


def _with_values(x: Any, name: str, found: list[tuple[str, Value]]) -> Any:
    """An argument with a new Value for each float and Value in it: they are added to `found`."""
    if x is None or isinstance(x, (str, bool)):
        return x
    if isinstance(x, dict):
        return {key: _with_values(item, f"{name}[{key!r}]", found) for key, item in x.items()}
    if isinstance(x, (list, tuple)):
        items = [_with_values(item, f"{name}[{k}]", found) for k, item in enumerate(x)]
        if hasattr(x, "_make"):
            return x._make(items)
        return items if isinstance(x, list) else tuple(items)
    if getattr(x, "ndim", 0):
        import numpy

        if x.dtype.kind not in "fO":
            return x
        places = (", ".join(map(str, place)) for place in numpy.ndindex(x.shape))
        items = [
            _with_values(item, f"{name}[{place}]", found)
            for place, item in zip(places, x.ravel().tolist())
        ]
        return objects(items, x.shape)
    if not isinstance(x, Value):
        if hasattr(x, "__index__"):
            return x
        x = Value(x)
    found.append((name, Value(x.data)))
    return found[-1][1]


def _program(f: Any, args: tuple[Any, ...]) -> Program | None:
    """The program of a function for these arguments; None if it cannot be traced."""
    compiled = compiled_function(f)
    if isinstance(compiled, Program):
        return compiled
    try:
        program: Program = compiled.program(*args)
    except TraceError:
        if compiled is f:
            raise
        return None
    return program


def _values(f: Any, given: list[Any]) -> list[float]:
    """The numbers of the results."""
    with autograd.pause():
        return [y.data if isinstance(y, Value) else y for y in flat_results(f(*given))]


def _eager(f: Any, given: list[Any], variables: list[Value]) -> Any:
    """The results as a function of the variables: of rows, rows; nan where it raises an error."""
    import numpy

    count = len(_values(f, given))

    def evaluate(rows: Any) -> Any:
        before = [v.data for v in variables]
        results = numpy.full((len(rows), count), numpy.nan)
        try:
            for k, row in enumerate(rows.tolist()):
                for v, number in zip(variables, row):
                    v.data = number
                try:
                    results[k] = _values(f, given)
                except (ArithmeticError, ValueError):
                    pass  # beyond where it is defined
        finally:
            for v, number in zip(variables, before):
                v.data = number
        return results

    return evaluate


def _on_tape(f: Any, given: list[Any], variables: list[Value], mode: str) -> Any:
    """The Jacobian of the results by the variables: a sweep for each row, or column."""
    import numpy

    with autograd.record():
        heads = [(y if isinstance(y, Value) else Value(y)) * 1.0 for y in flat_results(f(*given))]
        if mode == "reverse":
            return numpy.array([autograd.grad(y, variables) for y in heads])
        return numpy.array([autograd.jvp(heads, v) for v in variables]).T


class _Root:
    """A program as a graph in which the variables are further inputs, after its own.

    The variables are its float inputs and what it captures. Graphs that are derived from it have
    still more inputs: seeds, a direction for each derivative taken so far.
    """

    def __init__(self, program: Program, args: tuple[Any, ...], count: int) -> None:
        import numpy

        self.program, self.args, self.count = program, args, count
        self.first = program.inputs
        self.random = numpy.random.default_rng(0)
        number = numpy.arange(self.first)  # of each input, as an input of the new graph
        floats = numpy.delete(number, integer_inputs(program.spec))
        number[floats] = self.first + numpy.arange(len(floats))
        graph = program.graph
        lhs, rhs = graph.lhs.copy(), graph.rhs.copy()
        inputs = (graph.op == 0) & (graph.lhs == INPUT)
        captured = (graph.op == 0) & (graph.lhs == CAPTURED)
        rhs[inputs] = number[rhs[inputs]]
        rhs[captured] += self.first + len(floats)
        lhs[captured] = INPUT
        self.graph = graph._replace(lhs=lhs, rhs=rhs)

    def rows_of(self, graph: Any, inputs: int) -> Any:
        """The outputs of a graph as a function of its inputs after the program's: of rows, rows."""
        program = restored_program(
            optimized(graph),
            [],
            (*self.program.spec, ("a", (inputs,), "f")),
            (("a", (len(graph.outputs),), "f"),),
            self.program.baked,
            (),
            True,
        )
        return lambda rows: program.map(*map(shared, self.args), rows)

    def check(
        self,
        graph: Any,
        seeds: Any,
        differences: _Differences,
        names: list[str],
        results: list[str],
        modes: Sequence[str],
        order: int,
        over: str,
    ) -> None:
        """Compare the derivatives of a graph's outputs, and those of these, up to an order."""
        import numpy

        x = differences.x
        for mode in modes:
            derived, units = self.derived(graph, len(seeds), mode)
            evaluate = self.rows_of(derived, len(x) + len(seeds) + units)
            fixed = numpy.tile(numpy.concatenate((x, seeds)), (units, 1))
            matrix = evaluate(numpy.hstack((fixed, numpy.eye(units))))
            if mode == "forward":
                matrix = matrix.T
                further = [f" of the derivative{result} along a direction" for result in results]
            else:
                further = [f" of the derivative by {name}" for name in names]
            differences.compare(matrix, f"{mode} mode{over}", names, results)
            if order > 1:
                sign = self.random.choice((-1.0, 1.0), units)
                along = numpy.concatenate((seeds, sign * self.random.uniform(0.5, 1.5, units)))
                inner = _Differences(_with_fixed(evaluate, along), x)
                over_this = f" over {mode}{over}"
                self.check(derived, along, inner, names, further, modes, order - 1, over_this)

    def derived(self, graph: Any, seeds: int, mode: str) -> tuple[Any, int]:
        """The graph of the derivatives along a direction of more seeds, and how many these are.

        In reverse mode those of the outputs, each weighted with a seed.
        """
        import numpy

        start, size = self.first + self.count + seeds, len(graph.outputs)
        variables = slice(self.first, self.first + self.count)
        units = self.count if mode == "forward" else size
        new = numpy.arange(start, start + units, dtype=numpy.int32)
        if mode == "forward":
            direction = numpy.full(start, NONE, numpy.int32)
            direction[variables] = new
            graph = tangents(graph, [direction])
        else:
            wanted = numpy.zeros(start, numpy.uint8)
            wanted[variables] = 1
            graph = adjoints(graph, wanted, [new])
        return graph._replace(outputs=graph.outputs[size:]), units


def _with_fixed(evaluate: Any, numbers: Any) -> Any:
    """A function of rows, with the same numbers at the end of each."""
    import numpy

    return lambda rows: evaluate(numpy.hstack((rows, numpy.tile(numbers, (len(rows), 1)))))


# ------------------------------------------------------------------------- finite differences


class _Number(NamedTuple):
    """A derivative by differences, or an array of derivatives."""

    value: Any
    error: Any  # estimated
    settled: Any  # whether the error is small

    def near(self, given: Any) -> Any:
        """Whether a derivative agrees with it."""
        most = SLACK * self.error + ROUNDING * abs(self.value)
        return self.settled & (abs(given - self.value) <= most)


class _Differences:
    """The derivatives of a function at x by each variable, from differences of its values.

    evaluate: its values, a row for each row of variables.
    """

    def __init__(self, evaluate: Any, x: Any) -> None:
        self.evaluate, self.x = evaluate, x
        self.known: dict[tuple[int, int, int], _Number] = {}

    def compare(self, matrix: Any, how: str, names: list[str], results: list[str]) -> None:
        """AssertionError at the first element of a Jacobian, results by variables, that differs."""
        import numpy

        for j, name in enumerate(names):
            right = [self.by(j, 0, scale).near(matrix[:, j]) for scale in self.scales(j)]
            for i in numpy.flatnonzero(~numpy.any(right, 0)).tolist():
                given = float(matrix[i, j])
                faults = [self.fault(i, j, scale, given) for scale in self.scales(j)]
                if None not in faults:
                    raise AssertionError(
                        f"{how}: the derivative{results[i]} by {name} is {given!r};"
                        f" finite differences {min(map(str, faults), key=_UNSETTLED.__eq__)}"
                    )

    def scales(self, j: int) -> tuple[int, ...]:
        """On which scales f may vary with variable j: that of 1, and that of x. Powers of 2."""
        size = math.frexp(float(self.x[j]))[1] - 1
        return (0,) if not self.x[j] or -2 <= size <= 2 else (0, size)

    def fault(self, i: int, j: int, scale: int, given: float) -> str | None:
        """What the derivative of result i by variable j should be; None if it is right."""
        central, left, right = (
            _Number(*(part[i].item() for part in self.by(j, side, scale))) for side in (0, -1, 1)
        )
        low, high = sorted((left, right))
        if left.settled and right.settled and not low.near(high.value) and not high.near(low.value):
            if low.value <= given <= high.value or low.near(given) or high.near(given):
                return None
            return f"give {left.value!r} from the left and {right.value!r} from the right"
        if not central.settled and (left.near(given) or right.near(given)):
            return None
        for side, number in ("", central), (" from the left", left), (" from the right", right):
            if number.settled:
                return f"give {number.value!r}{side}, with an error of about {number.error:.0e}"
        return _UNSETTLED

    def by(self, j: int, side: int, scale: int) -> _Number:
        """The derivatives of all results by variable j: from steps below 2**scale.

        side: 0 from both sides, -1 from the left, 1 from the right.
        """
        if (j, side, scale) not in self.known:
            self.known[j, side, scale] = self.extrapolated(j, side, scale - 2)
        return self.known[j, side, scale]

    def extrapolated(self, j: int, side: int, exponent: int) -> _Number:
        """The derivatives by variable j, from differences over steps from 2**exponent on."""
        import numpy

        step = numpy.ldexp(1.0, exponent - numpy.arange(STEPS))
        ends = (step, -step) if side == 0 else (2 * side * step, side * step)
        points = numpy.tile(self.x, (2 * STEPS, 1))
        points[:, j] += numpy.concatenate(ends)
        values = self.evaluate(points)
        with numpy.errstate(all="ignore"):
            width = (points[:STEPS, j] - points[STEPS:, j])[:, None]
            size = numpy.maximum(abs(values[:STEPS]), abs(values[STEPS:]))
            table = (values[:STEPS] - values[STEPS:]) / width
            noise = 8 * numpy.finfo(float).eps * size / abs(width)
            value, error = (
                numpy.full(size[0].shape, numpy.nan),
                numpy.full(size[0].shape, numpy.inf),
            )
            for k in range(1, ORDERS + 1):  # Neville's scheme
                factor = (4.0 if side == 0 else 2.0) ** k
                finer = (factor * table[1:] - table[:-1]) / (factor - 1)
                spread = numpy.maximum(abs(finer - table[1:]), abs(finer - table[:-1]))
                spread[1:] = numpy.maximum(spread[1:], abs(finer[1:] - finer[:-1]))
                spread += noise[k:]
                spread[~numpy.isfinite(spread)] = numpy.inf
                row = spread.argmin(0)[None]
                found, least = (numpy.take_along_axis(t, row, 0)[0] for t in (finer, spread))
                value = numpy.where(least < error, found, value)
                error = numpy.minimum(error, least)
                table = finer
            # Where the derivative is 0: small beside one over which the values change wholly.
            settled = error <= SETTLED * (abs(value) + SETTLED * size[-1] / step[0])
        return _Number(value, error, settled)
