"""Passes over graphs: what each rule does, and that results and gradients stay what they were.

The reference is the eager engine: a graph is evaluated by making a Value of every node.
"""

import functools
import itertools
import math
import operator
import pickle

import numpy as np
import pytest
import reference
from hypothesis import assume, given
from hypothesis import strategies as st
from reference import call, inside, kinks, same

import micrograd_c
from micrograd_c import Value, _graph
from micrograd_c._core import OPS
from micrograd_c._graph import Graph

OP = {name: code for code, name in enumerate(_graph.OP_NAMES)}
LEAF, DOT, WHERE, TAKE, PLAIN = (OP[name] for name in ("leaf", "dot", "where", "take", "plain"))
CONSTANT, INPUT, CAPTURED = range(3)
ARITY = reference.ARITY | {"chain": 2}
DTYPES = dict(zip(Graph._fields, ("uint8", "int32", "int32", "float64", "int32", "int32")))
INF, NAN = math.inf, math.nan


# ---- graphs, written as expressions


class Node:
    """An operation and its operands, those of a dot in one list; of a leaf: kind and number."""

    def __init__(self, op, *operands):
        self.op = op
        self.operands = operands if op == "leaf" else tuple(map(lift, operands))

    def __neg__(self):
        return Node("neg", self)

    def __pow__(self, power):
        return Node("powc" if isinstance(power, (int, float)) else "pow", self, power)


def operators(op):
    return lambda p, q: Node(op, p, q), lambda p, q: Node(op, q, p)


Node.__add__, Node.__radd__ = operators("add")
Node.__sub__, Node.__rsub__ = operators("sub")
Node.__mul__, Node.__rmul__ = operators("mul")
Node.__truediv__, Node.__rtruediv__ = operators("div")


def lift(x):
    return x if isinstance(x, Node) else Node("leaf", CONSTANT, x)


def dot(*pairs, addend=None):
    return Node("dot", *itertools.chain(*pairs), *([] if addend is None else [addend]))


def where(test, a, b):
    return Node("where", test, a, b)


def take(index, *rows):
    return Node("take", index, *rows)


x, y, z, i = (Node("leaf", INPUT, k) for k in range(4))
a, b, c = (Node("leaf", CAPTURED, k) for k in range(3))
NAMES = {INPUT: "xyzi", CAPTURED: "abc"}


def graph(*outputs):
    """The graph of the outputs, in the order in which an evaluation meets the nodes."""
    op, lhs, rhs, data, edges = [LEAF], [CONSTANT], [0], [1.0], []
    outputs = [lift(output) for output in outputs]
    index, stack = {}, outputs[::-1]
    while stack:
        node = stack.pop()
        if node in index:
            continue
        before = [] if node.op == "leaf" else [q for q in node.operands if q not in index]
        if before:
            stack += [node, *before[::-1]]
            continue
        index[node] = len(op)
        op.append(OP[node.op])
        data.append(0.0)
        if node.op == "leaf":
            kind, number = node.operands
            if kind == CONSTANT:
                data[-1], number = number, 0
            lhs.append(kind)
            rhs.append(number)
        elif node.op in ARITY:
            lhs.append(index[node.operands[0]])
            rhs.append(index[node.operands[-1]])
        else:
            lhs.append(len(edges))
            rhs.append(len(node.operands))
            edges += [index[q] for q in node.operands]
    return graph_of(op, lhs, rhs, data, edges, [index[output] for output in outputs])


def graph_of(*columns):
    arrays = [np.array(column, dtype) for column, dtype in zip(columns, DTYPES.values())]
    for array in arrays:
        array.flags.writeable = False
    return Graph(*arrays)


def edges_of(g, n):
    return g.edges[g.lhs[n] : g.lhs[n] + g.rhs[n]].tolist()


def operands(g, n):
    if g.op[n] == LEAF:
        return []
    return edges_of(g, n) if g.op[n] >= PLAIN else [int(g.lhs[n]), int(g.rhs[n])]


def shown(g):
    """The outputs as text; dot(x y, 1 z; a) is x*y + 1*z + a."""

    def text(n):
        name = _graph.OP_NAMES[g.op[n]]
        if g.op[n] == LEAF:
            return f"{g.data[n]:g}" if g.lhs[n] == CONSTANT else NAMES[g.lhs[n]][g.rhs[n]]
        if g.op[n] != DOT:
            shown = operands(g, n)[: ARITY.get(name)]
            return f"{name}({', '.join(map(text, shown))})"
        edges = [text(q) for q in edges_of(g, n)]
        addend = f"; {edges.pop()}" if len(edges) % 2 else ""
        return f"dot({', '.join(map(' '.join, zip(edges[::2], edges[1::2])))}{addend})"

    return ", ".join(map(text, g.outputs))


def equal(g, h):
    return all(p.tobytes() == q.tobytes() for p, q in zip(g, h))


# ---- the reference: a Value for every node

NUMBERS = (0.75, -1.5, 2.25, -2.0)  # the inputs x, y, z, i
PARAMETERS = (1.25, -0.5, 3.0)  # a, b, c


def value_of(op, operands):
    if op == "dot":
        *pairs, addend = operands if len(operands) % 2 else [*operands, None]
        return micrograd_c.dot(pairs[::2], pairs[1::2], addend)
    if op == "where":
        return operands[1 if operands[0].data > 0 else 2]
    if op == "take":
        return operands[1:][int(operands[0].data)]
    if op == "plain":
        return Value(operands[0].data)
    if op == "chain":
        return operands[0] * operands[1] if operands[0].data and operands[1].data else Value(0)
    return call(op, *operands[: ARITY[op]])


def evaluate(g):
    """The data of the outputs, and the gradient of a sum of them by inputs and captured numbers."""
    numbers, parameters = [Value(v) for v in NUMBERS], [Value(v) for v in PARAMETERS]
    values = []
    for n in range(len(g.op)):
        if g.op[n] == LEAF:
            of_kind = {CONSTANT: [Value(g.data[n])], INPUT: numbers, CAPTURED: parameters}
            values.append(of_kind[g.lhs[n]][g.rhs[n]])
        else:
            values.append(value_of(_graph.OP_NAMES[g.op[n]], [values[q] for q in operands(g, n)]))
    outputs = [values[k] for k in g.outputs]
    micrograd_c.dot(outputs, [1.0, -0.5, 0.25, 2.0][: len(outputs)]).backward()
    scale = 1 + max(max(abs(v.grad), abs(v.data)) for v in [*values, *numbers, *parameters])
    results = [v.data for v in outputs] + [v.grad for v in [*numbers, *parameters]]
    return results, scale


def assert_equivalent(after, before):
    _graph.check_graph(after, len(NUMBERS), len(PARAMETERS))
    assert len(after.edges) == after.rhs[after.op >= PLAIN].sum()
    (results, _), (expected, scale) = evaluate(after), evaluate(before)
    for got, wanted in zip(results, expected, strict=True):
        assert abs(got - wanted) <= 1e-9 * scale, (shown(before), shown(after))


# ---- random graphs


