"""micrograd with a compiled core: the same `Value` and `backward()`, at the speed of C.

>>> from micrograd_c import Value
>>> a, b = Value(2.0), Value(3.0)
>>> (a * b + a.tanh()).backward()
>>> b.grad
2.0
"""

try:
    from micrograd_c._core import (
        Program,
        TraceError,
        Value,
        dot,
        get_data,
        get_grad,
        get_isa,
        get_num_threads,
        set_data,
        set_num_threads,
        shared,
        sum,
        where,
    )
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        f"{__path__[0]} holds micrograd_c's source, not built for this Python:"
        " run `pip install -e .` beside it, or start Python in another folder",
        name="micrograd_c._core",
    ) from None

from micrograd_c import autograd, engine, math, nn, optim, tape, viz
from micrograd_c.autograd import no_grad
from micrograd_c.choose import logsumexp, max, min, softmax, take
from micrograd_c.dropin import (
    install,
    load_ipython_extension,
    uninstall,
    unload_ipython_extension,
)
from micrograd_c.program import compile, load

__version__ = "0.1.0"
__all__ = [
    "Program",
    "TraceError",
    "Value",
    "autograd",
    "compile",
    "dot",
    "engine",
    "get_data",
    "get_grad",
    "get_isa",
    "get_num_threads",
    "install",
    "load",
    "load_ipython_extension",
    "logsumexp",
    "math",
    "max",
    "min",
    "nn",
    "no_grad",
    "optim",
    "set_data",
    "set_num_threads",
    "shared",
    "softmax",
    "sum",
    "take",
    "tape",
    "uninstall",
    "unload_ipython_extension",
    "viz",
    "where",
]
