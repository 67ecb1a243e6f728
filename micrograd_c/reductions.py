"""Functions of many Values: sums, the largest, the smallest, a table lookup, softmax and its kin.

They take Values and numbers and return Values, eagerly and while a function is traced.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Sequence
from typing import Any

from micrograd_c._core import Sums, Value, is_integer, listed, take_node, where

__all__ = ["logsumexp", "max", "min", "softmax", "sum", "take"]

sum = Sums.sum


def max(values: Iterable[Any]) -> Value:
    """The largest of Values and numbers. It takes the whole gradient; of equals, the first does.

    values: an iterable. If there is a nan, the first one is the result, as in NumPy.

    ValueError if there are no values; TypeError if one is neither a Value nor a real number.

    >>> a, b = Value(1.0), Value(2.0)
    >>> max([a, b, -3]).backward()
    >>> a.grad, b.grad
    (0.0, 1.0)
    """
    return functools.reduce(Value.max, _values(values, "max"))


def min(values: Iterable[Any]) -> Value:
    """The smallest of Values and numbers. It takes the whole gradient; of equals, the first does.

    values: an iterable. If there is a nan, the first one is the result, as in NumPy.

    ValueError if there are no values; TypeError if one is neither a Value nor a real number.

    >>> min([Value(1.0), 2.0, Value(-3.0)]).data
    -3.0
    """
    return functools.reduce(Value.min, _values(values, "min"))


def logsumexp(values: Iterable[Any]) -> Value:
    """The logarithm of the sum of the exponentials: max + log(sum(exp(v - max))), without overflow.

    values: an iterable of Values and numbers. If the largest is infinite, or one is nan, this is
    the result, as in SciPy, and takes the whole gradient.

    ValueError if there are no values; TypeError if one is neither a Value nor a real number.

    >>> round(logsumexp([Value(1000.0), Value(1000.0)]).data, 6)
    1000.693147
    """
    values = _values(values, "logsumexp")
    largest = max(values)
    shift = largest.detach()
    is_finite = shift * 0.0 + 1.0  # 1, else nan, in whatever order sums are added
    return where(is_finite, lambda: sum((v - shift).exp() for v in values).log() + shift, largest)


def softmax(values: Iterable[Any]) -> list[Value]:
    """The list of exp(v) / sum of all exp, for each v, without overflow.

    values: an iterable of Values and numbers. If the largest is infinite, or one is nan, all
    results are nan, as in SciPy.

    ValueError if there are no values; TypeError if one is neither a Value nor a real number.

    >>> [p.data for p in softmax([Value(0.0), 0.0])]
    [0.5, 0.5]
    """
    values = _values(values, "softmax")
    largest = max(values).detach()
    exps = [(v - largest).exp() for v in values]
    total = sum(exps)
    return [e / total for e in exps]


def take(rows: Sequence[Any], index: int) -> Any:
    """rows[index]: a table lookup, which a compiled function does anew at each call.

    rows: a sequence of Values, of numbers, or of lists of them of one length, for example an
    embedding. index: an integer; a negative one counts from the end. The gradient goes to the row
    that was taken. An integer argument of a compiled function that is used here stays an input of
    the program: one program serves all integers. That also holds in a function whose derivative is
    taken inside of the compiled one.

    IndexError if index is out of range; TypeError if it is not an integer, or a row is neither a
    Value, a number nor a list; ValueError if rows differ in length.

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
    """A row of a table: a Value, a number, or a list of Values and numbers."""
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
        raise ValueError(f"{name}: values is empty, and must hold at least one Value or number")
    return found
