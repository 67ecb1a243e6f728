"""The tape's rules: order, lifetime, indices in flight, reading at the time of use; its limits."""

import collections
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import Model, live_nodes, model_dot, model_sum

import micrograd_c
from micrograd_c import Value, _core, tape

# ---- random interleavings against the model


class Note:
    """An attribute's value, compared by identity."""


def closure_square(x):
    out = type(x)(x.data**2, (x,), "square")

    def _backward():
        x.grad += 2 * x.data * out.grad

    out._backward = _backward
    return out


def closure_product(x, y):
    """Has one parent and holds another node besides."""
    out = type(x)(x.data * y.data, (x, y), "product")

    def _backward():
        x.grad += y.data * out.grad
        y.grad += x.data * out.grad

    out._backward = _backward
    return out


class Kind(Value):
    """A subclass, for nodes that carry their class."""


BUILD = {
    "leaf": lambda cls, a, b, n: cls(n),
    "subclass leaf": lambda cls, a, b, n: (Kind if cls is Value else cls)(n),
    "add": lambda cls, a, b, n: a + b,
    "sub": lambda cls, a, b, n: a - b,
    "mul": lambda cls, a, b, n: a * b,
    "add number": lambda cls, a, b, n: a + n,
    "number sub": lambda cls, a, b, n: n - a,
    "mul number": lambda cls, a, b, n: n * a,
    "square": lambda cls, a, b, n: a**2,
    "neg": lambda cls, a, b, n: -a,
    "relu": lambda cls, a, b, n: a.relu(),
    "closure square": lambda cls, a, b, n: closure_square(a),
    "closure product": lambda cls, a, b, n: closure_product(a, b),
    "passes nothing": lambda cls, a, b, n: cls(n, (a, b), "nothing"),
    "local gradients": lambda cls, a, b, n: (
        cls(n, (a, b, a), (n, 2, 3)) if cls is Value else cls(n, (a, b, a), "", lambda: (n, 2, 3))
    ),
    "sum": lambda cls, a, b, n: (micrograd_c.sum if cls is Value else model_sum)([a, b, a]),
    "dot": lambda cls, a, b, n: (
        micrograd_c.dot([a, b, b], [b, a, a], b)
        if cls is Value
        else model_dot([a, b, b], [b, a, a], b)
    ),
    "python sum": lambda cls, a, b, n: sum([a, b, n]),
}
CHANGES = ["drop", "drop", "reach", "data", "grad", "zero", "note", "label", "backward", "collect"]

programs = st.lists(
    st.tuples(
        st.sampled_from(list(BUILD)) | st.sampled_from(CHANGES),
        st.integers(0, 20),
        st.integers(0, 20),
        st.integers(-2, 3),
    ),
    min_size=1,
    max_size=40,
)


class Pair:
    """A model's node and our Value of it while we hold one."""

    def __init__(self, model, value):
        self.model, self.value = model, value

    def check(self):
        model, value = self.model, self.value
        assert value.data == model.data
        assert value.grad == model.grad
        assert value.label == model.label
        assert getattr(value, "note", None) is getattr(model, "note", None)
        assert type(value) is (Kind if model.subclass else Value)
        assert len(value._children) == len(model.children)


def play(program):
    """Run a program on both; None if integers grew beyond what floats hold exactly."""
    Model.peak = 0
    pairs = [Pair(Model(2), Value(2.0)), Pair(Model(-3), Value(-3.0))]
    for what, i, j, n in program:
        held = [pair for pair in pairs if pair.value is not None]
        if what == "collect":
            tape.collect()
            continue
        if not held:
            break
        a, b = held[i % len(held)], held[j % len(held)]
        if what in BUILD:
            model = BUILD[what](Model, a.model, b.model, n)
            if abs(model.data) > 2**20:
                continue
            if what == "subclass leaf":
                model.subclass = True
            elif what in ("passes nothing", "local gradients"):
                model.subclass = False  # made as Values
            elif what.startswith("closure"):
                model.subclass = a.model.subclass
            pairs.append(Pair(model, BUILD[what](Value, a.value, b.value, n)))
        elif what == "drop":
            a.value = None
        elif what == "reach":
            children = a.model.children
            if not children:
                continue
            k = j % len(children)
            child = a.value._children[k]
            for pair in pairs:
                if pair.model is children[k]:
                    assert pair.value is None or pair.value is child
                    pair.value = child
                    break
            else:
                pairs.append(Pair(children[k], child))
            del child
        elif what == "data":
            a.model.data, a.value.data = n, n
        elif what == "grad":
            a.model.grad, a.value.grad = n, n
        elif what == "zero":
            for pair in held:
                pair.model.grad, pair.value.grad = 0, 0
        elif what == "note":
            a.model.note = a.value.note = Note()
        elif what == "label":
            a.model.label = a.value.label = f"label {n}"
        elif what == "backward":
            a.model.backward()
            a.value.backward()
            if Model.peak >= 2**53:
                return None
    return [pair for pair in pairs if pair.value is not None]


