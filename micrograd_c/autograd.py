"""Recording, and derivatives of what was recorded, with the names of `mxnet.autograd`.

Recording is on by default. While it is paused, operations give leaves, which remember nothing:

>>> from micrograd_c import Value, autograd
>>> x = Value(3.0)
>>> with autograd.pause():
...     y = x * x
>>> y.data, y._children
(9.0, ())

`backward` goes through a graph once for several heads, `grad` returns derivatives and leaves
every `.grad` alone, `jvp` goes forward, and `partials`, `paths` and `count_paths` look at the graph
itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple, TypeVar, overload

from micrograd_c import _core
from micrograd_c._core import (
    Value,
    backward,
    count_paths,
    grad,
    is_recording,
    jvp,
    links,
    partials,
    set_recording,
)

__all__ = [
    "Path",
    "Scope",
    "backward",
    "count_paths",
    "grad",
    "is_recording",
    "jvp",
    "no_grad",
    "partials",
    "paths",
    "pause",
    "record",
    "set_recording",
]
__dir__ = __all__.copy

_F = TypeVar("_F", bound=Callable[..., Any])


class Scope(_core.Scope):
    """Recording, or not, in this thread: for a `with`, or for the calls of a function."""

    def __call__(self, function: _F) -> _F:
        import inspect

        if inspect.isgeneratorfunction(function):
            return _each_step(function, self.flag)

        @functools.wraps(function)
        def call(*args: Any, **keywords: Any) -> Any:
            with _core.Scope(self.flag):  # a new one: calls may come from several threads
                return function(*args, **keywords)

        return call  # type: ignore[return-value]


def _each_step(function: _F, flag: bool) -> _F:
    """A generator function in whose body the flag holds, but not where it yields to."""

    @functools.wraps(function)
    def call(*args: Any, **keywords: Any) -> Generator[Any, Any, Any]:
        generator = function(*args, **keywords)
        step = functools.partial(next, generator)
        while True:
            try:
                with _core.Scope(flag):
                    item = step()
            except StopIteration as end:
                return end.value
            try:
                received = yield item
            except GeneratorExit:
                with _core.Scope(flag):
                    generator.close()
                raise
            except BaseException as error:
                step = functools.partial(generator.throw, error)
            else:
                step = functools.partial(generator.send, received)

    return call  # type: ignore[return-value]


def record() -> Scope:
    """Record, in a `with` or as a decorator, within a `pause()` too. See `set_recording`.

    >>> x = Value(3.0)
    >>> with pause():
    ...     with record():
    ...         (x * x).backward()
    >>> x.grad
    6.0
    """
    return Scope(True)


def pause() -> Scope:
    """Do not record, in a `with` or as a decorator: what operations give are leaves.

    This thread alone is meant. What was before is restored at the end, also where an error is
    raised. In a function that is being compiled, no gradient passes what is computed under it.

    >>> x = Value(3.0)
    >>> with pause():
    ...     print((x * x)._children)
    ()
    """
    return Scope(False)


@overload
def no_grad(function: None = None) -> Scope: ...
@overload
def no_grad(function: _F) -> _F: ...
def no_grad(function: Any = None) -> Any:
    """PyTorch's name of `pause`: `with no_grad():`, `@no_grad()` or `@no_grad`.

    >>> @no_grad
    ... def square(x):
    ...     return x * x
    >>> square(Value(3.0))._children
    ()
    """
    return pause() if function is None else pause()(function)


class Path(NamedTuple):
    """A path through a graph, and what it contributes to the derivative of its end by its start."""

    values: tuple[Value, ...]
    """The Values on it, from the start to the end."""
    product: float
    """The product of the derivatives along it."""


def paths(y: Value, x: Value) -> Iterator[Path]:
    """The paths from x to y, one by one: their products add up to the derivative of y by x.

    Two edges to one parent, as in x * x, are two paths. One path, of product 1, where y is x; none
    where y does not depend on x. There may be astronomically many: ask `count_paths`. The
    derivatives are those of the time of the call. ValueError where an operation lies between whose
    derivatives only a `_backward` closure knows.

    >>> x = Value(3.0)
    >>> for path in paths(x * x + 2 * x, x):
    ...     print([v.data for v in path.values], path.product)
    [3.0, 9.0, 15.0] 3.0
    [3.0, 9.0, 15.0] 3.0
    [3.0, 6.0, 15.0] 2.0
    """
    return _walk(y, x, links(y, x))


def _walk(y: Value, x: Value, edges: dict[int, list[tuple[Value, float]]]) -> Iterator[Path]:
    """Depth first, along edges that lead to x alone, so that every step is part of a path."""
    if y is not x and id(y) not in edges:
        return
    values, products = [y], [1.0]
    ways = [iter(edges.get(id(y), ()))]
    while values:
        if values[-1] is x:
            yield Path(tuple(reversed(values)), products[-1])
        for parent, derivative in ways[-1]:
            values.append(parent)
            products.append(products[-1] * derivative)
            ways.append(iter(edges.get(id(parent), ())))
            break
        else:
            del values[-1], products[-1], ways[-1]
