"""What type checkers say of a program that uses the package: mypy and pyright, each on one file."""

import importlib.util
import subprocess
import sys

import pytest

PROGRAM = """
import numpy as np
from numpy.typing import NDArray
from typing_extensions import assert_type

import micrograd_c as mg
from micrograd_c import Array, Value

x = mg.array([1.0, 2.0])
v = Value(2.0)
assert_type(x, Array)

y = x * x
assert_type(y, Array)
y.backward()
y.backward(np.ones(2), retain_graph=False)

assert_type(-x, Array)
assert_type(abs(x), Array)
assert_type(x[:1], Array)
assert_type(x[x > 0], Array)
assert_type(2 * x - 1.0, Array)
assert_type((x + x) / (1 - x), Array)
assert_type(x**2, Array)
assert_type(2.0**x, Array)
assert_type(v * x, Array)
assert_type(x * v, Array)
assert_type(v + np.ones(2), Array)
assert_type(v + v, Value)
assert_type(v * 2, Value)
assert_type(x > 0.0, NDArray[np.bool_])
assert_type(x == x, NDArray[np.bool_])
x += 1.0
x.grad = 0.0

# NumPy's stubs say of its functions what they return of any scalar: it may be used as an Array.
np.exp(x).backward()
z: Array = np.exp(x)
np.maximum(x, 0.0).backward()
x.exp().backward()
x[0].backward()
(x @ x).backward()
x.sum().backward()

f: mg.Function = mg.compile(lambda x: x * x)
by_argument: mg.Gradient = f.grad
derivative: mg.Derivative = mg.grad(f)
program: mg.Program = f.program(2.0)
graph: mg.Graph = program.graph
argument: mg.Argument = program.arguments[0]
scope: mg.autograd.Scope = mg.no_grad()
model = mg.nn.MLP(2, [1])
mg.optim.SGD(model.parameters()).zero_grad()

number: float = v.item() + x.item(0)
numbers: NDArray[np.float64] = x.values + x.grad + x.asnumpy() + v.asnumpy()
"""
WRONG = """
import micrograd_c as mg

mg.array([1.0]).backward(nothing=1)
y: int = mg.array([1.0]) * 2
"""
CHECKERS = {
    "mypy": ["-m", "mypy", "--strict", "--no-incremental", "--config-file="],
    "pyright": ["-m", "pyright", "--pythonpath", sys.executable],
}


@pytest.fixture(params=CHECKERS)
def check(request, tmp_path):
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")

    def run(program):
        path = tmp_path / "program.py"
        path.write_text(program)
        return subprocess.run(
            [sys.executable, *CHECKERS[request.param], str(path)], capture_output=True, text=True
        )

    return run


def test_arrays_stay_arrays(check):
    done = check(PROGRAM)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mistakes_are_seen(check):
    done = check(WRONG)
    assert done.returncode == 1 and "nothing" in done.stdout and '"int"' in done.stdout
