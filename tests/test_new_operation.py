"""An operation is one line of the op table: one is added to a copy of the source, and built."""

import os
import shutil
import subprocess
import sys

import pytest
from source import SOURCE

LINE = (
    'X(LOG1MEXP, log1mexp, "log1mexp", 1, log1p(-exp(a)), -1 / expm1(-a), 0, NULL,'
    ' LIBRARY | SINGULAR, "log(1 - exp(a)), for a < 0.") \\\n'
)
# What is asked of it: mpmath computes what it should be.
QUESTIONS = """
import mpmath, numpy as np
import micrograd_c as mg
from micrograd_c import Value

def reference(x, order):
    return float(mpmath.diff(lambda t: mpmath.log(1 - mpmath.exp(t)), x, order))

def check(ours, numbers, order):
    expected = [reference(x, order) for x in numbers]
    assert np.allclose(ours, expected, rtol=1e-12), (order, ours, expected)

x = Value(-0.5)
y = x.log1mexp()
y.backward()
check([y.data], [-0.5], 0)
check([x.grad], [-0.5], 1)
check(x.log1mexp().exp().log().data, [-0.5], 0)
assert y._op == "log1mexp"
assert Value.log1mexp.__doc__.startswith("log(1 - exp(a)), for a < 0."), Value.log1mexp.__doc__
assert "log1p(-exp(a))" in Value.log1mexp.__doc__
check(mg.array([-0.5, -2.0]).log1mexp().values, [-0.5, -2.0], 0)

f = mg.compile(lambda x: x.log1mexp())
many = -np.linspace(0.1, 3.0, 100)
check(f.map(many), many, 0)
check(f.grad.map(many), many, 1)
check(f(-0.5).data, [-0.5], 0)
check(f.grad(-0.5), [-0.5], 1)
check(mg.grad(mg.grad(f))(-0.5), [-0.5], 2)
check(mg.grad(mg.grad(mg.grad(f)))(-0.5), [-0.5], 3)
assert "log1mexp" in str(f.program(-0.5))
mg.check_grads(f, -0.5, order=2)
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The source, without what was built from it."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("src", "micrograd_c"):
        ignore = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__", "_functions.pyi")
        shutil.copytree(SOURCE / name, folder / name, ignore=ignore)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(SOURCE / name, folder)
    return folder


def insert(folder, line):
    table = folder / "src" / "ops" / "ops.h"
    text = table.read_text()
    before = "#define UNARY_FUNCTIONS(X) \\\n"
    assert before in text
    table.write_text(text.replace(before, before + line))


def run(folder, *args):
    # A build with checks compiles in half the time.
    environment = {**os.environ, "PYTHONPATH": str(folder), "MICROGRAD_C_DEBUG": "1"}
    done = subprocess.run(
        [sys.executable, *args], cwd=folder, env=environment, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def test_a_formula_that_cannot_be_read_ends_the_build(copy, tmp_path):
    folder = shutil.copytree(copy, tmp_path / "copy")
    insert(folder, LINE.replace("-1 / expm1(-a)", "-1 / expn1(-a)"))
    status, said = run(folder, "setup.py", "build_ext", "--inplace")
    assert status != 0
    assert "src/ops/ops.h: the formula '-1 / expn1(-a)' uses 'expn1'" in said
    assert not list((folder / "micrograd_c").glob("_core*.so"))


def test_an_operation_is_one_line(copy):
    insert(copy, LINE)
    status, said = run(copy, "setup.py", "build_ext", "--inplace")
    assert status == 0, said[-4000:]
    stub = (copy / "micrograd_c" / "_functions.pyi").read_text()
    assert "    def log1mexp(self) -> Self: ...\n" in stub
    status, said = run(copy, "-c", QUESTIONS)
    assert status == 0, said
