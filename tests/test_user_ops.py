"""Ops that users write: local gradients, closures in micrograd's style, backward by hand."""

import functools
import math
import threading
import time
import weakref

import pytest
from reference import live_nodes

import micrograd_c
from micrograd_c import Value, tape


class Probe:
    """Something a closure holds, to see it die."""


def tanh(x, probe=None):
    """micrograd's style, outside the class."""
    t = math.tanh(x.data)
    out = Value(t, (x,), "tanh")

    def _backward():
        assert probe is None or isinstance(probe, Probe)
        x.grad += (1 - t**2) * out.grad

    out._backward = _backward
    return out


def product(x, y, probe=None):
    out = Value(x.data * y.data, (x, y), "times")

    def _backward():
        assert probe is None or isinstance(probe, Probe)
        x.grad += y.data * out.grad
        y.grad += x.data * out.grad

    out._backward = _backward
    return out


@pytest.fixture
def nothing_left():
    """After the test, once its locals are gone, the tape is as it was before."""
    before = live_nodes()
    yield
    assert live_nodes() == before


# ---- backward by hand


def test_backpropagation_by_hand_as_in_the_tutorials(nursery):
    x1, x2 = Value(2.0, label="x1"), Value(0.0, label="x2")
    w1, w2 = Value(-3.0, label="w1"), Value(1.0, label="w2")
    b = Value(6.8813735870195432, label="b")
    x1w1, x2w2 = x1 * w1, x2 * w2
    both = x1w1 + x2w2
    n = both + b
    o = n.tanh()
    o.grad = 1.0
    for v in (o, n, b, both, x2w2, x1w1):
        v._backward()
    assert x1.grad == pytest.approx(-1.5) and w1.grad == pytest.approx(1.0)
    assert x2.grad == pytest.approx(0.5) and w2.grad == pytest.approx(0.0)


def test_the_tutorials_own_topological_sort(nursery):
    a, b = Value(2.0), Value(-3.0)
    root = tanh(a * b + a.exp()) * b + micrograd_c.dot([a, b], [b, a]) / (a - 7)
    root.backward()
    expected = a.grad, b.grad
    a.grad = b.grad = 0.0

    order, seen = [], set()

    def build(v):
        if v not in seen:
            seen.add(v)
            for child in v._prev:
                build(child)
            order.append(v)

    build(root)
    for v in order:
        v.grad = 0.0
    root.grad = 1.0
    for v in reversed(order):
        v._backward()
    assert (a.grad, b.grad) == pytest.approx(expected, rel=1e-14)


def test_backward_of_a_leaf_by_hand_does_nothing():
    v = Value(3.0)
    v.grad = 2.0
    assert v._backward() is None
    assert v.grad == 2.0


def test_one_step_touches_the_parents_alone():
    a, b = Value(2.0), Value(3.0)
    c = a * b
    d = c + 1.0
    d.grad = 5.0
    d._backward()
    assert (c.grad, a.grad, b.grad) == (5.0, 0.0, 0.0)
    d._backward()
    assert c.grad == 10.0


def test_one_step_of_sum_dot_and_local_gradients():
    a, b = Value(2.0), Value(3.0)
    for out, expected in [
        (micrograd_c.sum([a, b, a]), (2.0, 1.0)),
        (micrograd_c.dot([a, 4.0], [b, a]), (7.0, 2.0)),
        (Value(0.0, (a, b), (10.0, 20.0)), (10.0, 20.0)),
    ]:
        a.grad = b.grad = 0.0
        out.grad = 0.5
        out._backward()
        assert (a.grad, b.grad) == (expected[0] / 2, expected[1] / 2)


def test_a_step_kept_aside_keeps_its_node(nursery):
    a = Value(3.0)
    step = (a * a)._backward
    tape.collect()
    Value(0.0)
    step()
    assert a.grad == 0.0  # the node's own gradient is 0
    c = a * a
    c.grad = 1.0
    step = c._backward
    del c
    tape.collect()
    step()
    assert a.grad == 6.0


# ---- local gradients