def tame(op, operands):
    """The Value of an operation, or None: too large, too steep, or near where it jumps or bends."""
    data = [q.data for q in operands]
    bends = kinks(op) if ARITY.get(op) == 1 else [0] if op in ("where", "atan2", "pow") else []
    if any(abs(data[0] - at) < 1e-6 for at in bends):
        return None
    if op in ("min", "max", "hypot") and abs(data[0] - data[1]) < 1e-6:
        return None
    fresh = [Value(v) for v in data]
    try:
        out = value_of(op, fresh)
        if out not in fresh:
            out.backward()
        flat = all(abs(v.grad) < 30 for v in fresh)  # false for nan
        return value_of(op, operands) if flat and abs(out.data) < 1e3 else None
    except (ValueError, ZeroDivisionError, OverflowError, TypeError):
        return None


LEAVES = [x, y, z, a, b, c, *map(lift, (0.0, -0.0, 1.0, -1.0, 2.0, 0.5, -3.0))]
SUMS = ["add", "sub", "mul", "neg", "dot"]
OPERATIONS = SUMS * 8 + ["where", "take", "plain", "again", "powc"] * 3 + [op.name for op in OPS]


@st.composite
def graphs(draw):
    """Graphs of moderate values and partials. Every use of a leaf is a node of its own."""
    random = draw(st.randoms(use_true_random=True))
    pool, value = [*LEAVES], {}  # value: the Value of each node, which keeps its place
    for leaf in [*LEAVES, i]:
        kind, number = leaf.operands
        value[leaf] = Value(
            {INPUT: NUMBERS, CAPTURED: PARAMETERS}[kind][number] if kind else number
        )

    def pick():
        node = pool[-1 - int(len(pool) * random.random() ** 2)]
        if node.op != "leaf":
            return node
        again = Node("leaf", *node.operands)
        value[again] = value[node]
        return again

    for _ in range(draw(st.integers(0, 50))):
        op = random.choice(OPERATIONS)
        if op == "again":
            like = random.choice(pool)
            op, chosen = like.op, like.operands
            if op in ("add", "sub", "mul"):
                chosen = random.sample(chosen, 2)
        elif op == "dot":
            chosen = [pick() for _ in range(random.randint(1, 7))]
        elif op == "take":
            chosen = [i, *(pick() for _ in range(random.randint(2, 4)))]
        elif op == "powc":
            chosen = [pick(), Node("leaf", CONSTANT, random.choice([1.0, 2.0, 3.0, -1.0]))]
            value[chosen[1]] = Value(chosen[1].operands[1])
        else:
            chosen = [pick() for _ in range({"where": 3, "plain": 1, **ARITY}[op])]
        out = None if op == "leaf" else tame(op, [value[node] for node in chosen])
        if out is not None:
            pool.append(Node(op, *chosen))
            value[pool[-1]] = out
    return graph(pool[-1], *(pick() for _ in range(random.randrange(4))))


def separate_by(mask):
    return lambda g: _graph.separate(g, _graph.varying_nodes(g, mask))


def group_by(g, mask):
    return _graph.group_terms(g, _graph.varying_nodes(g, mask))


masks = st.lists(st.booleans(), min_size=4, max_size=4)
PASSES = {
    "reachable": _graph.reachable,
    "fold_constants": _graph.fold_constants,
    "share": _graph.share_nodes,
    "fuse_sums": _graph.fuse_sums,
    "group_terms": lambda g: group_by(g, [1, 0, 1, 0]),
    "separate": separate_by([1, 0, 1, 0]),
}
every_pass = pytest.mark.parametrize("apply", PASSES.values(), ids=PASSES)


@every_pass
@given(graphs())
def test_results_and_gradients_stay(apply, g):
    before = [array.copy() for array in g]
    assert_equivalent(apply(g), g)
    assert equal(g, before)


@every_pass
@given(graphs())
def test_a_second_time_changes_nothing(apply, g):
    # fuse_sums takes no dot of one pair for a product, and counts the uses by needless nodes.
    once = _graph.reachable(apply(_graph.reachable(_graph.fold_constants(g))))
    assert equal(_graph.reachable(apply(once)), once)


@given(graphs(), st.lists(st.sampled_from([*PASSES.values()]), max_size=8))
def test_passes_in_any_order(g, passes):
    assert_equivalent(functools.reduce(lambda g, apply: apply(g), passes, g), g)


@every_pass
@given(graphs())
def test_no_pass_makes_much_of_little(apply, g):
    after = apply(g)
    assert len(after.op) <= 4 * len(g.op) and len(after.edges) <= 4 * (len(g.op) + len(g.edges))


@every_pass
def test_a_graph_without_nodes_or_outputs(apply):
    empty = graph()
    assert equal(apply(empty), empty)
    assert equal(apply(graph(x)), graph(x))


@every_pass
def test_outputs_may_be_leaves_and_repeat(apply):
    product = x + y
    assert shown(apply(graph(product, a, product, 2.5, a))) == "add(x, y), a, add(x, y), 2.5, a"


# ---- reachable


def test_reachable_drops_what_no_output_needs():
    g = graph(x + y, a * b, dot((z, c), addend=x))
    g = g._replace(outputs=g.outputs[:1])
    after = _graph.reachable(g)
    assert equal(after, graph(x + y))


@given(graphs(), st.data())
def test_reachable_keeps_nothing_else(g, data):
    g = g._replace(outputs=g.outputs[: data.draw(st.integers(0, len(g.outputs)))])
    after = _graph.reachable(g)
    needed, stack = {0}, after.outputs.tolist()
    while stack:
        needed.add(stack[-1])
        stack += operands(after, stack.pop())
    assert needed == set(range(len(after.op)))
    assert len(after.edges) == sum(after.rhs[after.op >= PLAIN])
    assert shown(after) == shown(g)


# ---- fold_constants


