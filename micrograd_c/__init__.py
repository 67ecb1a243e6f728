"""micrograd with a compiled core: the same `Value` and `backward()`, at the speed of C.

>>> from micrograd_c import Value
>>> a, b = Value(2.0), Value(3.0)
>>> (a * b + a.tanh()).backward()
>>> b.grad
2.0

What is public is in `dir(micrograd_c)`, and in `dir` of the modules named there. All else is
internal, and may change in any version.
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

from micrograd_c import aliases as _aliases

try:
    from micrograd_c._core import Value as Value
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

__version__ = "0.2.0"

# The public names, by the module that holds them: it is imported when one of them is first asked
# for. Type checkers read the names in __init__.pyi.
_NAMES = {
    "_core": "Function Gradient Program StaleTraceError TraceError Value dot get_data get_grad"
    " set_data shared where",
    "_graph": "Graph get_isa get_num_threads set_num_threads",
    "arrays": "Array array",
    "autograd": "no_grad",
    "check": "check_grads",
    "compiling": "compile",
    "derivatives": "Derivative grad hessian hvp jacobian jvp value_and_grad vjp",
    "files": "load",
    "nans": "debug_nans",
    "reductions": "logsumexp max min softmax sum take",
    "signatures": "Argument",
    "swap": "install load_ipython_extension uninstall unload_ipython_extension",
}
_MODULES = {"autograd", "engine", "math", "nn", "optim", "tape", "viz"}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_MODULES | _HOME.keys())
__dir__ = __all__.copy  # what dir() and tab completion show


def __getattr__(name: str) -> object:
    import importlib

    if name in _HOME:
        found = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = found
        return found
    if name in _MODULES or f"{__name__}.{name}" in _aliases.RENAMED:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_sys.meta_path.append(_aliases.Finder(_aliases.renamed))
