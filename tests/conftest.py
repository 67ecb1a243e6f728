"""Shared fixtures: the hypothesis profile, the tape's tuning, programs run on their own."""

import gc
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import micrograd_c
from micrograd_c import _core

settings.register_profile(
    "local", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "local")

# AddressSanitizer keeps freed memory for a while, reserves terabytes of addresses, and is slow.
SANITIZED = "asan" in os.environ.get("LD_PRELOAD", "")
if SANITIZED:
    settings.register_profile("sanitized", settings.get_profile("ci"), max_examples=20)
    settings.load_profile("sanitized")


def pytest_configure(config):
    config.addinivalue_line("markers", "memory: measures memory, meaningless under a sanitizer")


def pytest_collection_finish():
    """What is loaded by now stays: it need not be searched whenever a test collects garbage."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item):
    if SANITIZED and item.get_closest_marker("memory"):
        pytest.skip("memory figures mean nothing under AddressSanitizer")


@pytest.fixture(autouse=True)
def default_tuning():
    """Whatever a test tunes, the next one starts from the defaults."""
    yield
    _core._tune()


@pytest.fixture(params=[{}, {"nursery": 1}], ids=["nursery", "collect-always"])
def nursery(request):
    """Run the test as usual, and again with a collect after every operation."""
    _core._tune(**request.param)


@pytest.fixture
def run():
    """run(code, timeout): a program in a fresh interpreter, its stdout; a non-zero exit fails."""

    def run(code, timeout=60):
        package = str(Path(micrograd_c.__file__).resolve().parents[1])
        path = os.pathsep.join([package, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        # One BLAS thread: the address space that others reserve would blur the memory limits.
        env = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(code)],
            env=env,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run