@pytest.mark.parametrize(
    "expression, expected",
    [
        (x + 0, "x"),
        (0 + x, "x"),
        (x + -0.0, "x"),
        (x - 0, "x"),
        (x * 1, "x"),
        (1 * x, "x"),
        (x / 1, "x"),
        (x**1, "x"),
        (Node("pow", x, 1), "x"),
        (x**2, "mul(x, x)"),
        (Node("pow", x, 2), "mul(x, x)"),
        (Node("neg", -x), "x"),
        (Node("neg", Node("neg", -x)), "neg(x)"),
        (Node("neg", -(x + y)) * 1, "add(x, y)"),
        (2 * (3 * x), "mul(6, x)"),
        (2 * (x * 3), "mul(6, x)"),
        ((3 * x) * 2, "mul(6, x)"),
        (2 * (3 * (x * 4)), "mul(24, x)"),
        (2 * (0.5 * x), "x"),
        (2 * -x, "mul(-2, x)"),
        (-x * 2, "mul(-2, x)"),
        (-(3 * x), "mul(-3, x)"),
        (-(-3 * -x), "mul(-3, x)"),
        (-1 * (-1 * x), "x"),
        (2 * (x * y), "mul(2, mul(x, y))"),
        (a * (3 * x), "mul(a, mul(3, x))"),
        (2 * (3 / x), "mul(2, div(3, x))"),
        (0 * (3 * x), "mul(0, mul(3, x))"),
        (3 * (0 * x), "mul(3, mul(0, x))"),
        (INF * (3 * x), "mul(inf, mul(3, x))"),
        (NAN * -x, "mul(nan, neg(x))"),
        (-(0 * x), "neg(mul(0, x))"),
        (1e200 * (1e200 * x), "mul(1e+200, mul(1e+200, x))"),  # may be finite where 1e400 is not
        (1e-200 * (1e-200 * x), "mul(1e-200, mul(1e-200, x))"),
        (1e200 * (1e-200 * x), "x"),
        (dot((2, 3 * x), (y, z)), "dot(6 x, y z)"),
        (dot((3 * x, 2), (y, z)), "dot(6 x, y z)"),
        (dot((2, -x), (y, z)), "dot(-2 x, y z)"),
        (dot((2, 0.5 * x), (y, z)), "dot(1 x, y z)"),
        (dot((1, 3 * x), (y, z)), "dot(3 x, y z)"),
        (dot((1e200, 1e200 * x), (y, z)), "dot(1e+200 mul(1e+200, x), y z)"),
        (0 - x, "sub(0, x)"),
        (x * 0, "mul(x, 0)"),
        (0 * x, "mul(0, x)"),
        (0 / x, "div(0, x)"),
        (1 / x, "div(1, x)"),
        (x / 0, "div(x, 0)"),
        (x**0, "powc(x, 0)"),
        (x**3, "powc(x, 3)"),
        (Node("pow", 2, x), "pow(2, x)"),
        (x - x, "sub(x, x)"),
        (lift(2) * 3 + 4, "10"),
        ((lift(2) - 2) + x, "x"),
        (x * (lift(3) - 2), "x"),
        (Node("exp", 0) * x, "x"),
        (where(1, x, y), "x"),
        (where(1e-300, x, y), "x"),
        (where(0, x, y), "y"),
        (where(-1, x, y), "y"),
        (where(NAN, x, y), "y"),
        (where(x, 1, 2), "where(x, 1, 2)"),
        (take(0, x, y, z), "x"),
        (take(2, x, y, z), "z"),
        (take(-1, x, y, z), "z"),
        (take(-3, x, y, z), "x"),
        (take(3, x, y, z), "take(3, x, y, z)"),
        (take(-4, x, y, z), "take(-4, x, y, z)"),
        (take(0.5, x, y, z), "take(0.5, x, y, z)"),
        (take(1e300, x, y, z), "take(1e+300, x, y, z)"),
        (take(NAN, x, y, z), "take(nan, x, y, z)"),
        (take(i, 1, 2), "take(i, 1, 2)"),
        (Node("plain", lift(2) * 3), "6"),
        (Node("plain", x), "plain(x)"),
        (dot((2, 3), (4, 5)), "26"),
        (dot((2, 3), (x, y), (4, 5)), "dot(x y; 26)"),
        (dot((2, 3), (x, y), addend=4), "dot(x y; 10)"),
        (dot((2, 3), (x, y), addend=z), "dot(x y, 1 6; z)"),
        (dot((2, 3), (x, y), (-6, 1)), "mul(x, y)"),
        (dot((2, 3), (x, y), addend=-6), "mul(x, y)"),
        (dot((2, 3), (x, y), (z, a), (-6, 1), addend=b), "dot(x y, z a; b)"),
        (dot((0, x), (y, 0), (0, 5)), "dot(0 x, 0 y)"),
        (dot((x, 1), (y, z)), "dot(1 x, y z)"),
        (dot((1, x)), "x"),
        (dot((x, 1)), "x"),
        (dot((x, y)), "mul(x, y)"),
        (dot((x, y), addend=0), "mul(x, y)"),
        (dot((1, x), addend=y), "add(y, x)"),
        (dot((x, 1), addend=2), "add(2, x)"),
        (dot((-1, x), addend=y), "sub(y, x)"),
        (dot((x, y), addend=z), "dot(x y; z)"),
        (dot(addend=x), "x"),
        (dot(addend=2), "2"),
        (dot((2, 0), (0, 3)), "0"),
        (dot((2, 3), (1, x), addend=-6), "x"),
    ],
    ids=lambda p: shown(graph(p)) if isinstance(p, Node) else None,
)
def test_folding(expression, expected):
    assert shown(_graph.fold_constants(graph(expression))) == expected


@pytest.mark.parametrize(
    "expression, expected",
    [
        (lift(1) / 0, INF),
        (lift(-1) / 0.0, -INF),
        (lift(0) / 0, NAN),
        (Node("log", -1), NAN),
        (Node("log", 0), -INF),
        (Node("exp", 1000), INF),
        (lift(0) ** -1, INF),
        (Node("pow", -1, 0.5), NAN),
        (Node("sqrt", -1), NAN),
        (lift(INF) - INF, NAN),
        (lift(INF) * 0, NAN),
        (dot((INF, 0), (1, 2)), NAN),
        (dot((INF, 1), addend=-INF), NAN),
        (-lift(0.0), -0.0),
        (lift(-0.0) * 1, -0.0),
        (Node("max", 2, NAN), NAN),
        (lift(0.1) + 0.2, 0.1 + 0.2),
    ],
    ids=lambda p: shown(graph(p)),
)
def test_constants_follow_ieee_754(expression, expected):
    after = _graph.reachable(_graph.fold_constants(graph(expression)))
    (out,) = after.outputs
    assert after.op[out] == LEAF and after.lhs[out] == CONSTANT
    assert same(after.data[out], expected)


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_every_operation_is_folded_to_the_eager_number(op):
    numbers = [1.25, 0.5] if op.arity == 2 else [inside(op.name, 0.5)]
    after = _graph.reachable(_graph.fold_constants(graph(Node(op.name, *numbers))))
    assert len(after.op) <= 2
    assert after.data[after.outputs[0]] == call(op.name, *map(Value, numbers)).data


def test_pythons_sum_starts_from_nothing():
    g = graph(sum(p * q for p, q in [(a, x), (b, y), (c, z)]))
    assert shown(_graph.fuse_sums(_graph.fold_constants(g))) == "dot(a x, b y, c z)"


# ---- share


