"""The compiled core of micrograd_c: the tape and its facade, Value."""

from collections.abc import Callable as _Function
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, Self, SupportsFloat, SupportsIndex, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import TypeIs, disjoint_base

from micrograd_c._graph import Graph
from micrograd_c.arrays import Array

_Number: TypeAlias = SupportsFloat | SupportsIndex
_Signature: TypeAlias = tuple[Any, ...]  # see src/program/signature.pyx
_Bytes: TypeAlias = NDArray[np.uint8]
_Ints: TypeAlias = NDArray[np.int32]
_Argnums: TypeAlias = int | tuple[int, ...] | list[int]
_Request: TypeAlias = Literal["write", "add", "null"]

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
    def __array_ufunc__(self, ufunc: Any, method: str, /, *inputs: Any, **keywords: Any) -> Any: ...
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
    def _backward(self) -> _Function[[], Any]:
        """This node's own step of the reverse sweep; assign a closure to replace it."""
    @_backward.setter
    def _backward(self, step: _Function[[], Any]) -> None: ...
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
    def item(self) -> float:
        """The number itself, as a float: `data` by NumPy's name."""
    def asnumpy(self) -> NDArray[np.float64]:
        """The number itself, as an array of no axes: MXNet's name."""
    def detach(self) -> Self:
        """The same number without its history: no gradient passes."""
    def attach_grad(self, grad_req: _Request = "write") -> None:
        """Make this value an independent variable, in place, without history and with gradient 0.

        grad_req says what each `backward` that reaches it does to its gradient: 'write' puts the
        new one in its place, 'add' adds to it (as for Values that never called this), 'null' leaves
        it alone. ValueError for other names.
        """
    def backward(self, head_gradient: _Number = 1.0, retain_graph: bool = True) -> None:
        """Set the gradient of this value to head_gradient, and add to that of every value it was
        made from.

        Gradients accumulate, over the uses of a value and over calls; nothing is cleared, but see
        `attach_grad`. Time and memory grow with the graph that this value reaches; there is no
        recursion. Without retain_graph, the operations that were reached forget their history.
        """
    def __getattr__(self, name: str) -> Any: ...
    def __setattr__(self, name: str, value: Any, /) -> None: ...
    def __delattr__(self, name: str, /) -> None: ...
    @overload
    def __add__(self, other: NDArray[Any], /) -> Array: ...  # type: ignore[overload-overlap]
    @overload
    def __add__(self, other: Value | _Number, /) -> Self: ...
    @overload
    def __radd__(self, other: NDArray[Any], /) -> Array: ...  # type: ignore[overload-overlap]
    @overload
    def __radd__(self, other: Value | _Number, /) -> Self: ...
    @overload
    def __sub__(self, other: NDArray[Any], /) -> Array: ...  # type: ignore[overload-overlap]
    @overload
    def __sub__(self, other: Value | _Number, /) -> Self: ...
    @overload
    def __rsub__(self, other: NDArray[Any], /) -> Array: ...  # type: ignore[overload-overlap]
    @overload
    def __rsub__(self, other: Value | _Number, /) -> Self: ...
    @overload
    def __mul__(self, other: NDArray[Any], /) -> Array: ...  # type: ignore[overload-overlap]
    @overload
    def __mul__(self, other: Value | _Number, /) -> Self: ...
    @overload
    def __rmul__(self, other: NDArray[Any], /) -> Array: ...  # type: ignore[overload-overlap]
    @overload
    def __rmul__(self, other: Value | _Number, /) -> Self: ...
    @overload
    def __truediv__(self, other: NDArray[Any], /) -> Array: ...  # type: ignore[overload-overlap]
    @overload
    def __truediv__(self, other: Value | _Number, /) -> Self: ...
    @overload
    def __rtruediv__(self, other: NDArray[Any], /) -> Array: ...  # type: ignore[overload-overlap]
    @overload
    def __rtruediv__(self, other: Value | _Number, /) -> Self: ...
    @overload
    def __pow__(self, other: NDArray[Any], modulo: None = None, /) -> Array: ...  # type: ignore[overload-overlap]
    @overload
    def __pow__(self, other: Value | _Number, modulo: None = None, /) -> Self: ...
    @overload
    def __rpow__(self, other: NDArray[Any], modulo: None = None, /) -> Array: ...  # type: ignore[overload-overlap]
    @overload
    def __rpow__(self, other: Value | _Number, modulo: None = None, /) -> Self: ...
    def __neg__(self) -> Self: ...
    def __pos__(self) -> Self: ...
    def __abs__(self) -> Self: ...
    def __lt__(self, other: Value | _Number, /) -> bool: ...
    def __le__(self, other: Value | _Number, /) -> bool: ...
    def __gt__(self, other: Value | _Number, /) -> bool: ...
    def __ge__(self, other: Value | _Number, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __bool__(self) -> bool: ...
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
        """The smaller of the two, or nan; the first, with the whole gradient, where they tie."""
    def max(self, other: Value | _Number, /) -> Self:
        """The larger of the two, or nan; the first, with the whole gradient, where they tie."""
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

def where(
    test: Value | _Number,
    a: Value | _Number | _Function[[], Value | _Number],
    b: Value | _Number | _Function[[], Value | _Number],
) -> Value:
    """a where test > 0, else b (for nan, too): one node, whose gradient goes to the one chosen.
    Of functions in their place, only the one chosen is called; while tracing, both are."""

def array(data: Any) -> Array:
    """An array of Values: NumPy's, of dtype object, whose elements are the Values themselves.

    data: numbers and Values in lists, tuples or arrays of any shape. Values, and those of an Array,
    are kept, numbers become new ones. TypeError names the first element that is neither; ValueError
    if the shape is ragged.
    """

def array_ufunc(self: Any, ufunc: Any, method: str, *inputs: Any, **keywords: Any) -> Any:
    """`__array_ufunc__` of Array and Value."""

def array_apply(name: str, array: Array, *others: Any) -> Any:
    """An operation of the table by its name, on each element."""

def array_product(name: str, a: Any, b: Any) -> Any:
    """np.dot or np.inner where an Array is among the operands."""

def array_sum(array: Array, axis: Any = None, keepdims: bool = False, mean: bool = False) -> Any:
    """The sums or means over axes, each one node; NotImplemented if that is to be left to NumPy."""

def array_numbers(array: Array, grad: bool = False) -> NDArray[np.float64]:
    """The data or gradients of an Array's elements, as a new array of float64."""

def array_assign(array: Array, numbers: ArrayLike, grad: bool = False) -> None:
    """Assign the data or gradients of an Array's elements."""

def array_detached(given: Array) -> Array:
    """The same numbers as Values without a history."""

def is_exact_array(x: object) -> TypeIs[Array]: ...
def settled(result: Any) -> Any:
    """What a function of NumPy's gave, with arrays of objects as Arrays: their numbers become
    Values."""

def array_by_python(ufunc: Any, method: str, inputs: Any, keywords: Any) -> Any:
    """A method of a ufunc, by Python's operators and methods on each element."""

def array_truth(array: Array) -> bool:
    """NumPy's truth of an Array: that of the number of its only element, else ValueError."""

def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    """The axes that an argument `axis` names."""

def numbers_in(x: Any) -> Any:
    """x with the numbers of Values and arrays of objects in their place, in lists, tuples and
    dicts, too."""

def objects_in(x: Any) -> Any:
    """x with Arrays as arrays of objects as any other, in lists, tuples and dicts, too."""

def put_out(out: Any, result: Any) -> Any:
    """Assign a result to the array that `out=` gave."""

def refuse_mask(x: Any) -> int:
    """TypeError for an array of numpy.ma."""

NO_MASK: str

def is_recording() -> bool:
    """Whether operations of this thread are recorded, so that `backward` can pass them. True at
    first."""

@disjoint_base
class Scope:
    """Recording, or not, in this thread for a `with`."""

    @property
    def flag(self) -> bool: ...
    def __init__(self, flag: bool) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *error: object) -> None: ...

