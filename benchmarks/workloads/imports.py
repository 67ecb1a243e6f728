"""What `import` of an engine takes when numpy is imported already."""

import subprocess
import sys

from benchmarks.registry import Measured, workload

TIMER = """
import numpy, time
started = time.perf_counter()
import {module}
print(time.perf_counter() - started)
"""

imports = workload("import", "Import, beyond numpy's", size=1, quick_size=1, unit="second", per="")


def import_time(module):
    """Seconds, in a process that has imported nothing but numpy."""
    command = [sys.executable, "-c", TIMER.format(module=module)]
    return Measured(float(subprocess.check_output(command, text=True).splitlines()[-1]))


for engine, module in {
    "micrograd_c": "micrograd_c",
    "micrograd": "micrograd.engine",
    "xad": "xad.adj_1st",
    "torch": "torch",
    "autograd": "autograd",
    "casadi": "casadi",
    "jax": "jax",
}.items():
    imports.on(engine)(lambda _size, module=module: import_time(module))
