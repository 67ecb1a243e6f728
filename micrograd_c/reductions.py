"""Functions of several Values that choose among them or compare them, for compiled code too.

They take Values and numbers and return Values, eagerly and while a function is traced.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Sequence
from typing import Any

from micrograd_c._core import Value, is_integer, listed, take_node, where
from micrograd_c._core import sum as sum_of

__all__ = ["logsumexp", "max", "min", "softmax", "take"]


def max(values: Iterable[Any]) -> Value:
    """The largest of Values and numbers; ties go to the first, which takes the whole gradient.

    nan where there is one, as in NumPy; the first nan takes the gradient.
    ValueError if there are no values, TypeError for what is neither.

    >>> a, b = Value(1.0), Value(2.0)
    >>> max([a, b, -3]).backward()
    >>> a.grad, b.grad
    (0.0, 1.0)
    """
    return functools.reduce(Value.max, _values(values, "max"))


def min(values: Iterable[Any]) -> Value:
    """The smallest of Values and numbers; ties go to the first, which takes the whole gradient.

    nan where there is one, as in NumPy; the first nan takes the gradient.
    ValueError if there are no values, TypeError for what is neither.

    >>> min([Value(1.0), 2.0, Value(-3.0)]).data
    -3.0
    """
    return functools.reduce(Value.min, _values(values, "min"))


def logsumexp(values: Iterable[Any]) -> Value:
    """The logarithm of the sum of the exponentials, without overflow: that of exp(v - max) + max.

    Where the largest is infinite, or one is nan, that is the result, as in SciPy, and takes the
    whole gradient.
    ValueError if there is no value, TypeError for what is neither a Value nor a number.

    >>> round(logsumexp([Value(1000.0), Value(1000.0)]).data, 6)
    1000.693147
    """
    values = _values(values, "logsumexp")
    largest = max(values)
    shift = largest.detach()
    is_finite = shift * 0.0 + 1.0  # 1, else nan, in whatever order sums are added
    return where(
        is_finite, lambda: sum_of((v - shift).exp() for v in values).log() + shift, largest
    )


def softmax(values: Iterable[Any]) -> list[Value]:
    """exp(v) / the sum of all exp, for each v, without overflow; a list.

    All are nan where the largest is infinite, or one is nan, as in SciPy.
    ValueError if there is no value, TypeError for what is neither a Value nor a number.

    >>> [p.data for p in softmax([Value(0.0), 0.0])]
    [0.5, 0.5]
    """
    values = _values(values, "softmax")
    largest = max(values).detach()
    exps = [(v - largest).exp() for v in values]
    total = sum_of(exps)
    return [e / total for e in exps]


def take(rows: Sequence[Any], index: int) -> Any:
    """rows[index], a table lookup that a compiled function can do anew at each call.

    rows: a sequence of Values, of numbers, or of lists of them of one length, such as an embedding.
    index: an integer; negative ones count from the end, as in lists. IndexError if it is out of
    range. An integer argument of a compiled function stays an input of the program when it is used
    here, also within a function whose derivative is taken inside; and the gradient goes to the
    rows that were taken.

    >>> table = [[Value(1.0), Value(2.0)], [Value(3.0), Value(4.0)]]
    >>> take(table, 1)[0].data
    3.0
    """
    rows = [_row(x, k) for k, x in enumerate(listed(rows, "rows", "Values, numbers or lists"))]
    for k, row in enumerate(rows):
        if _width(row) != _width(rows[0]):
            raise ValueError(
                f"take: row {k} must be {_shape(rows[0])}, as row 0 is, not {_shape(row)}"
            )
    try:
        number = index._number if is_integer(index) else operator.index(index)
    except TypeError:
        raise TypeError(f"take: index must be an integer, not {type(index).__name__}") from None
    if not -len(rows) <= number < len(rows):
        raise IndexError(f"index {number} is out of range for mg.take from {len(rows)} rows")
    if not is_integer(index):
        return rows[number]
    if _width(rows[0]) is None:
        return take_node(rows, index._node)
    return [take_node(list(column), index._node) for column in zip(*rows)]


def _row(x: Any, k: int) -> Any:
    """A row of a table: a Value, a number, or a list of such."""
    if isinstance(x, Value) or (hasattr(x, "__float__") and not getattr(x, "ndim", 0)):
        return x
    if isinstance(x, str) or not hasattr(x, "__iter__"):
        raise TypeError(
            f"take: row {k} must be a Value, a number or a list, not {type(x).__name__}"
        )
    return list(x)


def _width(row: Any) -> int | None:
    return len(row) if isinstance(row, list) else None


def _shape(row: Any) -> str:
    return f"a list of {len(row)}" if isinstance(row, list) else "a number"


def _values(values: Iterable[Any], name: str) -> list[Value]:
    found = []
    for k, v in enumerate(listed(values, "values", "Values and numbers")):
        try:
            found.append(v if isinstance(v, Value) else Value(v))
        except TypeError:
            raise TypeError(
                f"{name}: values[{k}] must be a Value or a real number, not {type(v).__name__}"
            ) from None
    if not found:
        raise ValueError(f"{name}() of no values")
    return found