@pytest.mark.parametrize(
    "expressions, same_node",
    [
        ([x + y, x + y], True),
        ([x + y, y + x], True),
        ([x * y, y * x], True),
        ([x - y, y - x], False),
        ([x / y, y / x], False),
        ([x**2.0, x**2.0], True),
        ([x**2.0, x**3.0], False),
        ([Node("max", x, y), Node("max", y, x)], False),  # at a tie the first takes the gradient
        ([Node("sin", x), Node("cos", x)], False),
        ([x + y, x * y], False),
        ([lift(2), lift(2)], True),
        ([lift(1), lift(1)], True),
        ([lift(0.0), lift(-0.0)], False),
        ([lift(NAN), lift(NAN)], True),
        ([lift(NAN), lift(-NAN)], False),
        ([Node("leaf", INPUT, 1), Node("leaf", INPUT, 1)], True),
        ([Node("leaf", INPUT, 1), Node("leaf", INPUT, 2)], False),
        ([Node("leaf", INPUT, 1), Node("leaf", CAPTURED, 1)], False),
        ([Node("leaf", INPUT, 0), Node("leaf", CAPTURED, 0), lift(0)], False),
        ([dot((x, y), addend=z), dot((x, y), addend=z)], True),
        ([dot((x, y), addend=z), dot((x, z), addend=y)], False),
        ([dot((x, y)), dot((x, y), addend=z)], False),
        ([dot((x, y), (z, a)), dot((z, a), (x, y))], False),
        ([where(x, y, z), where(x, y, z)], True),
        ([where(x, y, z), where(x, z, y)], False),
        ([where(x, y, z), dot((x, y), addend=z)], False),
        ([take(i, x, y), take(i, x, y)], True),
        ([take(i, x, y), take(i, y, x)], False),
        ([Node("plain", x), Node("plain", x)], True),
        ([Node("plain", x), x], False),
        ([Node("exp", (x + y) * 2) - z, Node("exp", 2 * (y + x)) - z], True),
    ],
    ids=lambda p: shown(graph(*p)) if isinstance(p, list) else None,
)
def test_sharing(expressions, same_node):
    after = _graph.share_nodes(graph(*expressions))
    assert len(set(after.outputs.tolist())) == (1 if same_node else len(expressions))
    shown_before = [shown(graph(p)) for p in expressions]
    assert shown(after) == ", ".join(shown_before[:1] * 2 if same_node else shown_before)


def test_a_constant_one_becomes_node_0():
    assert _graph.share_nodes(graph(lift(1.0) * x)).lhs[-1] == 0


@given(graphs())
def test_share_leaves_no_two_nodes_alike(g):
    after = _graph.share_nodes(g)
    seen = set()
    for n in range(len(after.op)):
        name, parents = _graph.OP_NAMES[after.op[n]], operands(after, n)
        if after.op[n] == LEAF:
            parents = [after.lhs[n], after.rhs[n], after.data[n].tobytes()]
        key = (name, *(sorted(parents) if name in ("add", "mul") else parents))
        assert key not in seen
        seen.add(key)


# ---- fuse_sums


@pytest.mark.parametrize(
    "expression, expected",
    [
        # what stays
        (x + y, "add(x, y)"),
        (x - y, "sub(x, y)"),
        (1 - x, "sub(1, x)"),
        (x + x, "add(x, x)"),
        (x * y, "mul(x, y)"),
        (-x, "neg(x)"),
        (-(x + y), "neg(add(x, y))"),
        (x / y + z, "add(div(x, y), z)"),
        # terms: order, factors, addend
        (x + y + z, "dot(1 y, 1 z; x)"),
        (x + (y + z), "dot(1 y, 1 z; x)"),
        (x + y + z + a, "dot(1 y, 1 z, 1 a; x)"),
        ((x + y) + (z + a), "dot(1 y, 1 z, 1 a; x)"),
        (x * y + z, "dot(x y; z)"),
        (z + x * y, "dot(x y; z)"),
        (x * y + z * a, "dot(x y, z a)"),
        (y * x + a * z + b, "dot(y x, a z; b)"),
        (b + y * x + a * z, "dot(y x, a z; b)"),
        (y * x + b + a * z + c, "dot(y x, a z, 1 c; b)"),
        (x * x + y, "dot(x x; y)"),
        (x * 3 + y, "dot(x 3; y)"),
        (x * y + 1, "dot(x y; 1)"),
        # subtraction
        (x - y + z, "dot(-1 y, 1 z; x)"),
        (x - y - z, "dot(-1 y, -1 z; x)"),
        (x - (y + z), "sub(x, add(y, z))"),
        (x * y - (z + a), "dot(x y, -1 add(z, a))"),
        (x - 2 * y, "dot(-2 y; x)"),
        (x - y * 2, "dot(y -2; x)"),
        (x - y * z, "sub(x, mul(y, z))"),
        (x * a - y * z, "dot(x a, -1 mul(y, z))"),
        (x * y - z, "dot(x y, -1 z)"),
        (2 * x - 3 * y, "dot(2 x, -3 y)"),
        # negation
        (x + -y, "sub(x, y)"),
        (-x + y, "sub(y, x)"),
        (-x - y, "dot(-1 x, -1 y)"),
        (x - -y, "add(x, y)"),
        (x + -(y * z), "sub(x, mul(y, z))"),
        (x + -(2 * y), "dot(-2 y; x)"),
        (x - -(y * z), "dot(y z; x)"),
        (x - -(y + z), "dot(1 y, 1 z; x)"),
        (x + Node("neg", -(y * z)), "dot(y z; x)"),
        # dots
        (dot((x, y), (z, a)) + b, "dot(x y, z a; b)"),
        (b + dot((x, y), (z, a)), "dot(x y, z a; b)"),
        (dot((x, y), addend=z) + a * b, "dot(x y, a b; z)"),
        (dot((x, y), addend=z) + dot((a, b), addend=c), "dot(x y, 1 c, a b; z)"),
        (c - dot((x, y), (z, a)), "sub(c, dot(x y, z a))"),
        (dot((1, x), (1, y), (1, z)), "dot(1 y, 1 z; x)"),
        (dot((1, x * y), (1, z * a)), "dot(x y, z a)"),
        (dot((1, x * y), (z * a, 1), addend=b), "dot(x y, z a; b)"),
        (dot((1, x + y), (-1, z)), "dot(1 y, -1 z; x)"),
        (dot((-1, 2 * x), (-1, -y), addend=z), "dot(-2 x, 1 y; z)"),
        (dot((1, x), (1, y)), "add(x, y)"),
        (dot((x * y, z), (a, b)), "dot(mul(x, y) z, a b)"),
        (dot((x + y, z), (a, b)), "dot(add(x, y) z, a b)"),
        (x + -1 * (2 * y), "dot(-2 y; x)"),
        # within other operations
        (Node("exp", x * y + z) * 2 + 1, "dot(exp(dot(x y; z)) 2; 1)"),
        (where(x * y + z, x * y + z, x), "where(dot(x y; z), dot(x y; z), x)"),
        (take(i, x * y + z, z), "take(i, dot(x y; z), z)"),
        (Node("plain", x + y) + z, "add(plain(add(x, y)), z)"),
    ],
    ids=lambda p: shown(graph(p)) if isinstance(p, Node) else None,
)
def test_fusing(expression, expected):
    g = graph(expression)
    after = _graph.fuse_sums(g)
    assert shown(after) == expected
    assert_equivalent(after, g)


@pytest.mark.parametrize(
    "make, expected",
    [
        (lambda s: (s + z, s), "add(mul(x, y), z), mul(x, y)"),
        (lambda s: (s + z, s * 2), "add(mul(x, y), z), mul(mul(x, y), 2)"),
        (lambda s: (s + s,), "add(mul(x, y), mul(x, y))"),
        (lambda s: (dot((s, s)) + z,), "dot(mul(x, y) mul(x, y); z)"),
        (lambda s: (s + z + s,), "dot(1 z, 1 mul(x, y); mul(x, y))"),
    ],
)
def test_what_is_used_elsewhere_stays_a_node(make, expected):
    assert shown(_graph.fuse_sums(graph(*make(x * y)))) == expected