def test_local_gradients_inside_a_larger_graph(nursery):
    a, b = Value(2.0), Value(3.0)
    area = Value(a.data * b.data, (a, b), (b.data, a.data))
    out = (area + a) * 2.0
    out.backward()
    assert (area.grad, a.grad, b.grad) == (2.0, 8.0, 4.0)


def test_local_gradients_are_fixed_when_given():
    a = Value(2.0)
    out = Value(4.0, (a,), (4.0,))
    a.data = 100.0
    out.backward()
    assert a.grad == 4.0


def test_the_sequence_of_local_gradients_is_copied():
    a = Value(2.0)
    partials = [3.0]
    out = Value(6.0, [a], partials)
    partials[0] = 7.0
    out.backward()
    assert a.grad == 3.0


def test_a_node_with_thousands_of_parents(nursery):
    leaves = [Value(float(i)) for i in range(2000)]
    out = Value(1.0, leaves, [2.0 * i for i in range(2000)])
    assert out._children == tuple(leaves)
    (out * 3.0).backward()
    assert [v.grad for v in leaves] == [6.0 * i for i in range(2000)]


def test_a_subclass_in_the_local_gradients_dialect(nursery):
    class Dialect(Value):
        def square(self):
            return Dialect(self.data**2, (self,), (2 * self.data,))

    a = Dialect(3.0)
    out = (a.square() + 1).square()
    out.backward()
    assert (out.data, a.grad, type(out)) == (100.0, 120.0, Dialect)


# ---- closures


def test_a_closure_is_given_back():
    v = Value(1.0)

    def closure():
        pass

    v._backward = closure
    assert v._backward is closure


def test_closures_inside_a_larger_graph(nursery, nothing_left):
    a, b = Value(0.5), Value(-1.5)
    out = tanh(product(a + b, b) * tanh(a)) + a
    out.backward()
    ours = a.grad, b.grad
    a.grad = b.grad = 0.0
    (((a + b) * b * a.tanh()).tanh() + a).backward()
    assert ours == pytest.approx((a.grad, b.grad), rel=1e-12)


def test_a_closure_runs_once_and_with_its_gradient_complete(nursery):
    a = Value(1.0)
    seen = []
    out = Value(2.0, (a,), "x")

    def _backward():
        seen.append(out.grad)
        a.grad += out.grad

    out._backward = _backward
    (out * 3.0 + out * 4.0 + out).backward()
    assert seen == [8.0] and a.grad == 8.0


def test_a_closure_sees_the_gradients_of_what_stands_above_it(nursery):
    a = Value(1.0)
    inner = tanh(a)
    outer = inner * 2.0
    steps = []
    first = inner._backward
    inner._backward = lambda: (steps.append(outer.grad), first())
    (outer * 5.0).backward()
    assert steps == [5.0]
    assert a.grad == pytest.approx(10.0 * (1 - math.tanh(1.0) ** 2))


def test_a_closure_of_a_node_that_the_root_does_not_reach_is_not_called():
    a = Value(1.0)
    out = Value(1.0, (a,))
    out._backward = lambda: pytest.fail("not part of the graph")
    (a * 2.0).backward()
    assert a.grad == 2.0


def test_a_closure_replaces_the_step_of_any_op(nursery):
    """Straight-through estimators and gradient clipping are written this way."""
    a, b = Value(-2.0), Value(3.0)
    blocked = a * b
    blocked._backward = lambda: None
    (blocked + b).backward()
    assert (a.grad, b.grad) == (0.0, 1.0)

    rectified = a.relu()

    def straight_through():
        a.grad += rectified.grad

    rectified._backward = straight_through
    (rectified * 7.0).backward()
    assert a.grad == 7.0


def test_a_closure_on_a_leaf_is_called():
    a = Value(2.0)
    log = []
    a._backward = lambda: log.append(a.grad)
    (a * 3.0).backward()
    assert log == [3.0]


def test_overwriting_a_closure_frees_the_first(nursery):
    a = Value(1.0)
    probe = Probe()
    out = tanh(a, probe)
    ref = weakref.ref(probe)
    del probe
    assert ref() is not None

    def other():
        a.grad += 100.0

    out._backward = other
    assert ref() is None
    (out + 1.0).backward()
    assert a.grad == 100.0