def check_all(pairs):
    """Every held node, and all that can be reached from it, is as the model has it."""
    seen = {}
    stack = list(pairs)
    while stack:
        pair = stack.pop()
        if id(pair.model) in seen:
            assert seen[id(pair.model)] is pair.value
            continue
        seen[id(pair.model)] = pair.value
        pair.check()
        stack += [
            Pair(m, v) for m, v in zip(pair.model.children, pair.value._children, strict=True)
        ]


@pytest.mark.parametrize("tuning", [{}, {"nursery": 1}, {"nursery": 3}], ids=str)
@settings(max_examples=150)
@given(program=programs)
def test_interleavings_never_change_a_result(tuning, program):
    _core._tune(**tuning)
    before = tape.live()
    pairs = play(program)
    if pairs is not None:
        check_all(pairs)
    del pairs
    assert tape.live() == before


# ---- rule 1: a parent stands before its child


def test_a_chain_a_million_deep(run):
    run(
        """
        from micrograd_c import Value, tape
        a = Value(1.0)
        x = a
        for _ in range(1_000_000):
            x = x * 1.0
        x.backward()
        assert a.grad == 1.0 and x.data == 1.0
        assert tape.size() >= 1_000_000
        del x
        tape.collect()
        assert tape.size() == 1

        # The same with every facade held, dropped in either order.
        for end in 0, -1:
            chain = [a]
            for _ in range(300_000):
                chain.append(-chain[-1])
            a.grad = 0.0
            chain[-1].backward()
            assert a.grad == 1.0
            last = chain[-1]
            while len(chain) > 1:
                chain.pop()
            last.backward()
            del chain, last
            tape.collect()
            assert tape.size() == 1
        """
    )


def test_a_wide_graph_of_a_million_nodes():
    a = Value(2.0)
    total = Value(0.0)
    for _ in range(300_000):
        total = total + a * a
    total.backward()
    assert a.grad == 1_200_000.0


# ---- rule 2: lifetime, bounded memory


def test_a_dropped_node_goes_at_the_next_collect():
    before = live_nodes()
    a = Value(1.0)
    b = a * 2.0
    assert tape.size() == before + 3  # a, 2.0, b
    del b
    assert live_nodes() == before + 1
    del a
    assert live_nodes() == before


def test_a_node_lives_while_a_live_node_depends_on_it():
    before = live_nodes()
    out = (Value(1.0) * Value(2.0)).exp().tanh()
    assert live_nodes() == before + 5
    assert out._children[0]._children[0].data == 2.0
    del out
    assert live_nodes() == before


def test_a_parent_does_not_keep_its_child():
    tape.collect()
    a = Value(1.0)
    before = tape.size()
    for _ in range(10):
        a * a
    assert live_nodes() == before


def test_collect_says_how_many_nodes_it_freed():
    tape.collect()
    assert tape.collect() == 0
    garbage = [Value(0.0) for _ in range(100)]
    newer = Value(1.0)
    assert tape.collect() == 0
    del garbage
    assert tape.collect() == 100
    assert newer.data == 1.0


def test_a_large_graph_once_does_not_let_garbage_pile_up_later():
    x = Value(1.0)
    for _ in range(1_000_000):
        x = -x
    x.label = "pinned, so that nothing is popped"
    del x
    tape.collect()
    keep = Value(1.0, label="pinned")
    largest = 0
    for _ in range(200_000):
        keep * 2.0
        largest = max(largest, tape.size())
    assert largest <= 32_768


