"""The class of the arrays that `micrograd_c.array` makes: NumPy's arrays, with Values for elements.

This module is imported when the first array is made, since it needs NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from micrograd_c import _core, functions
from micrograd_c._core import OPS, Value, array_of_values, being_traced

if TYPE_CHECKING:
    from types import EllipsisType

__all__ = ["Array", "array"]


class Numbers(np.ndarray[Any, np.dtype[np.float64]]):
    """The numbers of an Array: a copy, and read-only, since a number assigned to it would be lost.

    In-place operators make another array, which `x.values -= 1` then assigns. Results of further
    computations are plain arrays.
    """

    name = "values"

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return array[()] if array.ndim == 0 else array

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        # NumPy asks this class before Array, but only Array knows what functions do with Values.
        if any(issubclass(cls, Array) for cls in types):
            return NotImplemented
        return super().__array_function__(func, types, args, kwargs)

    def __setitem__(self, key: Any, value: Any) -> None:
        if not self.flags.writeable:
            raise ValueError(
                f"x.{self.name} is a copy, so its elements cannot be assigned: write"
                f" x.{self.name} = 0 for all, x[i].{self.name} = 0 for a slice, or assign an array"
            )
        super().__setitem__(key, value)

    def fill(self, value: Any) -> None:
        self[...] = value

    def __repr__(self) -> str:
        return repr(self.view(np.ndarray))

    def __reduce__(self) -> Any:
        return self.view(np.ndarray).copy().__reduce__()


class Gradients(Numbers):
    name = "grad"


if TYPE_CHECKING:
    # NumPy's stubs say that np.exp(x) is an ndarray where x is one, and anything where x is a
    # scalar.
    class _Base(np.ndarray[Any, np.dtype[np.object_]], np.generic): ...  # type: ignore[misc]
else:
    _Base = np.ndarray


class Array(_Base):
    """An n-dimensional array of Values, made by `micrograd_c.array`.

    It is a NumPy array of dtype object: slices, shapes, broadcasting and stacking are NumPy's own.
    Operators and the functions of Value work element by element. Each element of the result is one
    node, and errors are those of the Values. `@`, `dot`, `np.inner`, `sum` and `mean` make one node
    for each element of the result. The functions of Value (exp, tanh, relu, ...) are methods, too.

    Comparisons, truth, orders, counts, sets and tests use the numbers, and return plain arrays.
    Other functions of NumPy return Arrays (without axes, a Value), or raise a TypeError that says
    what to write.

    An element, `a[0]`, is the Value itself; a slice is a view, whose elements are the same Values.
    Numbers that are assigned to elements become new Values.

    >>> import micrograd_c as mg
    >>> w, x = mg.array([[1.0, 2.0], [3.0, 4.0]]), mg.array([1.0, -1.0])
    >>> y = (w @ x).tanh()
    >>> y.backward()
    >>> bool((x.grad == (1 - y.values**2) @ w.values).all())
    True
    """

    __slots__ = ()

    def __new__(cls, *args: Any, **keywords: Any) -> Array:
        raise TypeError("an Array is made by micrograd_c.array(data)")

    if TYPE_CHECKING:  # what NumPy's stubs have of any ndarray, and the functions of the op table

        def __getattr__(self, name: str) -> Any: ...
        @overload  # type: ignore[override]
        def __getitem__(
            self, key: slice | EllipsisType | NDArray[Any] | list[Any] | None, /
        ) -> Array: ...
        @overload
        def __getitem__(self, key: Any, /) -> Any: ...
        def __getitem__(self, key: Any, /) -> Any: ...
        def __neg__(self) -> Array: ...
        def __pos__(self) -> Array: ...
        def __abs__(self) -> Array: ...
        def __add__(self, other: Any, /) -> Array: ...
        def __radd__(self, other: Any, /) -> Array: ...
        def __iadd__(self, other: Any, /) -> Array: ...
        def __sub__(self, other: Any, /) -> Array: ...
        def __rsub__(self, other: Any, /) -> Array: ...
        def __isub__(self, other: Any, /) -> Array: ...
        def __mul__(self, other: Any, /) -> Array: ...
        def __rmul__(self, other: Any, /) -> Array: ...
        def __imul__(self, other: Any, /) -> Array: ...
        def __truediv__(self, other: Any, /) -> Array: ...
        def __rtruediv__(self, other: Any, /) -> Array: ...
        def __itruediv__(self, other: Any, /) -> Array: ...
        def __pow__(self, other: Any, mod: None = None, /) -> Array: ...
        def __rpow__(self, other: Any, mod: None = None, /) -> Array: ...
        def __ipow__(self, other: Any, /) -> Array: ...  # type: ignore[override,misc]
        def __matmul__(self, other: Any, /) -> Any: ...
        def __rmatmul__(self, other: Any, /) -> Any: ...
        def __eq__(self, other: Any, /) -> NDArray[np.bool_]: ...  # type: ignore[override]
        def __ne__(self, other: Any, /) -> NDArray[np.bool_]: ...  # type: ignore[override]
        def __lt__(self, other: Any, /) -> NDArray[np.bool_]: ...
        def __le__(self, other: Any, /) -> NDArray[np.bool_]: ...
        def __gt__(self, other: Any, /) -> NDArray[np.bool_]: ...
        def __ge__(self, other: Any, /) -> NDArray[np.bool_]: ...

    # ---- data and gradients

    @property
    def values(self) -> NDArray[np.float64]:
        """The numbers (`data`) of the elements: a new array of float64, in this shape, read-only.

        Numbers can be assigned in this shape, or in one that broadcasts to it (else ValueError).

        >>> import micrograd_c as mg
        >>> w = mg.array([1.0, 2.0])
        >>> w.values -= 0.5
        >>> w[1]
        Value(data=1.5, grad=0.0)
        """
        return _read_only(_core.array_numbers(self), Numbers)

    @values.setter
    def values(self, numbers: ArrayLike) -> None:
        _core.array_assign(self, numbers)

    @property
    def grad(self) -> NDArray[np.float64]:
        """The gradients of the elements: a new array of float64, in this shape, read-only.

        Numbers can be assigned in this shape, or in one that broadcasts to it (else ValueError).

        >>> import micrograd_c as mg
        >>> w = mg.array([1.0, 2.0])
        >>> (w * w).backward()
        >>> w.grad.tolist()
        [2.0, 4.0]
        >>> w.grad = 0.0
        """
        return _read_only(_core.array_numbers(self, gradients=True), Gradients)

    @grad.setter
    def grad(self, numbers: ArrayLike) -> None:
        _core.array_assign(self, numbers, gradients=True)

    def asnumpy(self) -> NDArray[np.float64]:
        """The numbers of the elements as a new array of float64 that can be changed: MXNet's name.

        >>> import micrograd_c as mg
        >>> mg.array([1.0, 2.0]).asnumpy()
        array([1., 2.])
        """
        return _core.array_numbers(self)

    @property
    def data(self) -> NoReturn:
        """AttributeError: the numbers of an Array are its `values`.

        >>> import micrograd_c as mg
        >>> hasattr(mg.array([1.0]), "data")
        False
        """
        raise AttributeError("an Array has no .data: its numbers are .values")

    @data.setter
    def data(self, numbers: Any) -> NoReturn:
        raise AttributeError("an Array has no .data: assign its numbers to .values")

    def item(self, *index: Any) -> float:
        """The number of the only element, or of the element at an index, as a float.

        The Value itself is `a[index]`. ValueError if there are several
        elements, and no index.

        >>> import micrograd_c as mg
        >>> mg.array([[2.0]]).item()
        2.0
        """
        value: Any = super().item(*index)
        return float(value.data if isinstance(value, Value) else value)

    def backward(self, head_gradient: ArrayLike | None = None, retain_graph: bool = True) -> None:
        """Add to the gradients of all Values that the elements were made from, in one sweep.

        head_gradient: the gradient of each element, numbers in the shape of the array. None means 1
        for each element: the gradients are then those of their sum. With retain_graph=False, the
        operations that the sweep reached forget their history.

        ValueError if head_gradient has another shape, or if the array has several elements and none
        has a history.

        >>> import micrograd_c as mg
        >>> x = mg.array([0.0, 1.0, 2.0, 3.0])
        >>> (x * x).backward([1.0, 10.0, 100.0, 1000.0])
        >>> x.grad.tolist()
        [0.0, 20.0, 400.0, 6000.0]
        """
        from micrograd_c import autograd

        _core.refuse_mask(head_gradient)
        if head_gradient is not None and np.shape(head_gradient) != self.shape:
            given = np.shape(head_gradient)
            raise ValueError(f"head_gradient must have shape {self.shape}, not {given}")
        if self.size == 1:
            of_one = 1.0 if head_gradient is None else np.asarray(head_gradient, object).ravel()[0]
            self.ravel()[0].backward(of_one, retain_graph)
        else:
            autograd.backward(self, head_gradient, retain_graph)

    def detach(self) -> Array:
        """A new Array of leaves with these numbers. It has no history: no gradient passes through.

        >>> import micrograd_c as mg
        >>> x = mg.array([1.0, 2.0])
        >>> (x * x.detach()).backward()
        >>> x.grad.tolist()
        [1.0, 2.0]
        """
        return _core.array_detached(self)

    def attach_grad(self, grad_req: str = "write") -> None:
        """Make the elements independent variables, in place, without history and with gradient 0.

        grad_req says what each later `backward` does to their gradients: 'write' overwrites them,
        'add' adds to them, 'null' leaves them alone. ValueError for other names.

        >>> import micrograd_c as mg
        >>> x = mg.array([1.0, 2.0])
        >>> x.attach_grad()
        >>> for _ in range(2):
        ...     (x * x).backward()
        >>> x.grad.tolist()
        [2.0, 4.0]
        """
        for v in self.ravel().tolist():
            v.attach_grad(grad_req)

    # ---- sums and products

    def astype(self, dtype: Any, *args: Any, **keywords: Any) -> Any:
        """A copy of another type: object, or bool or text of the numbers. TypeError for others.

        >>> import micrograd_c as mg
        >>> mg.array([0.0, 2.0]).astype(bool).tolist()
        [False, True]
        """
        if np.dtype(dtype).kind in "bUS":
            return self.asnumpy().astype(dtype)
        return super().astype(dtype, *args, **keywords)

    # Reductions, and what is of the numbers alone, are NumPy's functions: see `_finish`.

    # ---- what NumPy asks for

    __array_ufunc__ = _core.array_ufunc

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        for t in types:
            if t is not Array and not issubclass(t, np.ndarray):
                return NotImplemented
        return functions.of_function(func, args, kwargs)

    @property
    def _optinfo(self) -> NoReturn:
        """What numpy.ma asks of an array that it is about to mask."""
        raise TypeError(_core.NO_MASK)

    def __bool__(self) -> bool:
        return _core.array_truth(self)

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(value, Value):
            _core.refuse_mask(value)
            shape = getattr(super().__getitem__(key), "shape", ())
            if not isinstance(value, Array):
                value = np.asarray(value)
                if value.ndim <= len(shape):  # a new Value for each element, not one for several
                    value = np.broadcast_to(value, shape)
                value = array(value)
            if shape == ():
                value = np.ndarray.item(value)
        super().__setitem__(key, value)

    def fill(self, value: Any) -> None:
        """Assign to every element: the Value that is given, or a new Value for each of a number.

        >>> import micrograd_c as mg
        >>> x = mg.array([1.0, 2.0])
        >>> x.fill(3.0)
        >>> x
        mg.array([3., 3.])
        """
        self[...] = value

    def __repr__(self) -> str:
        return f"mg.array({self._text('mg.array(', ', ')})"

    def __str__(self) -> str:
        return self._text("", " ")

    def _text(self, prefix: str, separator: str) -> str:
        if being_traced(self.ravel().tolist()):
            return f"<{self.shape} being traced>"
        return np.array2string(self.asnumpy(), separator=separator, prefix=prefix)


def array(data: Any) -> Array:
    """An array of Values: NumPy's, of dtype object, whose elements are the Values themselves.

    data: numbers and Values in lists, tuples or arrays of any shape. Values, and those of an
    Array, are kept; numbers become new Values. TypeError names the first element that is neither;
    ValueError if the shape is ragged.

    Everything of NumPy's works on it, by broadcasting and element by element. `Array` says what is
    added.

    >>> import micrograd_c as mg
    >>> x = mg.array([0.0, 1.0, 2.0, 3.0])
    >>> y = 2 * x @ x
    >>> y.backward()
    >>> y.data, x.grad.tolist()
    (28.0, [0.0, 4.0, 8.0, 12.0])
    """
    return array_of_values(data)


def _read_only(numbers: NDArray[np.float64], kind: type[Numbers]) -> Numbers:
    numbers.flags.writeable = False
    return numbers.view(kind)


def _in_place_operator(name: str) -> Any:
    """An in-place operator; of what is read-only it makes another array."""

    def method(self: Numbers, other: Any) -> Any:
        return getattr(super(Numbers, self), f"__{'i' * self.flags.writeable}{name}__")(other)

    return method


for _name in "add sub mul truediv floordiv mod pow matmul".split():
    setattr(Numbers, f"__i{_name}__", _in_place_operator(_name))


def _method(name: str, arity: int) -> Any:
    """The operation of the table as a method of arrays."""

    def unary(self: Array) -> Any:
        return _core.array_apply(name, self)

    def binary(self: Array, other: Any) -> Any:
        return _core.array_apply(name, self, other)

    method = unary if arity == 1 else binary
    method.__doc__ = f"`Value.{name}` of every element: an Array of this shape, with the gradient."
    return method


def _numpy_method(name: str) -> Any:
    """A method of ndarray as the function of that name, with the array first."""
    function = functions.TABLE[getattr(np, name)].__wrapped__  # type: ignore[attr-defined]

    def compress(self: Array, condition: Any, *args: Any, **keywords: Any) -> Any:
        return function(condition, self, *args, **keywords)

    method = functions.guarded(name, compress if name == "compress" else function)
    method.__doc__ = f"`numpy.{name}` of this array, with its arguments."
    return method


def _in_place(name: str) -> Any:
    """A method of ndarray that orders the array in place."""

    def method(self: Array, *args: Any, **keywords: Any) -> None:
        self[...] = getattr(np, name)(self, *args, **keywords)

    method.__doc__ = f"`numpy.{name}` of this array, in place, with its arguments."
    return method


def _refused(name: str) -> Any:
    """A method of ndarray that reads memory, where an Array has no numbers."""

    def method(self: Array, *args: Any, **keywords: Any) -> NoReturn:
        raise TypeError(f"an Array holds Values, not numbers. Instead, x.values.{name}(...)")

    method.__doc__ = f"TypeError: these are Values. Of their numbers, `x.values.{name}(...)`."
    return method


AS_FUNCTIONS = """
    all any argmax argmin argpartition argsort clip compress cumprod cumsum dot max mean min nonzero
    prod put round searchsorted std sum trace var
""".split()


def _finish() -> None:
    methods = {op.name: _method(op.name, op.arity) for op in OPS if hasattr(Value, op.name)}
    methods |= {name: _numpy_method(name) for name in AS_FUNCTIONS}
    for name in ("sort", "partition"):
        methods[name] = _in_place(name)
    for name in ("byteswap", "tobytes", "tofile"):
        methods[name] = _refused(name)
    for name, method in methods.items():
        method.__name__, method.__qualname__ = name, f"Array.{name}"
        setattr(Array, name, method)


_finish()