def test_a_sum_used_twice_is_fused_once():
    s = x * y + z
    after = _graph.fuse_sums(graph(s + a, s + b))
    assert shown(after) == "add(dot(x y; z), a), add(dot(x y; z), b)"
    assert sum(after.op == DOT) == 1


def test_an_output_stays_a_node():
    s = x + y
    assert shown(_graph.fuse_sums(graph(s, s + z))) == "add(x, y), add(add(x, y), z)"


def test_sums_subtracted_many_times_need_one_minus_one():
    after = _graph.reachable(_graph.fuse_sums(graph(x - y - z, a - b - c)))
    assert shown(after) == "dot(-1 y, -1 z; x), dot(-1 b, -1 c; a)"
    assert sum(after.data == -1) == 1
    after = _graph.fuse_sums(graph(Node("exp", -1), x - y - z))
    assert sum(after.data == -1) == 1


def neuron(weights, inputs, bias, style):
    products = [w * q for w, q in zip(weights, inputs)]
    if style == "sum from the bias":
        return sum(products, bias)
    if style == "sum, then the bias":
        return sum(products) + bias
    if style == "dot":
        return dot(*zip(weights, inputs), addend=bias)
    return functools.reduce(operator.add, products) - -bias


@pytest.mark.parametrize("style", ["sum from the bias", "sum, then the bias", "dot", "loop"])
def test_the_neurons_of_a_layer_come_out_alike(style):
    inputs = [Node("leaf", INPUT, k) for k in range(5)]
    weights = [[Node("leaf", CAPTURED, 6 * n + k) for k in range(6)] for n in range(4)]
    layer = [neuron(w[:5], inputs, w[5], style) for w in weights]
    g = graph(*inputs, *itertools.chain(*weights), *layer)
    after = _graph.reachable(_graph.fuse_sums(_graph.fold_constants(g)))
    edges = [edges_of(after, n) for n in after.outputs[-4:]]
    first_input, first_weight = 1, 6
    assert edges == [
        [*itertools.chain(*((first_weight + 6 * n + k, first_input + k) for k in range(5)))]
        + [first_weight + 6 * n + 5]
        for n in range(4)
    ]


# ---- varying, active


def depends(g, leaf, follow=operands):
    """For every node, whether a leaf that `leaf(kind, number)` names leads to it."""
    flags = []
    for n in range(len(g.op)):
        flags.append(
            bool(leaf(g.lhs[n], g.rhs[n]))
            if g.op[n] == LEAF
            else any(flags[q] for q in follow(g, n))
        )
    return flags


def differentiable(g, n):
    if g.op[n] in (WHERE, TAKE):
        return operands(g, n)[1:]
    return [] if g.op[n] == PLAIN else operands(g, n)


@given(graphs(), masks)
def test_varying(g, mask):
    flags = _graph.varying_nodes(g, mask)
    assert flags.dtype == np.uint8
    assert flags.tolist() == depends(g, lambda kind, number: kind == INPUT and mask[number])


@given(graphs(), masks, st.booleans())
def test_active(g, wanted, captured):
    flags = _graph.active_nodes(g, np.array(wanted), captured)
    assert flags.dtype == np.uint8
    assert flags.tolist() == depends(
        g,
        lambda kind, number: kind == INPUT and wanted[number] or kind == CAPTURED and captured,
        differentiable,
    )


@pytest.mark.parametrize(
    "expression, varies, has_derivative",
    [
        (x * a, True, True),
        (y * a, False, False),
        (Node("plain", x), True, False),
        (Node("plain", x) * y, True, False),
        (where(x, y, z), True, False),
        (where(y, x, z), True, True),
        (where(y, z, x), True, True),
        (take(x, y, z), True, False),
        (take(i, y, x), True, True),
        (take(i, y, z), False, False),
        (dot((y, z), (a, x)), True, True),
        (dot((y, z), addend=x), True, True),
        (dot((y, z), addend=a), False, False),
        (x**2.0, True, True),
        (lift(2) * 3, False, False),
    ],
    ids=lambda p: shown(graph(p)) if isinstance(p, Node) else None,
)
def test_by_x_alone(expression, varies, has_derivative):
    g = graph(expression)
    assert _graph.varying_nodes(g, [1, 0, 0, 0])[-1] == varies
    assert _graph.active_nodes(g, [1, 0, 0, 0], False)[-1] == has_derivative


def test_captured_numbers_do_not_vary_but_may_be_active():
    g = graph(a * b)
    assert not _graph.varying_nodes(g, [1, 1, 1, 1]).any()
    assert _graph.active_nodes(g, [0, 0, 0, 0], True)[-1]
    assert not _graph.active_nodes(g, [0, 0, 0, 0], False)[-1]


def test_flags_for_too_few_inputs():
    with pytest.raises(ValueError, match="input 2"):
        _graph.varying_nodes(graph(x + z), [1, 1])
    with pytest.raises(ValueError, match="input 2"):
        _graph.active_nodes(graph(x + z), [1, 1], True)
    with pytest.raises(ValueError, match="length 4"):
        _graph.separate(graph(x + z), [1, 1])


# ---- separate: here x and y vary


@pytest.mark.parametrize(
    "expression, expected",
    [
        (dot((a, x), (b, y)), "dot(a x, b y)"),
        (dot((x, a), (b, y)), "dot(a x, b y)"),
        (dot((x, a), (y, b), addend=c), "dot(a x, b y; c)"),
        (dot((x, a), (y, b), addend=x), "dot(a x, b y; x)"),
        (dot((x, x), (x, y)), "dot(x x, x y)"),
        (dot((a, b), (b, c)), "dot(a b, b c)"),
        (dot((a, x), (x, y), (b, y), (y, y)), "dot(x y, y y; dot(a x, b y))"),
        (dot((a, x), (x, y), (b, y), addend=z), "dot(x y; dot(a x, b y; z))"),
        (dot((a, x), (x, y), (y, y), addend=z), "dot(x y, y y; dot(a x; z))"),
        (dot((a, x), (x, y), (y, y)), "dot(x y, y y; dot(a x))"),
        (dot((a, x), (b, c), (c, z), (b, y)), "dot(a x, b y; dot(b c, c z))"),
        (dot((a, x), (b, c), (b, y)), "dot(a x, b y; mul(b, c))"),
        (dot((a, x), (b, c), (b, y), addend=z), "dot(a x, b y; dot(b c; z))"),
        (dot((a, x), (1, c), (b, y), addend=z), "dot(a x, b y; add(z, c))"),
        (dot((a, x), (1, c), (b, y)), "dot(a x, b y; c)"),
        (dot((a, x), (b, c), (b, y), addend=x), "dot(a x, b y; add(x, mul(b, c)))"),
        (dot((b, c), (c, z), addend=x), "add(x, dot(b c, c z))"),
        (dot((1, x), (1, a), (1, y)), "dot(1 x, 1 y; a)"),
        (dot((x, y), (a, b), (z, x)), "dot(x y; dot(z x; mul(a, b)))"),
        (dot((x + a, y), (z, b)), "dot(add(x, a) y; mul(z, b))"),
        (x * a + z * b, "add(dot(a x), mul(z, b))"),  # a uniform factor makes a dot
    ],
    ids=lambda p: shown(graph(p)) if isinstance(p, Node) else None,
)
def test_separating(expression, expected):
    g = graph(expression)
    after = separate_by([1, 1, 0, 0])(g)
    assert shown(after) == expected
    assert_equivalent(after, g)


