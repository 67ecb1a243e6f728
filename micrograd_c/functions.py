"""What NumPy's functions do with Arrays of Values: a table, and how each entry is computed.

There are four kinds of functions:

- functions of the numbers alone, which find indices, count or test: the result is a plain array;
- NumPy's own code on arrays of objects, which moves elements, or adds and multiplies them;
- NumPy's own code on Arrays, which calls other functions of this table;
- functions that are written here, with other functions and with orders found among the numbers.

A result that holds Values is an Array. A function that is not in the table, for example one of a
later NumPy, is refused with a TypeError that says what to write: its code has not been tried on
Values.

This module is imported when the first array is made, since it needs NumPy.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy

from micrograd_c import _core
from micrograd_c._core import (
    TraceError,
    Value,
    array_of_values,
    is_exact_array,
    numbers_in,
    objects_in,
    settled,
)

np: Any = numpy  # its stubs know no arrays of Values
_Handler = Callable[..., Any]

# ---- of the numbers alone

OF_NUMBERS = """
    all allclose angle any argmax argmin argpartition argsort argwhere around array2string
    array_equal array_equiv array_repr array_str bincount common_type count_nonzero digitize fix
    flatnonzero histogram histogram2d histogram_bin_edges histogramdd imag intersect1d iscomplex
    iscomplexobj isclose isin in1d isneginf isposinf isreal isrealobj lexsort nanargmax nanargmin
    nonzero ravel_multi_index round round_ save savetxt savez savez_compressed searchsorted
    setdiff1d setxor1d union1d unique unique_all unique_counts unique_inverse unique_values
    unravel_index
""".split()

# ---- NumPy's own code on arrays of objects

ON_OBJECTS = """
    append array_split atleast_1d atleast_2d atleast_3d block broadcast_arrays broadcast_to can_cast
    choose column_stack concat concatenate copy delete diag diag_indices_from diagflat diagonal
    dsplit dstack einsum einsum_path expand_dims flip fliplr flipud full_like hsplit hstack insert
    ix_ kron matrix_transpose may_share_memory meshgrid min_scalar_type moveaxis ndim ones_like
    outer permute_dims ravel repeat reshape resize result_type roll rollaxis rot90 row_stack shape
    shares_memory size split squeeze stack swapaxes take take_along_axis tensordot tile trace
    transpose tril tril_indices_from triu triu_indices_from unstack vander vsplit vstack zeros_like
    linalg.diagonal linalg.matrix_transpose linalg.outer linalg.tensordot linalg.trace fft.fftshift
    fft.ifftshift
""".split()
# The first argument is numbers.
WITH_CONDITION = {"compress": "condition", "extract": "condition", "select": "condlist"}

# ---- NumPy's own code on Arrays

ON_ARRAYS = """
    apply_along_axis apply_over_axes average convolve correlate cross diff ediff1d inner piecewise
    polyder polyval trapezoid trapz linalg.cross linalg.matmul linalg.multi_dot
""".split()

# ---- refused, and what to write instead

INSTEAD = {
    "astype": "x.values is the array of the numbers",
    "gradient": "np.diff(x) has a derivative; np.gradient(x.values) is of the numbers",
}


def _refusal(name: str, why: str = "it has no rule for arrays of Values") -> TypeError:
    instead = INSTEAD.get(
        name,
        f"np.{name}(x.values) is of the numbers alone, without a gradient;"
        " mg.array(...) makes Values of its result",
    )
    return TypeError(f"np.{name}: {why}. Instead, {instead}")


def _named(name: str) -> Any:
    """NumPy's function of this name, or None if this NumPy does not have it."""
    return functools.reduce(lambda x, part: getattr(x, part, None), name.split("."), np)


def _name(function: Any) -> str:
    module = (getattr(function, "__module__", None) or "numpy").removeprefix("numpy")
    return f"{module}.{function.__name__}".lstrip(".")


