"""The fuzzer: each kind runs, finds what is planted, and says how to see it again."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fuzz import Case, compiled, driver, jets, outside, sessions
from fuzz.jets import mp

import micrograd_c as mg

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the fuzzer forks")


@pytest.mark.parametrize("name", driver.KINDS)
def test_a_few_cases_of_each_kind(name, capsys):
    status = driver.fuzz(60, seed=1, kinds=[name], most=25)
    printed = capsys.readouterr().out
    assert status == 0, printed
    assert f"fuzz: seed 1: 25 cases (25 {name})" in printed


def wrong_number(f):
    return lambda *args: f(*args) * 1.0000001


def plant(name, monkeypatch):
    """An error in the reference, or in the engine, of a kind."""
    if name == "sessions":
        minus = sessions.Node.__sub__

        def subtract(a, b):
            out = minus(a, b)
            out.partials = lambda: (1.0, 1.0)
            return out

        monkeypatch.setattr(sessions.Node, "__sub__", subtract)
    elif name == "compiled":
        number, _ = compiled.BINARY["mul"]
        monkeypatch.setitem(compiled.BINARY, "mul", (number, lambda a, b: (b, a * (1 + 1e-10))))
    elif name == "transforms":
        monkeypatch.setattr(jets.Jet, "sin", wrong_number(jets.Jet.sin))
        monkeypatch.setattr(jets.Jet, "tanh", jets.Jet.sin)
    elif name == "outside":
        monkeypatch.setitem(outside.CALLED, "one", lambda names, x: [names["lam"], x])
    elif name == "arrays":
        made = mg.array
        monkeypatch.setattr(mg, "array", lambda x: made(np.abs(x)))
    else:
        monkeypatch.setattr(mg, "load", lambda path: os.abort())


@pytest.mark.parametrize("name", driver.KINDS)
def test_a_planted_error_is_found_and_made_small(name, monkeypatch, capsys):
    monkeypatch.setattr(driver, "MOST_FAILURES", 1)
    monkeypatch.setattr(driver, "SHRINKING", 10)
    plant(name, monkeypatch)
    assert driver.fuzz(60, seed=3, kinds=[name], most=400) == 1
    printed = capsys.readouterr().out
    k = int(re.search(f"Again: make fuzz SEED=3 CASE={name}-(\\d+)", printed)[1])
    case = driver.made(driver.kind_of(name), 3, k)
    smaller, text = driver.shrunk(driver.kind_of(name), case, "it fails")
    assert len(smaller.steps) <= len(case.steps)
    assert len(driver.kind_of(name).script(smaller)) <= len(driver.kind_of(name).script(case))
    assert ("SIGABRT" in printed) == (name == "files")
    assert "1 failed" in printed


def test_a_case_that_does_not_end(monkeypatch, capsys):
    monkeypatch.setattr(driver, "MOST_FAILURES", 1)
    monkeypatch.setattr(driver, "PATIENCE", 1)
    monkeypatch.setattr(driver, "SHRINKING", 1)
    monkeypatch.setattr(outside, "run", lambda case: time.sleep(100))
    assert driver.fuzz(60, seed=3, kinds=["outside"]) == 1
    assert "does not end" in capsys.readouterr().out


def test_what_is_left_of_a_case_is_all_that_fails():
    class Kind:
        @staticmethod
        def run(case):
            if {3, 11} <= set(case.steps):
                raise driver.Wrong("both")

    case, text = driver.shrunk(Kind, Case(None, list(range(20))), "it fails")
    assert case.steps == [3, 11] and text == "both"


@pytest.mark.parametrize("name", driver.KINDS)
def test_cases_come_from_the_seed_alone(name):
    kind = driver.kind_of(name)
    case = driver.made(kind, 1, 5)
    for k in range(3):
        driver.made(kind, 2, k)
    assert repr(driver.made(kind, 1, 5)) == repr(case)
    assert len({repr(driver.made(kind, 1, k)) for k in range(20)}) == 20
    assert repr(driver.made(kind, 2, 5)) != repr(case)


def test_ctrl_c_ends_with_the_counts():
    folder = Path(__file__).parent
    command = [sys.executable, "-m", "fuzz", "--seconds", "600", "--kind", "sessions"]
    package = str(Path(mg.__file__).resolve().parents[1])
    env = {**os.environ, "PYTHONPATH": package}
    process = subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    time.sleep(4)
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=30)
    assert process.returncode == 0, printed
    assert int(re.search(r"fuzz: seed 0: (\d+) cases", printed)[1]) > 0


# ---- the references


def test_series_of_several_variables():
    kind = 2, 3
    x, y = jets.Jet.variable(kind, 0, 0.5), jets.Jet.variable(kind, 1, -1.25)
    at = {m: k for k, m in enumerate(jets.monomials(*kind))}
    for ours, f in (
        (x.hypot(y) * y, lambda p, q: mp.sqrt(p * p + q * q) * q),
        (jets.method_of_two("hypot")(x * y, y), lambda p, q: mp.sqrt(p * p + 1) * -q),
        (y.atan2(x), lambda p, q: mp.atan2(q, p)),
        (x**y / (y - 3), lambda p, q: p**q / (q - 3)),
    ):
        for (i, j), k in at.items():
            expected = mp.diff(f, (mp.mpf(0.5), mp.mpf(-1.25)), (i, j)) if i + j else f(0.5, -1.25)
            found = ours.coefficients[k] * mp.factorial(i) * mp.factorial(j)
            assert abs(found - expected) < 1e-12 * (1 + abs(expected))