def test_deleting_a_closure_gives_the_nodes_own_step_back():
    a = Value(3.0)
    out = a * a
    out._backward = lambda: None
    del out._backward
    out.backward()
    assert a.grad == 6.0
    assert callable(Value(1.0)._backward)


@pytest.mark.parametrize("bad", [5, None, "step"])
def test_only_a_callable_is_a_step(bad):
    a = Value(3.0)
    out = a * a
    with pytest.raises(TypeError, match=type(bad).__name__):
        out._backward = bad
    out.backward()
    assert a.grad == 6.0


def test_a_closure_survives_its_facade(nursery):
    a = Value(0.5)
    out = tanh(a) + 1.0
    for _ in range(10):
        tape.collect()
        Value(0.0)
    out.backward()
    assert a.grad == pytest.approx(1 - math.tanh(0.5) ** 2)


def test_a_closure_may_use_nodes_that_are_not_its_parents(nursery):
    """Its node keeps alive what the closure holds."""

    def build(a):
        out = Value(0.0, (a,), "hidden")
        hidden = tanh(a * 3.0)

        def _backward():
            a.grad += hidden.data * out.grad

        out._backward = _backward
        return out, hidden.data

    a = Value(2.0)
    out, expected = build(a)
    for _ in range(5):
        tape.collect()
        Value(0.0)
    out.backward()
    assert a.grad == expected


def test_functools_partial_bound_methods_and_callables(nursery):
    def add_to(node, amount):
        node.grad += amount

    class Step:
        def __init__(self, out, a):
            self.out, self.a = out, a

        def __call__(self):
            self.a.grad += 2 * self.out.grad

        def run(self):
            self.a.grad += 3 * self.out.grad

    a = Value(1.0)
    for make, expected in [
        (lambda out: functools.partial(add_to, a, 5.0), 5.0),
        (lambda out: Step(out, a), 2.0),
        (lambda out: Step(out, a).run, 3.0),
    ]:
        a.grad = 0.0
        out = Value(1.0, (a,))
        out._backward = make(out)
        (out * 1.0).backward()
        assert a.grad == expected


def test_init_again_on_a_node_with_a_closure(run):
    run(
        """
        from micrograd_c import Value, tape
        for end in range(3):
            a = Value(1.0)
            out = Value(1.0, (a,), "x")
            def _backward():
                a.grad += 5 * out.grad
            out._backward = _backward
            root = out * 2
            out.__init__(3.0)
            if end == 1:
                tape.collect()
            root.backward()
            if end == 2:
                out._backward = lambda: None
            (out * 2.0).backward()
            assert out.data == 3.0 and out._prev == set()
            del a, out, root, _backward
        assert tape.live() == 0
        """
    )


def test_init_again_where_letting_the_closure_go_runs_python(run):
    """Whatever a node held may collect while it goes; no index may be in flight then."""
    run(
        """
        from micrograd_c import Value, tape

        class Noisy:
            def __del__(self):
                tape.collect()
                self.more = [Value(7.0) for _ in range(3)]

        def closure(noisy):
            return lambda: noisy

        kept = [Value(float(i)) for i in range(10)]
        for _ in range(20):
            dropped = [Value(0.0) for _ in range(50)]
            a = Value(1.0)
            out = Value(1.0, (a,), "x")
            out._backward = closure(Noisy())
            del dropped
            out.__init__(5.0)
            out.grad = 3.0
            assert out.data == 5.0 and out._op == ""
            out._backward = closure(Noisy())
            out._backward = closure(Noisy())
            del out._backward
            out.note = Noisy()
            out.note = Noisy()
            del out.note
            assert (out.data, out.grad, a.data) == (5.0, 3.0, 1.0)
            assert [(v.data, v.grad) for v in kept] == [(float(i), 0.0) for i in range(10)]
        """
    )


# ---- closures are freed with their graph


def closure_over_itself(a, probe):
    return tanh(a, probe)


def closure_with_a_default_argument(a, probe):
    out = Value(a.data, (a,))

    def _backward(out=out, probe=probe):
        a.grad += out.grad

    out._backward = _backward
    return out


def closure_as_a_partial(a, probe):
    def step(out, probe):
        a.grad += out.grad

    out = Value(a.data, (a,))
    out._backward = functools.partial(step, out, probe)
    return out


