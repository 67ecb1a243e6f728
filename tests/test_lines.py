"""Which line of the user's code made a node."""

import functools
import inspect
import itertools
import linecache
import sys

import numpy as np
import pytest

import micrograd_c as mg
from micrograd_c import Value, _core, _graph, nn, tape
from micrograd_c.lines import record_lines


def lines_of(function, *args):
    """Of each operation that a function records, in order: (its name, the source of the line)."""
    program = mg.compile(function, optimize=False).program(*args)
    numbers = np.array(np.hstack([np.ravel(x) for x in args]), float)
    with record_lines() as lines:
        run = _core.retraced(program, numbers)
    assert [np.array_equal(x, y) for x, y in zip(run.graph, program.graph)] == [True] * 6
    return [
        (_graph.OP_NAMES[op], lines.of(node).split(": ", 1)[1])
        for op, node in zip(run.graph.op.tolist(), run.origin.tolist())
        if op
    ]


def test_of_each_operation():
    def f(x, y):
        a = x * y
        b = a - x
        return b.exp()

    assert lines_of(f, 2.0, 3.0) == [
        ("mul", "a = x * y"),
        ("sub", "b = a - x"),
        ("exp", "return b.exp()"),
    ]


def test_the_caller_goes_on_after_a_call():
    def square(x):
        return x * x

    def f(x):
        return square(x) + square(x + 1.0).exp()

    assert lines_of(f, 2.0) == [
        ("mul", "return x * x"),
        ("add", "return square(x) + square(x + 1.0).exp()"),
        ("mul", "return x * x"),
        ("exp", "return square(x) + square(x + 1.0).exp()"),
        ("add", "return square(x) + square(x + 1.0).exp()"),
    ]


def test_loops_branches_generators_and_failures():
    def steps(x):
        for _ in range(2):
            x = x.sin()
            yield x

    def fails(x):
        x = x.cos()
        raise KeyError

    def f(x):
        total = 0.0
        for v in steps(x):
            total = total + v
        try:
            fails(total)
        except KeyError:
            total = total.tan()
        return [v.exp() for v in [total]][0]

    assert lines_of(f, 2.0) == [
        ("sin", "x = x.sin()"),
        ("add", "total = total + v"),
        ("sin", "x = x.sin()"),
        ("add", "total = total + v"),
        ("tan", "total = total.tan()"),
        ("exp", "return [v.exp() for v in [total]][0]"),
    ]


def test_the_lines_of_an_expression():
    def f(x):
        return (
            x.sin()
            * x.cos()
        )  # fmt: skip

    assert lines_of(f, 2.0)[:2] == [("sin", "x.sin()"), ("cos", "* x.cos()")]


def test_libraries_count_for_the_line_that_called_them():
    model = nn.MLP(2, [2, 1])

    def f(x):
        a = functools.reduce(lambda p, q: p * q, x)
        b = np.sum(np.exp(x))
        c = model(x)
        return list(itertools.accumulate([a, b, c]))[-1]

    found = lines_of(f, np.array([1.0, 2.0]))
    assert found[0] == ("mul", "a = functools.reduce(lambda p, q: p * q, x)")
    assert ("exp", "b = np.sum(np.exp(x))") in found and ("tanh", "c = model(x)") not in found
    assert {line for op, line in found if op == "ReLU" or op == "relu"} == {"c = model(x)"}
    assert found[-1] == ("add", "return list(itertools.accumulate([a, b, c]))[-1]")


def test_a_library_without_a_user():
    """A function in site-packages, called by nobody, has lines of its own."""
    name = f"{sys.prefix}/lib/site-packages/somebody.py"
    source = "def f(x):\n    y = x * x\n    return y.exp()\n"
    linecache.cache[name] = len(source), None, source.splitlines(True), name
    space = {}
    exec(compile(source, name, "exec"), space)
    assert lines_of(space["f"], 2.0) == [("mul", "y = x * x"), ("exp", "return y.exp()")]


def test_inputs_captured_and_results():
    w = Value(3.0)
    program = mg.compile(lambda x: [w * x, 5.0]).program(2.0)
    run = _core.retraced(program, np.array([2.0]))
    assert run.captured == (w,) and run.graph.data[-1] == 5.0
    assert run.origin[0] == -1 and run.origin[-1] == -1  # the number 1, and the 5
    assert run.origin[2] < run.origin[1] < run.origin[3]  # what is captured was made before


def test_derivatives_know_the_function():
    def f(x):
        return x * x

    mg.grad(f)(3.0)
    (derived,) = f._micrograd_c.programs
    assert derived.made_from[0] is f
    flat = _core.flat_program(derived, derived.graph, 0, derived.result_spec)
    assert flat.made_from == derived.made_from
    assert _core.retraced(flat, np.array([3.0])).graph.op.tolist() == derived.graph.op.tolist()


def test_a_loaded_program_has_no_function(tmp_path):
    program = mg.compile(lambda x: x * x).program(2.0)
    program.save(tmp_path / "square.npz")
    assert _core.retraced(mg.load(tmp_path / "square.npz"), np.array([2.0])) is None


def test_other_tracers_are_put_back():
    seen = []

    def tracer(frame, event, arg):
        seen.append(frame.f_code.co_name)
        return tracer

    def f(x):
        return x * x

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        with pytest.raises(ZeroDivisionError):
            with record_lines():
                f(Value(2.0))
                1 / 0  # noqa: B018
        assert sys.gettrace() is tracer
        assert "f" not in seen
        f(Value(2.0))
    finally:
        sys.settrace(before)
    assert "f" in seen


def test_before_anything_ran():
    with record_lines() as lines:
        pass
    assert lines.of(tape.size()) is None


def test_trace_errors_name_the_same_line():
    def f(x):
        y = x * x
        return y.data

    with pytest.raises(mg.TraceError) as error:
        mg.compile(f)(2.0)
    number = inspect.getsourcelines(f)[1] + 2
    assert f"{__file__}, line {number}, in f: return y.data" in str(error.value)