@given(graphs(), masks)
def test_separate_leaves_pairs_of_one_kind(g, mask):
    after = separate_by(mask)(g)
    assert_equivalent(after, g)
    varies = _graph.varying_nodes(after, mask)
    for n in range(len(after.op)):
        if after.op[n] == DOT and varies[n]:
            pairs = edges_of(after, n)[: after.rhs[n] // 2 * 2]
            kinds = {(varies[p], varies[q]) for p, q in zip(pairs[::2], pairs[1::2])}
            assert kinds in ({(0, 1)}, {(1, 1)})
    before = _graph.varying_nodes(g, mask)
    assert varies[after.outputs].tolist() == before[g.outputs].tolist()


# ---- group_terms: dots of 16 pairs and more; pairs of 8 and more of one kind get one of their own.
# Of shorter dots, those that are uniform and at least 16 of one make.


def kinds(g, n):
    """The kinds of the pairs of a dot, by the ops of their factors; constants are a kind, too."""
    pairs = edges_of(g, n)[: g.rhs[n] // 2 * 2]
    of = [-1 if g.op[p] == LEAF and g.lhs[p] == CONSTANT else int(g.op[p]) for p in pairs]
    return list(zip(of[::2], of[1::2]))


def long_dot(*terms, addend=None):
    """A dot of (count, pair), ...: one of each in turn, while there are some left."""
    left = [[pair] * count for count, pair in terms]
    pairs = []
    while any(left):
        pairs += [some.pop() for some in left if some]
    return dot(*pairs, addend=addend)


PLAIN_PAIR, SINE, EXPONENTIAL = (x, y), (Node("sin", x), y), (z, Node("exp", y))
TWICE = (lift(2.0), x)


@pytest.mark.parametrize(
    "expression, expected",
    [
        (long_dot((20, PLAIN_PAIR)), [20]),
        (long_dot((7, PLAIN_PAIR), (8, SINE)), [15]),
        (long_dot((8, PLAIN_PAIR), (8, SINE)), [8, 8]),
        (long_dot((8, PLAIN_PAIR), (8, SINE), addend=z), [8, 8]),
        (long_dot((8, PLAIN_PAIR), (8, (y, Node("sin", x)))), [8, 8]),
        (long_dot((9, PLAIN_PAIR), (10, SINE), (11, EXPONENTIAL)), [9, 10, 11]),
        (long_dot((20, PLAIN_PAIR), (1, SINE), (2, EXPONENTIAL)), [20, 3]),
        (long_dot((7, PLAIN_PAIR), (7, SINE), (7, EXPONENTIAL)), [21]),
        (long_dot((8, PLAIN_PAIR), (9, TWICE)), [8, 9]),
    ],
)
def test_grouping(expression, expected):
    g = graph(expression)
    after = group_by(g, [1, 1, 1, 0])
    dots = [kinds(after, n) for n in range(len(after.op)) if after.op[n] == DOT]
    assert sorted(map(len, dots)) == sorted(expected)
    assert sorted(itertools.chain(*dots)) == sorted(kinds(g, g.outputs[0]))
    assert_equivalent(after, g)


def test_a_single_pair_of_another_kind_needs_no_dot():
    g = graph(long_dot((16, PLAIN_PAIR), (1, SINE), addend=a))
    after = group_by(g, [1, 1, 1, 0])
    assert sum(after.op == DOT) <= 2
    assert_equivalent(after, g)


@given(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from([0, 1, 2, 3, 4])), max_size=6),
    st.sampled_from([None, a, x, Node("cos", x)]),
    st.booleans(),
    masks,
)
def test_grouping_keeps_every_term_in_the_order_of_its_kind(terms, addend, folded, mask):
    factors = [x, a, Node("sin", x), Node("exp", y), lift(1.0)]
    expression = long_dot(*((n, (factors[k], z)) for n, k in terms), addend=addend)
    assume(expression.operands)
    g = _graph.share_nodes(graph(expression, expression))
    g = _graph.fold_constants(g) if folded else g
    after = group_by(g, mask)
    assert_equivalent(after, g)
    assert equal(group_by(after, mask), after)
    for n in range(len(after.op)):
        if after.op[n] == DOT and after.rhs[n] >= 32:
            counts = {kind: kinds(after, n).count(kind) for kind in kinds(after, n)}
            assert len(counts) == 1 or max(counts.values()) < 8


def short_dots(count, addend=None):
    """The graph of so many dots of two pairs of one kind and one of another."""
    terms = [(x, y), (Node("sin", x), y)]
    return graph(*(dot(*terms, (z, lift(float(k))), addend=addend) for k in range(2, count + 2)))


@pytest.mark.parametrize("addend", [None, z])
def test_short_dots_of_one_make_are_divided_where_there_are_many(addend):
    g = short_dots(16, addend)
    after = group_by(g, [0, 0, 0, 0])
    made = [kinds(after, n) for n in range(len(after.op)) if after.op[n] == DOT]
    assert all(len(set(pairs)) == 1 for pairs in made)
    assert shown(after) != shown(g)
    assert_results(after, g)
    assert equal(group_by(after, [0, 0, 0, 0]), after)
    assert shown(group_by(g, [1, 1, 1, 0])) == shown(g)  # they vary
    few = short_dots(15, addend)
    assert shown(group_by(few, [0, 0, 0, 0])) == shown(few)


def assert_results(after, before):
    """As assert_equivalent, one output at a time."""
    _graph.check_graph(after, len(NUMBERS), len(PARAMETERS))
    for k in range(len(before.outputs)):
        one, other = (g._replace(outputs=g.outputs[k : k + 1]) for g in (after, before))
        assert_equivalent(_graph.reachable(one), _graph.reachable(other))


# ---- 10^6 nodes: what were quadratic would not end, what recursed would crash

MANY = 10**6


def chain(op, swapped=False, kind=INPUT, data=0.0):
    """x op x, that op x, and so on; swapped: x op that. Of one operand: op of op of ... x."""
    n = MANY + 2
    ops, before, leaf = np.full(n, OP[op]), np.arange(-1, n - 1), np.full(n, 1)
    if ARITY[op] == 1:
        leaf = before
    lhs, rhs = (leaf, before) if swapped else (before, leaf)
    lhs, rhs = [CONSTANT, kind, *lhs[2:]], [0, 0, *rhs[2:]]
    ops[:2] = LEAF
    return graph_of(ops, lhs, rhs, [1.0, data, *np.zeros(MANY)], [], [n - 1])