def test_the_end_of_the_tape_is_popped_without_a_collect():
    tape.collect()
    before = tape.size()
    kept = Value(2.0)
    x = kept
    for _ in range(1000):
        x = x * kept + micrograd_c.sum([kept, kept]) - micrograd_c.dot([kept], [kept])
    del x
    assert tape.size() == before + 1
    (kept * kept).backward()
    assert kept.grad == 4.0 and micrograd_c.sum([kept, kept])._children == (kept, kept)


def test_the_numbers_of_the_tape():
    tape.collect()
    assert tape.live() == tape.size() <= tape.allocated()
    kept = [Value(0.0) for _ in range(500)]
    size = tape.size()
    tape.collect()
    assert tape.live() == tape.size() == size
    assert all(type(f()) is int for f in (tape.live, tape.size, tape.allocated, tape.bytes))
    assert tape.bytes() >= 33 * tape.allocated()
    del kept


def test_a_node_takes_no_more_than_48_bytes():
    kept = Value(1.0)
    for _ in range(200_000):
        kept = -kept
    tape.collect()
    assert tape.bytes() <= 48 * tape.allocated()
    assert tape.allocated() <= 4 * tape.size()


def test_dropped_operations_leave_the_tape_bounded():
    a, b = Value(1.0), Value(0.5)
    tape.collect()
    largest = 0
    for _ in range(1000):
        for _ in range(1000):
            a * b
        largest = max(largest, tape.size())
    assert largest <= 32_768


def test_a_training_loop_leaves_the_tape_bounded():
    p = Value(1.0)
    tape.collect()
    largest = 0
    for _ in range(300):
        p.grad = 0.0
        loss = p
        for _ in range(300):
            loss = loss * 0.999 + p * 0.001
        loss.backward()
        p.data -= 1e-6 * p.grad
        largest = max(largest, tape.size())
    assert largest <= 32_768


def test_memory_stays_within_a_small_factor_of_what_is_live():
    tape.collect()
    kept = [Value(0.0) for _ in range(50_000)]
    tape.collect()
    live = tape.size()
    largest = 0
    for _ in range(1000):
        for _ in range(1000):
            kept[0] * kept[1]
        largest = max(largest, tape.size())
    assert largest <= 3 * live


def test_the_arrays_shrink_when_most_is_free():
    a = Value(1.0)
    x = a
    for _ in range(500_000):
        x = -x
    large, many_bytes = tape.allocated(), tape.bytes()
    assert large >= 500_000
    del x
    tape.collect()
    for _ in range(100_000):
        a.relu()
    tape.collect()
    assert tape.allocated() <= large / 8
    assert tape.bytes() <= many_bytes / 8


def test_the_edges_shrink_as_well():
    leaves = [Value(0.0) for _ in range(1000)]
    sums = [micrograd_c.sum(leaves) for _ in range(1000)]
    many_bytes = tape.bytes()
    assert many_bytes >= 4 * 1_000_000
    del sums
    tape.collect()
    for _ in range(100_000):
        leaves[0].relu()
    tape.collect()
    assert tape.bytes() <= many_bytes / 4


@pytest.mark.parametrize("kept", [1, 100], ids=["dropped at once", "dropped after a while"])
def test_dropped_sums_leave_the_edges_bounded(kept):
    """An edge takes memory as a node does: many of them must bring a collect about."""
    leaves = [Value(0.0) for _ in range(1000)]
    tape.collect()
    latest = collections.deque(maxlen=kept)
    largest = 0
    for _ in range(5000):
        latest.append(micrograd_c.sum(leaves))
        largest = max(largest, tape.bytes())
    assert largest <= 32 * 2**20


def test_collecting_is_linear_where_old_nodes_hold_newer_ones(run):
    """Adam's moments as Values: p.m is newer than any parameter. Quadratic, it takes minutes."""
    run(
        """
        from micrograd_c import Value, tape
        parameters = [Value(1.0) for _ in range(200_000)]
        for p in parameters:
            p.m = Value(0.0)
        tape.collect()
        assert all(p.m.data == 0.0 for p in parameters)
        """
    )