def set_recording(flag: object) -> bool:
    """Record the operations of this thread from now on, or do not; returns what it was before."""

def backward(heads: Any, head_gradients: Any = None, retain_graph: bool = True) -> None:
    """Set the gradient of each head to its head gradient, and sweep once from all of them.

    heads: a Value, an array of Values, or a list or tuple of such. head_gradients: numbers in the
    same structure, or None for ones. retain_graph: as for `Value.backward`.

    ValueError if a head has no graph, or where lengths or shapes differ; TypeError for what is
    neither a Value nor a number.
    """

def grad(heads: Any, variables: Any, head_gradients: Any = None, allow_unused: bool = True) -> Any:
    """The derivatives of the sum of heads by variables, each head weighted by its head gradient.

    No `.grad` is changed. Floats in the structure of variables: lists, and arrays of float64. A
    variable that no head depends on gives 0, or with allow_unused=False a ValueError that names it.
    """

def jvp(heads: Any, variables: Any, tangents: Any = None) -> Any:
    """The derivatives of heads in the direction of tangents, one for each variable: forward mode.

    tangents: numbers in the structure of variables, or None for ones. Floats in the structure of
    heads: lists, and arrays of float64.
    """

def partials(v: Value) -> list[tuple[Value, float]]:
    """The parents of a node and its derivatives by them, [] for a leaf. ValueError where only a
    `_backward` closure knows them."""

