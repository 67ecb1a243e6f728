"""The engines that take part, and how all of them are held to one thread on one core."""

import importlib.metadata
import importlib.util
import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Engine:
    module: str  # what must be importable for the engine to take part; '' for Python itself
    about: str


ENGINES = {
    "python": Engine("", "plain floats, or the script as it stands"),
    "micrograd_c": Engine("micrograd_c", "this package, Value alone"),
    "micrograd_c.nn": Engine("micrograd_c", "this package, Value and nn"),
    "micrograd_c.array": Engine("micrograd_c", "this package, Array"),
    "micrograd_c.compile": Engine("micrograd_c", "this package, a function traced once"),
    "micrograd_c.threads": Engine("micrograd_c", "the same, on two threads"),
    "c": Engine("", "C by hand, -O3, AVX2"),
    "micrograd": Engine("micrograd", "the original"),
    "xad": Engine("xad", "XAD, Python bindings"),
    "torch": Engine("torch", "PyTorch, eager, float64"),
    "autograd": Engine("autograd", "HIPS autograd"),
    "casadi": Engine("casadi", "CasADi SX, replays a compiled function"),
    "jax": Engine("jax", "JAX, jit, float64, replays a compiled function"),
}

# NPROC is what XLA sizes its thread pool by.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NPROC": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_X64": "1",
}


def installed(name):
    """Whether the engine can be imported here."""
    module = ENGINES[name].module
    return not module or importlib.util.find_spec(module) is not None


def version(name):
    """The engine's version, read off the module that is imported rather than off its metadata."""
    module = ENGINES[name].module
    if not module:
        return ""
    own = getattr(importlib.import_module(module), "__version__", None)
    return str(own or importlib.metadata.version(module))


def hold_to_one_thread(name):
    """What the environment variables leave open: some engines count the cores by themselves.

    On one core besides. JAX hands every call over to a thread of its pool, and to wake that on
    another core can take several times as long as what it then does.
    """
    if name != "micrograd_c.threads" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if name == "micrograd_c.compile":
        import micrograd_c

        micrograd_c.set_num_threads(1)
    if name == "torch":
        import torch

        torch.set_num_threads(1)
        torch.set_num_interop_threads(1)