def running_dots(products):
    """s = dot of (x, x) if products, else of (1, s) alone, plus s, again and again."""
    n = MANY // 2
    ops, lhs, rhs = np.full(n, DOT), 3 * np.arange(-2, n - 2), np.full(n, 3)
    ops[:2], lhs[:2], rhs[:2] = LEAF, (CONSTANT, INPUT), 0
    edges = np.ones((n - 2, 3))
    edges[:, 0] = products
    edges[:, 2] = np.arange(1, n - 1)
    return graph_of(ops, lhs, rhs, [1.0, *[0.0] * (n - 1)], edges.ravel(), [n - 1])


BIG = {
    "add": chain("add"),
    "add from the right": chain("add", swapped=True),
    "sub": chain("sub"),
    "sub from the right": chain("sub", swapped=True),
    "mul": chain("mul"),
    "neg": chain("neg"),
    "constants": chain("add", kind=CONSTANT, data=0.5),
    "zeros": chain("add", kind=CONSTANT),
    "dots": running_dots(True),
    "plain dots": running_dots(False),
}


@pytest.mark.parametrize("g", BIG.values(), ids=BIG)
def test_a_million_nodes(g):
    _graph.check_graph(g, 1, 0)
    for apply in (_graph.share_nodes, separate_by([1])):
        assert len(apply(g).op) <= len(g.op)
    after = _graph.reachable(_graph.fuse_sums(_graph.fold_constants(g)))
    _graph.check_graph(after, 1, 0)
    out = after.outputs[0]
    if g is BIG["add"] or g is BIG["add from the right"]:
        assert len(after.op) == 3 and after.rhs[out] == 2 * MANY + 1
    elif g is BIG["sub"]:
        assert len(after.op) == 4 and after.rhs[out] == 2 * MANY + 1
    elif g is BIG["neg"]:
        assert len(after.op) == 2 and out == 1
    elif g is BIG["constants"]:
        assert len(after.op) == 2 and after.data[1] == (MANY + 1) / 2
    elif g is BIG["zeros"]:
        assert len(after.op) == 2 and after.data[1] == 0
    elif g is BIG["dots"] or g is BIG["plain dots"]:
        assert len(after.op) == 3 and after.rhs[out] == MANY - 3
    else:
        assert equal(after, g)
    assert (
        _graph.varying_nodes(after, [1])[out]
        == _graph.active_nodes(after, [1], False)[out]
        == (after.lhs[1] == INPUT)
    )


