"""PyTorch's optimisers over Values: its names, defaults and update rules.

A step and a `zero_grad` are one loop in C over the parameters.

>>> from micrograd_c import Value
>>> x = Value(3.0)
>>> optimizer = SGD([x], lr=0.1, momentum=0.5)
>>> for _ in range(50):
...     optimizer.zero_grad()
...     ((x - 1) ** 2).backward()
...     optimizer.step()
>>> round(x.data, 6)
1.0
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

from micrograd_c import _core
from micrograd_c._core import Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SGD", "Adam", "AdamW", "clip_grad_norm_"]
__dir__ = __all__.copy


class _Optimizer:
    """Parameters, and the moments of each that an update rule keeps.

    The settings (`lr` and the others) are attributes. The next step checks what was assigned.
    """

    _moment_names: ClassVar[tuple[str, ...]]

    def __init__(self, params: Iterable[Value]) -> None:
        import numpy as np

        self._params = _distinct(params)
        self._updates = np.zeros(1)  # of the moments so far; where C can count it within the step
        self._moments = {name: np.zeros(len(self._params)) for name in self._moment_names}
        self._settings()

    def _settings(self) -> dict[str, Any]:
        """The settings by name, checked."""
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Set the gradient of every parameter to 0.

        >>> w = Value(1.0)
        >>> w.grad = 2.0
        >>> SGD([w]).zero_grad()
        >>> w.grad
        0.0
        """
        _core.zero_grad(self._params)

    def state_dict(self) -> dict[str, Any]:
        """A copy of the settings and of the moments that the update rule keeps, as a dict.

        'kind' is the name of the class, 'step' how often the moments have been updated. Then come
        the settings (numbers), and the moments: arrays of float64, one number for each parameter.

        >>> state = SGD([Value(1.0)], lr=0.25).state_dict()
        >>> state["kind"], state["step"], state["lr"], state["momentum_buffer"].tolist()
        ('SGD', 0, 0.25, [0.0])
        """
        return {
            "kind": type(self).__name__,
            "step": int(self._updates[0]),
            **self._settings(),
            **{name: moment.copy() for name, moment in self._moments.items()},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the settings and moments that `state_dict` returned.

        state_dict: of an optimiser of this class, with as many parameters.

        ValueError if it is of another class or size, or damaged. The message says where, and
        nothing has changed then.

        >>> state = SGD([Value(1.0)], lr=0.25).state_dict()
        >>> optimizer = SGD([Value(2.0)])
        >>> optimizer.load_state_dict(state)
        >>> optimizer.lr
        0.25
        """
        import numpy as np

        if not isinstance(state_dict, dict):
            raise ValueError(f"state_dict must be a dict, not {type(state_dict).__name__}")
        own, kind = type(self).__name__, state_dict.get("kind")
        if kind != own:
            raise ValueError(f"state_dict is of kind {kind!r}, not {own!r}")
        others = {"kind", "step", *self._moments}
        loaded = copy.copy(self)  # to check the settings in
        vars(loaded).update({k: v for k, v in state_dict.items() if k not in others})
        try:
            settings = loaded._settings()
        except TypeError as error:
            raise ValueError(f"state_dict: {error}") from None
        wanted = {*others, *settings}
        for name in wanted ^ state_dict.keys():
            raise ValueError(
                f"state_dict {'lacks' if name in wanted else 'has a strange'} {name!r}"
            )
        step = state_dict["step"]
        if not isinstance(step, int) or not 0 <= step < 2**53:
            raise ValueError(f"state_dict['step'] must be a count, not {step!r}")
        length = len(self._params)
        moments = {name: _moment(name, state_dict[name], length) for name in self._moments}
        # In one call: no signal comes between.
        vars(self).update(settings, _updates=np.array([float(step)]), _moments=moments)


class SGD(_Optimizer):
    """Gradient descent, with momentum if it is not 0. The update rule is that of torch.optim.SGD.

    params: an iterable of distinct leaves. The settings lr, momentum, dampening, weight_decay and
    nesterov are attributes; one that is assigned holds from the next step on.

    TypeError if a parameter is not a Value or a setting is not a number. ValueError if there are no
    parameters, if one comes twice or is the result of an operation, or if a setting is out of its
    range.

    >>> w = Value(1.0)
    >>> optimizer = SGD([w], lr=0.25)
    >>> w.grad = 2.0
    >>> optimizer.step()
    >>> w.data
    0.5
    """

    _moment_names = ("momentum_buffer",)

    def __init__(
        self,
        params: Iterable[Value],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
    ) -> None:
        self.lr = lr
        self.momentum = momentum
        self.dampening = dampening
        self.weight_decay = weight_decay
        self.nesterov = nesterov
        super().__init__(params)

    def _settings(self) -> dict[str, Any]:
        if self.nesterov and (not self.momentum or self.dampening):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        return {
            "lr": _number("learning rate", self.lr),
            "momentum": _number("momentum value", self.momentum),
            "dampening": _number("dampening value", self.dampening),
            "weight_decay": _number("weight_decay value", self.weight_decay),
            "nesterov": bool(self.nesterov),
        }

    def step(self) -> None:
        """Update every parameter by its gradient.

        TypeError or ValueError if a setting is not a number in its range: nothing has changed then.

        >>> w = Value(1.0)
        >>> w.grad = 2.0
        >>> SGD([w], lr=0.25).step()
        >>> w.data
        0.5
        """
        _core.sgd_step(self._params, self._updates, *self._moments.values(), **self._settings())


class Adam(_Optimizer):
    """Adam: steps scaled by running averages of the gradient and of its square.

    The update rule is that of torch.optim.Adam (D. P. Kingma and J. Ba, "Adam: A Method for
    Stochastic Optimization", 2015). params: an iterable of distinct leaves. The settings lr, betas,
    eps and weight_decay are attributes; one that is assigned holds from the next step on.

    TypeError if a parameter is not a Value or a setting is not a number. ValueError if there are no
    parameters, if one comes twice or is the result of an operation, or if a setting is out of its
    range.

    >>> w = Value(1.0)
    >>> optimizer = Adam([w], lr=0.25)
    >>> w.grad = 2.0
    >>> optimizer.step()
    >>> round(w.data, 6)                # the first step is of size lr
    0.75
    """

    _moment_names = ("exp_avg", "exp_avg_sq")
    _decoupled = False  # whether weights decay apart from the gradient

    def __init__(
        self,
        params: Iterable[Value],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
    ) -> None:
        self.lr = lr
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay
        super().__init__(params)

    def _settings(self) -> dict[str, Any]:
        if not isinstance(self.betas, (tuple, list)) or len(self.betas) != 2:
            raise ValueError(f"Invalid betas, not a pair of numbers: {self.betas!r}")
        return {
            "lr": _number("learning rate", self.lr),
            "betas": (
                _number("beta parameter at index 0", self.betas[0], below=1),
                _number("beta parameter at index 1", self.betas[1], below=1),
            ),
            "eps": _number("epsilon value", self.eps),
            "weight_decay": _number("weight_decay value", self.weight_decay),
        }

    def step(self) -> None:
        """Update every parameter by its gradient.

        TypeError or ValueError if a setting is not a number in its range: nothing has changed then.

        >>> w = Value(1.0)
        >>> w.grad = 2.0
        >>> Adam([w], lr=0.25).step()
        >>> round(w.data, 6)
        0.75
        """
        _core.adam_step(
            self._params,
            self._updates,
            *self._moments.values(),
            **self._settings(),
            decoupled=self._decoupled,
        )


class AdamW(Adam):
    """Adam whose weights decay by themselves, not through the gradient.

    The update rule is that of torch.optim.AdamW (I. Loshchilov and F. Hutter, "Decoupled Weight
    Decay Regularization", 2019). Arguments, attributes and errors are those of `Adam`.

    >>> w = Value(1.0)
    >>> optimizer = AdamW([w], lr=0.5, weight_decay=0.5)
    >>> optimizer.step()                # with a gradient of 0
    >>> w.data
    0.75
    """

    _decoupled = True

    def __init__(
        self,
        params: Iterable[Value],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)


def clip_grad_norm_(parameters: Iterable[Value], max_norm: float) -> float:
    """Scale the gradients so that the L2 norm of all of them together is at most max_norm.

    parameters: an iterable of Values. Returns the norm before. As in torch.nn.utils, a norm that is
    not finite is no error: the gradients become 0 or nan, and the norm that is returned shows it.

    TypeError if a parameter is not a Value or max_norm is not a number; ValueError if max_norm is
    negative.

    >>> a, b = Value(0.0), Value(0.0)
    >>> a.grad, b.grad = 3.0, 4.0
    >>> clip_grad_norm_([a, b], 1.0)
    5.0
    >>> round(a.grad, 4), round(b.grad, 4)
    (0.6, 0.8)
    """
    if not isinstance(max_norm, (float, int, Real)):
        raise TypeError(f"Invalid max_norm, not a number: {max_norm!r}")
    if not max_norm >= 0:
        raise ValueError(f"Invalid max_norm: {max_norm}")
    return _core.clip_grad_norm(_core.listed(parameters, "parameters", "Values"), max_norm)


def _distinct(params: Iterable[Value]) -> tuple[Value, ...]:
    values = _core.listed(params, "params", "Values")
    if not values:
        raise ValueError("optimizer got an empty parameter list")
    _core.get_data(values)  # raises if one is not a Value
    first: dict[int, int] = {}
    for k, value in enumerate(values):
        if value._children:
            raise ValueError(
                f"params[{k}] is the result of an operation ({value._op!r}), which no step moves: "
                "give the leaves that it was made from, or a new leaf, Value(v.data)"
            )
        if first.setdefault(id(value), k) != k:
            raise ValueError(f"params[{k}] is the same Value as params[{first[id(value)]}]")
    return values


def _number(name: str, x: Any, below: float = math.inf) -> float:
    """x as a float, if it is a number from 0 to below `below`; PyTorch's words if not."""
    if not isinstance(x, (float, int, Real)):
        raise TypeError(f"Invalid {name}, not a number: {x!r}")
    number = float(x)
    if not 0 <= number < below:
        raise ValueError(f"Invalid {name}: {x}")
    return number


def _moment(name: str, array: Any, length: int) -> NDArray[np.float64]:
    """A copy of the array of that name in a state_dict, checked."""
    import numpy as np

    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        what = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"state_dict[{name!r}] must be an array of floats, not {what}")
    if array.shape != (length,):
        raise ValueError(f"state_dict[{name!r}] must have shape ({length},), not {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"state_dict[{name!r}] must be finite")
    return np.array(array, dtype=np.float64)
