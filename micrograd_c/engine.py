"""micrograd's `engine` module: `from micrograd_c.engine import Value`."""

from micrograd_c._core import Value

__all__ = ["Value"]
__dir__ = __all__.copy
