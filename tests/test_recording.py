"""Recording: on by default, a thread's own, and what pause(), record() and no_grad() make of it."""

import _thread
import asyncio
import collections
import gc
import threading
import weakref

import numpy as np
import pytest
from reference import OPERATIONS, call, inside

import micrograd_c as mg
from micrograd_c import TraceError, Value, _core, autograd, tape
from micrograd_c.autograd import is_recording, no_grad, pause, record, set_recording

pytestmark = pytest.mark.usefixtures("nursery")


class Sub(Value):
    pass


@pytest.fixture(autouse=True)
def recording_is_restored():
    yield
    assert is_recording()


# ---- the switch


def test_it_is_on_at_first_and_set_recording_returns_what_was():
    assert is_recording()
    assert set_recording(False) is True
    assert set_recording(False) is False and not is_recording()
    assert set_recording(True) is False and is_recording()


def test_scopes_nest_and_restore():
    with pause():
        assert not is_recording()
        with record():
            assert is_recording()
            with no_grad():
                assert not is_recording()
            assert is_recording()
        assert not is_recording()
    with record(), pause():
        assert not is_recording()


@pytest.mark.parametrize("scope", [pause, no_grad, record])
def test_scopes_restore_through_errors(scope):
    for before in (True, False):
        set_recording(before)
        with pytest.raises(KeyError), scope():
            raise KeyError
        assert is_recording() is before
        set_recording(True)


def test_one_scope_can_be_entered_again_within_itself():
    scope = pause()
    with scope:
        with record(), scope:
            assert not is_recording()
        assert not is_recording()
    with scope:
        assert not is_recording()
    assert is_recording()


def leave(scope, due):
    with scope:
        due[0]


def leave_within_another(scope, due):
    with record(), scope:
        due[0]


def enter(scope, due):
    with (due[0], scope)[1]:
        pass


@pytest.mark.parametrize("scope", [pause, no_grad, record])
@pytest.mark.parametrize("moment", [leave, leave_within_another, enter])
def test_an_interrupt_at_the_edge_of_a_scope(moment, scope):
    """It comes where a dict lacks an item, after which Python does not yet look for it."""
    scope = scope()
    with pytest.raises(KeyboardInterrupt):
        moment(scope, collections.defaultdict(_thread.interrupt_main))
    assert set_recording(True) is True
    with scope:
        pass
    assert is_recording()


@pytest.mark.parametrize("decorator", [no_grad, no_grad(), pause()])
def test_decorators(decorator):
    @decorator
    def square(x, *, times=1):
        "its text"
        return x * x * times, is_recording()

    assert square.__name__ == "square" and square.__doc__ == "its text"
    y, recorded = square(Value(3.0), times=2)
    assert y.data == 18.0 and y._children == () and not recorded

    class Net:
        @decorator
        def forward(self, x):
            return self, x + 1

    net = Net()
    found, y = net.forward(Value(1.0))
    assert found is net and y._children == ()

    @decorator
    def fail():
        raise KeyError

    with pytest.raises(KeyError):
        fail()


def talks(decorator, is_on):
    """What a decorated generator sees, and what its caller does, through every way to resume it."""
    seen = []

    @decorator
    def generator():
        try:
            received = yield is_on()
            seen.append((received, is_on()))
            try:
                yield is_on()
            except ZeroDivisionError:
                seen.append(is_on())
            yield is_on()
            return "end"
        finally:
            seen.append(is_on())

    def take(step):
        try:
            seen.append((step(), is_on()))
        except StopIteration as end:
            seen.append((end.value, is_on()))

    g = generator()
    take(lambda: next(g))
    take(lambda: g.send(5))
    take(lambda: g.throw(ZeroDivisionError()))
    take(lambda: next(g))
    g = generator()
    take(lambda: next(g))
    g.close()
    g = generator()
    take(lambda: next(g))
    with pytest.raises(KeyError):
        g.throw(KeyError())
    seen.append(is_on())
    return seen


def test_a_decorated_generator_is_paused_while_it_runs_alone():
    expected = [
        (False, True),
        *((5, False), (False, True)),
        *(False, (False, True)),
        *(False, ("end", True)),
        *((False, True), False),
        *((False, True), False, True),
    ]
    assert talks(no_grad, is_recording) == expected
    assert talks(no_grad(), is_recording) == expected


