"""Derivatives of graphs as graphs, patterns of sparsity, and colourings.

The reference is mpmath, which differentiates the plain evaluation of a graph numerically, with
many more digits than the tests look at; and sets and loops in plain Python.
"""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from reference import in_mpmath
from test_passes import (
    ARITY,
    INPUT,
    LEAF,
    NUMBERS,
    PARAMETERS,
    TAKE,
    WHERE,
    Node,
    a,
    dot,
    graph,
    graphs,
    i,
    lift,
    operands,
    shown,
    take,
    where,
    x,
    y,
    z,
)

from micrograd_c import Value, _core, _graph
from micrograd_c._core import OPS

mp = pytest.importorskip("mpmath").mp.clone()
mp.dps = 60
STEP = mp.mpf(10) ** -18

NONE, ONE = -1, -2
INPUTS = len(NUMBERS)  # x, y, z, i; seeds are inputs from there on
FLOATS = np.array([1, 1, 1, 0], np.uint8)  # which inputs are differentiated by: not the index

# ---- the reference: a graph in mpmath

MP_OPS = {op.name: in_mpmath(mp, op.name) for op in OPS}


def evaluated(g, numbers, plain=None):
    """The outputs of a graph, in mpmath, at these inputs.

    plain: collects what detached nodes are at first, and gives it from then on.
    """
    values = []
    for n in range(len(g.op)):
        name = _graph.OP_NAMES[g.op[n]]
        given = [values[q] for q in operands(g, n)]
        if name == "leaf":
            constant = mp.mpf(float(g.data[n]))
            number = g.rhs[n]
            value = (constant, *numbers[number : number + 1])[-1] if g.lhs[n] == INPUT else constant
            if g.lhs[n] > INPUT:
                value = mp.mpf(PARAMETERS[number])
        elif name == "dot":
            pairs = given[: len(given) // 2 * 2]
            value = sum(p * q for p, q in zip(pairs[::2], pairs[1::2])) + sum(given[len(pairs) :])
        elif name == "where":
            value = given[1 if given[0] > 0 else 2]
        elif name == "take":
            value = given[1:][int(given[0])]
        elif name == "plain":
            value = given[0] if plain is None else plain.setdefault(n, given[0])
        else:
            value = MP_OPS[name](*given[: ARITY[name]])
        values.append(value)
    return [values[n] for n in g.outputs]


def along(g, *directions, factor=1):
    """t, s, ... -> the outputs at the inputs + t * the first direction + s * the second, ...

    factor: what x, y and z are multiplied with before.
    """
    plain = {}
    inputs = [mp.mpf(v) * factor for v in NUMBERS[:3]] + [mp.mpf(NUMBERS[3])]
    evaluated(g, inputs, plain)

    def function(*lengths):
        numbers = list(inputs)
        for t, direction in zip(lengths, directions):
            numbers[:3] = [v + t * int(d) for v, d in zip(numbers, direction)]
        return evaluated(g, numbers, plain)

    return function


def derivatives(g, *directions, factor=1):
    """The derivatives of the outputs by one direction after the other, by central differences."""
    function = along(g, *directions, factor=factor)
    total = [mp.mpf(0)] * len(g.outputs)
    for signs in itertools.product((1, -1), repeat=len(directions)):
        outputs = function(*[sign * STEP for sign in signs])
        total = [t + np.prod(signs).item() * v for t, v in zip(total, outputs)]
    return [t / (2 * STEP) ** len(directions) for t in total]


# ---- the graphs under test, as programs


def run(g, seeds=()):
    """The outputs of a graph, whose inputs are NUMBERS and seeds, replayed."""
    g = _graph.reachable(_graph.share_nodes(g))
    _graph.check_graph(g, INPUTS + len(seeds), len(PARAMETERS))
    spec = ("f", "f", "f", "i", *["f"] * len(seeds))
    results = (("a", (len(g.outputs),), "f"),)
    program = _core.restored_program(g, PARAMETERS, spec, results, {}, (), True)
    found = program(*NUMBERS[:3], int(NUMBERS[3]), *map(float, seeds))
    return np.array([float(getattr(v, "data", v)) for v in found])


def new(derived, g):
    """A derived graph with the outputs alone that it has more than g."""
    return derived._replace(outputs=derived.outputs[len(g.outputs) :])


def sources(*given):
    return np.array(given, np.int32)


SEEDS = sources(INPUTS, INPUTS + 1, INPUTS + 2, NONE)  # a number for each of x, y, z


def forward(g, first=INPUTS):
    """The tangents of g, of `first` inputs, along a direction that is given as three more."""
    direction = np.full(first, NONE, np.int32)
    direction[:3] = first + np.arange(3)
    return new(_graph.tangents(g, [direction]), g)


def reverse(g, first=INPUTS):
    """The adjoints of x, y, z in g, of `first` inputs, for heads that are given as more."""
    heads = first + np.arange(len(g.outputs), dtype=np.int32)
    return new(_graph.adjoints(g, np.arange(first) < 3, [heads]), g)


def close(got, expected, scale=1.0):
    got, expected = np.array(got, float), [float(v) for v in expected]
    size = scale + max(map(abs, expected), default=0)
    return np.abs(got - expected).max(initial=0) <= 1e-9 * size


whole = st.lists(st.integers(-3, 3), min_size=3, max_size=3)
made = graphs().map(_graph.share_nodes)  # an input is one leaf, as in what was traced


def gentle(g):
    """Whether no number on the way is near where the derivatives of any op blow up.

    All are moderate by themselves, but what cancels in a long expression may be large.
    """
    shaken = [along(g, [1, -1, 2])(t * mp.mpf(10) ** -4) for t in (-2, -1, 0, 1, 2)]
    columns = list(zip(*shaken))
    return all(abs(p[0] - 2 * p[2] + p[4]) < 1e-3 for p in columns) and all(
        abs(p[0] - 4 * p[1] + 6 * p[2] - 4 * p[3] + p[4]) < 1e-6 for p in columns
    )


# ---- tangents and adjoints of any graph


@given(made, whole)
def test_tangents_are_the_derivatives_along_a_direction(g, u):
    before = [array.copy() for array in g]
    found = run(forward(g), u)
    assert close(found, derivatives(g, u)), shown(g)
    assert all(p.tobytes() == q.tobytes() for p, q in zip(g, before))


@given(made, st.data())
def test_adjoints_are_the_derivatives_of_the_weighted_outputs(g, data):
    weights = data.draw(st.lists(st.integers(-3, 3), min_size=len(g.outputs), max_size=4))
    weights = weights[: len(g.outputs)]
    expected = [
        sum(w * v for w, v in zip(weights, derivatives(g, unit)))
        for unit in ([1, 0, 0], [0, 1, 0], [0, 0, 1])
    ]
    assert close(run(reverse(g), weights), expected), shown(g)


@given(made, whole, st.data())
def test_a_row_times_the_jacobian_times_a_column_is_the_same_both_ways(g, u, data):
    v = [data.draw(st.integers(-3, 3)) for _ in g.outputs]
    pushed, pulled = run(forward(g), u), run(reverse(g), v)
    size = 1 + np.abs(np.r_[pushed, pulled]).max()
    assert abs(v @ pushed - pulled @ u) <= 1e-9 * size, shown(g)


@given(made, whole, whole)
def test_second_derivatives_in_every_order_of_modes(g, u, v):
    expected = derivatives(g, u, v)
    assume(all(abs(d) < 1e6 for d in expected))
    twice = forward(forward(g), INPUTS + 3)
    scale = 1 + 100 * max(abs(float(d)) for p in (u, v) for d in derivatives(g, p))
    assert close(run(twice, [*u, *v]), expected, scale), shown(g)
    # of the first output: forward over reverse, reverse over forward, reverse over reverse
    one = g._replace(outputs=g.outputs[:1])
    by_reverse = reverse(one)
    mixed = run(forward(by_reverse, INPUTS + 1), [1, *v])
    assert close(mixed @ u, expected[:1], scale), shown(g)
    mixed = run(reverse(forward(one), INPUTS + 3), [*u, 1])
    assert close(mixed @ v, expected[:1], scale), shown(g)
    mixed = run(reverse(by_reverse, INPUTS + 1), [1, *u])
    assert close(mixed @ v, expected[:1], scale), shown(g)


@given(made, whole)
def test_third_derivatives(g, u):
    assume(gentle(g))
    expected = derivatives(g, u, u, u)
    assume(all(abs(d) < 1e5 for d in expected))
    # Near a singularity, as that of acosh, roundings of the operands alone make other derivatives.
    assume(close(expected, derivatives(g, u, u, u, factor=1 + mp.mpf(10) ** -14), 1e4))
    thrice = forward(forward(forward(g), INPUTS + 3), INPUTS + 6)
    assert close(run(thrice, [*u, *u, *u]), expected, 1e4), shown(g)


@given(made)
def test_outputs_stay_in_front_and_passes_change_nothing(g):
    size = len(g.outputs)
    unit = [sources(*(ONE if k == j else NONE for k in range(4))) for j in range(3)]
    pushed = _graph.tangents(g, unit)
    heads = [sources(*(ONE if k == j else NONE for k in range(size))) for j in range(size)]
    pulled = _graph.adjoints(g, FLOATS, heads)
    for derived in (pushed, pulled):
        assert len(derived.outputs) == size + 3 * size
        assert derived.outputs[:size].tolist() == g.outputs.tolist()
        assert all(p[: len(q)].tobytes() == q.tobytes() for p, q in zip(derived, g))
        after = _graph.optimized(derived)
        assert np.allclose(run(after), run(derived), rtol=1e-9, atol=1e-9)
    by_column, by_row = run(new(pushed, g)), run(new(pulled, g))
    size_of_all = 1 + np.abs(by_column).max()
    difference = by_column.reshape(3, size).T - by_row.reshape(size, 3)
    assert np.abs(difference).max() <= 1e-9 * size_of_all


@given(made, st.lists(st.booleans(), min_size=3, max_size=3))
def test_inputs_that_are_not_wanted_are_left_out(g, mask):
    wanted = np.array([*mask, False], np.uint8)
    heads = sources(ONE, *[NONE] * (len(g.outputs) - 1))
    some = new(_graph.adjoints(g, wanted, [heads]), g)
    every = new(_graph.adjoints(g, FLOATS, [heads]), g)
    assert len(some.outputs) == sum(mask)
    assert np.array_equal(run(some), run(every)[np.array(mask)])


# ---- what the graphs look like: nothing that is 0 or 1 for any numbers is computed


@pytest.mark.parametrize(
    "expression, tangent, adjoint",
    [
        (x, "1", "1"),
        (y, "0", "0"),
        (lift(3.0), "0", "0"),
        (x + y, "1", "1"),
        (x - y, "1", "1"),
        (y - x, "-1", "-1"),
        (-x, "-1", "-1"),
        (x * y, "y", "y"),
        (x * x, "mul(2, x)", "mul(2, x)"),
        (x + x, "2", "2"),
        (a * x, "a", "a"),
        (x**2.0, "mul(2, x)", "mul(2, x)"),
        (x**3.0, "mul(3, mul(x, x))", "mul(3, mul(x, x))"),
        (x**0.0, "0", "0"),
        (Node("exp", x), "exp(x)", "exp(x)"),
        (Node("sin", y), "0", "0"),
        (Node("plain", x) * y, "0", "0"),
        (dot((x, y), (y, z), addend=a), "y", "y"),
        (dot((x, x), addend=x), "dot(2 x; 1)", "dot(2 x; 1)"),
        (where(y, x, z), "where(y, 1, 0)", "where(y, 1, 0)"),
        (where(x, y, z), "0", "0"),
        (take(i, y, z), "0", "0"),
    ],
    ids=lambda p: shown(graph(p)) if isinstance(p, Node) else None,
)
def test_no_more_than_needed(expression, tangent, adjoint):
    g = graph(expression)
    of_x = sources(ONE, NONE, NONE, NONE)
    found = _graph.optimized(new(_graph.tangents(g, [of_x]), g))
    assert shown(found) == tangent
    by_x = np.array([1, 0, 0, 0], np.uint8)
    found = _graph.optimized(new(_graph.adjoints(g, by_x, [sources(ONE)]), g))
    assert shown(found) == adjoint


def test_no_direction_and_no_head_add_nothing():
    g = graph(x * y, -x)
    for derived in (_graph.tangents(g, []), _graph.adjoints(g, FLOATS, [])):
        assert derived.outputs.tolist() == g.outputs.tolist()
    empty = graph()
    assert len(_graph.tangents(empty, [SEEDS]).outputs) == 0
    none = _graph.adjoints(empty, FLOATS, [sources()])
    assert run(none).tolist() == [0.0] * 3


def test_an_output_that_repeats_counts_as_often_as_it_stands():
    square = x * x
    g = graph(square, square, x)
    found = run(new(_graph.adjoints(g, FLOATS, [sources(ONE, ONE, ONE)]), g))
    assert found.tolist() == [4 * NUMBERS[0] + 1, 0, 0]


def test_a_gradient_costs_a_few_times_its_function():
    """Of a product of n factors, and of a chain: nodes grow with n, not with its square."""
    for n in (100, 1000):
        product, chain = x, x
        for k in range(n):
            product, chain = product * (y + k), Node("tanh", chain)
        for expression in (product, chain):
            g = graph(expression)
            assert len(_graph.adjoints(g, FLOATS, [sources(ONE)]).op) < 20 * len(g.op)
            assert len(_graph.tangents(g, [SEEDS]).op) < 20 * len(g.op)


def test_deep_graphs_are_differentiated_without_recursion():
    deep = x
    for _ in range(30_000):
        deep = Node("sin", deep)
    g = graph(deep)
    pulled = run(new(_graph.adjoints(g, FLOATS, [sources(ONE)]), g))
    v = start = Value(NUMBERS[0])
    for _ in range(30_000):
        v = v.sin()
    v.backward()
    assert pulled[0] == pytest.approx(start.grad, rel=1e-12)


# ---- dependencies


def inputs_of(g, wanted):
    """For each output the inputs that it may have a derivative by: sets, node by node."""
    found = []
    for n in range(len(g.op)):
        name, before = _graph.OP_NAMES[g.op[n]], operands(g, n)
        if g.op[n] == LEAF:
            number = int(g.rhs[n])
            found.append({number} if g.lhs[n] == INPUT and wanted[number] else set())
        elif name == "plain":
            found.append(set())
        else:
            skipped = g.op[n] in (WHERE, TAKE)
            found.append(set().union(*(found[q] for q in before[skipped:])))
    return [sorted(found[n]) for n in g.outputs]


def pattern_of(g, wanted=FLOATS):
    starts, inputs = _graph.dependencies(g, np.array(wanted, np.uint8))
    assert starts[0] == 0 and starts[-1] == len(inputs) and len(starts) == len(g.outputs) + 1
    return [inputs[p:q].tolist() for p, q in itertools.pairwise(starts)]


@given(made, st.lists(st.booleans(), min_size=4, max_size=4))
def test_dependencies_are_those_of_sets(g, mask):
    assert pattern_of(g, mask) == inputs_of(g, mask)


@given(made)
def test_what_is_not_a_dependency_has_no_derivative(g):
    pattern = pattern_of(g)
    for j, unit in enumerate(([1, 0, 0], [0, 1, 0], [0, 0, 1])):
        for row, d in zip(pattern, derivatives(g, unit)):
            assert j in row or d == 0


@st.composite
def wide_graphs(draw):
    """Graphs over many inputs, with long dots, and sets that are shared, contained, disjoint."""
    random = draw(st.randoms(use_true_random=True))
    count = draw(st.integers(1, 20))
    pool = [Node("leaf", INPUT, k) for k in range(count)] + [a, lift(2.0)]
    for _ in range(draw(st.integers(0, 30))):
        op = random.choice(["add", "mul", "sin", "dot", "dot", "where", "plain"])
        many = {"add": 2, "mul": 2, "sin": 1, "where": 3, "plain": 1}.get(op)
        chosen = random.choices(pool, k=many or random.randint(1, 9))
        pool.append(Node(op, *chosen))
    return count, graph(*random.choices(pool, k=random.randint(0, 8)))


@given(wide_graphs())
def test_dependencies_of_many_inputs(made):
    count, g = made
    assert pattern_of(g, [1] * count) == inputs_of(g, [1] * count)
    assert pattern_of(g, [0] * count) == [[]] * len(g.outputs)


def test_dependencies_of_a_long_chain_do_not_copy_its_sets():
    """Each of 10^5 sums has the inputs of the one before: copied, they would fill the memory."""
    n = 100_000
    xs = [Node("leaf", INPUT, k) for k in range(300)]
    total = dot(*((p, p) for p in xs))
    for k in range(n):
        total = total + xs[k % 300]
    assert pattern_of(graph(total), [1] * 300) == [list(range(300))]


# ---- colouring


def check_colouring(rows, columns):
    """The colours of a pattern given as a list of the columns of each row."""
    starts = np.cumsum([0, *map(len, rows)])
    indices = np.array([j for row in rows for j in row], np.int32)
    colours = _graph.column_colours(starts, indices, columns)
    assert colours.dtype == np.int32 and colours.shape == (columns,)
    assert colours.min(initial=0) >= 0
    for row in rows:
        assert len(set(colours[row].tolist())) == len(row)
    # Greedy: no more colours than the most neighbours a column has, and itself; none is left out.
    neighbours = [set() for _ in range(columns)]
    for row in rows:
        for j in row:
            neighbours[j].update(row)
    count = colours.max(initial=-1) + 1
    assert count <= max(map(len, neighbours), default=0) or count == (columns > 0)
    assert set(colours.tolist()) == set(range(count))
    return count


@given(
    st.integers(1, 25).flatmap(
        lambda n: st.tuples(
            st.lists(st.sets(st.integers(0, n - 1)).map(sorted), max_size=25), st.just(n)
        )
    )
)
def test_no_row_has_two_columns_of_one_colour(pattern):
    check_colouring(*pattern)


def band(n, below, above):
    return [list(range(max(0, k - below), min(n, k + above + 1))) for k in range(n)]


@pytest.mark.parametrize(
    "rows, columns, expected",
    [
        ([], 0, 0),
        ([], 5, 1),
        ([[]] * 4, 3, 1),
        ([[0]], 1, 1),
        ([[k] for k in range(9)], 9, 1),
        ([[*range(9)]], 9, 9),
        ([[0]] * 9, 1, 1),
        (band(50, 1, 1), 50, 3),
        (band(50, 2, 2), 50, 5),
        (band(50, 0, 3), 50, 4),
        (band(50, 4, 1), 50, 6),
        ([[k, 49] for k in range(49)] + [[*range(50)]], 50, 50),  # an arrow
        ([[k, 49] for k in range(49)], 50, 2),
        ([[*range(k // 5 * 5, k // 5 * 5 + 5)] for k in range(50)], 50, 5),  # blocks
    ],
)
def test_number_of_colours(rows, columns, expected):
    assert check_colouring(rows, columns) == expected


def test_a_large_band_is_coloured_with_its_width():
    assert check_colouring(band(100_000, 2, 2), 100_000) == 5


def test_a_dense_row_among_many():
    n = 500
    assert check_colouring([[*range(n)], *([k] for k in range(n))], n) == n


def test_the_memory_of_a_pattern_is_its_own():
    starts, inputs = _graph.dependencies(graph(x * y, z), FLOATS)
    starts[:], inputs[:] = 0, 0
    assert pattern_of(graph(x * y, z)) == [[0, 1], [2]]
