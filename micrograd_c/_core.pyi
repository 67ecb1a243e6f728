"""The compiled core of micrograd_c: the tape and its facade, Value."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, SupportsFloat, SupportsIndex, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import Self, disjoint_base

_Number: TypeAlias = SupportsFloat | SupportsIndex

@disjoint_base
class Value:
    """A number that remembers how it was computed, so that `backward` can find the derivative of a
    result by every number it was made from.

    Made with children, a Value is an operation of the user's own. The third argument is then its
    name, with its reverse step assigned to `_backward` later; or, as `local_grads`, a sequence of
    numbers, the partial derivative by each child.

    TypeError if data is not a number or a child not a Value; ValueError if children and local_grads
    differ in length.
    """

    __array_priority__: float
    data: float
    """The number itself (primal). May be assigned at any time: sweeps read it as it then stands."""
    grad: float
    """The derivative (adjoint) that `backward` has accumulated here; 0.0 before."""
    label: Any
    """A name for pictures; '' until assigned."""
    _op: Any
    """The name of the operation that made this node: '+', '*', 'exp', ...; '' for a leaf."""
    @property
    def _children(self) -> tuple[Value, ...]:
        """The parents of this node on the tape, in the order of the operands."""
    @property
    def _prev(self) -> set[Value]:
        """The parents of this node on the tape."""
    @property
    def _local_grads(self) -> tuple[float, ...]:
        """The partial derivative of this node by each of `_children`."""
    @property
    def _backward(self) -> Callable[[], Any]:
        """This node's own step of the reverse sweep; assign a closure to replace it."""
    @_backward.setter
    def _backward(self, step: Callable[[], Any]) -> None: ...
    @_backward.deleter
    def _backward(self) -> None: ...
    @overload
    def __init__(
        self,
        data: _Number,
        _children: Iterable[Value] = (),
        _op: str = "",
        label: Any = "",
        *,
        children: Iterable[Value] = (),
        local_grads: Iterable[_Number] = (),
    ) -> None: ...
    @overload
    def __init__(
        self,
        data: _Number,
        _children: Iterable[Value],
        _op: Iterable[_Number],
        label: Any = "",
    ) -> None: ...
    def backward(self) -> None:
        """Set the gradient of this value to 1 and add to that of every value it was made from.

        Gradients accumulate, over the uses of a value and over calls; nothing is cleared. Time and
        memory grow with the graph that this value reaches; there is no recursion.
        """
    def __getattr__(self, name: str) -> Any: ...
    def __setattr__(self, name: str, value: Any, /) -> None: ...
    def __delattr__(self, name: str, /) -> None: ...
    def __add__(self, other: Value | _Number, /) -> Self: ...
    def __radd__(self, other: Value | _Number, /) -> Self: ...
    def __sub__(self, other: Value | _Number, /) -> Self: ...
    def __rsub__(self, other: Value | _Number, /) -> Self: ...
    def __mul__(self, other: Value | _Number, /) -> Self: ...
    def __rmul__(self, other: Value | _Number, /) -> Self: ...
    def __truediv__(self, other: Value | _Number, /) -> Self: ...
    def __rtruediv__(self, other: Value | _Number, /) -> Self: ...
    def __pow__(self, other: Value | _Number, modulo: None = None, /) -> Self: ...
    def __rpow__(self, other: Value | _Number, modulo: None = None, /) -> Self: ...
    def __neg__(self) -> Self: ...
    def __pos__(self) -> Self: ...
    def __abs__(self) -> Self: ...
    def __lt__(self, other: Value | _Number, /) -> bool: ...
    def __le__(self, other: Value | _Number, /) -> bool: ...
    def __gt__(self, other: Value | _Number, /) -> bool: ...
    def __ge__(self, other: Value | _Number, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __format__(self, spec: str) -> str: ...
    def __setstate__(self, state: dict[str, Any]) -> None: ...
    def _repr_svg_(self) -> str | None: ...
    def abs(self) -> Self:
        """The absolute value."""
    def exp(self) -> Self:
        """e to the power of this."""
    def expm1(self) -> Self:
        """exp(x) - 1, precise near 0."""
    def log(self) -> Self:
        """The natural logarithm."""
    def log2(self) -> Self:
        """The logarithm to base 2."""
    def log10(self) -> Self:
        """The logarithm to base 10."""
    def log1p(self) -> Self:
        """log(1 + x), precise near 0."""
    def sqrt(self) -> Self:
        """The square root."""
    def cbrt(self) -> Self:
        """The cube root."""
    def sin(self) -> Self:
        """The sine, of radians."""
    def cos(self) -> Self:
        """The cosine, of radians."""
    def tan(self) -> Self:
        """The tangent, of radians."""
    def asin(self) -> Self:
        """The arc sine, in radians."""
    def acos(self) -> Self:
        """The arc cosine, in radians."""
    def atan(self) -> Self:
        """The arc tangent, in radians."""
    def sinh(self) -> Self:
        """The hyperbolic sine."""
    def cosh(self) -> Self:
        """The hyperbolic cosine."""
    def tanh(self) -> Self:
        """The hyperbolic tangent."""
    def asinh(self) -> Self:
        """The inverse hyperbolic sine."""
    def acosh(self) -> Self:
        """The inverse hyperbolic cosine."""
    def atanh(self) -> Self:
        """The inverse hyperbolic tangent."""
    def erf(self) -> Self:
        """The error function."""
    def erfc(self) -> Self:
        """1 - erf(x)."""
    def sigmoid(self) -> Self:
        """The logistic function, 1 / (1 + exp(-x))."""
    def softplus(self) -> Self:
        """log(1 + exp(x)), without overflow."""
    def relu(self) -> Self:
        """max(x, 0); its derivative at 0 is 0."""
    def atan2(self, other: Value | _Number, /) -> Self:
        """The angle of the point (other, self), in radians from -pi to pi."""
    def hypot(self, other: Value | _Number, /) -> Self:
        """The distance of the point (self, other) from the origin."""
    def min(self, other: Value | _Number, /) -> Self:
        """The smaller of the two; the first, with the whole gradient, where they tie."""
    def max(self, other: Value | _Number, /) -> Self:
        """The larger of the two; the first, with the whole gradient, where they tie."""
    def arcsin(self) -> Self:
        """numpy's name of `asin`."""
    def arccos(self) -> Self:
        """numpy's name of `acos`."""
    def arctan(self) -> Self:
        """numpy's name of `atan`."""
    def arcsinh(self) -> Self:
        """numpy's name of `asinh`."""
    def arccosh(self) -> Self:
        """numpy's name of `acosh`."""
    def arctanh(self) -> Self:
        """numpy's name of `atanh`."""
    def arctan2(self, other: Value | _Number, /) -> Self:
        """numpy's name of `atan2`."""

def sum(values: Iterable[Value | _Number]) -> Value:
    """The sum of Values and numbers, as one node. An empty one gives 0."""

def dot(
    xs: Iterable[Value | _Number],
    ys: Iterable[Value | _Number],
    start: Value | _Number | None = None,
) -> Value:
    """The sum of the products of two sequences of one length (else ValueError), as one node,
    begun with `start`."""

def get_data(params: Iterable[Value]) -> NDArray[np.float64]:
    """The data of Values, as a new array of float64 of shape (n,). TypeError names the first item
    that is not a Value."""

def get_grad(params: Iterable[Value]) -> NDArray[np.float64]:
    """The gradients of Values, as a new array of float64 of shape (n,). TypeError names the first
    item that is not a Value."""

def set_data(params: Iterable[Value], array: ArrayLike) -> None:
    """Assign the data of Values, from an array or a sequence of n numbers.

    TypeError names the first item that is not a Value, and the first of `array` that is not a real
    number; ValueError if the shape is not (n,). No data has changed then.
    """

def zero_grad(params: tuple[Value, ...]) -> None:
    """Set the gradient of every Value to 0."""

def clip_grad_norm(params: tuple[Value, ...], max_norm: float) -> float:
    """Scale all gradients so that their L2 norm is at most max_norm; returns what it was."""

def sgd_step(
    params: tuple[Value, ...],
    updates: NDArray[np.float64],
    momentum_buffer: NDArray[np.float64],
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
) -> None:
    """A step of SGD. updates: of shape (1,), how often the momentum buffer has been updated."""

def adam_step(
    params: tuple[Value, ...],
    updates: NDArray[np.float64],
    exp_avg: NDArray[np.float64],
    exp_avg_sq: NDArray[np.float64],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """A step of Adam, or of AdamW if decoupled. updates: of shape (1,), the steps taken so far."""

def tape_size() -> int:
    """Number of nodes on the tape: those that live, and those not collected yet."""

def tape_collect() -> int:
    """Free every node that no Value needs any more, and memory with them; returns their number.

    The tape does this by itself. Within a reverse sweep nothing is collected.
    """

def tape_live() -> int:
    """Number of nodes that live: a Value stands for them or depends on them. Collects first."""

def tape_allocated() -> int:
    """Number of nodes that there is room for."""

def tape_bytes() -> int:
    """Bytes allocated for the tape, without the Values that Python holds."""

def restored(cls: type[Value], data: float, grad: float) -> Value:
    """A leaf, as pickle and copy make it."""

class Op(NamedTuple):
    """A line of the op table."""

    name: str
    symbol: str
    arity: int
    value: str
    by_a: str
    by_b: str

OPS: tuple[Op, ...]
NUMPY_NAMES: dict[str, str]

def _tune(nursery: int | None = None, max_nodes: int | None = None) -> None:
    """For tests: the nursery, in nodes (1: collect after every operation), and the largest tape."""