@pytest.mark.parametrize("gap", [0, 1, 63, 64, 4095, 4096, 300_000])
def test_backward_across_a_gap_of_other_nodes(gap):
    """Parents at any distance below: within a word of marks, a word of words, and beyond."""
    leaf = Value(3.0)
    others = [leaf * 1.0 for _ in range(gap)]
    middle = leaf * 2.0
    more = [leaf * 1.0 for _ in range(gap)]
    (leaf * middle + middle).backward()
    assert (leaf.grad, middle.grad) == (14.0, 4.0)
    assert all(other.grad == 0.0 for other in others + more)


# ---- rule 3: indices in flight


def test_every_operand_survives_a_collect_within_the_operation():
    """Temporaries that only the running operation holds."""
    _core._tune(nursery=1)
    for _ in range(50):
        out = (Value(2.0) * Value(3.0) + Value(4.0)) / (Value(5.0) - Value(3.0)) ** Value(2.0)
        assert out.data == 2.5
        out = micrograd_c.dot([Value(1.0), Value(2.0)], [Value(3.0) * 2.0, -Value(4.0)], Value(1.0))
        assert out.data == -1.0
        out = Value(1.0, (Value(2.0), Value(3.0) * 1.0), (10.0, 20.0))
        assert [v.data for v in out._children] == [2.0, 3.0]
        out.backward()
        assert [v.grad for v in out._children] == [10.0, 20.0]


def test_garbage_between_live_nodes():
    """Survivors slide down over the gaps, order kept."""
    for gap in (1, 2, 7, 63, 64, 65):
        a = Value(2.0)
        kept, x = [a], a
        for i in range(300):
            [Value(0.0) for _ in range(gap)]
            x = x + a if i % 2 else x * 1.0
            kept.append(x)
        tape.collect()
        x.backward()
        assert x.data == 2.0 + 150 * 2.0 and a.grad == 151.0
        assert all(node.grad == 1.0 for node in kept[1:])


def test_garbage_between_nodes_with_edges():
    """Edges slide down as nodes do, and keep their parents and partials."""
    leaves = [Value(float(k)) for k in range(1, 6)]

    def build(k):
        return [
            Value(0.0, leaves, [k, k + 1, k + 2, k + 3, k + 4]),
            micrograd_c.sum(leaves[: k % 4 + 1]),
            micrograd_c.dot(leaves[:3], leaves[2:], leaves[k % 5]),
            Value(0.0, (leaves[k % 5], leaves[0])),
        ]

    every = [node for k in range(100) for node in build(k)]
    expected = {}
    for which, node in enumerate(every):
        expected[which] = node._children, node._local_grads
    kept = {which: node for which, node in enumerate(every) if which * which % 7 == 2}
    del every, node
    for _ in range(2):
        tape.collect()
        for which, node in kept.items():
            assert (node._children, node._local_grads) == expected[which]
            for leaf in leaves:
                leaf.grad = 0.0
            node.backward()
            grads = dict.fromkeys(leaves, 0.0)
            for child, partial in zip(*expected[which], strict=False):
                grads[child] += partial
            assert [leaf.grad for leaf in leaves] == list(grads.values())
        for which in list(kept)[::3]:
            del kept[which]
        del node


def test_a_graph_that_an_older_node_holds(nursery):
    """What an attribute holds lives with all its parents, though it is newer than its holder."""
    a, b = Value(0.5), Value(2.0)
    a.cache = (a * b + 1.0).tanh() * micrograd_c.sum([a, b * 3.0])
    a.cache.further = (a.cache + b).exp() * b
    for _ in range(5):
        tape.collect()
        [Value(0.0) for _ in range(20)]
    root = a.cache.further
    root.backward()
    x, y = Value(0.5), Value(2.0)
    cache = (x * y + 1.0).tanh() * micrograd_c.sum([x, y * 3.0])
    same = (cache + y).exp() * y
    same.backward()
    assert (root.data, a.grad, b.grad) == (same.data, x.grad, y.grad)


class Pause:
    def __await__(self):
        yield


def sink(*_):
    pass


def suspended_generator(held):
    def generator(held):
        sink(held, (yield))

    generator = generator(held)
    next(generator)
    return generator


def suspended_coroutine(held):
    async def coroutine(held):
        sink(held, await Pause())

    coroutine = coroutine(held)
    coroutine.send(None)
    return coroutine


