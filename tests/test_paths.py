"""Derivatives as sums over paths: "Calculus on Computational Graphs", and what follows from it."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import live_nodes

import micrograd_c as mg
from micrograd_c import Value, _core, autograd, tape
from micrograd_c.autograd import count_paths, paths

pytestmark = pytest.mark.usefixtures("nursery")


def test_the_example_of_the_text():
    a, b = Value(2.0), Value(1.0)
    c = a + b
    d = b + 1
    e = c * d
    assert e.data == 6.0
    edges = [partial for node in (c, d, e) for parent, partial in autograd.partials(node)]
    assert edges == [1.0, 1.0, 1.0, 1.0, 2.0, 3.0]  # the fourth is the constant's
    assert autograd.jvp([b, c, d, e], b) == [1.0, 1.0, 1.0, 5.0]
    assert autograd.jvp([c, e], a) == [1.0, 2.0]
    assert autograd.grad(e, [a, b, c, d, e]) == [2.0, 5.0, 2.0, 3.0, 1.0]
    e.backward()
    assert (a.grad, b.grad) == (2.0, 5.0)
    assert list(paths(e, a)) == [((a, c, e), 2.0)]
    assert sorted(paths(e, b), key=lambda path: path.product) == [
        ((b, c, e), 2.0),
        ((b, d, e), 3.0),
    ]


def test_nine_paths():
    # X -> Y by three edges, Y -> Z by three: nine paths, and the product of two sums.
    first, second = (2.0, 3.0, 5.0), (7.0, 11.0, 13.0)
    x = Value(1.0)
    y = Value(0.0, [x] * 3, first)
    z = Value(0.0, [y] * 3, second)
    found = list(paths(z, x))
    assert len(found) == count_paths(z, x) == 9
    assert all(path.values == (x, y, z) for path in found)
    assert sorted(path.product for path in found) == sorted(
        a * b for a, b in itertools.product(first, second)
    )
    total = sum(path.product for path in found)
    assert total == sum(first) * sum(second) == autograd.grad(z, x) == autograd.jvp(z, x)


def test_nine_paths_through_nodes_of_their_own():
    first, second = (2.0, 3.0, 5.0), (7.0, 11.0, 13.0)
    x = Value(1.0)
    y = mg.sum([x * k for k in first])
    z = mg.sum([y * k for k in second])
    found = list(paths(z, x))
    assert len(set(path.values for path in found)) == count_paths(z, x) == 9
    assert sum(path.product for path in found) == autograd.grad(z, x) == 310.0


def test_ends():
    x, other = Value(3.0), Value(4.0)
    y = x * x
    assert list(paths(x, x)) == [((x,), 1.0)] and count_paths(x, x) == 1
    assert list(paths(y, y)) == [((y,), 1.0)] and count_paths(y, y) == 1
    assert list(paths(y, x)) == [((x, y), 3.0)] * 2 and count_paths(y, x) == 2
    for end, start in ((y, other), (x, y), (x, other), (other, x)):
        assert list(paths(end, start)) == [] and count_paths(end, start) == 0


def test_edges_are_those_of_partials():
    x, y = Value(3.0), Value(2.0)
    for result, count in (
        (x**2, 1),
        (x**x, 2),
        (-x, 1),
        (mg.sum([x, y, x, 1.0]), 2),
        (mg.dot([x, x], [x, y], x), 4),
        (mg.where(x, x, y), 2),
        (Value(1.0, (x, x, y), (1.0, 2.0, 3.0)), 2),
        (Value(1.0, (x, y)), 1),
    ):
        found = list(paths(result, x))
        assert len(found) == count_paths(result, x) == count
        assert sum(path.product for path in found) == autograd.grad(result, x)
        assert [p.product for p in found] == [
            d for parent, d in autograd.partials(result) if parent is x
        ]


@given(st.integers(0, 2**32))
def test_products_add_up_to_the_derivative(seed):
    rng = random.Random(seed)
    nodes = [Value(float(rng.randint(-3, 3))) for _ in range(3)]
    parents = {id(v): [] for v in nodes}
    for _ in range(rng.randint(1, 12)):
        a, b = rng.choice(nodes), rng.choice(nodes[-4:])
        kind = rng.randrange(4)
        if kind == 0 and abs(a.data * b.data) < 2**20:
            new, operands = a * b, [a, b]
        elif kind == 1:
            new, operands = a - b, [a, b]
        elif kind == 2:
            new, operands = mg.sum([a, b, b]), [a, b, b]
        else:
            new, operands = Value(1.0, (a, b), (rng.randint(-3, 3), 2.0)), [a, b]
        parents[id(new)] = operands
        nodes.append(new)

    def ways(y, x):  # the definition
        return [(x,)] if y is x else [(*w, y) for p in parents[id(y)] for w in ways(p, x)]

    for y, x in [(nodes[-1], rng.choice(nodes)) for _ in range(3)]:
        found = list(paths(y, x))
        assert sorted(tuple(map(id, path.values)) for path in found) == sorted(
            tuple(map(id, way)) for way in ways(y, x)
        )
        assert count_paths(y, x) == len(found)
        assert sum(path.product for path in found) == autograd.grad(y, x)


def test_astronomically_many():
    _core._tune()  # to collect at each of so many operations would take minutes
    x = y = Value(1.0)
    for _ in range(100_000):
        y = y * y
    assert count_paths(y, x) == 2**100_000
    first = list(itertools.islice(paths(y, x), 3))
    assert [len(path.values) for path in first] == [100_001] * 3
    assert all(path.product == 1.0 and path.values[0] is x for path in first)


def test_fibonacci():
    x = Value(1.0)
    a, b = x, x * 1.0
    for _ in range(500):
        a, b = b, a + b
    numbers = [1, 1]
    while len(numbers) < 502:
        numbers.append(numbers[-1] + numbers[-2])
    assert count_paths(b, x) == numbers[501]


def test_dead_branches_are_not_walked():
    # Each level has a branch of 2**40 paths that lead elsewhere.
    x, elsewhere = Value(1.0), Value(1.0)
    dead = elsewhere
    for _ in range(40):
        dead = dead * dead
    y = x
    for _ in range(50):
        y = y + dead
        dead = dead * dead
    (only,) = paths(y, x)
    assert len(only.values) == 51 and only.product == 1.0
    before = x
    for _ in range(20_000):  # nor what stands before x
        before = before * before
    late = Value(2.0)
    (only,) = paths(late * before, late)
    assert only.product == before.data


def test_what_a_walk_holds_and_when():
    before = live_nodes()
    x = Value(3.0)
    y = (x * x) * (x + 1.0)
    walk = paths(y, x)
    product = next(walk).product
    y.data = x.data = 100.0
    del y
    tape.collect()
    [Value(0.0) for _ in range(100)]
    rest = [path.product for path in walk]
    assert sorted([product, *rest]) == [9.0, 12.0, 12.0]
    del walk, x, product, rest
    assert live_nodes() == before


def test_closures_are_in_the_way_only_where_they_are():
    x, z = Value(3.0), Value(2.0)
    closure = Value(9.0, (x,), "square")
    closure._backward = lambda: None
    y = closure * z
    with pytest.raises(ValueError, match="'square'"):
        paths(y, x)
    assert [path.product for path in paths(y, z)] == [9.0]
    assert count_paths(y, x) == 1  # edges are there, whatever they carry
    del closure._backward
    assert [path.product for path in paths(y, x)] == [0.0]


def test_subclasses_with_an_equality_of_their_own():
    class Equal(Value):
        def __eq__(self, other):
            return True

        __hash__ = None

    x = Equal(2.0)
    y = x * x + x
    assert sorted(path.product for path in paths(y, x)) == [1.0, 2.0, 2.0]
    assert count_paths(y, x) == 3
    assert autograd.grad(y, [x]) == [5.0] and autograd.jvp(y, x) == 5.0


def test_the_label_of_a_path():
    x = Value(2.0)
    (path,) = paths(x * 3.0, x)
    values, product = path
    assert values is path.values and product == path.product == 3.0
