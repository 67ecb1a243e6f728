"""micrograd_c.sum and micrograd_c.dot: one n-ary node each."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import live_nodes

import micrograd_c
from micrograd_c import Value, tape

CONTAINERS = {
    "list": list,
    "tuple": tuple,
    "generator": lambda xs: (x for x in xs),
    "iterator": iter,
    "object array": lambda xs: np.array(list(xs), dtype=object),
    "map": lambda xs: map(lambda x: x, xs),
    "dict keys": dict.fromkeys,
}
containers = pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS.keys())


# ---- sum


@containers
def test_sum_of_any_iterable(container, nursery):
    values = [Value(float(i)) for i in range(1, 6)]
    out = micrograd_c.sum(container(values))
    assert out.data == 15.0
    (out * 2.0).backward()
    assert [v.grad for v in values] == [2.0] * 5


def test_sum_is_one_node_with_its_operands_in_order():
    values = [Value(float(i)) for i in range(100)]
    before = tape.size()
    out = micrograd_c.sum(values)
    assert tape.size() == before + 1
    assert out._op == "sum" and out._children == tuple(values)
    assert tuple(out._local_grads) == (1.0,) * 100


def test_sum_of_values_and_numbers():
    a, b = Value(1.0), Value(2.0)
    out = micrograd_c.sum([1, a, 2.5, True, b, np.float64(0.5), np.int64(3), np.float32(0.25), a])
    assert out.data == 12.25
    out.backward()
    assert (a.grad, b.grad) == (2.0, 1.0)


def test_sum_of_numbers_alone_is_a_value():
    out = micrograd_c.sum([1, 2.5])
    assert type(out) is Value and out.data == 3.5
    out.backward()
    assert out.grad == 1.0


@pytest.mark.parametrize("empty", [[], (), iter([]), np.array([], dtype=object)], ids=repr)
def test_sum_of_nothing_is_zero(empty):
    out = micrograd_c.sum(empty)
    assert type(out) is Value and out.data == 0.0
    out.backward()


def test_sum_of_a_float_array():
    assert micrograd_c.sum(np.array([1.0, 2.5])).data == 3.5


# ---- dot


@containers
def test_dot_of_any_iterables(container, nursery):
    xs = [Value(float(i)) for i in range(1, 4)]
    ys = [Value(float(i)) for i in range(4, 7)]
    out = micrograd_c.dot(container(xs), container(ys))
    assert out.data == 32.0
    (out * 2.0).backward()
    assert [x.grad for x in xs] == [8.0, 10.0, 12.0]
    assert [y.grad for y in ys] == [2.0, 4.0, 6.0]


def test_dot_is_one_node_over_its_operands():
    xs, ys, b = [Value(1.0), Value(2.0)], [Value(3.0), Value(4.0)], Value(5.0)
    before = tape.size()
    out = micrograd_c.dot(xs, ys, b)
    assert tape.size() == before + 1
    assert out._op == "dot" and out._prev == {*xs, *ys, b}
    partials = dict(zip(out._children, out._local_grads, strict=True))
    assert partials == {xs[0]: 3.0, xs[1]: 4.0, ys[0]: 1.0, ys[1]: 2.0, b: 1.0}


@pytest.mark.parametrize("start", [None, 0, 10, 2.5, np.float64(1.5), True], ids=repr)
def test_dot_with_a_number_to_start_from(start):
    x, y = Value(2.0), Value(3.0)
    out = micrograd_c.dot([x], [y], start)
    assert out.data == 6.0 + float(start or 0)
    out.backward()
    assert (x.grad, y.grad) == (3.0, 2.0)


def test_dot_with_a_value_to_start_from():
    x, y, b = Value(2.0), Value(3.0), Value(10.0)
    out = micrograd_c.dot([x], [y], start=b)
    assert out.data == 16.0
    out.backward()
    assert (x.grad, y.grad, b.grad) == (3.0, 2.0, 1.0)


def test_dot_of_values_and_numbers():
    a, b, c = Value(2.0), Value(3.0), Value(5.0)
    out = micrograd_c.dot([a, 10, b, 4.0], [7, c, a, 0.5], b)
    assert out.data == 2 * 7 + 10 * 5 + 3 * 2 + 4.0 * 0.5 + 3
    out.backward()
    assert (a.grad, b.grad, c.grad) == (7 + 3, 2 + 1, 10)


def test_dot_with_a_float_array():
    w = [Value(1.0), Value(2.0)]
    x = np.array([3.0, 4.0])
    for out in (micrograd_c.dot(w, x), micrograd_c.dot(x, w)):
        assert out.data == 11.0
        w[0].grad = w[1].grad = 0.0
        out.backward()
        assert (w[0].grad, w[1].grad) == (3.0, 4.0)


def test_dot_of_numbers_alone_is_a_value():
    out = micrograd_c.dot([1, 2], [3, 4], 5)
    assert type(out) is Value and out.data == 16.0
    out.backward()


def test_dot_of_nothing():
    assert micrograd_c.dot([], []).data == 0.0
    b = Value(3.0)
    out = micrograd_c.dot([], (), b)
    assert out.data == 3.0
    out.backward()
    assert b.grad == 1.0


def test_dot_of_a_vector_with_itself(nursery):
    xs = [Value(2.0), Value(-3.0)]
    out = micrograd_c.dot(xs, xs, xs[0])
    assert out.data == 15.0
    out.backward()
    assert [x.grad for x in xs] == [5.0, -6.0]


def test_dot_reads_its_operands_at_the_time_of_backward(nursery):
    xs, ys = [Value(1.0), Value(2.0)], [Value(3.0), 4.0]
    out = micrograd_c.dot(xs, ys)
    xs[0].data, ys[0].data = 10.0, 20.0
    tape.collect()
    out.backward()
    assert out.data == 11.0
    assert [x.grad for x in xs] == [20.0, 4.0] and ys[0].grad == 10.0
    xs[0].data = 7.0
    for v in (*xs, ys[0]):
        v.grad = 0.0
    out.backward()
    assert ys[0].grad == 7.0


def test_a_number_in_a_dot_does_not_follow_its_list():
    x, numbers = Value(2.0), [3.0]
    out = micrograd_c.dot([x], numbers)
    numbers[0] = 100.0
    out.backward()
    assert x.grad == 3.0


@pytest.mark.parametrize("m, n", [(0, 1), (1, 0), (2, 3), (3, 2)])
@containers
def test_dot_of_different_lengths(m, n, container):
    xs, ys = [Value(float(i)) for i in range(m)], [Value(float(i)) for i in range(n)]
    before = live_nodes()
    with pytest.raises(ValueError):
        micrograd_c.dot(container(xs), container(ys))
    with pytest.raises(ValueError):
        micrograd_c.dot(container(xs), container(ys), Value(1.0))
    assert live_nodes() == before


number = st.floats(-10, 10)


@given(st.lists(st.tuples(number, number), max_size=20), number)
def test_dot_equals_the_sum_of_products(pairs, start):
    xs, ys, b = [Value(x) for x, _ in pairs], [Value(y) for _, y in pairs], Value(start)
    out = micrograd_c.dot(xs, ys, b)
    out.backward()
    dot_grads = [v.grad for v in (*xs, *ys, b)]
    for v in (*xs, *ys, b):
        v.grad = 0.0
    python = sum((x * y for x, y in zip(xs, ys, strict=True)), b)
    python.backward()
    scale = 1.0 + abs(start) + sum(abs(x * y) for x, y in pairs)
    assert abs(out.data - python.data) <= 1e-13 * scale
    assert dot_grads == [v.grad for v in (*xs, *ys, b)]


def test_nan_and_inf_pass_through():
    x, y = Value(float("inf")), Value(2.0)
    out = micrograd_c.dot([x, 1.0], [y, y])
    assert out.data == float("inf")
    out.backward()
    assert (x.grad, y.grad) == (2.0, float("inf"))


def test_results_may_be_nested(nursery):
    xs = [Value(1.0), Value(2.0)]
    hidden = [micrograd_c.dot(xs, [3.0, 4.0]).relu(), micrograd_c.sum(xs)]
    out = micrograd_c.sum([micrograd_c.dot(hidden, hidden), *hidden])
    out.backward()
    assert out.data == 11**2 + 3**2 + 11 + 3
    assert [x.grad for x in xs] == [2 * 11 * 3 + 2 * 3 + 3 + 1, 2 * 11 * 4 + 2 * 3 + 4 + 1]


def test_ten_thousand_operands(nursery):
    xs = [Value(1.0) for _ in range(10_000)]
    out = micrograd_c.sum(xs) + micrograd_c.dot(xs, xs)
    out.backward()
    assert out.data == 20_000.0 and all(x.grad == 3.0 for x in xs)


# ---- errors


@pytest.mark.parametrize("bad", ["a", None, 1j, [1.0], object()], ids=lambda x: type(x).__name__)
@pytest.mark.parametrize("position", [0, 1, 3])
def test_an_item_of_a_wrong_type_is_named_with_its_position(bad, position):
    items = [Value(1.0), 2.0, Value(3.0), 4.0]
    good = list(items)
    items[position] = bad
    before = live_nodes()
    for wrong in (
        lambda: micrograd_c.sum(items),
        lambda: micrograd_c.sum(iter(items)),
        lambda: micrograd_c.dot(items, good),
        lambda: micrograd_c.dot(good, items),
        lambda: micrograd_c.dot(iter(items), iter(good)),
    ):
        with pytest.raises(TypeError) as error:
            wrong()
        assert type(bad).__name__ in str(error.value) and str(position) in str(error.value)
    del error
    assert live_nodes() == before


def test_a_start_of_a_wrong_type():
    v = Value(1.0)
    before = tape.size()
    for bad in ("a", 1j, [1.0]):
        with pytest.raises(TypeError, match=type(bad).__name__):
            micrograd_c.dot([v], [v], bad)
    assert tape.size() == before


@pytest.mark.parametrize("bad", [5, None, Value(1.0), 2.5], ids=lambda x: type(x).__name__)
def test_not_iterable(bad):
    with pytest.raises(TypeError):
        micrograd_c.sum(bad)
    with pytest.raises(TypeError):
        micrograd_c.dot([1.0], bad)
    with pytest.raises(TypeError):
        micrograd_c.dot(bad, [1.0])


def test_a_generator_that_raises_in_the_middle(nursery):
    a = Value(2.0)

    def broken(n):
        for i in range(n):
            yield a * float(i)
        raise KeyError("broken")

    before = live_nodes()
    for wrong in (
        lambda: micrograd_c.sum(broken(5)),
        lambda: micrograd_c.dot(broken(5), [1.0] * 5),
        lambda: micrograd_c.dot([a] * 5, broken(3)),
        lambda: micrograd_c.dot([a] * 5, broken(5), a),
    ):
        with pytest.raises(KeyError):
            wrong()
        assert live_nodes() == before
    micrograd_c.sum([a, a]).backward()
    assert a.grad == 2.0


def test_a_generator_that_builds_values_while_it_is_consumed(nursery):
    a, b = Value(2.0), Value(3.0)

    def products(n):
        for i in range(n):
            [a * b for _ in range(10)]  # dropped at once
            yield a * float(i) + b

    out = micrograd_c.sum(products(200))
    out.backward()
    assert (out.data, a.grad, b.grad) == (2.0 * 19900 + 600, 19900.0, 200.0)
    a.grad = b.grad = 0.0
    out = micrograd_c.dot(products(200), products(200), a)
    out.backward()
    expected = [2.0 * i + 3.0 for i in range(200)]
    assert out.data == sum(x * x for x in expected) + 2.0
    assert a.grad == sum(2 * x * i for i, x in enumerate(expected)) + 1.0
    assert b.grad == sum(2 * x for x in expected)


def test_a_generator_that_collects_while_it_is_consumed():
    a = Value(2.0)
    garbage = [Value(0.0) for _ in range(1000)]

    def collecting():
        for i in range(10):
            del garbage[-50:]
            tape.collect()
            yield a * float(i)

    out = micrograd_c.sum(collecting())
    out.backward()
    assert out.data == 90.0 and a.grad == 45.0


def test_a_generator_that_sums_and_dots_itself(nursery):
    """sum and dot are entered again while they consume."""
    a = Value(2.0)

    def inner(n):
        for i in range(n):
            yield micrograd_c.dot((a * 1.0 for _ in range(i)), (1.0 for _ in range(i)), a)

    out = micrograd_c.sum(micrograd_c.sum(inner(n)) for n in range(20))
    out.backward()
    expected = sum(sum(i + 1 for i in range(n)) for n in range(20))
    assert out.data == 2.0 * expected and a.grad == expected


def test_a_list_that_changes_while_it_is_read():
    class Changing(float):
        def __float__(self):
            items.clear()
            return 1.0

    class Sneaky:
        def __index__(self):
            items.clear()
            return 1

        def __float__(self):
            items.clear()
            return 1.0

    a = Value(2.0)
    for sneaky in (Changing(1.0), Sneaky()):
        items = [sneaky, *(a * float(i) for i in range(50))]
        try:
            micrograd_c.sum(items)
        except (TypeError, RuntimeError):
            pass
        items = [sneaky, *(a * float(i) for i in range(50))]
        try:
            micrograd_c.dot(items, [1.0] * 51)
        except (TypeError, RuntimeError, ValueError):
            pass
    (a * 3.0).backward()
    assert a.grad == 3.0