def test_decorated_generators_are_as_in_torch(recorded):
    def theirs():
        import torch

        return talks(torch.no_grad(), torch.is_grad_enabled)

    assert talks(no_grad, is_recording) == recorded(theirs)


def test_a_decorated_function_may_call_itself():
    @no_grad
    def f(n):
        assert not is_recording()
        return f(n - 1) if n else n

    assert f(5) == 0


# ---- what is not recorded


RESULTS = {
    "numbers": lambda a, b: 2.0 - a * 3 + b / 7,
    "reflected": lambda a, b: 2.0 / a + 3**b,
    "powers": lambda a, b: a**2 + a**b,
    "numpy scalars": lambda a, b: a * np.float64(2.0) + np.float32(0.5),
    "sum": lambda a, b: mg.sum([a, b, 3, a]),
    "dot": lambda a, b: mg.dot([a, 2, b], [b, a, 0.5], start=a),
    "where": lambda a, b: mg.where(a, b, 3),
    "take": lambda a, b: mg.take([a * 1, b * 1], 1),
    "max": lambda a, b: mg.max([a, b, 0.5]),
    "min": lambda a, b: mg.min([a, 0.5, b]),
    "logsumexp": lambda a, b: mg.logsumexp([a, b, 1]),
    "softmax": lambda a, b: mg.softmax([a, b, 1])[0],
    "detach": lambda a, b: (a * b).detach(),
    "numpy's functions": lambda a, b: np.exp(np.array([a, b]))[0],
    "array": lambda a, b: (np.array([1.0, 2.0]) * a)[1] + (b * np.array([1.0, 2.0]))[1],
    "local gradients": lambda a, b: Value(a.data * b.data, (a, b), (b.data, a.data)),
    "children": lambda a, b: Value(7.0, (a, b), "own"),
}
for op in _core.OPS:
    RESULTS[op.name] = lambda a, b, op=op: call(op.name, *(a, b)[: op.arity])


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("cls", [Value, Sub])
def test_results_are_leaves(name, cls):
    a, b = (cls(inside(name, x) if name in OPERATIONS else x) for x in (0.75, 0.5))
    recorded = RESULTS[name](a, b)
    with pause():
        result = RESULTS[name](a, b)
    assert type(result) is type(recorded) and result.data == recorded.data
    assert result._children == () and result._prev == set() and result._op == ""
    assert result._local_grads == ()
    (result * 3.0).backward()
    assert result.grad == 3.0 and a.grad == b.grad == 0.0


def test_what_is_made_afterwards_is_recorded_again():
    x = Value(3.0)
    with pause():
        y = x * x
    (y * x).backward()
    assert (x.grad, y.grad) == (9.0, 3.0)


def test_an_operation_with_a_closure_passes_nothing():
    def tanh(x):
        t = np.tanh(x.data)
        out = Value(t, (x,), "tanh")

        def _backward():
            x.grad += (1 - t * t) * out.grad

        out._backward = _backward
        return out, weakref.ref(_backward)

    x = Value(0.5)
    with pause():
        y, closure = tanh(x)
    assert closure() is None  # and it keeps nothing
    (y * 2).backward()
    assert x.grad == 0.0 and y._op == ""
    z, _ = tanh(x)
    with pause():
        z._backward = lambda: None  # of an operation that was recorded: as ever
    z.backward()
    assert x.grad == 0.0


def test_errors_are_the_same_and_leave_no_node():
    a, zero = Value(2.0), Value(0.0)
    with pause():
        before = tape.size()
        for wrong, error in (
            (lambda: a / zero, ZeroDivisionError),
            (lambda: a + "a", TypeError),
            (lambda: (-a).log(), ValueError),
            (lambda: mg.sum([a, None]), TypeError),
            (lambda: mg.dot([a], [a, a]), ValueError),
            (lambda: Value(1.0, (a, 2), (1.0, 1.0)), TypeError),
            (lambda: Value(1.0, (a,), (1.0, 1.0)), ValueError),
        ):
            with pytest.raises(error):
                wrong()
        del wrong
        gc.collect()
        tape.collect()
        assert tape.size() <= before


