"""What a sweep is asked for: attach_grad, heads and their gradients, retain_graph, grad and jvp."""

import copy
import gc
import itertools
import math
import pickle
import random
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import Model, call, in_mpmath, live_nodes, model_dot, model_sum, operands

import micrograd_c as mg
from micrograd_c import Value, _core, autograd, tape

pytestmark = pytest.mark.usefixtures("nursery")


class Sub(Value):
    pass


@pytest.fixture
def nothing_left():
    """After the test, once its locals are gone, the tape is as it was before."""
    before = live_nodes()
    yield
    assert live_nodes() == before


def own(x, y=None, probe=None):
    """A product, in micrograd's style, that adds to its parents' gradients by a closure."""
    y = x if y is None else y
    out = Value(x.data * y.data, (x, y), "own")

    def _backward():
        assert probe is None or probe.__class__
        x.grad += y.data * out.grad
        y.grad += x.data * out.grad

    out._backward = _backward
    return out


def failing(x):
    out = Value(x.data, (x,), "failing")

    def _backward():
        raise KeyError("on purpose")

    out._backward = _backward
    return out


# ---- the MXNet tutorial, as far as it needs no array


def test_detached():
    expected_gradients = []
    for number, expected in zip(range(4), (0.0, 3.0, 12.0, 27.0)):
        t = Value(number)
        y = 3 * t * t
        z = t * y.detach()
        z.backward()
        assert t.grad == expected and y.data == expected
        t.grad = 0.0
        y.backward()  # y keeps its history
        expected_gradients.append(t.grad)
    assert expected_gradients == [0.0, 6.0, 12.0, 18.0]


def test_attach_grad_on_an_intermediate_gives_the_same():
    for number, expected in zip(range(4), (0.0, 3.0, 12.0, 27.0)):
        t = Value(number)
        t.attach_grad()
        y = 3 * t * t
        y.attach_grad()
        z = t * y
        z.backward()
        assert t.grad == expected and y.grad == number


def test_head_gradients_chain_two_graphs():
    # A = C D + B: through the whole graph; B: what does not pass y; C = dz/dy; D = dy/dt.
    for number in (0.5, 1.0, 2.0, -3.0):
        t = Value(number)

        def first(t):
            return (3 * t * t).tanh()

        def second(y, t):
            return y * t + y.exp()

        second(first(t), t).backward()
        whole = t.grad
        t.attach_grad()
        y = first(t)
        head = y
        y = y.detach()
        y.attach_grad()
        second(y, t).backward()
        direct, outer = t.grad, y.grad
        head.backward(y.grad)
        product = t.grad
        head.backward()
        assert product == pytest.approx(outer * t.grad, rel=1e-14)
        assert whole == pytest.approx(product + direct, rel=1e-14)


# ---- attach_grad


@pytest.mark.parametrize("cls", [Value, Sub])
def test_it_becomes_a_leaf_in_place(cls, nothing_left):
    a, b = cls(2.0), cls(3.0)
    c = a * b
    c.label, c.note = "c", "kept"
    d = c * a
    c.grad = 5.0
    assert c.attach_grad() is None
    assert (c.data, c.grad, c.label, c.note) == (6.0, 0.0, "c", "kept")
    assert c._children == () and c._op == "" and c._prev == set() and c._local_grads == ()
    assert d._children[0] is c
    d.backward()
    assert (a.grad, b.grad, c.grad) == (6.0, 0.0, 2.0)
    del d


def test_what_only_its_history_held_is_freed(nothing_left):
    a = Value(2.0)
    before = tape.live()
    c = a
    for _ in range(100):
        c = mg.sum([c * 1.0, 2.0, own(c)]) / 3.0
    c.attach_grad()
    assert tape.live() == before + 1
    assert (c * a).data == pytest.approx(2.0 * c.data)
    del c


def test_its_closure_is_freed():
    class Probe:
        pass

    probe = Probe()
    gone = weakref.ref(probe)
    x = Value(3.0)
    y = own(x, probe=probe)
    del probe
    y.attach_grad()
    gc.collect()
    assert gone() is None
    assert y._op == "" and y._children == ()
    y._backward()
    y.backward()
    assert x.grad == 0.0 and y.grad == 1.0


def test_edges_of_forgotten_histories_are_freed(run):
    run("""
        from micrograd_c import Value, tape
        import micrograd_c as mg
        xs = [Value(float(i)) for i in range(1000)]
        kept = [mg.sum(xs)]
        for forget in (Value.attach_grad, lambda s: s.backward(retain_graph=False)):
            for i in range(10_000):
                s = mg.dot(xs, xs)
                forget(s)
                if i < 10:
                    kept.append(mg.sum(xs))
            tape.collect()
            assert tape.bytes() < 10e6, tape.bytes()
        xs[1].grad = 0.0
        mg.sum(kept).backward()
        assert xs[1].grad == len(kept)
        """)


@pytest.mark.parametrize("wrong", ["", "Write", "adds", None, 1, 0.0, True, ["add"], b"add"])
def test_names_of_requests(wrong):
    x = Value(2.0)
    y = x * x
    y.grad = 4.0
    with pytest.raises(ValueError, match="grad_req must be 'write', 'add' or 'null', not"):
        y.attach_grad(wrong)
    assert y.grad == 4.0 and len(y._children) == 2


