"""What importing micrograd_c asks of the Python that does it."""

import os
import subprocess
import sys
import sysconfig

import pytest

import micrograd_c

# On a free-threaded Python the lock can be forced off; any other can only say that it was.
if sysconfig.get_config_var("Py_GIL_DISABLED"):
    OFF, ENVIRONMENT = "", {"PYTHON_GIL": "0"}
else:
    OFF, ENVIRONMENT = "sys._is_gil_enabled = lambda: False", {}


def importing(module, before, **environment):
    """The last line that a fresh interpreter writes to stderr when it imports a module."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(micrograd_c.__file__)))
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{before}\nimport {module}"],
        env={**os.environ, "PYTHONPATH": package, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == (1 if done.stderr else 0), done.stderr
    return done.stderr.strip().rpartition("\n")[2]


@pytest.mark.parametrize("module", ["micrograd_c", "micrograd_c._core", "micrograd_c.nn"])
def test_a_lock_that_is_forced_off_is_an_import_error(module):
    said = importing(module, OFF, **ENVIRONMENT)
    assert said.startswith("ImportError: micrograd_c needs the global interpreter lock")
    assert "unset PYTHON_GIL" in said and "-X gil=0" in said


def test_a_lock_that_is_on_is_well():
    assert importing("micrograd_c", "sys._is_gil_enabled = lambda: True") == ""