def links(y: Value, x: Value) -> dict[int, list[tuple[Value, float]]]:
    """From the nodes between x and y, y included, to parents that depend on x, or are x.

    {id(node): [(parent, derivative), ...]}; empty where y does not depend on x, or is x.
    """

def count_paths(y: Value, x: Value) -> int:
    """The number of paths from x to y, exactly. Two edges to one parent are two paths."""

def take_node(rows: list[Any], index: Value) -> Value:
    """The node of the row (a Value or number) that `index` selects at run time."""

def listed(given: Any, name: str, what: str) -> tuple[Any, ...]: ...
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

def restored(cls: type[Value], data: float, grad: float, grad_req: _Request | None = None) -> Value:
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
UFUNC_NAMES: dict[str, str]

class TraceError(Exception):
    """A function being compiled asked for what a replay of its trace could not honour.

    The message names the line of the function and what to write instead.
    """

class StaleTraceError(TraceError):
    """A compiled function with verify=True no longer does what it did when it was traced.

    The message names the first operation that differs, and its line.
    """

class Argument(NamedTuple):
    """What an argument of a program is."""

    name: Any
    """As `argument_name` takes it."""
    spec: _Signature
    first: int
    """The number of its first input."""
    count: int  # type: ignore[assignment]  # hides tuple.count
    """How many inputs it has."""
    integers: bool
    """Whether there are integers among them."""
    text: str

def argument_name(argument: Any) -> str:
    """The name of an argument: as given, or by its position among the parameters."""

def end_of(spec: _Signature, at: int) -> tuple[int, int, bool]:
    """Where the part that begins at `at` ends, its number of inputs, whether there are integers."""

def eager_arguments(
    args: tuple[Any, ...], keywords: dict[str, Any], names: tuple[str, ...]
) -> tuple[list[Value], tuple[Any, ...], dict[str, Any]]: ...
def replayed(program: Program, values: list[Value]) -> Any: ...
def spec_and_leaves(result: Any) -> tuple[list[Any], list[Any]]:
    """The signature of a result, and the Values and numbers that it holds."""

def flat_results(result: Any) -> list[Value | float]:
    """The Values and numbers that a result holds, from left to right."""

def integer_inputs(spec: _Signature) -> list[int]:
    """The numbers of the inputs that are integers."""

class Integer:
    """What stands for an integer argument while a function is traced."""

    _number: int
    _node: Value

def is_integer(x: object) -> TypeIs[Integer]:
    """Whether x stands for an integer argument of a trace."""