def test_write_add_and_null():
    x, y, z, w = (Value(v) for v in (2.0, 3.0, 5.0, 7.0))
    x.attach_grad()
    y.attach_grad("add")
    z.attach_grad(grad_req="null")
    for k in (1, 2, 3):
        z.grad = 100.0
        (x * y * z * w).backward()
        assert (x.grad, y.grad, z.grad, w.grad) == (105.0, 70.0 * k, 100.0, 30.0 * k)


def test_what_a_sweep_does_not_reach_keeps_its_gradient():
    x, y = Value(2.0), Value(3.0)
    x.attach_grad()
    y.attach_grad()
    (x * y).backward()
    (x * x).backward()
    assert (x.grad, y.grad) == (4.0, 2.0)
    (y * 0.0 + x).backward()  # reached, with nothing passed on
    assert (x.grad, y.grad) == (1.0, 0.0)
    mg.where(1.0, x, y).backward()
    assert (x.grad, y.grad) == (1.0, 0.0)


def test_a_graph_swept_again_writes_the_same():
    # micrograd passes on what hidden nodes have accumulated; what is written is a derivative.
    x, plain = Value(3.0), Value(3.0)
    x.attach_grad()
    hidden = x * x
    y = hidden * x * plain
    for k in (1, 2, 3):
        y.backward()
        assert x.grad == 81.0 and hidden.grad == 9.0 * k and y.grad == 1.0
        assert plain.grad == 27.0 * k


def test_without_requests_a_graph_swept_again_is_micrograds():
    micrograd = pytest.importorskip("micrograd.engine")
    if micrograd.Value is Value:
        pytest.skip("micrograd is this package")
    grads = []
    for cls in (Value, micrograd.Value):
        x = cls(3.0)
        y = (x * x + x) * x
        y.backward()
        y.backward()
        grads.append(x.grad)
    assert grads[0] == grads[1] != 2 * 33.0


def test_requests_of_heads():
    x = Value(2.0)
    for kind, expected in (("write", 5.0), ("add", 5.0), ("null", 3.0)):
        x.attach_grad(kind)
        x.grad = 3.0
        x.backward(5.0)
        assert x.grad == expected
        x.grad = 3.0
        autograd.backward([x, x * 10], [5.0, 1.0])
        assert x.grad == (15.0 if kind != "null" else 3.0)


def test_a_request_can_be_changed():
    x = Value(2.0)
    for kind, expected in itertools.islice(
        itertools.cycle([("write", 1.0), ("null", 0.0), ("add", 3.0)]), 9
    ):
        x.attach_grad(kind)
        assert x.grad == 0.0
        for _ in range(3):
            (x * 1.0).backward()
        assert x.grad == expected


def test_requests_belong_to_the_node():
    x = Value(2.0)
    tail = x * 3.0
    x.attach_grad()
    x.grad = 7.0
    y = x * tail
    del x
    gc.collect()
    tape.collect()
    y.backward()
    (x,) = [v for v in y._children if v is not tail]
    assert x.grad == 12.0
    for clone in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert clone.grad == 12.0
        (clone * 5.0).backward()
        assert clone.grad == 5.0
    null, plain = Value(1.0), Value(1.0)
    null.attach_grad("null")
    for v, expected in ((null, 0.0), (plain, 2.0)):
        v = copy.deepcopy(v)
        v.backward()
        (v * 1.0).backward()
        assert v.grad == expected
    Value.__init__(x, 4.0)  # another node
    x.backward()
    (x * 1.0).backward()
    assert x.grad == 2.0


