"""micrograd with a compiled core: the same `Value` and `backward()`, at the speed of C.

>>> from micrograd_c import Value
>>> a, b = Value(2.0), Value(3.0)
>>> (a * b + a.tanh()).backward()
>>> b.grad
2.0
"""

try:
    from micrograd_c._core import Value, dot, get_data, get_grad, set_data, sum
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        f"{__path__[0]} holds micrograd_c's source, not built for this Python:"
        " run `pip install -e .` beside it, or start Python in another folder",
        name="micrograd_c._core",
    ) from None

from micrograd_c import engine, math, nn, optim, tape, viz
from micrograd_c.dropin import (
    install,
    load_ipython_extension,
    uninstall,
    unload_ipython_extension,
)

__version__ = "0.1.0"
__all__ = [
    "Value",
    "dot",
    "engine",
    "get_data",
    "get_grad",
    "install",
    "load_ipython_extension",
    "math",
    "nn",
    "optim",
    "set_data",
    "sum",
    "tape",
    "uninstall",
    "unload_ipython_extension",
    "viz",
]