def test_one_dot_of_a_million_pairs():
    n = MANY
    ops, kinds = [LEAF] * (n + 1) + [DOT], [CONSTANT] + [INPUT, CAPTURED] * (n // 2) + [0]
    numbers = [0, *np.arange(n) // 2, 2 * n]
    pairs = np.repeat(np.arange(1, n + 1), 2)
    g = graph_of(ops, kinds, numbers, [1.0, *[0.0] * (n + 1)], pairs, [n + 1])
    _graph.check_graph(g, n // 2, n // 2)
    for apply in (_graph.reachable, _graph.fold_constants, _graph.share_nodes, _graph.fuse_sums):
        assert equal(apply(g), g)
    after = separate_by(np.ones(n // 2))(g)
    assert after.op.tolist()[-2:] == [DOT, DOT] and after.rhs.tolist()[-2:] == [n, n + 1]


def test_a_million_equal_nodes_become_one():
    n = MANY
    leaf, exp = np.full(n, LEAF), np.full(n, OP["exp"])
    g = graph_of(
        [LEAF, *leaf, *exp],
        [CONSTANT, *np.full(n, INPUT), *np.arange(1, n + 1)],
        [0, *np.zeros(n), *np.arange(1, n + 1)],
        [1.0, *np.zeros(2 * n)],
        [],
        np.arange(n + 1, 2 * n + 1),
    )
    after = _graph.share_nodes(g)
    assert len(after.op) == 3 and set(after.outputs.tolist()) == {2}


# ---- check_graph

WHOLE = graph(
    dot((x * y, a), (2.0, z), addend=-b),
    where(x, take(i, x, y), Node("plain", z)),
    Node("pow", x, y) ** 2.0,
)


def first(g, name):
    return g.op.tolist().index(OP[name])


def changed(g, field, at, to):
    array = getattr(g, field).copy()
    array[at] = to
    return g._replace(**{field: array})


def edge(g, name, k):
    return g.lhs[first(g, name)] + k


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda g: tuple(g), "not a Graph"),
        (lambda g: None, "not a Graph"),
        (lambda g: g._replace(op=g.op.tolist()), "op must be an array of uint8"),
        (lambda g: g._replace(op=g.op.astype(np.int8)), "op must be an array of uint8"),
        (lambda g: g._replace(lhs=g.lhs.astype(np.int64)), "lhs must be an array of int32"),
        (lambda g: g._replace(rhs=g.rhs.astype(">i4")), "rhs must be an array of int32"),
        (lambda g: g._replace(data=g.data.astype(np.float32)), "data must be an array of float64"),
        (lambda g: g._replace(edges=g.edges.astype(object)), "edges must be an array of int32"),
        (lambda g: g._replace(outputs=g.outputs[:, None]), "outputs must be .* one dimension"),
        (lambda g: g._replace(outputs=g.outputs[0]), "outputs must be"),
        (lambda g: g._replace(lhs=np.repeat(g.lhs, 2)[::2]), "lhs must be contiguous"),
        (lambda g: g._replace(data=g.data.view(np.recarray)), "data must be"),
        (lambda g: g._replace(data=misaligned(g.data)), "data must be contiguous and aligned"),
        (lambda g: g._replace(lhs=g.lhs[:-1]), "lhs must have length"),
        (lambda g: g._replace(rhs=g.rhs[:-1]), "rhs must have length"),
        (lambda g: g._replace(data=np.append(g.data, 0.0)), "data must have length"),
        (lambda g: Graph(*(array[:0] for array in g)), "node 0"),
        (lambda g: changed(g, "data", 0, 2.0), "node 0"),
        (lambda g: changed(g, "data", 0, NAN), "node 0"),
        (lambda g: changed(g, "lhs", 0, INPUT), "node 0"),
        (lambda g: changed(g, "op", 0, OP["exp"]), "node 0"),
        (lambda g: changed(g, "rhs", 0, 1), "node 0 .*constant number 1"),
        (lambda g: changed(g, "op", 1, len(OP)), "node 1: .*operation"),
        (lambda g: changed(g, "op", 1, 255), "node 1: .*operation 255"),
        (lambda g: changed(g, "op", first(g, "dot"), OP["nary"]), "operation"),
        (lambda g: changed(g, "op", first(g, "dot"), OP["sum"]), "operation"),
        (lambda g: changed(g, "data", first(g, "mul"), 1.0), r"\(mul\) has data 1.0"),
        (lambda g: changed(g, "data", 1, NAN), r"node 1 \(leaf\) has data nan"),
        (lambda g: changed(g, "lhs", 1, 3), "node 1 .*kind 3"),
        (lambda g: changed(g, "lhs", 1, -1), "node 1 .*kind -1"),
        (lambda g: changed(g, "rhs", 1, 4), "node 1 .*input number 4 of 4"),
        (lambda g: changed(g, "rhs", 1, -1), "node 1 .*input number -1"),
        (lambda g: changed(g, "rhs", 4, 3), "node 4 .*captured number 3 of 3"),
        (lambda g: changed(g, "lhs", first(g, "mul"), first(g, "mul")), r"\(mul\) has operands"),
        (lambda g: changed(g, "rhs", first(g, "mul"), first(g, "mul")), r"\(mul\) has operands"),
        (lambda g: changed(g, "lhs", first(g, "mul"), -1), r"\(mul\) has operands"),
        (lambda g: changed(g, "rhs", first(g, "mul"), 2**31 - 1), r"\(mul\) has operands"),
        (lambda g: changed(g, "rhs", first(g, "neg"), 0), r"\(neg\) .* takes one"),
        (lambda g: changed(g, "rhs", first(g, "powc"), 1), r"\(powc\) .* exponent"),
        (lambda g: changed(g, "edges", edge(g, "dot", 0), first(g, "dot")), r"\(dot\) has edge 0"),
        (lambda g: changed(g, "edges", edge(g, "dot", 4), -1), r"\(dot\) has edge 4 to node -1"),
        (lambda g: changed(g, "edges", edge(g, "plain", 0), len(g.op)), r"\(plain\) has edge"),
        (lambda g: changed(g, "lhs", first(g, "dot"), -1), r"\(dot\) has 5 edges from -1"),
        (lambda g: changed(g, "rhs", first(g, "dot"), -1), r"\(dot\) has -1 edges"),
        (lambda g: changed(g, "rhs", first(g, "dot"), 2**31 - 1), r"\(dot\) has 2147483647 edges"),
        (lambda g: changed(g, "lhs", first(g, "dot"), 2**31 - 1), r"\(dot\) has 5 edges from"),
        (lambda g: changed(g, "rhs", first(g, "dot"), 0), r"\(dot\) has 0 edges"),
        (lambda g: changed(g, "rhs", first(g, "where"), 2), r"\(where\) has 2 edges"),
        (lambda g: changed(g, "rhs", first(g, "take"), 1), r"\(take\) has 1 edges"),
        (lambda g: changed(g, "rhs", first(g, "plain"), 0), r"\(plain\) has 0 edges"),
        (lambda g: changed(g, "edges", edge(g, "take", 0), 0), r"\(take\) .* index"),
        (lambda g: changed(g, "edges", edge(g, "take", 0), first(g, "mul")), r"\(take\) .* index"),
        (lambda g: changed(g, "edges", edge(g, "take", 0), 4), r"\(take\) .* index"),
        (lambda g: overlapping(g), "edges in all"),
        (lambda g: changed(g, "outputs", 1, len(g.op)), "output 1"),
        (lambda g: changed(g, "outputs", 2, -1), "output 2"),
    ],
)
def test_damage_is_named(damage, message):
    with pytest.raises(ValueError, match=message):
        _graph.check_graph(damage(WHOLE), 4, 3)


def misaligned(array):
    raw = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype)
    raw[:] = array
    return raw


def overlapping(g):
    """All edges belong to two dots each."""
    ops = np.append(g.op, np.uint8([DOT]))
    m = len(g.edges)
    return g._replace(
        op=ops,
        lhs=np.append(g.lhs, np.int32([0])),
        rhs=np.append(g.rhs, np.int32([m])),
        data=np.append(g.data, 0.0),
    )


def test_a_sound_graph_passes():
    assert _graph.check_graph(WHOLE, 4, 3) is None
    _graph.check_graph(graph(), 0, 0)
    with pytest.raises(ValueError, match="input number 3 of 3"):
        _graph.check_graph(WHOLE, 3, 3)
    with pytest.raises(ValueError, match="captured number 1 of 1"):
        _graph.check_graph(WHOLE, 4, 1)


def is_sound(g, inputs, captured):
    """The rules again, in plain words."""
    op, lhs, rhs, data, edges, outputs = (array.tolist() for array in g)
    n, total = len(op), 0
    if (op[0], lhs[0], data[0]) != (LEAF, CONSTANT, 1):
        return False
    for k in range(n):
        if op[k] not in OP.values() or op[k] in (OP["nary"], OP["sum"]):
            return False
        name = _graph.OP_NAMES[op[k]]
        if data[k] != 0 and (op[k], lhs[k]) != (LEAF, CONSTANT):
            return False
        if name == "leaf":
            if lhs[k] not in (CONSTANT, INPUT, CAPTURED):
                return False
            if rhs[k] not in range((1, inputs, captured)[lhs[k]]):
                return False
        elif name in ARITY:
            if lhs[k] not in range(k) or rhs[k] not in range(k):
                return False
            if ARITY[name] == 1 and lhs[k] != rhs[k]:
                return False
            if name == "powc" and (op[rhs[k]], lhs[rhs[k]]) != (LEAF, CONSTANT):
                return False
        else:
            total += rhs[k]
            if lhs[k] < 0 or rhs[k] < 0 or lhs[k] + rhs[k] > len(edges) or total > len(edges):
                return False
            own = edges[lhs[k] : lhs[k] + rhs[k]]
            if any(q not in range(k) for q in own):
                return False
            if not {
                "dot": rhs[k] >= 1,
                "where": rhs[k] == 3,
                "take": rhs[k] >= 2,
                "plain": rhs[k] == 1,
            }[name]:
                return False
            if name == "take" and (op[own[0]], lhs[own[0]]) != (LEAF, INPUT):
                return False
    return all(q in range(n) for q in outputs)


damages = st.lists(
    st.tuples(
        st.sampled_from(Graph._fields),
        st.integers(0, 10**4),
        st.integers(-2, 50) | st.sampled_from([2**31 - 1, -(2**31), 2**30]),
    ),
    min_size=1,
    max_size=3,
)


@given(graphs() | st.just(WHOLE), damages)
def test_what_passes_the_check_is_safe_for_every_pass(g, damages):
    for field, at, number in damages:
        length = len(getattr(g, field))
        assume(length)
        if field == "op":
            number %= len(OP) + 1
        g = changed(g, field, at % length, number)
    if not is_sound(g, 4, 3):
        with pytest.raises(ValueError):
            _graph.check_graph(g, 4, 3)
        return
    _graph.check_graph(g, 4, 3)
    for apply in PASSES.values():
        after = apply(g)
        assert is_sound(after, 4, 3)
        _graph.check_graph(after, 4, 3)
    _graph.active_nodes(g, [1, 0, 1, 0], True)


# ---- Graph


def test_a_graph_pickles(tmp_path):
    again = pickle.loads(pickle.dumps(WHOLE))
    assert type(again) is Graph and equal(again, WHOLE)
    np.savez(tmp_path / "graph.npz", **WHOLE._asdict())
    with np.load(tmp_path / "graph.npz") as arrays:
        assert equal(Graph(**arrays), WHOLE)