def suspended_async_generator(held):
    async def generator(held):
        sink(held, (yield))

    generator = generator(held)
    with pytest.raises(StopIteration):
        generator.asend(None).send(None)
    return generator


@pytest.mark.parametrize(
    "suspended", [suspended_generator, suspended_coroutine, suspended_async_generator]
)
@pytest.mark.parametrize("container", [lambda v: v, lambda v: [v]], ids=["value", "list"])
def test_what_a_suspended_frame_holds_lives(suspended, container):
    """It may lie on the frame's stack, where CPython 3.14 borrows references."""
    v = Value(1.0)
    v.held = container(v)
    v.frame = suspended(v.held)
    held, v = v.held, None
    tape.collect()
    [Value(0.0) for _ in range(10)]
    tape.collect()
    found = held[0] if isinstance(held, list) else held
    assert found.data == 1.0 and (found * 2.0).data == 2.0
    del found.frame


def test_a_suspended_frame_alone_holds_a_value():
    v = Value(1.0)
    generator = suspended_generator(v)
    v.frame = generator
    before, v = tape.live(), None
    assert tape.live() == before
    generator.close()
    del generator
    assert tape.live() == before - 1


def test_a_tape_on_which_nothing_was_ever_put(run):
    run("from micrograd_c import tape; assert tape.live() == tape.collect() == 0")


# ---- limits


def test_more_nodes_than_allowed():
    before = live_nodes()
    a = Value(1.0)
    _core._tune(max_nodes=before + 1000)
    chain = [a]
    with pytest.raises(OverflowError):
        while True:
            chain.append(-chain[-1])
    assert len(chain) == 1000 and tape.size() == before + 1000
    chain[-1].backward()
    assert a.grad == (-1.0) ** (len(chain) - 1)
    assert all(v.data == (-1.0) ** k for k, v in enumerate(chain))
    del chain[500:]
    tape.collect()
    for _ in range(300):
        chain.append(-chain[-1])
    for v in chain:
        v.grad = 0.0
    chain[-1].backward()
    assert a.grad == (-1.0) ** (len(chain) - 1)


def test_errors_at_a_full_tape_take_no_node_from_anybody(run):
    """The facade of a failed operation is recycled, and must not be taken for one that lives."""
    run(
        """
        import micrograd_c
        from micrograd_c import Value, _core, tape

        class Sub(Value):
            pass

        def check(dropped):
            # `dropped` recycled facades are at hand, of which 50 are used again.
            a, b = Value(1.0), Sub(1.0)
            chain = [a]
            for _ in range(500):
                chain.append(-chain[-1])
            facades = [-a for _ in range(dropped)]
            del facades
            tape.collect()
            for _ in range(50):
                chain.append(-chain[-1])
            size = tape.size()
            _core._tune(max_nodes=size)
            for fail in (
                lambda: a + 1.0,
                lambda: 1.0 - a,
                lambda: a * a,
                lambda: -a,
                lambda: -b,
                lambda: b * a,
                lambda: a.exp(),
                lambda: a**2,
                lambda: a.hypot(2.0),
                lambda: micrograd_c.sum([a, a]),
                lambda: micrograd_c.sum([]),
                lambda: micrograd_c.dot([a, b], [a, 1.0]),
                lambda: Value(1.0, (a,), (1.0,)),
                lambda: Value(1.0, (a,), "x"),
                lambda: Value(1.0),
                lambda: Sub(1.0),
            ):
                try:
                    fail()
                except OverflowError:
                    continue
                raise AssertionError("no OverflowError")
            assert tape.size() == size
            _core._tune()
            for k in range(1, len(chain)):
                assert chain[k]._children[0] is chain[k - 1], k
            tape.collect()
            assert [v.data for v in chain] == [(-1.0) ** k for k in range(len(chain))]
            chain[-1].backward()
            assert a.grad == 1.0

        for dropped in (51, 60, 90, 100, 110, 200):
            check(dropped)
            tape.collect()
        """
    )


def test_garbage_does_not_count_against_the_limit():
    tape.collect()
    a = Value(1.0)
    _core._tune(nursery=64, max_nodes=tape.size() + 1000)
    for _ in range(100_000):
        a.relu()
    assert (a * 2.0).data == 2.0


