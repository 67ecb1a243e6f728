"""The benchmarks run, say what is missing or wrong, and leave nothing behind."""

import json
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import micrograd_c

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # last: an installed micrograd_c goes before the checkout's

psutil = pytest.importorskip("psutil")
pytest.importorskip("pyperf")
pytest.importorskip("rich")
pytest.importorskip("matplotlib")

from benchmarks import native, report, targets, turns  # noqa: E402
from benchmarks.engines import ENGINES, Engine  # noqa: E402
from benchmarks.registry import Step, workload  # noqa: E402
from benchmarks.targets import Target  # noqa: E402
from benchmarks.turns import Outcome  # noqa: E402
from benchmarks.worker import Mismatch, check  # noqa: E402
from benchmarks.workloads import WORKLOADS  # noqa: E402


@pytest.fixture
def start(tmp_path):
    """start(*options): `python -m benchmarks` in an empty folder, its output into a pipe."""
    package = Path(micrograd_c.__file__).resolve().parents[1]
    env = os.environ | {"PYTHONPATH": f"{package}{os.pathsep}{ROOT}", "COLUMNS": "120"}

    def start(*options):
        command = [sys.executable, "-m", "benchmarks", *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, cwd=tmp_path, env=env, encoding="utf-8", **pipes)

    return start


@pytest.fixture
def run(start):
    """The same, to its end: exit code and output."""

    def run(*options):
        process = start(*options)
        output, _ = process.communicate(timeout=120)
        return process.returncode, output

    return run


def test_quick_round_writes_table_json_and_picture(run, tmp_path):
    code, output = run("--quick", "--only", "op", "live", "--engines", "python", "micrograd_c")
    assert code == 0, output
    assert "Scalar operation" in output and "Targets" in output and "processor" in output

    folder = tmp_path / "build" / "benchmarks"
    data = json.loads((folder / "benchmarks.json").read_text())
    medians = {(o["workload"], o["engine"]): o["median"] for o in data["outcomes"]}
    assert set(medians) == {("op", "python"), ("op", "micrograd_c"), ("live", "micrograd_c")}
    assert all(median > 0 for median in medians.values())
    assert data["versions"]["micrograd_c"] == micrograd_c.__version__
    assert data["machine"]["cores"] == str(os.cpu_count())
    assert {target["workload"] for target in data["targets"]} == {"op", "live"}
    assert all(target["measured"] > 0 for target in data["targets"])
    assert (folder / "benchmarks.png").read_bytes().startswith(b"\x89PNG")


def outcomes_of(run, folder, workloads, engines):
    """{(workload, engine): error} of a quick round."""
    options = ["--quick", "--output", "out", "--only", *workloads, "--engines", *engines]
    code, output = run(*options)
    assert code == 0, output
    outcomes = json.loads((folder / "out" / "benchmarks.json").read_text())["outcomes"]
    return {(o["workload"], o["engine"]): o["error"] for o in outcomes}


def test_every_engine_does_the_same_work(run, tmp_path):
    """Engines are checked against numbers reckoned by hand before they are timed."""
    workloads = ["chain", "moons", "gpt"]
    engines = ["python", "micrograd", "micrograd_c", "micrograd_c.nn"]
    errors = outcomes_of(run, tmp_path, workloads, engines)
    assert len(errors) == 7
    assert set(errors.values()) == {""}


def test_compiled_functions_do_the_same_work(run, tmp_path):
    workloads = ["moons", "sample", "threads", "gpt", "gpt16", "pricing", "mixed", "call"]
    engines = ["micrograd_c.compile", "micrograd_c.threads"]
    errors = outcomes_of(run, tmp_path, workloads, engines)
    assert len(errors) == 9
    assert set(errors.values()) == {""}


def test_arrays_and_derivatives_do_the_same_work(run, tmp_path):
    workloads = ["elementwise", "dot", "matmul", "rosenbrock", "sparse_hessian", "hvp", "hessian"]
    engines = ["micrograd_c", "micrograd_c.array", "micrograd_c.compile"]
    errors = outcomes_of(run, tmp_path, workloads, engines)
    assert len(errors) == 11
    assert set(errors.values()) == {""}


def test_the_same_programs_do_the_same_work_uncompiled(run, tmp_path):
    workloads = ["sample", "gpt16", "pricing", "mixed", "call"]
    errors = outcomes_of(run, tmp_path, workloads, ["python", "micrograd_c"])
    assert len(errors) == 7
    assert set(errors.values()) == {""}


@pytest.mark.skipif(
    shutil.which("cc") is None or platform.machine() != "x86_64",
    reason="needs a C compiler, and the instructions it is told to use",
)
def test_the_network_by_hand_in_c(run, tmp_path):
    errors = outcomes_of(run, tmp_path, ["moons", "threads"], ["c"])
    assert errors == {("moons", "c"): "", ("threads", "c"): ""}


