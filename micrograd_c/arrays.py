"""The class of what `micrograd_c.array` makes: NumPy's arrays, with Values for elements.

It has a module of its own that is imported when the first array is made, since it needs NumPy.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from micrograd_c import _core
from micrograd_c._core import OPS, TraceError, Value, array

__all__ = ["Array"]


class Array(np.ndarray[Any, np.dtype[np.object_]]):
    """An n-dimensional array of Values, made by `micrograd_c.array`.

    It is a NumPy array of dtype object, so all of NumPy works on it: slices, shapes, broadcasting,
    stacking, functions. Operators and the functions that Value has work element by element: each
    element of the result is one node, as if it were written on the Values themselves, and what is
    an error there is the same error here. `@`, `dot`, `np.inner`, `sum` and `mean` make one node
    for each element of the result. The functions of Value (exp, tanh, relu, ...) are methods, too.

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

    if TYPE_CHECKING:  # the functions of the op table

        def __getattr__(self, name: str) -> Any: ...

    # ---- data and gradients

    @property
    def values(self) -> NDArray[np.float64]:
        """The numbers (`data`) of the elements, as a new float array of the same shape.

        May be assigned: an array of this shape or one that broadcasts to it, else ValueError.

        >>> import micrograd_c as mg
        >>> w = mg.array([1.0, 2.0])
        >>> w.values -= 0.5
        >>> w[1]
        Value(data=1.5, grad=0.0)
        """
        return _core.array_numbers(self)

    @values.setter
    def values(self, numbers: ArrayLike) -> None:
        _core.array_assign(self, numbers)

    @property
    def grad(self) -> NDArray[np.float64]:
        """The gradients of the elements, as a new float array of the same shape.

        May be assigned as `values` may: `w.grad = 0.0`.
        """
        return _core.array_numbers(self, grad=True)

    @grad.setter
    def grad(self, numbers: ArrayLike) -> None:
        _core.array_assign(self, numbers, grad=True)

    def asnumpy(self) -> NDArray[np.float64]:
        """The same as `values`, by MXNet's name."""
        return self.values

    def backward(self, head: ArrayLike | None = None) -> None:
        """Add to the gradients of all that the elements were made from, in one sweep.

        head: the gradient of each element, numbers in the array's shape (else ValueError); 1 for
        each by default, which is to go back from their sum. ValueError if no element has a history.

        >>> import micrograd_c as mg
        >>> x = mg.array([0.0, 1.0, 2.0, 3.0])
        >>> (x * x).backward([1.0, 10.0, 100.0, 1000.0])
        >>> x.grad.tolist()
        [0.0, 20.0, 400.0, 6000.0]
        """
        from micrograd_c import autograd

        if head is not None and np.shape(head) != self.shape:
            raise ValueError(f"head must have shape {self.shape}, not {np.shape(head)}")
        autograd.backward(self, head)

    def detach(self) -> Array:
        """The same numbers without their history: no gradient passes.

        >>> import micrograd_c as mg
        >>> x = mg.array([1.0, 2.0])
        >>> (x * x.detach()).backward()
        >>> x.grad.tolist()
        [1.0, 2.0]
        """
        return _core.array_detached(self)

    def attach_grad(self, grad_req: str = "write") -> None:
        """Make the elements independent variables in place: `Value.attach_grad` of each.

        grad_req: 'write', 'add' or 'null', what a backward does to their gradients.
        """
        for v in self.ravel().tolist():
            v.attach_grad(grad_req)

    # ---- sums and products

    def sum(  # type: ignore[override]
        self,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        keepdims: bool = False,
        **others: Any,
    ) -> Any:
        """The sum over an axis, several, or all: one node each. Otherwise as `numpy.sum`.

        >>> import micrograd_c as mg
        >>> mg.array([[1.0, 2.0], [3.0, 4.0]]).sum(axis=0)
        mg.array([4., 6.])
        """
        return self._reduced("sum", axis, dtype, out, keepdims, others)

    def mean(  # type: ignore[override]
        self,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        keepdims: bool = False,
        **others: Any,
    ) -> Any:
        """The mean over an axis, several, or all: one node each. Otherwise as `numpy.mean`.

        ValueError if there is nothing to take it of.

        >>> import micrograd_c as mg
        >>> mg.array([[1.0, 2.0], [3.0, 4.0]]).mean(axis=1)
        mg.array([1.5, 3.5])
        """
        return self._reduced("mean", axis, dtype, out, keepdims, others)

    def _reduced(
        self, name: str, axis: Any, dtype: Any, out: Any, keepdims: bool, others: dict[str, Any]
    ) -> Any:
        if dtype is None and out is None and not others:
            result = _core.array_sum(self, axis, keepdims, name == "mean")
            if result is not NotImplemented:
                return result
        return getattr(super(), name)(axis, dtype, out, keepdims, **others)

    def dot(self, b: ArrayLike, out: Any = None) -> Any:
        """`numpy.dot`: the sums of products, one node each."""
        return np.dot(self, b, out=out)

    # ---- what NumPy asks for

    __array_ufunc__ = _core.array_ufunc

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if len(args) == 2 and kwargs.get("out") is None:
            if func is np.dot or func is np.inner:
                return _core.array_product(func.__name__, *args)
            if func is np.vdot:
                return _core.array_product("dot", np.ravel(args[0]), np.ravel(args[1]))
        result = super().__array_function__(func, types, args, kwargs)
        if result is None and args and isinstance(args[0], Array):  # np.copyto and its like
            args[0][...] = args[0].view(np.ndarray)
        return _core.settled(result)

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(value, Value):
            shape = getattr(super().__getitem__(key), "shape", ())
            if not isinstance(value, Array):
                value = np.asarray(value)
                if value.ndim <= len(shape):  # a new Value for each element, not one for several
                    value = np.broadcast_to(value, shape)
                value = array(value)
            if shape == ():
                value = value.item()
        super().__setitem__(key, value)

    def fill(self, value: Any) -> None:
        """Assign to every element: a Value, or new ones of a number."""
        self[...] = value

    def __repr__(self) -> str:
        return f"mg.array({self._text('mg.array(', ', ')})"

    def __str__(self) -> str:
        return self._text("", " ")

    def _text(self, prefix: str, separator: str) -> str:
        try:
            return np.array2string(self.values, separator=separator, prefix=prefix)
        except TraceError:
            return f"<{self.shape} being traced>"


def _method(name: str, arity: int) -> Any:
    """The operation of the table as a method of arrays."""

    def unary(self: Array) -> Any:
        return _core.array_apply(name, self)

    def binary(self: Array, other: Any) -> Any:
        return _core.array_apply(name, self, other)

    method = unary if arity == 1 else binary
    method.__doc__ = f"`Value.{name}` of every element."
    return method


def _numpy_method(name: str) -> Any:
    """A method of ndarray that returns indices, which are no Array."""

    @functools.wraps(getattr(np.ndarray, name))
    def method(self: Array, *args: Any, **keywords: Any) -> Any:
        return getattr(self.view(np.ndarray), name)(*args, **keywords)

    return method


def _finish() -> None:
    methods = {op.name: _method(op.name, op.arity) for op in OPS if hasattr(Value, op.name)}
    del methods["max"], methods["min"]  # NumPy's
    for name in ("argmax", "argmin", "argsort", "argpartition"):
        methods[name] = _numpy_method(name)
    for name, method in methods.items():
        method.__name__, method.__qualname__ = name, f"Array.{name}"
        setattr(Array, name, method)


_finish()