LIMITED = """
    import gc, resource
    from micrograd_c import Value, tape
    import micrograd_c

    def used():
        with open("/proc/self/statm") as f:
            return int(f.read().split()[0]) * resource.getpagesize()

    def limit(extra):
        resource.setrlimit(resource.RLIMIT_AS, (used() + extra, resource.RLIM_INFINITY))

    def unlimited():
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


# Numbers of other kinds than float are converted, into a list that grows.
CONVERSIONS = {
    "sum": "micrograd_c.sum(mixed)",
    "dot": "micrograd_c.dot(mixed, mixed)",
    "local_grads": "Value(1.0, values, local_grads=numbers)",
    "set_data": "micrograd_c.set_data(values, numbers)",
    "jvp": "autograd.jvp([y] * 20, values)",
    "compiled": "several(x)",
    "derivative": "gradient(values)",
}


@pytest.mark.parametrize("call", CONVERSIONS.values(), ids=CONVERSIONS)
def test_memory_that_fails_at_any_moment_loses_no_reference(run, call):
    """Objects are dropped as often as they were taken: no more, or they would be used when gone."""
    pytest.importorskip("_testcapi")
    run(
        f"""
    import sys, fractions, _testcapi
    import micrograd_c
    from micrograd_c import Value, autograd

    x, half = Value(1.0), fractions.Fraction(1, 2)
    values, numbers = [Value(float(k)) for k in range(20)], [half] * 20
    mixed = [x, half] * 10
    y = micrograd_c.sum(values)
    several = micrograd_c.compile(lambda a: [a * k for k in range(1, 20)])
    gradient = micrograd_c.grad(lambda xs: micrograd_c.sum(x * x for x in xs))

    def counts():
        return [sys.getrefcount(v) for v in (x, half, y, *values)]

    def call():
        return {call}

    call()
    call()
    before, failures = counts(), 0
    for start in range(1, 400):
        _testcapi.set_nomemory(start, start + 1)
        try:
            call()
        except MemoryError:
            failures += 1
        finally:
            _testcapi.remove_mem_hooks()
        now = counts()
        assert now == before, (start, before, now)
        floats = [float(k) for k in range(200)]
        assert len(set(map(id, floats))) == 200, start
    assert failures > 2, failures
    """
    )


@pytest.mark.memory
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
def test_growth_that_fails_loses_nothing(run):
    run(
        LIMITED
        + """
    a = Value(2.0)
    for round in range(3):
        a.grad = 0.0
        limit(100 * 2**20)
        x, n = a, 0
        try:
            while True:
                x = -x
                n += 1
        except MemoryError:
            pass
        assert n > 100_000, n
        size = tape.size()
        for _ in range(10):
            try:
                -x
            except MemoryError:
                pass
        x.backward()
        assert a.grad == (-1.0) ** n
        assert x.data == 2.0 * (-1.0) ** n
        del x
        tape.collect()
        assert tape.size() == 1, tape.size()
        unlimited()
        x = a * 3.0
        x.backward()
        assert a.grad == (-1.0) ** n + 3.0
        del x
    """
    )


@pytest.mark.memory
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
def test_growth_of_the_edges_that_fails_loses_nothing(run):
    run(
        LIMITED
        + """
    leaves = [Value(float(i)) for i in range(1000)]
    before = tape.live()
    limit(60 * 2**20)
    sums = []
    try:
        while True:
            sums.append(micrograd_c.sum(leaves))
    except MemoryError:
        pass
    assert len(sums) > 1000, len(sums)
    sums[-1].backward()
    assert all(v.grad == 1.0 for v in leaves)
    assert sums[0]._children == tuple(leaves)
    n = len(sums)
    assert tape.size() == before + n, (tape.size(), before, n)
    del sums[10:]
    tape.collect()
    unlimited()
    total = micrograd_c.sum(sums)
    total.backward()
    assert all(v.grad == 11.0 for v in leaves)
    """
    )


@pytest.mark.memory
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
def test_values_held_until_memory_ends(run):
    run(
        LIMITED
        + """
    limit(60 * 2**20)
    values = []
    try:
        while True:
            values.append(Value(float(len(values))))
    except MemoryError:
        pass
    n = len(values)
    assert n > 10_000
    assert all(v.data == i for i, v in enumerate(values))
    del values[100:]
    gc.collect()
    tape.collect()
    unlimited()
    total = sum(values)
    total.backward()
    assert total.data == 4950.0 and all(v.grad == 1.0 for v in values)
    """
    )


# ---- Ctrl-C


@pytest.mark.skipif(not hasattr(__import__("signal"), "setitimer"), reason="setitimer")
def test_ctrl_c_during_a_long_backward_leaves_a_sound_tape(run):
    out = run(
        """
        import signal, time
        from micrograd_c import Value, tape
        signal.signal(signal.SIGALRM, signal.default_int_handler)

        a = Value(1.0)
        x = a
        for _ in range(6_000_000):  # a sweep looks for signals every few million nodes
            x = -x
        cut_short = 0
        for k in range(20):
            a.grad = 0.0
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.001 * (k + 1))
                x.backward()
                while True:
                    pass
            except KeyboardInterrupt:
                cut_short += a.grad == 0.0
            # A mark left behind in the long chain would be swept together with this graph.
            a.grad = 0.0
            (a * 3.0).backward()
            assert a.grad == 3.0, (k, a.grad)
        del x
        tape.collect()
        assert tape.size() == 1
        print(cut_short)
        """
    )
    assert int(out) > 0


@pytest.mark.skipif(not hasattr(__import__("signal"), "setitimer"), reason="setitimer")
def test_ctrl_c_during_closures_operations_and_collects(run):
    run(
        """
        import signal
        from micrograd_c import Value, tape
        import micrograd_c
        signal.signal(signal.SIGALRM, signal.default_int_handler)

        def step(x):
            out = Value(x.data, (x,), "copy")
            def _backward():
                x.grad += out.grad
            out._backward = _backward
            return out

        a = Value(1.0)
        kept = [a * float(i) for i in range(1000)]
        for k in range(200):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0005 + 0.00003 * k)
                while True:
                    x = a
                    for i in range(300):
                        x = step(x) * 1.0 + micrograd_c.sum([x, x]) * 0.0
                    x.backward()
                    del x
                    tape.collect()
            except KeyboardInterrupt:
                pass
            x = None
            a.grad = 0.0
            for v in kept:
                v.grad = 0.0
            micrograd_c.sum(kept).backward()
            assert a.grad == 499500.0, (k, a.grad)
            assert [v.data for v in kept] == [float(i) for i in range(1000)]
        del x, v, kept
        tape.collect()
        tape.collect()
        assert tape.size() == 1, tape.size()
        """
    )


# ---- code of the user's at the worst moment


def test_finalizers_that_push_while_parents_are_read(run):
    """On CPython 3.10 and 3.11, making a list may run the collector, and that a finalizer."""
    run(
        """
        import gc
        import micrograd_c
        from micrograd_c import Value

        kept, armed = [], False

        class Finalizer:
            def __init__(self):
                self.itself = self
            def __del__(self):
                if armed:
                    kept.extend(Value(7.0) for _ in range(200_000))

        gc.disable()
        xs = [Value(float(k)) for k in range(3)]
        total = micrograd_c.sum(xs)
        given = Value(1.0, tuple(xs), (10.0, 20.0, 30.0))
        gc.set_threshold(1, 0, 0)
        for read, expected in ((lambda: total._children, tuple(xs)),
                               (lambda: given._local_grads, (10.0, 20.0, 30.0))):
            Finalizer()
            armed = True
            gc.enable()
            got = read()
            gc.disable()
            armed = False
            assert got == expected
        """
    )


def test_a_finalizer_that_makes_a_released_value_anew(run):
    run(
        """
        import weakref
        from micrograd_c import Value, tape

        class Payload:
            def __init__(self, other):
                self.other = weakref.ref(other)
            def __del__(self):
                other = self.other()
                if other is not None:
                    other.__init__(5.0)
                    kept.append(other)
                    tape.collect()

        kept = []
        values = [Value(float(k)) for k in range(4)]
        for v in values:
            v.carried = []
        values[1].payload = Payload(values[2])
        values[3].payload = Payload(values[2])
        del v, values
        tape.collect()
        assert all(v.data == 5.0 for v in kept)
        """
    )