def closure_as_a_bound_method(a, probe):
    out = Own(a.data, (a,))
    out.probe = probe
    out._backward = out.step
    return out


def closure_over_a_list_that_holds_itself(a, probe):
    outs = [Value(a.data, (a,)) for _ in range(100)]
    for out in outs:

        def _backward(out=out):
            a.grad += outs[0].grad + (probe is None)

        out._backward = _backward
    return micrograd_c.sum(outs)


class Step:
    def __init__(self, out, a, probe):
        self.out, self.a, self.probe = out, a, probe

    def __call__(self):
        self.a.grad += self.out.grad


class Slotted(Value):
    __slots__ = ("itself", "probe")


class Own(Value):
    def step(self):
        self._children[0].grad += self.grad


def closure_in_a_callable_object(a, probe):
    out = Value(a.data, (a,))
    out._backward = Step(out, a, probe)
    return out


def a_slot_that_is_the_value_itself(a, probe):
    out = Slotted(a.data, (a,), (1.0,))
    out.itself, out.probe = out, probe
    return out


def an_attribute_that_is_the_value_itself(a, probe):
    out = a * 2.0
    out.itself, out.probe = out, probe
    return out


def attributes_in_a_circle(a, probe):
    b, c = a * 2.0, a * 3.0
    b.other, c.other, c.probe = c, b, probe
    return b


def two_closures_that_hold_each_other(a, probe):
    x, y = Value(1.0, (a,)), Value(2.0, (a,))

    def of_x():
        a.grad += y.data * x.grad

    def of_y():
        a.grad += x.data * y.grad + (probe is None)

    x._backward, y._backward = of_x, of_y
    return x + y


def an_old_node_that_holds_a_newer_one(a, probe):
    old = Value(1.0, (a,))
    newer = old * 2.0 + a

    def _backward():
        a.grad += newer.data * old.grad + (probe is None)

    old._backward = _backward
    return old


MAKERS = [
    closure_over_itself,
    closure_with_a_default_argument,
    closure_as_a_partial,
    closure_as_a_bound_method,
    closure_over_a_list_that_holds_itself,
    closure_in_a_callable_object,
    a_slot_that_is_the_value_itself,
    an_attribute_that_is_the_value_itself,
    attributes_in_a_circle,
    two_closures_that_hold_each_other,
    an_old_node_that_holds_a_newer_one,
]
every_maker = pytest.mark.parametrize("make", MAKERS, ids=lambda f: f.__name__)


@every_maker
def test_freed_with_the_graph_by_one_collect(make, nursery):
    a = Value(0.5)
    before = live_nodes()
    probe = Probe()
    ref = weakref.ref(probe)
    out = make(a, probe) * 2.0
    del probe
    tape.collect()
    assert ref() is not None
    out.backward()
    assert a.grad != 0.0
    del out
    tape.collect()
    assert ref() is None
    assert tape.size() == before


@every_maker
def test_freed_when_its_own_facade_is_the_last(make):
    a = Value(0.5)
    before = live_nodes()
    probe = Probe()
    ref = weakref.ref(probe)
    out = make(a, probe)
    del probe
    tape.collect()
    assert ref() is not None
    del out
    tape.collect()
    assert ref() is None
    assert tape.size() == before


@every_maker
def test_freed_without_asking_by_going_on(make):
    """A training loop never calls collect()."""
    a = Value(0.5)
    before = live_nodes()
    refs = []
    for _ in range(20):
        probe = Probe()
        refs.append(weakref.ref(probe))
        out = make(a, probe) * 2.0
        out.backward()
        for _ in range(3000):
            a * 2.0
    del out, probe
    for _ in range(100_000):
        a * 2.0
    assert sum(ref() is not None for ref in refs) == 0
    tape.collect()
    assert tape.size() == before


@pytest.mark.parametrize("length", [1, 2, 100])
def test_a_chain_of_closures_is_freed_by_one_collect(length, nursery):
    a = Value(0.01)
    before = live_nodes()
    refs, out = [], a
    for _ in range(length):
        probe = Probe()
        refs.append(weakref.ref(probe))
        out = tanh(out, probe)
    del probe
    tape.collect()
    assert all(ref() is not None for ref in refs)
    out.backward()
    assert 0.9 < a.grad < 1.0
    del out
    tape.collect()
    assert not any(ref() is not None for ref in refs)
    assert tape.size() == before