def of_function(function: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """`__array_function__` of Array."""
    handler = TABLE.get(function)
    if handler is None:
        raise _refusal(_name(function))
    return handler(*args, **keywords)


def guarded(name: str, handler: _Handler) -> _Handler:
    """The handler, whose TypeErrors become those of this module."""

    @functools.wraps(handler)
    def guarded(*args: Any, **keywords: Any) -> Any:
        try:
            return handler(*args, **keywords)
        except TraceError:
            raise
        except (TypeError, AttributeError) as error:  # of NumPy's own code on Values
            if "Instead" in str(error):
                raise
            raise _refusal(name, str(error)) from error

    return guarded


def _of_numbers(function: Any) -> _Handler:
    try:
        names = list(inspect.signature(function).parameters)
    except ValueError:  # a builtin: before NumPy 2.4 they have none
        names = ["x", "weights"] if function is np.bincount else []

    def handler(*args: Any, **keywords: Any) -> Any:
        given = {**dict(zip(names, args)), **keywords}
        if _holds_values(given.get("weights")):
            raise TypeError("weights= have no derivative here and must be numbers, not Values")
        out = given.get("out")
        if "out" in names:
            args = args[: names.index("out")]
        keywords = {name: x for name, x in keywords.items() if name != "out"}
        return _put(out, function(*numbers_in(args), **numbers_in(keywords)))

    return handler


def _on_objects(function: Any) -> _Handler:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:
        parameters = []
    names = [x.name for x in parameters if x.kind is x.POSITIONAL_OR_KEYWORD]
    flags = [x.name for x in parameters if isinstance(x.default, bool)]

    def handler(*args: Any, **keywords: Any) -> Any:
        for name in flags:
            if _holds_values({**dict(zip(names, args)), **keywords}.get(name)):
                raise TypeError(f"{name}= must be True or False, not Values")
        return settled(function(*objects_in(args), **objects_in(keywords)))

    return handler


def _with_condition(function: Any, name: str) -> _Handler:
    on_objects = _on_objects(function)

    def handler(*args: Any, **keywords: Any) -> Any:
        args, keywords = _as_numbers(args, keywords, 0, name)
        return on_objects(*args, **keywords)

    return handler


def _as_numbers(
    args: tuple[Any, ...], keywords: dict[str, Any], at: int, name: str
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments, with numbers in place of the Values in one: given by its place or its name."""
    args = tuple(numbers_in(x) if k == at else x for k, x in enumerate(args))
    return args, {key: numbers_in(x) if key == name else x for key, x in keywords.items()}


def _on_arrays(function: Any) -> _Handler:
    def handler(*args: Any, **keywords: Any) -> Any:
        empty = array_of_values(())
        return settled(np.ndarray.__array_function__(empty, function, (), args, keywords))

    return handler


def _holds_values(x: Any) -> bool:
    if isinstance(x, (list, tuple)):
        return any(map(_holds_values, x))
    return isinstance(x, Value) or isinstance(x, np.ndarray) and x.dtype == object


def _all_values(x: Any) -> bool:
    return all(isinstance(y, Value) for y in x.ravel().tolist()) if np.ndim(x) else True


# ---- arguments


def _numeric(x: Any) -> Any:
    """An Array if x holds Values, else a plain array."""
    return _as_array(x) if _holds_values(x) else np.asarray(x)


def _as_array(x: Any) -> Any:
    return x if is_exact_array(x) else array_of_values(x)


def _no(**keywords: Any) -> None:
    """Refuse keywords that are not at their defaults."""
    for name, given in keywords.items():
        if given is not None and given is not False and given is not np._NoValue:
            if name == "out":
                raise TypeError("out= is not supported: assign the result, y[...] = ...")
            if name != "dtype" or given is not object:
                raise TypeError(f"{name}= is not supported")


def _everywhere(where: Any) -> bool:
    """Whether `where` selects everything."""
    return where is True or where is np._NoValue


def _is_given(initial: Any) -> bool:
    return initial is not None and initial is not np._NoValue


def _flag(keepdims: Any) -> bool:
    return keepdims is not np._NoValue and bool(keepdims)


def _reduced(x: Any, axis: Any) -> Any:
    """The axis to reduce. An array without axes has none, though NumPy's ufuncs take 0 and -1."""
    return () if not x.ndim and not isinstance(axis, tuple) and axis in (0, -1) else axis


def _rows(x: Any, axis: Any) -> tuple[Any, tuple[int, ...], tuple[int, ...]]:
    """x with the axes that are reduced as one, the last; the shapes of the result, and with
    keepdims."""
    axes = _core.axes_of(axis, x.ndim)
    kept = [d for d in range(x.ndim) if d not in axes]
    shape = tuple(x.shape[d] for d in kept)
    long = tuple(1 if d in axes else x.shape[d] for d in range(x.ndim))
    length = int(np.prod([x.shape[d] for d in axes]))
    return np.ndarray.transpose(x, (*kept, *axes)).reshape((*shape, length)), shape, long


def _picked(x: Any, where: Any) -> Any:
    """Elements of rows by an index along the last axis for each."""
    picked = np.take_along_axis(x.view(np.ndarray), where[..., None], -1)[..., 0]
    return _element(picked)


def _element(x: Any) -> Any:
    """The array, or its element if it has no axes."""
    return settled(x)[()] if isinstance(x, np.ndarray) else x


def _shaped(x: Any, long: tuple[int, ...], keepdims: bool) -> Any:
    return array_of_values(x).reshape(long) if keepdims else x


# ---- written here

COMPOSED: dict[str, _Handler] = {}


def _composed(names: str) -> Callable[[_Handler], _Handler]:
    def enter(handler: _Handler) -> _Handler:
        for name in names.split():
            COMPOSED[name] = handler
        return handler

    return enter


@_composed("where")
def _where(condition: Any, x: Any = None, y: Any = None, /) -> Any:
    condition = numbers_in(condition)
    if x is None and y is None:
        return np.where(condition)
    return settled(np.where(condition, objects_in(x), objects_in(y)))


@_composed("empty_like")
def _empty_like(prototype: Any, dtype: Any = None, **keywords: Any) -> Any:
    """Numbers that are there, as an Array holds Values alone."""
    return np.zeros_like(prototype, dtype, **keywords)


@_composed("pad")
def _pad(x: Any, pad_width: Any, mode: Any = "constant", **keywords: Any) -> Any:
    if mode not in ("constant", "edge", "reflect", "symmetric", "wrap"):
        raise TypeError(f"mode={mode!r} has no derivative here")
    return settled(np.pad(objects_in(x), pad_width, mode, **objects_in(keywords)))


@_composed("trim_zeros")
def _trim_zeros(filt: Any, trim: str = "fb") -> Any:
    x = _as_array(filt)
    if x.ndim != 1:
        raise TypeError("the array must have one axis")
    inside = np.flatnonzero(numbers_in(x))
    if not inside.size:
        return x[:0]
    trim = trim.lower()
    return x[inside[0] if "f" in trim else 0 : inside[-1] + 1 if "b" in trim else None]


# ---- sums and products


@_composed("sum")
def _sum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    if dtype is not None:
        _no(dtype=dtype)
    if not _everywhere(where):
        a = _where(where, a, 0.0)
    a = _as_array(a)
    if not a.ndim:
        axis = _reduced(a, axis)
    result = _core.array_sum(a, axis, keepdims is not False and _flag(keepdims))
    if result is NotImplemented:
        result = np.add.reduce(objects_in(a), axis=axis, keepdims=_flag(keepdims))
        result = settled(result) if isinstance(result, np.ndarray) else result
    if _is_given(initial):
        result = result + initial
    return _put(out, result)


def _put(out: Any, result: Any) -> Any:
    return result if out is None else _core.put_out(out, result)


@_composed("mean")
def _mean(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    where: Any = True,
) -> Any:
    _no(dtype=dtype)
    a = _as_array(a)
    if not _everywhere(where):
        count = np.sum(np.broadcast_to(numbers_in(where), a.shape), axis, keepdims=_flag(keepdims))
        return _put(out, _sum(a, axis, keepdims=keepdims, where=where) / count)
    result = _core.array_sum(a, axis, _flag(keepdims), mean=True)
    if result is NotImplemented:
        total = _sum(a, axis, keepdims=keepdims)
        result = total / (a.size // max(np.size(total), 1))
    return _put(out, result)


@_composed("prod product")
def _prod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    _no(dtype=dtype)
    if not _everywhere(where):
        a = _where(where, a, 1.0)
    result = np.multiply.reduce(objects_in(_as_array(a)), axis=axis, keepdims=_flag(keepdims))
    result = settled(result) if isinstance(result, np.ndarray) else _value(result)
    if _is_given(initial):
        result = result * initial
    return _put(out, result)


def _value(x: Any) -> Value:
    return x if isinstance(x, Value) else Value(x)


def _accumulated(ufunc: Any) -> _Handler:
    def handler(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
        a = _as_array(a)
        if axis is None or not a.ndim:
            a, axis = a.ravel(), axis or 0
        return _put(out, ufunc.accumulate(a, axis=axis, dtype=dtype))

    return handler


_cumsum = _composed("cumsum")(_accumulated(np.add))
_cumprod = _composed("cumprod cumproduct")(_accumulated(np.multiply))


def _cumulative(ufunc: Any, start: float) -> _Handler:
    def handler(
        x: Any,
        /,
        *,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        include_initial: bool = False,
    ) -> Any:
        x = _as_array(x)
        if axis is None:
            if x.ndim > 1:
                raise ValueError("axis= must be given for an array of several axes")
            axis = 0
        result = ufunc.accumulate(x, axis=axis, dtype=dtype)
        if include_initial:
            shape = list(x.shape)
            shape[axis] = 1
            result = np.concatenate([np.full(shape, start), result], axis=axis)
        return _put(out, result)

    return handler


_composed("cumulative_sum")(_cumulative(np.add, 0.0))
_composed("cumulative_prod")(_cumulative(np.multiply, 1.0))


@_composed("var")
def _var(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: Any = False,
    *,
    where: Any = True,
    mean: Any = np._NoValue,
    correction: Any = np._NoValue,
) -> Any:
    _no(dtype=dtype)
    a = _as_array(a)
    ddof = ddof if correction is np._NoValue else correction
    where = True if where is np._NoValue else np.asarray(numbers_in(where), bool)
    there = np.broadcast_to(where, a.shape)
    count = np.sum(there, axis, keepdims=_flag(keepdims))
    if mean is np._NoValue and np.all(count):
        mean = _mean(a, axis, keepdims=True, where=where)
    elif mean is np._NoValue:  # of nothing there is none, and nothing is off it
        mean = _sum(a, axis, keepdims=True, where=where) / np.maximum(
            np.sum(there, axis, keepdims=True), 1
        )
    off = a - mean
    total = _sum(off * off, axis, keepdims=keepdims, where=where)
    return _put(out, total / np.maximum(count - ddof, 0))


@_composed("std")
def _std(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, *args: Any, **more: Any):  # type: ignore[no-untyped-def]
    return _put(out, np.sqrt(_var(a, axis, dtype, None, *args, **more)))


@_composed("cov")
def _cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: Any = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Any:
    _no(dtype=dtype)

    def rows(x: Any) -> Any:
        two = np.atleast_2d(_as_array(x))
        return two.T if not rowvar and two.shape[0] != 1 else two

    x = rows(m) if y is None else np.concatenate([rows(m), rows(y)])
    ddof = (0 if bias else 1) if ddof is None else ddof
    if _holds_values(fweights):
        raise TypeError("fweights= are counts, and have no derivative: they must be integers")
    weights: Any = np.ones(x.shape[1])
    for given in (fweights, aweights):
        if given is not None:
            weights = weights * _numeric(given)
    total = weights.sum()
    lost = ddof if aweights is None else ddof * (weights * _numeric(aweights)).sum() / total
    off = x - (x @ (weights / total))[:, None]
    return _element(np.squeeze((off * weights) @ off.T / np.maximum(total - lost, 0.0)))


@_composed("corrcoef")
def _corrcoef(x: Any, y: Any = None, rowvar: bool = True, *others: Any, dtype: Any = None) -> Any:
    if others:
        raise TypeError("bias and ddof have no effect: leave them out")
    c = _cov(x, y, rowvar, dtype=dtype)
    if np.ndim(c) == 0:
        return c / c
    deviations = np.sqrt(np.diag(c))
    return np.clip(c / deviations[:, None] / deviations[None, :], -1.0, 1.0)


@_composed("dot")
def _dot(a: Any, b: Any, out: Any = None) -> Any:
    return _put(out, _core.array_product("dot", a, b))


@_composed("inner")
def _inner(a: Any, b: Any, /) -> Any:
    return _core.array_product("inner", a, b)


@_composed("vdot")
def _vdot(a: Any, b: Any, /) -> Any:
    return _core.array_product("dot", np.ravel(objects_in(a)), np.ravel(objects_in(b)))


@_composed("linalg.matrix_power")
def _matrix_power(a: Any, n: int) -> Any:
    a = _as_array(a)
    if n < 0:
        raise TypeError("the inverse has no derivative here")
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise np.linalg.LinAlgError("the last two axes must have one length")
    if n == 0:
        return array_of_values(np.broadcast_to(np.eye(a.shape[-1]), a.shape))
    return functools.reduce(np.matmul, [a] * n)


@_composed("linalg.vecdot")
def _linalg_vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    return np.vecdot(x1, x2, axis=axis)


def _of_nothing(name: str) -> Callable[[_Handler], _Handler]:
    """NumPy's own result, or error, if the array has no elements."""

    def enter(handler: _Handler) -> _Handler:
        @functools.wraps(handler)
        def of_something(x: Any, *args: Any, **keywords: Any) -> Any:
            x = _as_array(x)
            if x.size:
                return handler(x, *args, **keywords)
            return _element(array_of_values(_named(name)(numbers_in(x), *args, **keywords)))

        return _composed(name)(of_something)

    return enter


@_of_nothing("linalg.norm")
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    x = _as_array(x)
    if axis is None:
        if ord is None or x.ndim == 1 and ord == 2 or x.ndim == 2 and ord in ("f", "fro"):
            return _vector_norm(x, keepdims=keepdims)
        axis = tuple(range(x.ndim))
    axes = _core.axes_of(axis, x.ndim)
    if len(axes) == 1:
        return _vector_norm(x, axis=axes, keepdims=keepdims, ord=2 if ord is None else ord)
    if len(axes) != 2:
        raise ValueError("Improper number of dimensions to norm.")
    x = np.moveaxis(x, axes, (-2, -1))
    result = _matrix_norm(x, ord="fro" if ord is None else ord)
    return _shaped(result, _rows_shape(x, axes), keepdims) if keepdims else result


def _rows_shape(x: Any, axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape with length 1 for the axes, which have been moved to the end."""
    return tuple(np.moveaxis(np.empty((*x.shape[:-2], 1, 1)), (-2, -1), axes).shape)


@_of_nothing("linalg.vector_norm")
def _vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    x = _as_array(x)
    axes = _core.axes_of(axis, x.ndim)
    if isinstance(ord, str):
        raise ValueError(f"Invalid norm order {ord!r} for vectors")
    if ord in (None, 2):
        return np.sqrt(_sum(x * x, axes, keepdims=keepdims))
    if ord in (np.inf, -np.inf):
        return _extreme(np.argmax if ord > 0 else np.argmin, abs(x), axes, keepdims)
    if ord == 0:
        return np.sum(numbers_in(x) != 0, axes, keepdims=keepdims).astype(float)[()]
    if ord == 1:
        return _sum(abs(x), axes, keepdims=keepdims)
    return _sum(abs(x) ** ord, axes, keepdims=keepdims) ** (1.0 / ord)


@_of_nothing("linalg.matrix_norm")
def _matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    x = _as_array(x)
    if ord in (None, "fro", "f"):
        result = _vector_norm(x, axis=(-2, -1))
    elif ord in (1, -1, np.inf, -np.inf):
        sums = _sum(abs(x), -2 if abs(ord) == 1 else -1)
        result = _extreme(np.argmax if ord > 0 else np.argmin, _as_array(sums), -1)
    elif ord in (2, -2, "nuc"):
        raise TypeError(f"the norm of order {ord!r}, of singular values, has no derivative here")
    else:
        raise ValueError(f"Invalid norm order {ord!r} for matrices")
    return _shaped(result, (*x.shape[:-2], 1, 1), keepdims)


# ---- what is chosen by the order of the numbers


def _extreme(
    index: Any,
    a: Any,
    axis: Any = None,
    keepdims: Any = False,
    initial: Any = np._NoValue,
    where: Any = True,
    skip_nan: bool = False,
) -> Any:
    """The elements that np.argmax or np.argmin (`index`) finds; nan is greatest and least."""
    a = _as_array(a)
    worst = -np.inf if index is np.argmax else np.inf
    axis = _reduced(a, axis)
    x, shape, long = _rows(a, axis)
    of = numbers_in(x)
    if not _everywhere(where):
        mask = np.broadcast_to(np.asarray(numbers_in(where), bool), a.shape)
        if initial is np._NoValue:
            raise ValueError("max and min with where= need initial=")
        of = np.where(_rows(mask, axis)[0], of, worst)
    if _is_given(initial):
        first = np.empty((*shape, 1), object)
        first[...] = initial
        x = np.concatenate([_as_array(first), x], axis=-1)
        of = np.concatenate([numbers_in(first), of], axis=-1)
    if not of.shape[-1] and of.size == 0 and np.prod(shape):
        raise ValueError("zero-size array to max or min, which have no identity")
    if not np.prod(shape):
        return _shaped(array_of_values(np.empty(shape)), long, _flag(keepdims))
    if skip_nan:
        found = index(np.where(np.isnan(of), worst, of), -1)
        missed = np.isnan(np.take_along_axis(of, found[..., None], -1)[..., 0])
        found = np.where(missed, np.argmin(np.isnan(of), -1), found)
    else:
        found = index(of, -1)
    return _shaped(_picked(x, found), long, _flag(keepdims))


def _extremes(index: Any, skip_nan: bool = False) -> _Handler:
    def handler(
        a: Any,
        axis: Any = None,
        out: Any = None,
        keepdims: Any = False,
        initial: Any = np._NoValue,
        where: Any = True,
    ) -> Any:
        return _put(out, _extreme(index, a, axis, keepdims, initial, where, skip_nan))

    return handler


_max = _composed("max amax")(_extremes(np.argmax))
_min = _composed("min amin")(_extremes(np.argmin))
_composed("nanmax")(_extremes(np.argmax, skip_nan=True))
_composed("nanmin")(_extremes(np.argmin, skip_nan=True))


@_composed("ptp")
def _ptp(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False) -> Any:
    return _put(out, _max(a, axis, None, keepdims) - _min(a, axis, None, keepdims))


@_composed("clip")
def _clip(
    a: Any,
    a_min: Any = None,
    a_max: Any = None,
    out: Any = None,
    *,
    min: Any = None,
    max: Any = None,
    **keywords: Any,
) -> Any:
    _no(**keywords)
    low, high = a_min if _is_given(a_min) else min, a_max if _is_given(a_max) else max
    result = _as_array(a)
    if _is_given(low):
        result = np.maximum(result, low)
    if _is_given(high):
        result = np.minimum(result, high)
    return _put(out, result)


@_composed("sort")
def _sort(
    a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None
) -> Any:
    _no(order=order)
    a = _as_array(a)
    if axis is None:
        a, axis = a.ravel(), 0
    found = np.argsort(numbers_in(a), axis=axis, kind="stable")
    return settled(np.take_along_axis(objects_in(a), found, axis))


@_composed("partition")
def _partition(
    a: Any, kth: Any, axis: Any = -1, kind: str = "introselect", order: Any = None
) -> Any:
    """The elements in the order that NumPy gives to the numbers."""
    _no(order=order)
    a = _as_array(a)
    if axis is None:
        a, axis = a.ravel(), 0
    of = numbers_in(a)
    found = np.empty(a.shape, np.intp)
    ranks = np.argsort(np.partition(of, kth, axis, kind), axis=axis, kind="stable")
    np.put_along_axis(found, ranks, np.argsort(of, axis=axis, kind="stable"), axis)
    return settled(np.take_along_axis(objects_in(a), found, axis))


def _mixed(ordered: Any, places: Any) -> Any:
    """Elements of ordered rows at places that may lie between two."""
    low = np.floor(places).astype(int)
    share = places - low
    result = ordered[..., low]
    if share.any():
        above = ordered[..., np.minimum(low + 1, ordered.shape[-1] - 1)]
        result = _where(share == 0, result, result * (1 - share) + above * share)
    return result


def _quantiles(
    function: Any, q: Any, a: Any, axis: Any, keepdims: Any, skip_nan: bool = False, **how: Any
) -> Any:
    """The quantiles along an axis: NumPy finds their places among the ordered elements, and nan."""
    numpys = getattr(np, "nan" + function.__name__) if skip_nan else function
    a = _as_array(a)
    found = numpys(numbers_in(a), *q, axis=axis, keepdims=_flag(keepdims), **how)
    if not a.size:
        return _element(array_of_values(found))
    x, shape, long = _rows(a, axis)
    of, more = numbers_in(x), np.shape(q[0]) if q else ()

    def of_row(x: Any) -> Any:
        return _mixed(_sort(x), function(np.arange(float(x.shape[-1])), *q, **how))

    if not skip_nan or not np.isnan(of).any():
        result = of_row(x)
    else:
        result = np.empty((*shape, *more), object)
        for i in np.ndindex(shape):
            row = x[i][~np.isnan(of[i])]
            result[i] = objects_in(of_row(row if row.size else x[i]))
    result = np.moveaxis(
        array_of_values(result), range(len(shape), len(shape + more)), range(len(more))
    )
    result = _shaped(result, more + long, _flag(keepdims))
    return _element(_where(np.isnan(found), found, result))


def _quantile_handler(function: Any, skip_nan: bool) -> _Handler:
    def handler(
        a: Any,
        q: Any,
        axis: Any = None,
        out: Any = None,
        overwrite_input: bool = False,
        method: str = "linear",
        keepdims: Any = False,
        *,
        weights: Any = None,
    ) -> Any:
        _no(weights=weights)
        if _holds_values(q):
            raise TypeError("there is no derivative by q here: q must be numbers")
        return _put(out, _quantiles(function, (q,), a, axis, keepdims, skip_nan, method=method))

    return handler


_composed("quantile")(_quantile_handler(np.quantile, False))
_composed("percentile")(_quantile_handler(np.percentile, False))
_composed("nanquantile")(_quantile_handler(np.quantile, True))
_composed("nanpercentile")(_quantile_handler(np.percentile, True))


def _median_handler(skip_nan: bool) -> _Handler:
    def handler(
        a: Any,
        axis: Any = None,
        out: Any = None,
        overwrite_input: bool = False,
        keepdims: Any = False,
    ) -> Any:
        return _put(out, _quantiles(np.median, (), a, axis, keepdims, skip_nan))

    return handler


_composed("median")(_median_handler(False))
_composed("nanmedian")(_median_handler(True))

# ---- without nan


def _without_nan(a: Any, number: float) -> tuple[Any, Any]:
    """Which elements are not nan, and the array with another number in place of each nan."""
    a = _as_array(a)
    there = ~np.isnan(numbers_in(a))
    return there, _where(there, a, number)


def _skipping(handler: _Handler, number: float) -> _Handler:
    @functools.wraps(handler)
    def skipping(a: Any, *args: Any, **keywords: Any) -> Any:
        return handler(_without_nan(a, number)[1], *args, **keywords)

    return skipping


WITHOUT_NAN = {_sum: 0.0, _prod: 1.0, _cumsum: 0.0, _cumprod: 1.0}  # what stands for nan
for _entry, _summing in [*COMPOSED.items()]:
    if _summing in WITHOUT_NAN:
        COMPOSED["nan" + _entry] = _skipping(_summing, WITHOUT_NAN[_summing])


def _there(a: Any, keywords: dict[str, Any]) -> Any:
    """Keywords whose `where` leaves nan out."""
    where = keywords.get("where", True)
    where = True if where is np._NoValue else np.asarray(numbers_in(where), bool)
    return {**keywords, "where": ~np.isnan(numbers_in(a)) & where}


@_composed("nanmean")
def _nanmean(a: Any, *args: Any, **keywords: Any) -> Any:
    return _mean(a, *args, **_there(a, keywords))


@_composed("nanvar")
def _nanvar(a: Any, *args: Any, **keywords: Any) -> Any:
    return _var(a, *args, **_there(a, keywords))


@_composed("nanstd")
def _nanstd(a: Any, *args: Any, **keywords: Any) -> Any:
    return _std(a, *args, **_there(a, keywords))


@_composed("nan_to_num")
def _nan_to_num(x: Any, copy: bool = True, *args: Any, **keywords: Any) -> Any:
    if not copy:
        raise TypeError("copy=False is not supported: assign the result, x[...] = np.nan_to_num(x)")
    of = numbers_in(x)
    return _where(np.isfinite(of), x, np.nan_to_num(of, True, *args, **keywords))


# ---- the rest


@_composed("real real_if_close")
def _real(x: Any, tol: Any = None) -> Any:
    return _as_array(x)


@_composed("unwrap")
def _unwrap(p: Any, *args: Any, **keywords: Any) -> Any:
    return _given(np.unwrap(numbers_in(p), *args, **keywords), [(p, 1.0)])


@_composed("sinc")
def _sinc(x: Any) -> Any:
    y = np.pi * _where(np.equal(x, 0), 1e-20, x)
    return np.sin(y) / y


@_composed("linspace")
def _linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    *,
    device: Any = None,
) -> Any:
    _no(dtype=dtype, device=device)
    start, stop = np.broadcast_arrays(_as_array(start), _as_array(stop))
    intervals = num - 1 if endpoint else num
    steps = np.arange(0.0, num).reshape((-1,) + (1,) * start.ndim)
    step = (stop - start) / max(intervals, 1)
    result = steps * step + start
    if num > 0:  # the first has no part of stop
        result[0] = _where(np.isfinite(numbers_in(step)), start, result[0])
    if endpoint and num > 1:
        result[-1] = stop
    result = np.moveaxis(result, 0, axis)
    if retstep:
        return result, step if intervals > 0 else Value(np.nan)
    return result


@_composed("logspace")
def _logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    if np.ndim(base):
        start, stop, base = np.broadcast_arrays(*map(_as_array, (start, stop, base)))
        base = np.expand_dims(base, axis)
    return np.power(base, _linspace(start, stop, num, endpoint, False, dtype, axis))


# ---- those that change their first argument


def _changing(function: Any, at: int, name: str) -> _Handler:
    def handler(a: Any, *args: Any, **keywords: Any) -> None:
        if not is_exact_array(a):
            if _holds_values((*args, *keywords.values())) and a.dtype != object:
                raise TypeError(f"an array of {a.dtype} does not hold Values")
            copy = a if a.dtype == object else objects_in(a)
        else:
            copy = np.array(objects_in(a))
        if function is np.place and any(
            isinstance(x, np.ndarray) and np.may_share_memory(a, x)
            for x in (*args[1:], *(x for key, x in keywords.items() if key != name))
        ):
            raise TypeError(
                "the values are read after some were changed. Instead, np.place(a, mask, v.copy())"
            )
        args, keywords = _as_numbers(args, keywords, at, name)
        function(copy, *objects_in(args), **objects_in(keywords))
        if copy is not a:
            a[...] = copy

    return handler


# Which argument after the first is numbers, and its name.
CHANGING = {
    "copyto": (2, "where"),
    "fill_diagonal": (1, "wrap"),
    "place": (0, "mask"),
    "put": (0, "ind"),
    "put_along_axis": (0, "indices"),
    "putmask": (0, "mask"),
}

# ---- ufuncs


def of_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], keywords: Any, out: Any) -> Any:
    """`__array_ufunc__` of Array and Value, for ufuncs without a loop in C; it assigns to `out`."""
    name = ufunc.__name__
    inputs = tuple(np.asarray(x) if isinstance(x, (list, tuple)) else x for x in inputs)
    if any(_is_other(x) for x in (*inputs, *(out or ()))):
        return NotImplemented
    try:
        if method == "at":
            return _at(ufunc, *inputs)
        if not _holds_values(inputs):
            if out is not None and keywords.get("where", True) is not True:
                if len(out) > 1:
                    raise TypeError("where= is not supported")
                found = ufunc(*objects_in(inputs), out=np.array(numbers_in(out[0])), **keywords)
                return _where(np.broadcast_to(keywords["where"], found.shape), found, out[0])
            result = getattr(ufunc, method)(*objects_in(inputs), **keywords)
            return _same_shape(out, result) if out and len(out) > 1 else result
        if all(kinds.strip("O") == "->" for kinds in ufunc.types):  # np.frompyfunc, np.vectorize
            result = getattr(ufunc, method)(*objects_in(inputs), **keywords)
            return settled(result) if _all_values(result) else result
        dtype = keywords.pop("dtype", None)
        if dtype is not None and dtype is not object and dtype != np.dtype(object):
            raise TypeError(f"dtype={dtype!r}: an Array holds Values, leave dtype out")
        for keyword in ("casting", "subok", "order"):
            keywords.pop(keyword, None)
        result = _METHODS[method](ufunc, *inputs, out=out, **keywords)
        return _same_shape(out, result) if out and len(out) > 1 else result
    except TraceError:
        raise
    except TypeError as error:
        if "Instead" in str(error):
            raise
        raise _refusal(name if method == "__call__" else f"{name}.{method}", str(error)) from error


def _is_other(x: Any) -> bool:
    """Whether x is of another library, whose `__array_ufunc__` is to be asked."""
    return not isinstance(x, (Value, np.ndarray, np.generic)) and hasattr(x, "__array_ufunc__")


def _call(
    ufunc: Any, *inputs: Any, out: Any, where: Any = True, axis: Any = None, **others: Any
) -> Any:
    if others:
        raise TypeError(f"{next(iter(others))}= is not supported")
    if axis is not None:
        if ufunc is not getattr(np, "vecdot", None):
            raise TypeError("axis= is not supported: np.moveaxis moves axes")
        inputs = tuple(np.moveaxis(_as_array(x), axis, -1) for x in inputs)
    if where is not True:
        if out is None or out[0] is None:
            raise TypeError(
                "where= without out= leaves elements without a number: np.where(mask, f(x), y)"
            )
        where = np.broadcast_to(np.asarray(numbers_in(where), bool), out[0].shape)
        chosen = [np.broadcast_to(objects_in(_as_array(x)), where.shape)[where] for x in inputs]
        result, found = out[0].copy(), ufunc(*map(array_of_values, chosen))
        if _holds_values(found) and result.dtype != object:
            raise _refusal(ufunc.__name__, "out= is an array of numbers, which holds no Values")
        result[where] = found
        return result
    if ufunc in UFUNCS:
        return UFUNCS[ufunc](*inputs)
    if ufunc in BY_OPERATORS or ufunc is np.matmul:
        return _core.array_by_python(ufunc, "__call__", inputs, {})
    if ufunc.__name__ in _core.UFUNC_NAMES or hasattr(Value, ufunc.__name__):
        name = _core.UFUNC_NAMES.get(ufunc.__name__, ufunc.__name__)
        return _core.array_apply(name, *inputs)
    raise TypeError("it has no rule for Values")


def _outer(ufunc: Any, a: Any, b: Any, out: Any, **keywords: Any) -> Any:
    a, b = _as_array(a), _as_array(b)
    return ufunc(a.reshape(a.shape + (1,) * b.ndim), b, **keywords)


def _reduce(
    ufunc: Any,
    a: Any,
    axis: Any = 0,
    keepdims: Any = False,
    initial: Any = np._NoValue,
    where: Any = True,
    out: Any = None,
) -> Any:
    if ufunc in TESTS:
        more = {} if initial is np._NoValue else {"initial": initial}
        return ufunc.reduce(
            numbers_in(a), axis=axis, keepdims=keepdims, where=numbers_in(where), **more
        )
    if ufunc in REDUCTIONS:
        return REDUCTIONS[ufunc](a, axis, keepdims=keepdims, initial=initial, where=where)
    if where is not True:
        raise TypeError("where= is not supported")
    a = _as_array(a)
    ufunc.reduce(np.ones(a.shape), axis=axis)  # refuses what NumPy does
    x, shape, long = _rows(a, _reduced(a, axis))
    rows = [x[..., k] for k in range(x.shape[-1])]
    if initial is not np._NoValue:
        rows.insert(0, _element(array_of_values(np.broadcast_to(objects_in(initial), shape))))
    if len(rows) < 2 and ufunc.identity is not None:  # np.hypot.reduce([-1.0]) is 1.0
        rows.insert(0, np.full(shape, float(ufunc.identity)))
    result = functools.reduce(ufunc, rows)
    return _shaped(result, long, _flag(keepdims))


def _accumulate(ufunc: Any, a: Any, axis: int = 0, out: Any = None) -> Any:
    a = _as_array(a)
    if ufunc in TESTS:
        return ufunc.accumulate(numbers_in(a), axis)
    if ufunc in BY_OPERATORS:
        return _core.array_by_python(ufunc, "accumulate", (a,), {"axis": axis})
    ufunc.accumulate(np.ones(a.shape), axis)
    rows: list[Any] = []
    for k in range(a.shape[axis]):
        row = np.take(a, k, axis=axis)
        rows.append(ufunc(rows[-1], row) if rows else row)
    return np.stack([array_of_values(row) for row in rows], axis) if rows else a


def _reduceat(ufunc: Any, a: Any, indices: Any, axis: int = 0, out: Any = None) -> Any:
    if ufunc not in BY_OPERATORS:
        raise TypeError("only of the four operators and powers")
    return _core.array_by_python(ufunc, "reduceat", (a, indices), {"axis": axis})


def _at(ufunc: Any, a: Any, indices: Any, *others: Any) -> None:
    if ufunc not in BY_OPERATORS:
        raise TypeError("only of the four operators and powers")
    if not is_exact_array(a):
        raise TypeError(f"an array of {getattr(a, 'dtype', type(a))} does not hold Values")
    copy = np.array(objects_in(a))
    ufunc.at(copy, indices, *objects_in(others))
    a[...] = copy


_METHODS: dict[str, _Handler] = {
    "__call__": _call,
    "outer": _outer,
    "reduce": _reduce,
    "accumulate": _accumulate,
    "reduceat": _reduceat,
}
BY_OPERATORS = {np.add, np.subtract, np.multiply, np.divide, np.power, np.positive}
TESTS = {
    getattr(np, name)
    for name in """equal not_equal less less_equal greater greater_equal logical_and logical_or
    logical_xor""".split()
}
REDUCTIONS: dict[Any, _Handler] = {
    np.add: _sum,
    np.multiply: _prod,
    np.maximum: functools.partial(_extreme, np.argmax),
    np.minimum: functools.partial(_extreme, np.argmin),
}

UFUNCS: dict[Any, _Handler] = {}


def _ufunc(*names: str) -> Callable[[_Handler], _Handler]:
    def enter(handler: _Handler) -> _Handler:
        for name in names:
            if hasattr(np, name):
                UFUNCS[getattr(np, name)] = handler
        return handler

    return enter


@_ufunc("conjugate")
def _conjugate(x: Any) -> Any:
    return np.positive(x)


@_ufunc("exp2")
def _exp2(x: Any) -> Any:
    return np.power(2.0, x)


@_ufunc("float_power")
def _float_power(x: Any, y: Any) -> Any:
    return np.power(x, y)


@_ufunc("radians", "deg2rad")
def _radians(x: Any) -> Any:
    return x * (np.pi / 180)


@_ufunc("degrees", "rad2deg")
def _degrees(x: Any) -> Any:
    return x * (180 / np.pi)


@_ufunc("logaddexp")
def _logaddexp(x: Any, y: Any) -> Any:
    return _log_of_sum(np.logaddexp, np.exp, x, y)


@_ufunc("logaddexp2")
def _logaddexp2(x: Any, y: Any) -> Any:
    return _log_of_sum(np.logaddexp2, np.exp2, x, y)


def _log_of_sum(ufunc: Any, exp: Any, x: Any, y: Any) -> Any:
    left, right = numbers_in(x), numbers_in(y)
    with np.errstate(invalid="ignore"):
        result = ufunc(left, right)
        shares = [np.where(left == right, 0.5, exp(of - result)) for of in (left, right)]
    return _given(result, list(zip((x, y), shares)))


@_ufunc("fmax")
def _fmax(x: Any, y: Any) -> Any:
    return _unless_nan(np.maximum, x, y)


@_ufunc("fmin")
def _fmin(x: Any, y: Any) -> Any:
    return _unless_nan(np.minimum, x, y)


def _unless_nan(ufunc: Any, x: Any, y: Any) -> Any:
    """The ufunc, or the other operand where one is nan."""
    result = _where(np.isnan(numbers_in(x)), y, ufunc(x, y))
    return _element(_where(np.isnan(numbers_in(y)), x, result))


@_ufunc("heaviside")
def _heaviside(x: Any, half: Any) -> Any:
    of = numbers_in(x)
    if _holds_values(half):
        return _element(_where(np.equal(of, 0), half, np.heaviside(of, 0.0)))
    return np.heaviside(of, half)


@_ufunc("copysign")
def _copysign(x: Any, sign: Any) -> Any:
    of, sign = numbers_in(x), numbers_in(sign)
    return (
        np.copysign(of, sign)
        if not _holds_values(x)
        else x * (np.copysign(1, of) * np.copysign(1, sign))
    )


@_ufunc("fmod")
def _fmod(x: Any, y: Any) -> Any:
    return _remains(np.fmod, x, y)


@_ufunc("remainder", "mod")
def _remainder(x: Any, y: Any) -> Any:
    return _remains(np.remainder, x, y)


@_ufunc("divmod")
def _divmod(x: Any, y: Any) -> Any:
    return np.floor_divide(x, y), np.remainder(x, y)


def _remains(ufunc: Any, x: Any, y: Any) -> Any:
    """x - n*y, whose number is NumPy's; n is an integer, and has no derivative."""
    left, right = numbers_in(x), numbers_in(y)
    with np.errstate(all="ignore"):
        result = ufunc(left, right)
        times = np.round((left - result) / right)
    return _given(result, [(x, 1.0), (y, -times)])


def _given(result: Any, operands: list[tuple[Any, Any]]) -> Any:
    """Values of given numbers and partials by the elements of operands, where these are Values."""
    out = np.empty(np.shape(result), object)
    numbers = np.asarray(result)
    spread = [
        (
            np.broadcast_to(objects_in(array_of_values(x)), out.shape),
            np.broadcast_to(partial, out.shape),
        )
        for x, partial in operands
        if _holds_values(x)
    ]
    for i in np.ndindex(out.shape):
        parents, partials = zip(*((x[i], partial[i]) for x, partial in spread))
        out[i] = Value(numbers[i], parents, partials)
    return _element(out)


@_ufunc("modf")
def _modf(x: Any) -> Any:
    fraction, whole = np.modf(numbers_in(x))
    return _given(fraction, [(x, 1.0)]), whole


def _same_shape(out: tuple[Any, ...], result: tuple[Any, ...]) -> tuple[Any, ...]:
    """Several results; TypeError if `out` has a shape that only some of them fit."""
    shapes = {np.shape(x) for x in (*out, *result) if x is not None}
    if len(shapes) > 1:
        raise TypeError("out= must have the shape of the results")
    return result


@_ufunc("nextafter")
def _nextafter(x: Any, y: Any) -> Any:
    return _given(np.nextafter(numbers_in(x), numbers_in(y)), [(x, 1.0), (y, 0.0)])


@_ufunc("ldexp")
def _ldexp(x: Any, i: Any) -> Any:
    return x * np.ldexp(1.0, numbers_in(i))


@_ufunc("vecdot")
def _vecdot(x: Any, y: Any) -> Any:
    x, y = _as_array(x), _as_array(y)
    return _element((x[..., None, :] @ y[..., :, None])[..., 0, 0])


@_ufunc("matvec")
def _matvec(x: Any, y: Any) -> Any:
    return (x @ _as_array(y)[..., None])[..., 0]


@_ufunc("vecmat")
def _vecmat(x: Any, y: Any) -> Any:
    return (_as_array(x)[..., None, :] @ y)[..., 0, :]


# ---- the table

TABLE: dict[Any, _Handler] = {}


def _finish() -> None:
    entries: dict[str, Callable[[Any], _Handler]] = {}
    entries.update({name: _of_numbers for name in OF_NUMBERS})
    entries.update({name: _on_objects for name in ON_OBJECTS})
    for name, condition in WITH_CONDITION.items():
        entries[name] = functools.partial(_with_condition, name=condition)
    entries.update({name: _on_arrays for name in ON_ARRAYS})
    for name, (at, condition) in CHANGING.items():
        entries[name] = functools.partial(_changing, at=at, name=condition)
    for name, handler in COMPOSED.items():
        entries[name] = lambda function, handler=handler: handler  # type: ignore[misc]
    for name, make in entries.items():
        function = _named(name)
        if function is not None and not isinstance(function, (np.ufunc, type)):
            TABLE[function] = guarded(name, make(function))


_finish()