class shared:
    """Marks an argument of `f.mean`, `f.sum` or `f.map` as the same for all samples."""

    value: Any
    def __init__(self, value: Any) -> None: ...

@disjoint_base
class Callable:
    """What can be called for one sample or mapped over many: a compiled function, or one of its
    programs."""

    def mean(self, /, *args: Any, **keywords: Any) -> Any:
        """The mean of the results over samples, as Values with its gradient.

        Arrays and lists are mapped over their first axis, of one length n > 0 (else ValueError);
        numbers, Values and what `shared` marks are the same for all samples; a dict is mapped value
        by value.
        """
    def sum(self, /, *args: Any, **keywords: Any) -> Any:
        """The sum of the results over samples, as Values with its gradient; 0 for none. Arguments:
        see `mean`."""
    def map(self, /, *args: Any, **keywords: Any) -> Any:
        """The results for every sample, as arrays with a leading axis: numbers alone, no gradient.

        Arguments: see `mean`.
        """
    @property
    def grad(self) -> Gradient:
        """The derivative by arguments: `f.grad(x, y, argnums=0)`; mapped: `f.grad.mean(...)`,
        `.sum`, `.map`.

        argnums: which positional argument, or a tuple of them; they must be made of floats
        (TypeError). The result has the structure of the argument, as NumPy numbers and arrays;
        nothing is on the tape. `.map` gives the gradient of each sample, with a leading axis;
        `.mean` and `.sum` that of the mean or the sum.
        """
    @property
    def value_and_grad(self) -> Gradient:
        """The same as `grad`, as pairs of the value and its derivative."""

@disjoint_base
class Gradient:
    """The derivative of a compiled function. See `grad` there."""

    def __init__(self, of: Callable, with_value: bool) -> None: ...
    def __call__(self, /, *args: Any, argnums: _Argnums = 0, **keywords: Any) -> Any: ...
    def mean(self, /, *args: Any, argnums: _Argnums = 0, **keywords: Any) -> Any:
        """Of the mean over samples."""
    def sum(self, /, *args: Any, argnums: _Argnums = 0, **keywords: Any) -> Any:
        """Of the sum over samples."""
    def map(self, /, *args: Any, argnums: _Argnums = 0, **keywords: Any) -> Any:
        """Of every sample, with a leading axis."""

