"""`compile`, and the comparison of a compiled function with the function itself.

What needs speed is in the core, in src/program.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, overload

from micrograd_c import autograd
from micrograd_c._core import Function, Value, eager_arguments, flat_results, replayed

__all__ = ["compile"]


@overload
def compile(
    function: Callable[..., Any], *, optimize: bool = True, verify: bool | None = None
) -> Function: ...
@overload
def compile(
    function: None = None, *, optimize: bool = True, verify: bool | None = None
) -> Callable[[Callable[..., Any]], Function]: ...
def compile(function: Any = None, *, optimize: bool = True, verify: bool | None = None) -> Any:
    """Compile a function of scalar code: trace it once, then replay it at the speed of C.

    function: its arguments and results are numbers, Values, arrays, and nested lists, tuples and
    dicts of them. It runs once for each signature (the structure and shapes of its arguments, and
    which numbers are integers), on stand-in Values: that is the trace. Further calls replay the
    operations of the trace, without Python. Numbers follow IEEE 754: infinities and nan flow on,
    and nothing raises. optimize=False replays the operations exactly as they were recorded.
    Returns a `Function`; without a function, a decorator.

    Values that the function uses without receiving them, for example the parameters of a model, are
    read at each call, and so are arrays of floats. Everything else that it could read from outside
    is compared before each replay: if something has changed, the function is traced anew. That
    covers the globals and closure cells that it names, its defaults, and the functions and methods
    of yours that it names. It also covers what can be reached from there and from `self`: items of
    lists, tuples, dicts, sets and deques, arrays, and attributes of instances, classes and modules,
    20 steps deep and up to a million items. A name that the function only counts up, and a list
    that it only appends to, are not read.

    Some things are not seen, and stay as they were at the trace: random numbers, files, clocks and
    iterators; the state inside libraries (except the package that the function is from) and inside
    objects written in C; attributes that you set on Values; objects behind weak references.
    verify=True (or MICROGRAD_C_VERIFY=1 in the environment) finds changes there: the function then
    also runs at each call, and is compared with the program. StaleTraceError names the first
    operation that differs.

    TraceError if the function needs the number of a Value that may change (`if x > 0`, `x.data`),
    even if it catches the error. RuntimeWarning when the function is traced for the ninth time,
    which names what differed. TypeError if `function` cannot be called.

    >>> w = Value(3.0)
    >>> @compile
    ... def loss(x, y):
    ...     return (w * x - y) ** 2
    >>> loss(2.0, 5.0).backward()
    >>> w.grad
    4.0
    >>> import numpy
    >>> loss.mean(numpy.array([1.0, 2.0]), numpy.array([3.0, 4.0])).data
    2.0
    >>> scale = [2.0]
    >>> twice = compile(lambda x: x * scale[0])
    >>> first = twice(1.0).data
    >>> scale[0] = 5.0
    >>> first, twice(1.0).data
    (2.0, 5.0)
    """
    if function is None:
        return lambda function: Function(function, optimize, verify)
    return Function(function, optimize, verify)


def parameter_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of the positional parameters, as far as they can be known."""
    import inspect

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ()
    return tuple(
        p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    )


def check(function: Function, args: tuple[Any, ...], keywords: dict[str, Any]) -> float:
    """The largest difference between a compiled function and its eager self. See Function.check."""
    program = function.program(*args, **keywords)
    leaves, args, keywords = eager_arguments(args, keywords, parameter_names(function))
    sources = leaves + list(program.captured)
    with autograd.record():
        compiled = flat_results(replayed(program, leaves))
        eager = flat_results(function.__wrapped__(*args, **keywords))
        return max(
            (
                _difference(x, y)
                for result, expected in zip(compiled, eager, strict=True)
                for x, y in zip(_numbers(result, sources), _numbers(expected, sources))
            ),
            default=0.0,
        )


def _numbers(result: Any, sources: list[Value]) -> list[float]:
    """A result and its derivatives by the sources."""
    if not isinstance(result, Value):
        return [float(result)] + [0.0] * len(sources)
    head = result * 1.0  # which has a graph, where the result is a mere number
    return [result.data, *autograd.grad(head, sources)]


def _difference(x: float, y: float) -> float:
    if x == y or (x != x and y != y):
        return 0.0
    difference = abs(x - y) / max(1.0, abs(y))
    return difference if math.isfinite(difference) else math.inf