def test_a_chain_with_ordinary_nodes_between_the_closures(nursery):
    a = Value(0.01)
    before = live_nodes()
    refs, out = [], a
    for _ in range(50):
        probe = Probe()
        refs.append(weakref.ref(probe))
        out = product(tanh(out * 1.5, probe) + 0.1, out + a, probe)
    del probe
    out.backward()
    assert a.grad != 0.0 and all(ref() is not None for ref in refs)
    del out
    tape.collect()
    assert not any(ref() is not None for ref in refs)
    assert tape.size() == before


def test_a_node_in_the_middle_keeps_what_is_below_it_alone(nursery):
    a = Value(0.5)
    probes = [Probe() for _ in range(3)]
    refs = [weakref.ref(probe) for probe in probes]
    first = tanh(a, probes[0])
    middle = tanh(first, probes[1])
    last = tanh(middle, probes[2])
    del probes, first, last
    tape.collect()
    assert [ref() is not None for ref in refs] == [True, True, False]
    middle.backward()
    assert a.grad != 0.0
    del middle
    tape.collect()
    assert [ref() is not None for ref in refs] == [False, False, False]


def test_a_closure_held_outside_keeps_its_node(nursery):
    a = Value(0.5)
    probe = Probe()
    ref = weakref.ref(probe)
    out = tanh(a * 2.0, probe)
    out.grad = 1.0
    step = out._backward
    del out, probe
    for _ in range(5):
        tape.collect()
        Value(0.0)
    assert ref() is not None
    step()
    del step
    tape.collect()
    assert ref() is None


def test_a_closure_held_outside_keeps_the_whole_circle(nursery):
    def circle(a):
        x, y = Value(1.0, (a,)), Value(2.0, (a,))

        def of_x():
            a.grad += y.data * x.grad

        def of_y():
            a.grad += x.data * y.grad

        x._backward, y._backward = of_x, of_y
        x.grad = y.grad = 1.0
        return of_y

    a = Value(0.5)
    step = circle(a)
    for _ in range(5):
        tape.collect()
        Value(0.0)
    step()
    assert a.grad == 1.0


def test_a_node_held_by_the_closure_of_a_live_node(nursery):
    def build(a):
        inner = tanh(a)
        outer = Value(1.0, (a,))

        def _backward():
            inner.grad += outer.grad
            inner._backward()

        outer._backward = _backward
        return outer, weakref.ref(inner)

    a = Value(0.5)
    outer, ref = build(a)
    for _ in range(5):
        tape.collect()
        Value(0.0)
    assert ref() is not None
    outer.backward()
    assert a.grad == pytest.approx(1 - math.tanh(0.5) ** 2)
    del outer
    tape.collect()
    assert ref() is None


def test_a_box_that_only_an_attribute_holds():
    """A facade held by a Python object counts as held; it goes one collect after its holder."""
    a = Value(1.0)
    before = live_nodes()
    out = a * 2.0
    inner = a * 3.0
    inner.probe = probe = Probe()
    ref = weakref.ref(probe)
    out.box = {"inner": [inner]}
    del inner, probe
    tape.collect()
    assert out.box["inner"][0].data == 3.0
    del out
    tape.collect()
    tape.collect()
    assert ref() is None
    assert tape.size() == before


def test_an_object_that_builds_values_when_it_is_freed(nursery):
    """Letting go of an attribute may run any Python, inside a collect."""
    a = Value(1.0)

    class Noisy:
        def __del__(self):
            total = a
            for _ in range(50):
                total = total * 2.0 + a
            made.append(total.data)
            tape.collect()

    made = []
    keep = [a * float(i) for i in range(100)]
    for _ in range(20):
        out = a * 3.0
        out.noisy = Noisy()
        out = product(out, a)
        out.backward()
        del out
        tape.collect()
    assert len(made) == 20
    assert [v.data for v in keep] == [float(i) for i in range(100)]
    a.grad = 0.0
    micrograd_c.sum(keep).backward()
    assert a.grad == sum(range(100))