@disjoint_base
class Program(Callable):
    """A traced function for one signature: an immutable graph, and the Values that it captured.

    Called like the function it was traced from, for arguments of the same signature (else
    ValueError).
    """

    def __init__(
        self,
        graph: Graph,
        captured: Iterable[Value],
        spec: Iterable[Any],
        result_spec: Iterable[Any],
        baked: dict[int, int],
        names: Iterable[str],
        optimize: bool,
        used: dict[int, str] | None = None,
    ) -> None: ...
    def __call__(self, /, *args: Any, **keywords: Any) -> Any: ...
    @property
    def graph(self) -> Graph:
        """The instructions, as arrays."""
    @property
    def captured(self) -> tuple[Value, ...]:
        """The Values that are read at each call."""
    @property
    def derived(self) -> dict[Any, Any]:
        """What was made of it: programs of its derivatives."""
    @property
    def spec(self) -> _Signature:
        """The signature of the arguments."""
    @property
    def result_spec(self) -> _Signature:
        """The signature of the result."""
    @property
    def baked(self) -> dict[int, int]:
        """The integers that are part of the signature: number of the input -> integer."""
    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters, as far as known."""
    @property
    def optimize(self) -> bool:
        """Whether the graph has been through the passes."""
    @property
    def arguments(self) -> tuple[Argument, ...]:
        """What each argument is."""
    @property
    def made_from(self) -> tuple[_Function[..., Any] | None, _Signature, Graph, Any]:
        """(function, signature, graph, weak reference to the instance that it is a method of).

        As traced; of a derivative those of its function.
        """
    @property
    def inputs(self) -> int:
        """The number of inputs: the numbers among the arguments."""
    @property
    def outputs(self) -> int:
        """The number of results."""
    @property
    def memory(self) -> int:
        """Bytes a sample, of values and adjoints, where all inputs vary."""
    @property
    def ops(self) -> dict[str, int]:
        """How many instructions there are of each operation, by name."""
    def save(self, path: Any) -> None:
        """Write the program to a file, an .npz of plain arrays; captured Values as their numbers.

        TypeError if its signature has dict keys other than strings and numbers. See
        `micrograd_c.load`.
        """
    def _repr_svg_(self) -> str | None: ...

def restored_program(
    arrays: Iterable[Any],
    numbers: Iterable[float],
    spec: _Signature,
    result_spec: _Signature,
    baked: dict[int, int],
    names: tuple[str, ...],
    optimize: bool,
) -> Program:
    """A Program, as pickle and `load` make it."""

@disjoint_base
class Function(Callable):
    """A function that is traced once for each signature of its arguments, and then replayed.

    See `micrograd_c.compile`.
    """

    __name__: str
    __qualname__: str
    __wrapped__: _Function[..., Any]
    def __init__(
        self, function: _Function[..., Any], optimize: bool = True, verify: bool | None = None
    ) -> None: ...
    def __call__(self, /, *args: Any, **keywords: Any) -> Any: ...
    def __get__(self, instance: Any, owner: type | None = None, /) -> Function: ...
    @property
    def __self__(self) -> Any:
        """The instance that this is a method of, or None."""
    @property
    def optimize(self) -> bool:
        """Whether the graphs go through the passes."""
    @property
    def verify(self) -> bool:
        """Whether the function is run again at each call, and compared with its program."""
    @property
    def programs(self) -> tuple[Program, ...]:
        """The programs that there are, in the order of their tracing."""
    def clear(self) -> None:
        """Forget all programs: the next call traces anew."""
    def program(self, /, *args: Any, **keywords: Any) -> Program:
        """The program for these arguments, of one sample; traced if need be."""
    def check(self, /, *args: Any, **keywords: Any) -> float:
        """Call the function eagerly, and the program that a call with these arguments replays.

        The largest difference found, of values and of derivatives by all captured Values and
        floats among the arguments, each relative to the eager number where that is above 1.
        Gradients on the tape stay as they are.
        """

class Traced(NamedTuple):
    """What a function did when it was traced."""

    graph: Graph
    """As it was recorded: no pass has been over it."""
    captured: tuple[Value, ...]
    """The Values that it used without receiving them."""
    result_spec: _Signature
    baked: dict[int, str]
    """Integers that it used as plain numbers: input -> the line that did."""
    origin: _Ints
    """Of each node of the graph the node of the tape: `record_lines` knows its line; -1: none."""

def retraced(program: Program, numbers: NDArray[np.float64]) -> Traced | None:
    """The function that a program, or the one it is a derivative of, was traced from, traced again.

    numbers: of its inputs, further ones are ignored. None where the program was loaded.
    """

def being_traced(values: list[Any]) -> bool:
    """Whether one of them is a Value whose number this thread's trace may not tell."""

def global_name(x: Any) -> str | None:
    """The name by which x is found in its module, or None."""

def set_debug_nans(state: int) -> int:
    """Whether this thread looks for what makes nans and infinities; returns the state before.

    1: it does, -1: it does not, 0: as the whole program does.
    """

def _tune(nursery: int | None = None, max_nodes: int | None = None) -> None:
    """For tests: the nursery, in nodes (1: collect after every operation), and the largest tape."""

# ---- derivatives of programs: what micrograd_c.transform uses

class Inputs:
    """The arguments of a call, taken apart."""

def point(function: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Program, Inputs]:
    """A function at one point: its program for these arguments, and the inputs there."""

def operands_like(x: Any, name: str, like: _Signature) -> Inputs:
    """The inputs of a structure of that signature: ValueError where it has another."""

def floats_of(spec: _Signature) -> list[Any]:
    """A signature with floats for integers, and arrays of numbers for arrays of objects."""

