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
import inspect
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
    """What `record()`, `pause()` and `no_grad()` return: for a `with`, or as a decorator.

    Within the `with`, or in each call of the decorated function, operations of this thread are
    recorded or not; at the end, what was before is restored. A decorated generator function records
    so in its own body, and not where it yields to.

    flag: whether it records

    >>> scope = pause()
    >>> scope.flag
    False
    >>> with scope:
    ...     is_recording()
    False
    >>> is_recording()
    True
    """

    def __call__(self, function: _F) -> _F:
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
    """Record, in a `with` or as a decorator, within a `pause()` too. It is for this thread alone.

    >>> x = Value(3.0)
    >>> with pause():
    ...     with record():
    ...         (x * x).backward()
    >>> x.grad
    6.0
    """
    return Scope(True)


def pause() -> Scope:
    """Do not record, in a `with` or as a decorator: operations give leaves.

    It is for this thread alone. At the end, also after an error, what was before is restored. In a
    function that is being compiled, no gradient passes through what is computed under it.

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
    """Do not record, by PyTorch's name: `with no_grad():`, `@no_grad()` or `@no_grad`.

    Operations of this thread give leaves; at the end, what was before is restored. See `pause`.

    >>> @no_grad
    ... def square(x):
    ...     return x * x
    >>> square(Value(3.0))._children
    ()
    """
    return pause() if function is None else pause()(function)


class Path(NamedTuple):
    """A path through a graph, and what it contributes to the derivative of its end by its start.

    values: a tuple of the Values on it, from the start to the end
    product: the product of the derivatives along it

    >>> x = Value(3.0)
    >>> path = next(paths((x * 2).exp(), x))
    >>> len(path.values), path.product == 2 * path.values[-1].data
    (3, True)
    """

    values: tuple[Value, ...]
    product: float


def paths(y: Value, x: Value) -> Iterator[Path]:
    """The paths from x to y, one by one. Their products add up to the derivative of y by x.

    Two edges to one parent, as in x * x, are two paths. If y is x, there is one path, whose product
    is 1; if y does not depend on x, there is none. There may be astronomically many: `count_paths`
    tells. The derivatives are those at the time of the call.

    ValueError if between x and y there is an operation whose derivatives only a `_backward` closure
    knows.

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