def test_a_deep_chain_of_closures_is_freed_without_recursion(run):
    run(
        """
        from micrograd_c import Value, tape

        def step(x):
            out = Value(x.data, (x,), "copy")
            def _backward():
                x.grad += out.grad
            out._backward = _backward
            return out

        a = Value(1.0)
        x = a
        for _ in range(100_000):
            x = step(x)
        x.backward()
        assert a.grad == 1.0
        del x
        tape.collect()
        assert tape.size() == 1, tape.size()

        x = a
        for _ in range(100_000):
            x = x * 1.0
            x.note = object()
        x.backward()
        assert a.grad == 2.0
        del x
        tape.collect()
        assert tape.size() == 1, tape.size()

        x = a
        for _ in range(100_000):
            y = x * 1.0
            y.before = x
            x = y
        del x, y
        tape.collect()
        tape.collect()
        assert tape.size() == 1, tape.size()
        """
    )


# ---- what a closure may do during backward


def test_an_exception_passes_through_and_leaves_no_marks(nursery):
    """A mark left behind would make a later sweep pass a gradient on from a node it never met."""
    a = Value(1.0)
    left = a * 5.0
    fragile = Value(2.0, (left,), "fragile")
    fail = True

    def _backward():
        if fail:
            raise KeyError("from the closure")
        left.grad += fragile.grad

    fragile._backward = _backward
    root = fragile * 3.0 + left * 2.0 + a
    with pytest.raises(KeyError, match="from the closure"):
        root.backward()

    left.grad = 1.0
    a.grad = 0.0
    (a * 7.0).backward()
    assert a.grad == 7.0 and left.grad == 1.0

    fail = False
    for v in (a, left, fragile, *root._prev):
        v.grad = 0.0
    for v in root._prev:
        for w in v._prev:
            w.grad = 0.0
    root.backward()
    assert (fragile.grad, left.grad, a.grad) == (3.0, 5.0, 26.0)


def test_a_closure_may_build_values_during_the_sweep(nursery):
    a, b = Value(2.0), Value(3.0)

    def square(x):
        out = Value(x.data**2, (x,), "square")

        def _backward():
            scratch = Value(2.0)
            for _ in range(30):
                scratch = scratch * 1.0
            x.grad += (scratch * x.data * out.grad).data

        out._backward = _backward
        return out

    root = square(square(a) * b + a) + b
    root.backward()
    inner = a.data**2 * b.data + a.data
    assert a.grad == 2 * inner * (2 * a.data * b.data + 1)
    assert b.grad == 2 * inner * a.data**2 + 1


def test_a_closure_may_make_the_tape_grow_during_the_sweep():
    """The arrays move when they grow; the sweep must not keep a pointer to the old ones."""
    a = Value(2.0)
    kept = []
    x = a
    for _ in range(20):
        y = Value(x.data, (x,), "copy")

        def _backward(x=x, y=y):
            kept.extend(Value(float(k)) for k in range(20_000))
            x.grad += y.grad

        y._backward = _backward
        x = y * 1.0
    x.backward()
    assert a.grad == 1.0 and len(kept) == 400_000
    assert all(v.data == i % 20_000 for i, v in enumerate(kept))


def test_a_closure_may_collect_during_the_sweep():
    a, b = Value(2.0), Value(5.0)
    garbage = [Value(0.0) for _ in range(1000)]
    out = Value(2.0, (a,), "copy")

    def _backward():
        garbage.clear()
        tape.collect()
        a.grad += out.grad

    out._backward = _backward
    # The nodes below and above the closure's all move down.
    root = (out * b + a) * b
    before = [Value(0.0) for _ in range(10)]
    root.backward()
    del before
    assert (out.grad, a.grad, b.grad) == (25.0, 30.0, 22.0)


def test_a_closure_may_drop_the_root_and_everything_else(nursery):
    a = Value(3.0)
    holder = {}
    middle = Value(3.0, (a * 2.0,), "copy")
    below = middle._children[0]

    def _backward():
        holder.clear()
        tape.collect()
        below.grad += 4.0

    middle._backward = _backward
    holder["root"] = middle * 1.0
    del middle
    holder.pop("root").backward()
    assert a.grad == 8.0