def flat_program(of: Program, graph: Graph, seeds: int, result_spec: _Signature) -> Program:
    """The program of a graph made from another's: of an array of its inputs and one of seeds."""

def derived(program: Program, key: tuple[Any, ...]) -> Any:
    """What key[0](program, *key[1:]) makes of a program, once."""

def outcome(program: Program, key: tuple[Any, ...], *parts: Inputs) -> Any:
    """The results of a flat program that is derived from another, at the inputs given."""

def numbers_alone(inputs: Inputs) -> bool:
    """Whether derivatives at these inputs are numbers."""

def evaluated(program: Program, inputs: Inputs) -> NDArray[np.float64]:
    """The outputs of a flat program: numbers alone."""

def evaluated_along(program: Program, inputs: Inputs, directions: Any) -> NDArray[np.float64]:
    """The outputs of a flat program for many seeds, a column each."""

def gradient_at(
    program: Program, inputs: Inputs, argnums: Any, has_aux: Any
) -> tuple[Any, Any] | None:
    """(value, gradient) of a function of numbers; None where there are Values or a trace is on."""

def chosen_arguments(program: Program, argnums: Any) -> tuple[list[Any], bytes]:
    """The arguments that argnums names, and a mask of their inputs."""

def result_and_aux(program: Program, has_aux: Any) -> tuple[_Signature, _Signature | None]:
    """The signature of what is differentiated of the result, and of what comes along."""

def assembled(arguments: Any, argnums: Any, leaves: Any, array: Any) -> Any:
    """Gradients in the structure of their arguments."""

def assembled_result(spec: _Signature, leaves: Any, array: Any) -> Any:
    """A result of that signature."""

def objects(leaves: Any, shape: tuple[int, ...]) -> Any:
    """A numpy array of Python objects."""

def spec_text(spec: Any) -> str:
    """A signature as people write structures."""

# ---- guards, see src/program/guards.pyx

MISSING: object

@disjoint_base
class Alive:
    def died(self, reference: object) -> None: ...

@disjoint_base
class Check:
    name: str
    keys: list[Any] | None
    def __init__(
        self,
        name: str,
        of: Any,
        items: list[Any],
        keys: list[Any] | None,
        contents: tuple[type, ...],
        alive: Alive,
    ) -> None: ...
    def refer(self, k: int, reference: Reference) -> None: ...
    def difference(self) -> tuple[str, Any]: ...
    def item_name(self, k: int) -> str: ...

class ItemsCheck(Check): ...
class ElementsCheck(Check): ...
class MembersCheck(Check): ...

@disjoint_base
class NumbersCheck(Check):
    def __init__(self, name: str, of: Any, alive: Alive) -> None: ...

@disjoint_base
class MappingCheck(Check): ...

class NamesCheck(Check): ...

@disjoint_base
class AttributesCheck(NamesCheck):
    whole: bool

class SlotsCheck(Check): ...
class ClassCheck(Check): ...

@disjoint_base
class FunctionCheck(Check):
    def __init__(
        self,
        name: str,
        of: Any,
        items: list[Any],
        keys: list[Any] | None,
        contents: tuple[type, ...],
        alive: Alive,
        cells: list[Any],
    ) -> None: ...

@disjoint_base
class Reference:
    name: str
    array: Any
    values: list[Value]
    elements: list[int]
    def __init__(
        self, name: str, array: Any, get: _Function[[], Any], put: _Function[[Any], None]
    ) -> None: ...

def is_plain(x: object) -> bool: ...
def elements(array: Any) -> list[Any]: ...
def members(x: Any) -> list[Any]: ...
def namespace_of(x: Any) -> dict[str, Any]: ...
def in_slot(x: Any, descriptor: Any) -> Any: ...
def class_attribute(cls: type, name: str) -> Any: ...
def function_items(function: Any, cells: list[Any]) -> list[Any]: ...
def sequence_items(x: Any) -> list[Any]: ...
