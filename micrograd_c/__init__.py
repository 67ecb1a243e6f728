"""micrograd with a compiled core: the same `Value` and `backward()`, at the speed of C.

>>> from micrograd_c import Value
>>> a, b = Value(2.0), Value(3.0)
>>> (a * b + a.tanh()).backward()
>>> b.grad
2.0
"""

import sys as _sys

if (
    _sys.argv[:1] == ["-m"]
    and _sys.orig_argv[-len(_sys.argv)].removeprefix("-m") == __name__
    and not getattr(_sys.flags, "safe_path", _sys.flags.isolated)
):
    # `python -m micrograd_c`: the folder that Python put first may be the program's, whose modules
    # are not for us. What belongs there, __main__.py knows.
    _sys.path[0] = _sys.path[1]

from typing import TYPE_CHECKING as _TYPE_CHECKING

try:
    from micrograd_c._core import (
        Program,
        StaleTraceError,
        TraceError,
        Value,
        array,
        dot,
        get_data,
        get_grad,
        set_data,
        shared,
        sum,
        where,
    )
    from micrograd_c._graph import get_isa, get_num_threads, set_num_threads
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        f"{__path__[0]} holds micrograd_c's source, not built for this Python:"
        " run `pip install -e .` beside it, or start Python in another folder",
        name="micrograd_c._core",
    ) from None

if not getattr(_sys, "_is_gil_enabled", lambda: True)():
    # A free-threaded Python turns the lock on when it imports a module that is not marked as
    # able to do without it, as _core is not: unless it was told to keep the lock off.
    raise ImportError(
        "micrograd_c needs the global interpreter lock, which is forced off in this process:"
        " unset PYTHON_GIL and leave out -X gil=0, and importing micrograd_c turns the lock on",
        name=__name__,
    )

from micrograd_c import autograd, engine, math, nn, optim, tape, viz
from micrograd_c.autograd import no_grad
from micrograd_c.check import check_grads
from micrograd_c.choose import logsumexp, max, min, softmax, take
from micrograd_c.dropin import (
    install,
    load_ipython_extension,
    uninstall,
    unload_ipython_extension,
)
from micrograd_c.nans import debug_nans
from micrograd_c.program import compile, load
from micrograd_c.transform import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp

if _TYPE_CHECKING:
    from micrograd_c.arrays import Array

__version__ = "0.2.0"
__all__ = [
    "Array",
    "Program",
    "StaleTraceError",
    "TraceError",
    "Value",
    "array",
    "autograd",
    "check_grads",
    "compile",
    "debug_nans",
    "dot",
    "engine",
    "get_data",
    "get_grad",
    "get_isa",
    "get_num_threads",
    "grad",
    "hessian",
    "hvp",
    "install",
    "jacobian",
    "jvp",
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
    "value_and_grad",
    "viz",
    "vjp",
    "where",
]


def __getattr__(name: str) -> object:
    """`Array`, whose module needs NumPy: it is imported when it is asked for."""
    if name == "Array":
        from micrograd_c.arrays import Array

        return Array
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