def test_a_model_and_its_update():
    model = mg.nn.MLP(2, [4, 1])
    expected = model([1.0, -2.0]).data
    with no_grad():
        y = model([1.0, -2.0])
        for p in model.parameters():
            p.data -= 0.1 * p.grad
    assert y.data == expected and y._children == ()
    y.backward()
    assert all(p.grad == 0 for p in model.parameters())


# ---- the tape does not grow

LOOPS = {
    "two operations": "x = x*b + a",
    "several": "x = ((x*0.9).tanh() + a*b) / 2",
    "two variables": "x = x*b; y = y*b + x",
    "n-ary": "x = mg.dot([x, 2.0], [b, a]); y = mg.where(x, mg.sum([y, 1.0]), 3.0) * b",
    "own operations": "x = Value(x.data * 0.5, (x, a), (0.5, 1.0))",
    "detached": "x = (x * b).detach()",
    "new leaves": "x = Value(1.0) + Value(2.0)",
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("cls", ["Value", "Sub"])
def test_a_loop_leaves_the_tape_where_it_was(loop, cls):
    scope = dict(mg=mg, Value=Value, Sub=Sub, tape=tape, pause=pause, gc=gc)
    body = f"""
def run(rounds):
    a, b, x, y = {cls}(0.5), {cls}(0.5), {cls}(1.0), {cls}(2.0)
    before = highest = tape.size()
    with pause():
        for _ in range(rounds):
            {LOOPS[loop]}
            highest = max(highest, tape.size())
    return before, highest, tape.size()
"""
    exec(body, scope)
    tape.collect()
    before, highest, after = scope["run"](3000)
    assert after <= before
    assert highest <= before + 600


@pytest.mark.memory
def test_ten_million_operations(run):
    # In a process of its own, on a tape that holds a graph.
    run("""
        from micrograd_c import Value, autograd, tape
        a, b = Value(0.5), Value(0.5)
        graph = [a]
        for _ in range(50_000):
            graph.append(graph[-1] * b)
        x = Value(1.0)
        before = tape.size()
        with autograd.pause():
            for _ in range(5_000_000):
                x = x * b + a
            assert tape.size() < before + 200
        assert tape.size() <= before, (tape.size(), before)
        assert x.data == 1.0
        graph[-1].backward()
        assert a.grad == 0.5**50_000
        """)


def test_what_is_kept_stays_through_collects():
    x = Value(1.0)
    tail = x * 2.0
    with pause():
        kept = [x * float(i) for i in range(1000)]
        with record():
            recorded = [v * x for v in kept[::10]]
        rest = [v + 1 for v in kept]
    assert [v.data for v in kept] == [float(i) for i in range(1000)]
    assert [v.data for v in rest] == [i + 1.0 for i in range(1000)]
    mg.sum(recorded).backward()
    assert x.grad == sum(range(0, 1000, 10)) and kept[10].grad == 1.0
    tail.backward()
    assert x.grad == sum(range(0, 1000, 10)) + 2.0
    assert all(v._children == () for v in kept + rest)


def test_a_captured_value_is_found_again_when_the_tape_shifts():
    w = Value(2.0)
    f = mg.compile(lambda x: x * w)
    assert f(3.0).data == 6.0
    with pause():
        x = w * 1.0
        for _ in range(500):
            x = x * 1.0
            assert f(3.0).data == 6.0
        del x
    assert f(3.0).data == 6.0
    f(3.0).backward()
    assert w.grad == 3.0


# ---- threads


def in_thread(function):
    result = []
    thread = threading.Thread(target=lambda: result.append(function()))
    thread.start()
    thread.join()
    return result[0]


def test_each_thread_has_its_own():
    x = Value(3.0)
    with pause():
        assert in_thread(is_recording)
        y = in_thread(lambda: x * x)
        assert not is_recording()
        z = x * x
    assert len(y._children) == 2 and z._children == ()
    y.backward()
    assert x.grad == 6.0


def test_a_thread_that_ends_paused_leaves_the_others_recording():
    for _ in range(3):
        assert in_thread(lambda: set_recording(False)) is True
    x = Value(3.0)
    assert is_recording() and in_thread(is_recording)
    (x * x + x.exp() * 0).backward()
    assert x.grad == 6.0
    with pause():
        assert (x * x)._children == ()
    assert len((x * x)._children) == 2


def test_a_decorated_function_in_many_threads():
    x = Value(3.0)
    barrier = threading.Barrier(4)
    wrong = []

    @no_grad
    def paused():
        barrier.wait()
        if is_recording() or (x * x)._children:
            wrong.append("recorded")
        barrier.wait()

    def work():
        for _ in range(20):
            paused()
            if not is_recording():
                wrong.append("still paused")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_within_a_coroutine():
    async def main():
        with pause():
            return is_recording(), (Value(1.0) * 2)._children

    assert asyncio.run(main()) == (False, ())


# ---- compiled functions


def test_calls_of_programs_are_leaves():
    w = Value(2.0)
    f = mg.compile(lambda x, y: (x * w + y).tanh())
    x = Value(0.5)
    X, Y = np.linspace(-1, 1, 20), np.linspace(0, 1, 20)
    recorded = [f(x, 0.1), f.mean(X, Y), f.sum(X, x), f.program(0.1, 0.2)(0.1, 0.2)]
    with pause():
        results = [f(x, 0.1), f.mean(X, Y), f.sum(X, x), f.program(0.1, 0.2)(0.1, 0.2)]
        gradient = f.grad(0.5, 0.1)
    for result, expected in zip(results, recorded):
        assert result.data == pytest.approx(expected.data, rel=1e-14)
        assert result._children == () and len(expected._children) > 0
    assert gradient == f.grad(0.5, 0.1) != 0
    assert results[0].data == f(x, 0.1).data


def test_a_function_that_is_first_called_under_pause_is_recorded_in_its_program():
    w = Value(2.0)
    f = mg.compile(lambda x: x * w + w.detach() * x)
    with pause():
        assert f(3.0)._children == ()
        assert f.check(3.0) == 0.0
        assert not is_recording()
    f(3.0).backward()
    assert w.grad == 3.0
    assert f.grad(3.0) == 4.0


def test_pause_within_a_compiled_function_cuts_the_derivative_alone():
    w = Value(2.0)

    def function(x, y):
        with pause():
            a = [x * w, 1.0 - y, x**2, x.exp(), mg.sum([x, y, 1]), mg.dot([x, 2], [y, y])]
            a += [mg.where(x, y, w), mg.max([x, y]), mg.take([x, y], 1) * 1, abs(x - w), x.max(y)]
        return mg.sum(a) * x

    f = mg.compile(function)
    for x, y in ((3.0, 1.5), (-1.0, 2.5)):
        total = function(Value(x), Value(y)).data / x
        assert f(x, y).data == pytest.approx(total * x, rel=1e-14)
        gradient = f.grad(x, y, argnums=(0, 1))
        assert gradient == pytest.approx((total, 0.0), rel=1e-14)
        w.grad = 0.0
        f(x, y).backward()
        assert w.grad == 0.0
        assert f.check(x, y) < 1e-14


def test_recording_is_restored_after_a_trace_that_leaves_it_off():
    def function(x):
        set_recording(False)
        return x * x

    f = mg.compile(function)
    assert f(3.0).data == 9.0 and is_recording()
    assert f.grad(3.0) == 0.0

    @mg.compile
    def fail(x):
        set_recording(False)
        raise KeyError

    with pytest.raises(KeyError):
        fail(1.0)
    assert is_recording()


@pytest.mark.parametrize(
    "step",
    [
        lambda x: x.attach_grad(),
        lambda x: x.backward(retain_graph=False),
        lambda x: autograd.backward([x]),
        lambda x: autograd.grad(x, x),
        lambda x: autograd.jvp(x, x),
        lambda x: autograd.partials(x),
        lambda x: list(autograd.paths(x, x)),
    ],
)
def test_what_a_trace_refuses(step):
    @mg.compile
    def f(x):
        y = x * x
        step(y)
        return y

    with pytest.raises(TraceError, match="test_recording.py"):
        f(3.0)
    assert f.__wrapped__(Value(3.0)).data == 9.0