def test_a_closure_may_run_a_backward_of_its_own(nursery):
    """Checkpointing: the inner graph is built and swept inside the outer sweep."""

    def checkpoint(f, x):
        out = Value(f(x).data, (x,), "checkpoint")

        def _backward():
            inner = Value(x.data)
            y = f(inner)
            y.backward()
            x.grad += inner.grad * out.grad

        out._backward = _backward
        return out

    def f(x):
        return (x * x + 1.0).log() * x.tanh()

    a, b = Value(0.7), Value(0.7)
    root = checkpoint(f, checkpoint(f, a) * 2.0 + a) * a
    root.backward()
    (f(f(b) * 2.0 + b) * b).backward()
    assert a.grad == pytest.approx(b.grad, rel=1e-12)


def test_an_inner_backward_over_nodes_of_the_outer_graph(nursery):
    a = Value(2.0)
    other = a * 10.0
    out = Value(2.0, (a,), "x")
    seen = []

    def _backward():
        other.backward()
        seen.append(a.grad)
        a.grad += out.grad

    out._backward = _backward
    (out * 3.0 + a * 100.0).backward()
    # As micrograd: the inner sweep adds other's 10 to a; the outer one goes on where it was.
    assert a.grad == 113.0
    assert len(seen) == 1


def test_a_closure_that_sweeps_its_own_graph_without_end(run):
    run(
        """
        from micrograd_c import Value
        a = Value(1.0)
        out = Value(1.0, (a,), "x")
        root = out * 2.0
        out._backward = lambda: root.backward()
        try:
            root.backward()
        except RecursionError:
            a.grad = 0.0
            (a * 3.0).backward()
            assert a.grad == 3.0
        else:
            raise AssertionError("no RecursionError")
        """
    )


def test_a_closure_that_raises_inside_an_inner_backward(nursery):
    a = Value(2.0)
    bad = Value(1.0, (a,))

    def fail():
        raise RuntimeError("inner")

    bad._backward = fail
    out = Value(2.0, (a,))

    def _backward():
        with pytest.raises(RuntimeError):
            (bad * 2.0).backward()
        a.grad += out.grad

    out._backward = _backward
    (out * 3.0 + a).backward()
    assert a.grad == 4.0
    a.grad = 0.0
    (a * 6.0).backward()
    assert a.grad == 6.0


def test_a_closure_may_assign_data_and_the_sweep_reads_it():
    """Rule 4 holds within one sweep, as it does in micrograd."""
    a, b = Value(2.0), Value(3.0)
    below = a * b
    out = Value(6.0, (below,))

    def _backward():
        b.data = 50.0
        below.grad += out.grad

    out._backward = _backward
    out.backward()
    assert a.grad == 50.0


# ---- sweeps that meet each other


def test_two_threads_sweep_graphs_of_their_own():
    """A closure that lets other threads run must not let them take this sweep's nodes."""
    wrong = []

    def work():
        for _ in range(100):
            a = Value(1.0)
            out = Value(1.0, (a,), "copy")

            def _backward(a=a, out=out):
                time.sleep(0)
                a.grad += out.grad

            out._backward = _backward
            x = out
            for _ in range(9):
                x = x * 1.0
            x.backward()
            if a.grad != 1.0:
                wrong.append(a.grad)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_decorated_closure_is_freed_with_its_graph():
    """functools.wraps hangs the function it wraps on the new one, as an attribute."""

    def decorated(x, probe):
        out = tanh(x, probe)
        step = out._backward

        @functools.wraps(step)
        def wrapper():
            return step()

        out._backward = wrapper
        return out

    a, probe = Value(0.5), Probe()
    ref = weakref.ref(probe)
    out = decorated(a, probe)
    out.backward()
    assert a.grad == pytest.approx(1 - math.tanh(0.5) ** 2)
    del out, probe
    tape.collect()
    assert ref() is None


def test_a_closure_taken_out_of_its_dict():
    """What is left is the op's own step."""
    a = Value(3.0)
    out = a * 2.0
    out._backward = lambda: None
    vars(out).clear()
    out.backward()
    assert a.grad == 2.0