def test_without_a_c_compiler_it_says_so(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler -m64")
    with pytest.raises(native.NoCompiler, match="no-such-compiler is not there"):
        native.build("moons.c")


def test_a_failing_engine_is_listed_with_its_error(run):
    code, output = run("--quick", "--only", "deep", "--engines", "micrograd")
    assert code == 0, output
    assert "recursion limit" in output


def test_unknown_workload(run):
    code, output = run("--only", "nothing")
    assert code == 2
    assert "nothing" in output and "'chain'" in output


def test_engine_that_takes_part_in_nothing(run):
    code, output = run("--only", "gpt", "--engines", "jax")
    assert code == 1
    assert "none of these engines" in output


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send Ctrl-C to one process")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_no_process_behind(start, number):
    process = start("--only", "memory", "--engines", "micrograd_c")
    try:
        until = time.monotonic() + 60
        while not (workers := workers_of(process.pid)):
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(timeout=60) == 128 + number
    finally:
        process.kill()
        process.communicate()
    until = time.monotonic() + 20  # a killed process takes a moment to be gone
    while any(map(works, workers)):
        assert time.monotonic() < until
        time.sleep(0.05)


def workers_of(pid):
    return list(filter(works, psutil.Process(pid).children(recursive=True)))


def works(process):
    """Whether it is a worker, and neither gone nor a zombie."""
    try:
        return "benchmarks.worker" in process.cmdline()
    except psutil.Error:
        return False


# In this process: the parts.


def test_a_missing_engine_is_listed(monkeypatch):
    monkeypatch.setitem(ENGINES, "jax", Engine("no_such_module", "not here"))
    outcomes = turns.outcomes_of([WORKLOADS["chain"]], ["jax"], quick=True)
    turns.run(outcomes, 1, lambda number, outcome: None)
    assert [(o.engine, o.error, o.turns) for o in outcomes] == [("jax", turns.MISSING, [])]
    assert report.version_of("jax", outcomes) == turns.MISSING
    assert text(report.workload_table(WORKLOADS["chain"], outcomes)).count(turns.MISSING) == 1


def text(table):
    from rich.console import Console

    console = Console(width=120)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def test_adding_a_workload_is_one_declaration(monkeypatch):
    monkeypatch.delitem(WORKLOADS, "new", raising=False)
    new = workload("new", "New", size=1000, quick_size=10, unit="second", per="node")
    try:
        new.on("python", scale=0.5, note="half")(lambda size: Step(lambda: None, list))
        (outcome,) = turns.outcomes_of([new], ENGINES, quick=False)
        assert (outcome.workload, outcome.engine, outcome.size) == ("new", "python", 500)
        with pytest.raises(ValueError, match="engines.py"):
            new.on("nobody")
    finally:
        del WORKLOADS["new"]


@pytest.mark.parametrize("result", [[1.0], [1.0, 2.1], [1.0, math.nan], [1.0, 2.0, 3.0]])
def test_other_numbers_are_a_mismatch(result):
    check([1.0, 2.0 + 1e-12], [1.0, 2.0])
    with pytest.raises(Mismatch):
        check(result, [1.0, 2.0])


def outcome(engine, *values):
    return Outcome("op", engine, 1, "", turns=[list(value) for value in values])


def test_ratio_is_taken_round_by_round():
    slow, fast = outcome("a", [2, 4, 3], [30], [300]), outcome("b", [1], [10])
    assert turns.ratio(slow, fast) == 3  # of 3/1 and 30/10; the third round had no other


@pytest.mark.parametrize(
    "bound, value, mark",
    [
        ("<=", 1.0, "aim"),
        ("<=", 1.5, "must"),
        ("<=", 1.8, "short"),
        (">=", 1.0, "short"),
        (">=", 1.5, "aim"),
        (">=", 1.8, "aim"),
        ("<=", None, "not measured"),
    ],
)
def test_targets_are_judged(bound, value, mark):
    must, aim = (1.7, 1.4) if bound == "<=" else (1.2, 1.4)
    assert targets.mark(Target("", "op", "a", "b", bound, must, aim), value) == mark


def test_what_a_target_is_measured_by(monkeypatch):
    line = [
        Target("at most so many times", "op", "a", "b", "<=", 1, None),
        Target("so many times faster", "op", "a", "b", ">=", 1, None),
        Target("by itself", "op", "a", "", "<=", 1, None),
        Target("against one that failed", "op", "a", "c", "<=", 1, None),
        Target("not asked for", "chain", "a", "", "<=", 1, None),
    ]
    monkeypatch.setattr(targets, "TARGETS", line)
    outcomes = [outcome("a", [2.0]), outcome("b", [8.0]), outcome("c")]
    assert [value for _, value in targets.measure(outcomes)] == [0.25, 4, 2.0, None]


def test_targets_name_what_exists():
    for target in targets.TARGETS:
        cases = WORKLOADS[target.workload].cases
        assert target.engine in cases and (not target.against or target.against in cases)


@pytest.mark.parametrize(
    "value, unit, shown",
    [
        (12.34e-9, "second", "12.3 ns"),
        (0.9999e-3, "second", "1.00 ms"),
        (0.0, "byte", "0.00 B"),
        (-41_000, "byte", "-41.0 kB"),
        (1.055, "ratio", "1.05 x"),
        (2345.0, "second", "2,345 s"),
    ],
)
def test_quantities(value, unit, shown):
    assert report.quantity(value, unit) == shown
