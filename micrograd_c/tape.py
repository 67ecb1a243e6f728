"""What may be asked of the tape, the arrays in which all Values live.

>>> from micrograd_c import Value, tape
>>> before = tape.live()
>>> v = Value(1.0) + Value(2.0)
>>> tape.live() - before        # two leaves and their sum
3
>>> del v
>>> tape.live() - before        # freed by itself, at the latest when it is time to collect
0
"""

from micrograd_c._core import tape_allocated as allocated
from micrograd_c._core import tape_bytes as bytes
from micrograd_c._core import tape_collect as collect
from micrograd_c._core import tape_live as live
from micrograd_c._core import tape_size as size

__all__ = ["allocated", "bytes", "collect", "live", "size"]
__dir__ = __all__.copy
