"""micrograd's `nn` module: a small neural network library on top of `Value`.

Names, signatures and printed forms are those of micrograd. A neuron is one `dot` and one
activation, where micrograd makes a node for every product and sum.

>>> model = MLP(2, [3, 1])
>>> model
MLP of [Layer of [ReLUNeuron(2), ReLUNeuron(2), ReLUNeuron(2)], Layer of [LinearNeuron(3)]]
>>> model([1.0, -2.0]).backward()
>>> len(model.parameters())
13
"""

from __future__ import annotations

import operator
import random
from collections.abc import Sequence
from typing import Any

from micrograd_c._core import Value, dot

__all__ = ["MLP", "Layer", "Module", "Neuron"]
__dir__ = __all__.copy


def _size(name: str, n: Any) -> int:
    try:
        size = operator.index(n)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {n!r}") from None
    if size < 0:
        raise ValueError(f"{name} must not be negative: {size}")
    return size


def _check_inputs(who: Any, neuron: Any, x: Any) -> None:
    """TypeError or ValueError if x is no list of as many Values and numbers as the weights are."""
    wanted = len(neuron.w)
    if not hasattr(x, "__len__"):
        raise TypeError(f"{who} takes a list of {wanted} inputs, not {type(x).__name__}") from None
    if len(x) != wanted:
        raise ValueError(f"{who} takes {wanted} inputs, not {len(x)}") from None
    for k, v in enumerate(x):
        try:
            dot([1], [v])
        except TypeError:
            what = f"{who}: input {k} must be a Value or a real number, not {type(v).__name__}"
            raise TypeError(what) from None


class Module:
    """The base class of models: a subclass says in `parameters()` what its parameters are.

    >>> class Line(Module):
    ...     def __init__(self):
    ...         self.a, self.b = Value(1.0), Value(0.0)
    ...     def __call__(self, x):
    ...         return self.a * x + self.b
    ...     def parameters(self):
    ...         return [self.a, self.b]
    >>> line = Line()
    >>> line(2.0).backward()
    >>> [p.grad for p in line.parameters()]
    [2.0, 1.0]
    >>> line.zero_grad()
    >>> [p.grad for p in line.parameters()]
    [0.0, 0.0]
    """

    def zero_grad(self) -> None:
        """Set the gradient of every parameter to 0."""
        for p in self.parameters():
            p.grad = 0.0

    def parameters(self) -> list[Value]:
        """The Values to be trained, a list."""
        return []


class Neuron(Module):
    """A neuron: the weighted sum of `nin` inputs and a bias, then ReLU if `nonlin`.

    Called with a list of `nin` Values or numbers, it returns a Value. `w` is the list of weights,
    which start uniform in [-1, 1] from `random`; `b` is the bias, which starts at 0.

    TypeError if nin is not an integer or an input is not a real number. ValueError if nin is
    negative, or if there are more or fewer inputs: it names the neuron, or the layer that calls it.

    >>> neuron = Neuron(2, nonlin=False)
    >>> for w, x in zip(neuron.w, [2.0, 3.0]):
    ...     w.data = x
    >>> neuron([10.0, 100.0]).data
    320.0
    >>> len(neuron.parameters())
    3
    """

    def __init__(self, nin: int, nonlin: bool = True) -> None:
        self.w = [Value(random.uniform(-1, 1)) for _ in range(_size("nin", nin))]
        self.b = Value(0)
        self.nonlin = nonlin

    def __call__(self, x: Sequence[Any]) -> Value:
        try:
            act = dot(self.w, x, self.b)
        except (TypeError, ValueError):
            _check_inputs(self, self, x)
            raise
        return act.relu() if self.nonlin else act

    def parameters(self) -> list[Value]:
        return self.w + [self.b]

    def __repr__(self) -> str:
        return f"{'ReLU' if self.nonlin else 'Linear'}Neuron({len(self.w)})"


class Layer(Module):
    """A layer: `nout` neurons, each over all of the `nin` inputs.

    Called with a list of `nin` Values or numbers, it returns a list of `nout` Values, or the Value
    itself if `nout` is 1. Further arguments (`nonlin`) are those of `Neuron`. `neurons` is the list
    of neurons.

    TypeError if a size is not an integer or an input is not a real number; ValueError if a size is
    negative, or if there are more or fewer inputs.

    >>> layer = Layer(2, 3)
    >>> layer
    Layer of [ReLUNeuron(2), ReLUNeuron(2), ReLUNeuron(2)]
    >>> len(layer([1.0, -2.0])), len(layer.parameters())
    (3, 9)
    """

    def __init__(self, nin: int, nout: int, **kwargs: Any) -> None:
        self.neurons = [Neuron(nin, **kwargs) for _ in range(_size("nout", nout))]

    def __call__(self, x: Sequence[Any]) -> Any:
        try:
            out = [n(x) for n in self.neurons]
        except (TypeError, ValueError):
            n = self.neurons[0]
            _check_inputs(f"Layer of {len(self.neurons)} {n}", n, x)
            raise
        return out[0] if len(out) == 1 else out

    def parameters(self) -> list[Value]:
        return [p for n in self.neurons for p in n.parameters()]

    def __repr__(self) -> str:
        return f"Layer of [{', '.join(str(n) for n in self.neurons)}]"


class MLP(Module):
    """A multi-layer perceptron: over `nin` inputs, a layer for each size in `nouts`.

    All layers but the last end in ReLU. Called with a list of `nin` Values or numbers, it returns
    what the last layer returns: a list of Values, or one Value if its size is 1. `layers` is the
    list of layers.

    TypeError if nouts is not a list or tuple, a size is not an integer, or an input is not a real
    number; ValueError if a size is negative, or if there are more or fewer inputs.

    >>> model = MLP(2, [3, 1])
    >>> type(model([1.0, -2.0])).__name__, len(model.layers), len(model.parameters())
    ('Value', 2, 13)
    """

    def __init__(self, nin: int, nouts: list[int]) -> None:
        if not isinstance(nouts, (list, tuple)):
            raise TypeError(f"nouts must be a list of sizes, not {nouts!r}")
        sizes = [nin, *nouts]
        self.layers = [
            Layer(sizes[i], sizes[i + 1], nonlin=i != len(nouts) - 1) for i in range(len(nouts))
        ]

    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x

    def parameters(self) -> list[Value]:
        return [p for layer in self.layers for p in layer.parameters()]

    def __repr__(self) -> str:
        return f"MLP of [{', '.join(str(layer) for layer in self.layers)}]"