def test_requests_survive_collects_and_pops():
    rng = random.Random(1)
    kept = []
    for i in range(3000):
        v = Value(float(i))
        if rng.random() < 0.5:
            v.attach_grad(rng.choice(["write", "null"]))
            v.backward()
            if rng.random() < 0.3:
                kept.append((v, v * 1.0))
        if rng.random() < 0.01:
            kept = rng.sample(kept, len(kept) // 2)
    for v, product in kept:
        before = v.grad
        product.backward()
        product.backward()
        assert v.grad == (before if before == 0.0 else 1.0)
    del kept, v, product
    x = Value(2.0)
    y = (x * x) * x
    y.backward()
    y.backward()
    assert x.grad > 30.0  # nothing special is left: micrograd's own sums


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
def test_a_sweep_that_fails_leaves_requested_gradients(error):
    x, y, z = Value(2.0), Value(3.0), Value(5.0)
    x.attach_grad("write")
    y.attach_grad("null")
    x.grad, y.grad = 7.0, 8.0

    def _backward():
        raise error

    bad = Value(1.0, (z,), "bad")
    bad._backward = _backward
    late = bad + x * y
    with pytest.raises(error):
        late.backward()
    assert (x.grad, y.grad) == (7.0, 8.0)
    (x * y).backward()
    assert (x.grad, y.grad) == (3.0, 8.0)


def test_a_closure_that_sweeps_adds_to_what_its_sweep_finds():
    # As in checkpointing: the closure computes its part anew, and passes the gradient on.
    x, w = Value(2.0), Value(3.0)
    x.attach_grad()
    w.attach_grad()

    def part(x):
        return (x * w).tanh() * w

    def checkpoint(x):
        with autograd.pause():
            out = part(x)
        out = Value(out.data, (x,), "checkpoint")

        def _backward():
            fresh = x.detach()
            fresh.attach_grad()
            part(fresh).backward(out.grad)
            x.grad += fresh.grad

        out._backward = _backward
        return out

    (part(part(x) * w) + w).backward()
    expected = x.grad, w.grad
    for _ in range(2):
        (checkpoint(checkpoint(x) * w) + w).backward()
        assert (x.grad, w.grad) == pytest.approx(expected, rel=1e-13)


def test_sweeps_of_two_threads_write_each_its_own():
    # The other thread sweeps while this one is in a closure.
    x, y = Value(2.0), Value(3.0)
    x.attach_grad()
    y.attach_grad()
    (y * 4.0).backward()

    def other():
        (y * 5.0).backward()

    def _backward():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    out = Value(1.0, (Value(1.0),), "waits")
    out._backward = _backward
    (out + x * 6.0).backward()
    assert (x.grad, y.grad) == (6.0, 5.0)


@given(st.integers(0, 2**32))
def test_random_graphs_with_requests(seed):
    rng = random.Random(seed)
    kinds = [rng.choice(["write", "add", "null", None]) for _ in range(5)]
    leaves = [Value(float(rng.randint(-3, 3))) for _ in kinds]
    for leaf, kind in zip(leaves, kinds):
        if kind:
            leaf.attach_grad(kind)
    expected = [0.0] * len(leaves)
    for _ in range(4):
        ours, models = list(leaves), [Model(int(v.data)) for v in leaves]
        for _ in range(rng.randint(0, 12)):
            i, j = (rng.randrange(rng.randint(1, len(ours))) for _ in range(2))
            if abs(models[i].data * models[j].data) > 2**20:
                continue
            kind = rng.randrange(5)
            if kind == 0:
                new, model = ours[i] * ours[j], models[i] * models[j]
            elif kind == 1:
                new, model = ours[i] - ours[j], models[i] - models[j]
            elif kind == 2:
                new, model = mg.sum([ours[i], ours[j]]), model_sum([models[i], models[j]])
            elif kind == 3:
                new = mg.dot([ours[i]], [ours[j]], ours[i])
                model = model_dot([models[i]], [models[j]], models[i])
            else:
                new, model = own(ours[i], ours[j]), models[i] * models[j]
            ours.append(new)
            models.append(model)
        heads = rng.sample(range(len(ours)), min(len(ours), rng.randint(1, 2)))
        heads = [k for k in heads if k >= len(leaves)]
        if not heads:
            continue
        weights = [rng.randint(-2, 2) for _ in heads]
        autograd.backward([ours[k] for k in heads], weights)
        for k in range(len(leaves)):
            for model in models:
                model.grad = 0
            model_sum([models[h] * w for h, w in zip(heads, weights)]).backward()
            reached = reaches([models[h] for h in heads], models[k])
            if kinds[k] == "write" and reached:
                expected[k] = models[k].grad
            elif kinds[k] in ("add", None):
                expected[k] += models[k].grad
        assert [leaf.grad for leaf in leaves] == expected


def reaches(heads, leaf):
    stack, seen = list(heads), set()
    while stack:
        node = stack.pop()
        if node is leaf:
            return True
        if id(node) not in seen:
            seen.add(id(node))
            stack.extend(node.children)
    return False


# ---- Value.backward


def test_head_gradients_of_one_value():
    x = Value(3.0)
    y = x * x
    y.grad = 100.0
    y.backward(0.5)
    assert (y.grad, x.grad) == (0.5, 3.0)
    y.backward(head_gradient=np.float32(2.0))
    assert (y.grad, x.grad) == (2.0, 15.0)
    x.backward(-1)
    assert x.grad == -1.0
    for wrong in ("1", None, [1.0], Value(1.0), 1j):
        with pytest.raises(TypeError, match="head_gradient must be a real number"):
            y.backward(wrong)
    assert (y.grad, x.grad) == (2.0, -1.0)


def test_without_retain_graph_the_history_is_freed(nothing_left):
    a, b = Value(2.0), Value(3.0)
    freed_once(a, b)
    a.grad = 0.0
    y = (a * a) * a
    y.backward()
    y.backward()
    assert a.grad > 24.0  # nothing special is left: micrograd's own sums


def freed_once(a, b):
    leaves = tape.live()
    c = a * b
    d = mg.dot([c, a, 2.0], [b, c, 3.0]) + own(c).exp() * 0.0 + c**2
    other = c * a
    d.backward(retain_graph=False)
    assert (d.data, c.grad) == (36.0 + 36.0, 3.0 + 2.0 + 12.0)
    assert (a.grad, b.grad) == (6.0 + 17.0 * 3.0, 6.0 + 17.0 * 2.0)
    assert tape.live() == leaves + 3  # c, d and other
    assert c._children == d._children == () and d._op == ""
    assert [v.data for v in other._children] == [6.0, 2.0]
    grads = a.grad, b.grad, c.grad, other.grad
    for again in (
        lambda: d.backward(),
        lambda: c.backward(),
        lambda: other.backward(),
        lambda: (a * 2 + other * 1).backward(),
        lambda: d.backward(retain_graph=False),
        lambda: autograd.backward([a * 2, other]),
        lambda: autograd.grad(other, a),
        lambda: autograd.jvp(other, a),
        lambda: autograd.partials(c),
        lambda: autograd.paths(other, a),
        lambda: autograd.count_paths(other, a),
    ):
        with pytest.raises(ValueError, match="the graph was freed"):
            again()
        assert (a.grad, b.grad, c.grad, other.grad) == grads
    (a * b).backward()
    a.backward(retain_graph=False)
    a.backward()
    c.attach_grad()  # a leaf of its own now
    other.backward()
    assert c.grad == 2.0


def test_a_freed_closure_lets_go():
    class Probe:
        pass

    probe = Probe()
    gone = weakref.ref(probe)
    x = Value(3.0)
    y = own(x, probe=probe) * 2.0
    del probe
    y.backward(retain_graph=False)
    gc.collect()
    assert gone() is None and x.grad == 12.0


def test_a_failed_sweep_frees_nothing():
    x = Value(3.0)
    y = failing(x * x) * x
    with pytest.raises(KeyError):
        y.backward(retain_graph=False)
    assert len(y._children) == 2
    with pytest.raises(KeyError):
        y.backward()


def test_within_a_sweep_nothing_is_freed():
    x = Value(3.0)
    y = x * x
    out = Value(1.0, (y,), "inner")

    def _backward():
        y.backward(retain_graph=False)

    out._backward = _backward
    (out + y).backward()  # needs y's history after the closure
    assert x.grad == 12.0
    assert len(y._children) == 2


def test_a_training_loop_without_retained_graphs(nothing_left):
    w = Value(5.0)
    losses = []
    before = tape.live()
    for _ in range(200):
        loss = (w - 2.0) ** 2
        w.grad = 0.0
        loss.backward(retain_graph=False)
        w.data -= 0.1 * w.grad
        losses.append(loss)
    assert tape.live() == before + len(losses)
    assert w.data == pytest.approx(2.0) and losses[-1].data < 1e-12
    del loss, losses


def test_second_sweeps_raise_where_torch_does(recorded):
    def outcomes(number, error, backward):
        x = number(3.0)
        y = x * x
        z = y * x
        found = []
        for head, retain in ((z, True), (z, False), (z, True), (y, True), (y * 1.0, True)):
            try:
                backward(head, retain)
                found.append("passed")
            except error:
                found.append("raised")
        return found

    def theirs():
        import torch

        return outcomes(lambda v: torch.tensor(v, requires_grad=True), RuntimeError, backward)

    def backward(v, retain):
        v.backward(retain_graph=retain)

    ours = outcomes(Value, ValueError, backward)
    assert ours == recorded(theirs) == ["passed", "passed", "raised", "raised", "raised"]


# ---- autograd.backward


def test_one_sweep_for_several_heads():
    calls = []
    x = Value(3.0)
    shared = Value(x.data, (x,), "counted")

    def _backward():
        calls.append(shared.grad)
        x.grad += shared.grad

    shared._backward = _backward
    heads = [shared * 2.0, shared * shared, x * 10.0]
    autograd.backward(heads, [1.0, 10.0, 100.0])
    assert calls == [62.0]
    assert x.grad == 1062.0 and [v.grad for v in heads] == [1.0, 10.0, 100.0]


def test_heads_that_depend_on_each_other_or_come_twice():
    x = Value(3.0)
    y = x * x
    z = y * x
    z.grad = y.grad = 50.0
    autograd.backward([y, z, y], [1.0, 10.0, 100.0])
    assert (z.grad, y.grad, x.grad) == (10.0, 131.0, 131.0 * 6 + 90.0)


def test_several_heads_as_in_torch(recorded):
    def gradients(number, backward):
        x, y = number(0.7), number(-1.3)
        u = (x * y).tanh()
        v = u * x + y.exp()
        w = v * u
        backward([w, u, v, w], [0.5, 2.0, -1.0, 0.25])
        return float(x.grad), float(y.grad)

    def theirs():
        import torch

        return gradients(
            lambda v: torch.tensor(v, dtype=torch.float64, requires_grad=True),
            lambda h, g: torch.autograd.backward(h, [torch.tensor(v).double() for v in g]),
        )

    assert gradients(Value, autograd.backward) == pytest.approx(recorded(theirs), rel=1e-13)


def values(*shape):
    array = np.empty(shape, object)
    for k in range(array.size):
        array.flat[k] = Value(float(k + 1))
    return array


def test_structures():
    x = values(2, 3)
    head = x * x
    weights = np.arange(6.0).reshape(2, 3)
    autograd.backward(head, weights)
    assert [v.grad for v in x.ravel()] == [2.0 * v * w for v, w in zip(range(1, 7), range(6))]
    assert autograd.grad([head, (x[0, 0] * 2,)], x[0, 0], [None, [3]]) == 2.0 + 6.0
    gradients = autograd.grad(head[1, 2], [x, (x[1, 2], [x[0, 0]]), x[:1, 1:]])
    assert type(gradients) is list and gradients[1] == [12.0, [0.0]]
    assert gradients[0].tolist() == [[0.0, 0.0, 0.0], [0.0, 0.0, 12.0]]
    assert gradients[0].dtype == np.float64 and gradients[2].shape == (1, 2)
    assert type(autograd.grad(head, x[0, 0])) is float
    zero_d = np.array(None, object)
    zero_d[()] = x[0, 0]
    assert autograd.grad(head, zero_d).shape == ()
    tangents = autograd.jvp([head, head[0]], x, weights)
    assert (tangents[0] == 2 * np.arange(1, 7).reshape(2, 3) * weights).all()
    assert tangents[1].tolist() == tangents[0][0].tolist()
    assert autograd.jvp((head[0, 1],), [x[0, 1], x], np.array([3.0, None], object)) == [16.0]


def test_an_array_is_one_head():
    x = Value(3.0)
    array = np.array([x * x, Value(1.0)], object)
    autograd.backward(array)
    assert x.grad == 6.0
    assert autograd.grad([array], [x]) == [6.0]
    with pytest.raises(ValueError, match=r"heads\[1\] has no graph"):
        autograd.backward(list(array))


HEADS = {
    "not a Value": (lambda x: 3.0, TypeError, "heads must be a Value, .* not float"),
    "a set": (lambda x: {x * 1}, TypeError, "heads must be a Value, .* not set"),
    "in a list": (lambda x: [x * 1, 2.0], TypeError, r"heads\[1\] must be a Value"),
    "deep": (lambda x: [x * 1, (x * 1, [None])], TypeError, r"heads\[1\]\[1\]\[0\] must be"),
    "in an array": (
        lambda x: np.array([[x * 1, x * 1], [x * 1, 2.0]], object),
        TypeError,
        r"heads\[1, 1\] must be a Value, not float",
    ),
    "an array of floats": (lambda x: np.ones(2), TypeError, r"heads\[0\] must be a Value"),
    "none": (lambda x: [], ValueError, "heads has no Values"),
    "no graph": (lambda x: Value(1.0), ValueError, "heads has no graph"),
    "one without": (lambda x: [x * 1, [Value(1.0)]], ValueError, r"heads\[1\]\[0\] has no graph"),
    "an array without": (lambda x: values(2), ValueError, "heads has no graph"),
    "paused": (lambda x: autograd.no_grad(lambda: x * x)(), ValueError, "has no graph"),
    "no node": (lambda x: Value.__new__(Value), ValueError, "no node"),
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize(
    "function",
    [
        lambda heads, x: autograd.backward(heads),
        lambda heads, x: autograd.grad(heads, x),
        lambda heads, x: autograd.jvp(heads, x),
    ],
    ids=["backward", "grad", "jvp"],
)
def test_wrong_heads(name, function):
    make, error, message = HEADS[name]
    x = Value(3.0)
    x.grad = 4.0
    heads = make(x)
    before = tape.size()
    with pytest.raises(error, match=message):
        function(heads, x)
    assert x.grad == 4.0 and tape.size() == before


def test_nothing_nests_too_deeply():
    endless = [Value(1.0)]
    endless.append(endless)
    for function in (autograd.backward, lambda v: autograd.grad(v, v)):
        with pytest.raises(ValueError, match="nested deeper"):
            function(endless)


def test_a_leaf_that_was_attached_is_a_head():
    x = Value(3.0)
    x.attach_grad("add")
    autograd.backward(x, 2.0)
    assert x.grad == 2.0
    plain = Value(1.0)
    assert autograd.grad([plain, x * plain], [plain, x]) == [4.0, 1.0]
    assert autograd.jvp(plain, plain, 5.0) == 5.0


NUMBERS = {
    "a number for a list": (3.0, TypeError, r"{} must be a list of 2"),
    "too few": ([1.0], ValueError, "{} must have length 2, as .* has, not 1"),
    "too many": ([1.0, 2.0, 3.0], ValueError, "{} must have length 2"),
    "text": ([1.0, "2"], TypeError, r"{}\[1\] must be a real number, not str"),
    "a Value": ([1.0, Value(2.0)], TypeError, r"{}\[1\] must be a real number, not Value"),
    "a dict": ({0: 1.0, 1: 2.0}, TypeError, "{} must be a list of 2"),
    "a list for a Value": ([[1.0], 2.0], TypeError, r"{}\[0\] must be a real number"),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_wrong_numbers(name):
    numbers, error, message = NUMBERS[name]
    x, y = Value(3.0), Value(2.0)
    heads = [x * y, x + y]
    x.grad = 4.0
    before = tape.size()
    for function, argument in (
        (lambda: autograd.backward(heads, numbers), "head_gradients"),
        (lambda: autograd.grad(heads, x, numbers), "head_gradients"),
        (lambda: autograd.jvp(heads, [x, y], numbers), "tangents"),
    ):
        with pytest.raises(error, match=message.format(argument)):
            function()
    assert (x.grad, y.grad, heads[0].grad) == (4.0, 0.0, 0.0) and tape.size() == before


def test_wrong_numbers_for_arrays():
    x = values(2, 3)
    for numbers, error, message in (
        (np.ones(6), ValueError, r"must have shape \(2, 3\), as .* has, not \(6,\)"),
        (1.0, ValueError, r"must have shape \(2, 3\)"),
        ([[1.0, 2.0, 3.0], [4.0, 5.0, "6"]], TypeError, r"\[0, 0\] must be a real number"),
        (np.array([[1, 2, 3], [4, 5, None]], object), TypeError, r"\[1, 2\] must be a real number"),
    ):
        with pytest.raises(error, match=message):
            autograd.backward(x * x, numbers)
        with pytest.raises(error, match=message):
            autograd.jvp(x * x, x, numbers)
    assert all(v.grad == 0 for v in x.flat)


# ---- autograd.grad


def snapshot(*roots):
    """The gradients of all that some Values reach."""
    found, stack = {}, list(roots)
    while stack:
        v = stack.pop()
        if id(v) not in found:
            found[id(v)] = (v, v.grad)
            stack.extend(v._children)
    return list(found.values())


def unchanged(before):
    return all(v.grad == grad or math.isnan(grad) for v, grad in before)


def test_grad_is_torchs(recorded):
    def gradients(number, grad):
        x, y, unused = number(0.7), number(-1.3), number(1.0)
        u = (x * y).tanh()
        v = u * x + y.exp()
        first = grad([v, u], [x, y, u, v])
        second = grad([v, v * u], [u, unused, x])
        return [float(g or 0) for g in (*first, *second)]

    def theirs():
        import torch

        return gradients(
            lambda v: torch.tensor(v, dtype=torch.float64, requires_grad=True),
            lambda h, v: torch.autograd.grad(h, v, retain_graph=True, allow_unused=True),
        )

    ours = gradients(Value, autograd.grad)
    assert ours == pytest.approx(recorded(theirs), rel=1e-13) and ours[5] == 0.0


def test_it_touches_no_gradient():
    rng = random.Random(7)
    xs = [Value(rng.uniform(-1, 1)) for _ in range(5)]
    xs[0].attach_grad()
    xs[1].attach_grad("null")
    nodes = list(xs)
    for k in range(60):
        a, b = rng.choice(nodes), rng.choice(nodes)
        nodes.append(own(a, b).tanh() if k % 3 == 0 else mg.dot([a, 0.5], [b, a]).sin())
    for v in nodes:
        v.grad = rng.uniform(-1, 1)
    before = snapshot(*nodes)
    gradients = autograd.grad(nodes[-1], xs)
    assert unchanged(before)
    for v in nodes:
        v.grad = 0.0
    for x in xs:
        x.attach_grad("add")
    nodes[-1].backward()
    assert gradients == pytest.approx([x.grad for x in xs], rel=1e-13, abs=1e-300)
    assert any(gradients)


def test_intermediate_variables_and_weights():
    x = Value(3.0)
    u = x * x
    v = u.exp() * x
    assert autograd.grad(v, [u, x, v]) == pytest.approx(
        [v.data, v.data * 6 + math.exp(9.0), 1.0], rel=1e-14
    )
    assert autograd.grad([v, u], [u], [2.0, 0.5]) == pytest.approx([2 * v.data + 0.5])
    assert autograd.grad([u, u], u) == 2.0


def test_unused_variables():
    x, y = Value(3.0), Value(2.0)
    later = Value(1.0)
    u = x * x
    assert autograd.grad(u, [y, later, x * 1]) == [0.0, 0.0, 0.0]
    before = snapshot(u, y)
    with pytest.raises(ValueError, match=r"do not depend on variables\[1\]\[0\]"):
        autograd.grad(u, [x, (y, x)], allow_unused=False)
    with pytest.raises(ValueError, match="do not depend on variables "):
        autograd.grad(u, later, allow_unused=False)
    with pytest.raises(ValueError, match=r"do not depend on variables\[1\]\[1, 0\]"):
        array = np.array([[x, x], [y, x]], object)
        autograd.grad(u, (x, array), allow_unused=False)
    assert unchanged(before)
    zero = y * 0.0 + u  # a derivative of 0 is one
    assert autograd.grad(zero, [y], allow_unused=False) == [0.0]
    assert autograd.grad(u, []) == []


@pytest.mark.parametrize("wrong", [3.0, None, "x", {1}])
def test_wrong_variables(wrong):
    x = Value(3.0)
    for function in (autograd.grad, autograd.jvp):
        with pytest.raises(TypeError, match="variables must be a Value"):
            function(x * x, wrong)
        with pytest.raises(TypeError, match=r"variables\[1\] must be a Value"):
            function(x * x, [x, wrong])


def test_errors_half_way_restore_all():
    x = Value(3.0)
    u = x * x
    v = failing(u) * u + own(u)
    for k, node in enumerate((x, u, v)):
        node.grad = float(k + 1)
    before = snapshot(v)
    with pytest.raises(KeyError):
        autograd.grad(v, [x, u])
    assert unchanged(before)
    assert autograd.grad(u, x) == 6.0


def test_grad_within_a_closure():
    x = Value(3.0)
    u = x * x
    out = Value(1.0, (u,), "asks")
    found = []

    def _backward():
        found.append(autograd.grad(u, [x, u]))
        u.grad += out.grad

    out._backward = _backward
    (out + u * 10).backward()
    assert found == [[6.0, 1.0]] and x.grad == 66.0
    assert autograd.grad(out, x) == 6.0
    assert found[-1] == [6.0, 1.0] and x.grad == 66.0


def test_closures_may_make_nodes_and_collect():
    x = Value(3.0)

    def busy(x):
        out = Value(x.data, (x,), "busy")

        def _backward():
            kept = [x * float(i) for i in range(300)]
            mg.sum(kept).backward(0.0)
            tape.collect()
            x.grad += out.grad

        out._backward = _backward
        return out

    y = busy(busy(x) * x) * x
    before = snapshot(y)
    assert autograd.grad(y, x) == 27.0 and unchanged(before)
    x.attach_grad()
    y.backward()
    assert x.grad == 27.0
    y.backward(retain_graph=False)
    assert x.grad == 27.0 and y._children == ()


def test_very_deep_and_very_wide():
    _core._tune()  # to collect at each of so many operations would take minutes
    x = y = Value(1.0)
    for _ in range(200_000):
        y = y * 1.0
    wide = mg.sum([y] * 100_000)
    assert autograd.grad(wide, [x, y]) == [1e5, 1e5]
    assert autograd.jvp(wide, x, 2.0) == 2e5
    autograd.backward([wide, y])
    assert x.grad == 1e5 + 1


# ---- autograd.jvp


class Dual:
    """A number and its tangent: forward mode, written down once more."""

    def __init__(self, data, tangent=0.0):
        self.data, self.tangent = data, tangent

    def __mul__(self, other):
        return Dual(self.data * other.data, self.tangent * other.data + self.data * other.tangent)

    def __add__(self, other):
        return Dual(self.data + other.data, self.tangent + other.tangent)

    def __truediv__(self, other):
        quotient = self.data / other.data
        return Dual(quotient, (self.tangent - quotient * other.tangent) / other.data)

    def __pow__(self, power):
        return Dual(self.data**power, power * self.data ** (power - 1) * self.tangent)

    def exp(self):
        return Dual(math.exp(self.data), math.exp(self.data) * self.tangent)

    def tanh(self):
        return Dual(math.tanh(self.data), self.tangent / math.cosh(self.data) ** 2)

    def atan2(self, other):
        square = self.data**2 + other.data**2
        tangent = (self.tangent * other.data - self.data * other.tangent) / square
        return Dual(math.atan2(self.data, other.data), tangent)


def dual_sum(xs):
    total = Dual(0.0)
    for x in xs:
        total = total + x
    return total


OURS = {
    "sum": mg.sum,
    "dot": lambda xs, ys: mg.dot(xs, ys, xs[0]),
    "where": mg.where,
    "given": lambda x, y: Value(x.data * y.data, (x, y), (y.data, x.data)),
}
DUALS = {
    "sum": dual_sum,
    "dot": lambda xs, ys: dual_sum([xs[0], *(x * y for x, y in zip(xs, ys))]),
    "where": lambda test, a, b: a if test.data > 0 else b,
    "given": lambda x, y: x * y,
}


STEPS = [
    lambda of, a, b, c: a * b,
    lambda of, a, b, c: (a + b).tanh(),
    lambda of, a, b, c: (a / (b * b + b * b).exp()).tanh(),
    lambda of, a, b, c: (a**3).tanh(),
    lambda of, a, b, c: a.atan2((b * b).exp()),
    lambda of, a, b, c: of["sum"]([a, b, c, a]).tanh(),
    lambda of, a, b, c: of["dot"]([a, b], [c, a]).tanh(),
    lambda of, a, b, c: of["where"](a, b, c),
    lambda of, a, b, c: of["given"](a, b),
]


def random_function(rng, n):
    """A function of n numbers, of Values or Duals; it returns all it computed."""
    steps = []
    for k in range(rng.randint(1, 25)):
        a, b, c = (rng.randrange(n + k) for _ in range(3))
        steps.append((rng.randrange(len(STEPS)), a, b, c))

    def function(xs, of):
        xs = list(xs)
        for kind, a, b, c in steps:
            xs.append(STEPS[kind](of, xs[a], xs[b], xs[c]))
        return xs

    return function


@given(st.integers(0, 2**32))
def test_jvp_on_random_graphs(seed):
    rng = random.Random(seed)
    n = rng.randint(1, 4)
    function = random_function(rng, n)
    numbers = [rng.uniform(-1.5, 1.5) for _ in range(n)]
    tangents = [rng.choice([0.0, 1.0, rng.uniform(-1, 1)]) for _ in range(n)]
    xs = [Value(v) for v in numbers]
    nodes = function(xs, OURS)
    for v in nodes:
        v.grad = rng.uniform(-1, 1)
    expected = function([Dual(v, t) for v, t in zip(numbers, tangents)], DUALS)
    before, size = snapshot(*nodes), tape.size()
    found = autograd.jvp(nodes[n:], xs, tangents)
    assert found == pytest.approx([d.tangent for d in expected[n:]], rel=1e-9, abs=1e-12)
    assert unchanged(before) and tape.size() == size
    # By an intermediate, too, and the same numbers by reverse mode.
    heads, by = rng.sample(nodes[n:], 1), rng.sample(nodes, rng.randint(1, len(nodes)))
    seeds = [rng.uniform(-1, 1) for _ in by]
    product = sum(g * t for g, t in zip(autograd.grad(heads, by), seeds))
    assert autograd.jvp(heads, by, seeds) == [pytest.approx(product, rel=1e-9, abs=1e-12)]


@pytest.mark.parametrize("op", _core.OPS, ids=lambda op: op.name)
def test_jvp_of_every_operation(op):
    mpmath = pytest.importorskip("mpmath")
    function, point = in_mpmath(mpmath.mp, op.name), operands(op, 0.3, 0.4)
    xs = [Value(v) for v in point]
    y = call(op.name, *xs)
    direction = (0.7, 0.0 if op.name == "powc" else -0.2)[: op.arity]
    with mpmath.workdps(40):
        expected = mpmath.diff(
            lambda t: function(
                *(mpmath.mpf(p) + t * mpmath.mpf(d) for p, d in zip(point, direction))
            ),
            0,
        )
    assert autograd.jvp(y, xs, direction) == pytest.approx(float(expected), rel=1e-12)
    if op.arity == 2 and op.name != "powc":
        assert autograd.jvp(y, xs[0]) + autograd.jvp(y, xs[1]) == pytest.approx(
            autograd.jvp(y, xs), rel=1e-12
        )


def test_jvp_is_jaxs(recorded):
    def function(x, y, tanh, exp):
        return tanh(x * y) / y + exp(x) ** 2, x - y

    def theirs():
        import jax

        jax.config.update("jax_enable_x64", True)
        _, tangents = jax.jvp(
            lambda x, y: function(x, y, jax.numpy.tanh, jax.numpy.exp), (0.3, 0.7), (2.0, -1.0)
        )
        return [float(t) for t in tangents]

    x, y = Value(0.3), Value(0.7)
    ours = autograd.jvp(function(x, y, mg.math.tanh, mg.math.exp), (x, y), (2.0, -1.0))
    assert ours == pytest.approx(recorded(theirs), rel=1e-13)


def test_constants_with_infinite_partials_have_no_say():
    x, zero = Value(2.0), Value(0.0)
    y = zero.sqrt() + x * x
    assert autograd.jvp(y, x) == 4.0
    assert autograd.jvp(y, zero) == math.inf


def test_heads_that_do_not_depend_on_the_variables():
    x, y = Value(2.0), Value(3.0)
    head = y * y
    later = Value(1.0)
    assert autograd.jvp([head, x * y], x) == [0.0, 3.0]
    assert autograd.jvp([head, x * y], later) == [0.0, 0.0]
    assert autograd.jvp(head, [], []) == 0.0


def test_operations_of_ones_own():
    x, y = Value(2.0), Value(3.0)
    given = Value(6.0, (x, y), (3.0, 2.0))
    assert autograd.jvp(given, [x, y], [1.0, 10.0]) == 23.0
    assert autograd.jvp(Value(1.0, (x, y)) + x, x) == 1.0  # which passes nothing back, either
    closure = own(x, y)
    x.grad, closure.grad = 5.0, 6.0
    head = closure * x + y
    before = tape.size()
    for ask in (
        lambda: autograd.jvp(head, x),
        lambda: autograd.partials(closure),
        lambda: autograd.paths(head, x),
    ):
        with pytest.raises(ValueError, match="closure knows .* 'own': give it local_grads"):
            ask()
    assert (x.grad, closure.grad) == (5.0, 6.0) and tape.size() == before
    z = Value(1.0)
    assert autograd.jvp(head * z, z) == head.data  # none of its business
    assert autograd.jvp(head, closure) == 2.0
    replaced = x * y
    replaced._backward = lambda: None
    with pytest.raises(ValueError, match=r"'\*'"):
        autograd.jvp(replaced, x)


def test_a_call_of_a_program():
    w = Value(2.0)
    f = mg.compile(lambda x: (x * w).tanh() * w)
    x = Value(0.3)
    y, eager = f(x) * x, f.__wrapped__(x) * x
    assert autograd.jvp(y, [x, w], [0.5, 2.0]) == pytest.approx(
        autograd.jvp(eager, [x, w], [0.5, 2.0]), rel=1e-13
    )
    assert autograd.grad(y, [x, w]) == pytest.approx(autograd.grad(eager, [x, w]), rel=1e-13)
    before = w.grad
    f.check(0.3)
    w.attach_grad("null")
    assert f.check(0.3) < 1e-14 and w.grad == before


def test_data_is_read_when_it_is_asked_for():
    x, y = Value(2.0), Value(3.0)
    u = x * y
    y.data = 5.0
    assert autograd.jvp(u, x) == autograd.grad(u, x) == 5.0
    assert autograd.partials(u) == [(x, 5.0), (y, 2.0)]


# ---- autograd.partials


def test_partials():
    a, b = Value(2.0), Value(1.0)
    c, d = a + b, b + 1
    e = c * d
    assert autograd.partials(e) == [(c, 2.0), (d, 3.0)]
    assert autograd.partials(c) == [(a, 1.0), (b, 1.0)]
    (parent, derivative), (one, by_one) = autograd.partials(d)
    assert parent is b and derivative == 1.0 and one.data == 1.0 and by_one == 1.0
    assert autograd.partials(a) == [] == autograd.partials(e.detach())
    assert autograd.partials(a * a) == [(a, 2.0), (a, 2.0)]
    assert autograd.partials(a**3) == [(a, 12.0)]
    assert autograd.partials(-a) == [(a, -1.0)]
    assert autograd.partials(a**b) == [(a, 1.0), (b, 2.0 * math.log(2.0))]
    assert autograd.partials(mg.sum([a, b, a])) == [(a, 1.0), (b, 1.0), (a, 1.0)]
    assert autograd.partials(mg.dot([a], [b], b)) == [(a, 1.0), (b, 2.0), (b, 1.0)]
    assert autograd.partials(mg.where(a, b, e)) == [(a, 0.0), (b, 1.0), (e, 0.0)]
    assert autograd.partials(Value(1.0, (a, b), (7.0, 8.0))) == [(a, 7.0), (b, 8.0)]
    assert autograd.partials(Value(1.0, (a, b))) == [(a, 0.0), (b, 0.0)]


@pytest.mark.parametrize("wrong", [1.0, None, [Value(1.0)]])
def test_partials_and_paths_take_values(wrong):
    x = Value(1.0)
    for ask in (
        lambda: autograd.partials(wrong),
        lambda: autograd.paths(wrong, x),
        lambda: autograd.paths(x, wrong),
        lambda: autograd.count_paths(wrong, x),
        lambda: autograd.count_paths(x, wrong),
    ):
        with pytest.raises(TypeError):
            ask()
