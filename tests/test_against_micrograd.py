"""The same expressions on micrograd_c and on PyPI's micrograd: equal data, equal gradients."""

import math
import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from micrograd.engine import Value as Micrograd
from reference import same

from micrograd_c import Value

NUMBERS = [-3, -2, -1, 0, 1, 2, 3, -1.5, -0.25, 0.1, 0.5, 0.7, 1.25, 2.5]
BINARY = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
POWERS = [-2, -1, 0, 1, 2, 3, 0.5, 1.5, -0.5]

# An instruction: operator, its operands as indices into the nodes so far, a number.
instructions = st.lists(
    st.tuples(
        st.sampled_from(
            [*BINARY, *(op + "c" for op in BINARY), *("c" + op for op in BINARY)]
            + ["pow", "neg", "relu", "sum"]
        ),
        st.integers(0, 30),
        st.integers(0, 30),
        st.sampled_from(NUMBERS),
        st.sampled_from(POWERS),
    ),
    min_size=1,
    max_size=25,
)
leaves = st.lists(st.sampled_from(NUMBERS) | st.floats(-4, 4), min_size=1, max_size=5)


def build(cls, leaf_data, program, tame=lambda *_: True):
    """The nodes of `program` over class `cls`, and the steps of it that `tame` let pass."""
    nodes = [cls(x) for x in leaf_data]
    passed = []
    for step in program:
        op, i, j, number, power = step
        a, b = nodes[i % len(nodes)], nodes[j % len(nodes)]
        if not tame(op, a.data, b.data, number, power):
            continue
        if op in BINARY:
            out = BINARY[op](a, b)
        elif op[0] == "c":
            out = BINARY[op[1]](number, a)
        elif op[-1] == "c":
            out = BINARY[op[0]](a, number)
        elif op == "pow":
            out = a**power
        elif op == "neg":
            out = -a
        elif op == "relu":
            out = a.relu()
        else:
            out = sum([a, b, a])
        passed.append(step)
        nodes.append(out)
    return nodes, passed


def well_conditioned(op, a, b, number, power):
    """Keep numbers moderate, so that the order of additions stays below 1e-12."""
    divisor = {"/": b, "/c": number, "c/": a}.get(op, 1)
    if abs(divisor) < 0.1:
        return False
    if op == "pow" and (a < 0.1 if power != int(power) else abs(a) < 0.1):
        return False
    return max(abs(a), abs(b)) < 30


def assert_close(ours, theirs):
    """Data and gradients agree to 1e-12 of the largest number of the graph."""
    for what in "data", "grad":
        scale = max(1.0, *(abs(getattr(node, what)) for node in theirs))
        for k, (our, their) in enumerate(zip(ours, theirs, strict=True)):
            x, y = getattr(our, what), getattr(their, what)
            assert abs(x - y) <= 1e-12 * max(abs(y), scale), (k, what, x, y)


@given(leaves, instructions)
def test_data_and_gradients_of_random_graphs(leaf_data, program):
    theirs, passed = build(Micrograd, leaf_data, program, well_conditioned)
    ours, _ = build(Value, leaf_data, passed)
    theirs[-1].backward()
    ours[-1].backward()
    assert_close(ours, theirs)


@given(leaves, instructions, st.integers(0, 30))
def test_backward_from_any_node_leaves_the_rest_alone(leaf_data, program, root):
    theirs, passed = build(Micrograd, leaf_data, program, well_conditioned)
    ours, _ = build(Value, leaf_data, passed)
    theirs[root % len(theirs)].backward()
    ours[root % len(ours)].backward()
    assert_close(ours, theirs)


def without_hidden_nodes(program):
    """`-` and `/` are several nodes in micrograd, which keep gradients and values of their own."""
    return [step for step in program if "-" not in step[0] and "/" not in step[0]]


@given(leaves, instructions.map(without_hidden_nodes), st.lists(st.integers(0, 30), max_size=4))
def test_repeated_backward_without_zeroing(leaf_data, program, roots):
    theirs, passed = build(Micrograd, leaf_data, program, well_conditioned)
    ours, _ = build(Value, leaf_data, passed)
    for root in [-1, *roots, -1]:
        theirs[root % len(theirs)].backward()
        ours[root % len(ours)].backward()
    assert_close(ours, theirs)


@given(
    leaves,
    instructions.map(without_hidden_nodes),
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from([-2.5, -1, 0.5, 1, 2, 3.25]))),
)
def test_data_assigned_between_building_and_backward(leaf_data, program, changes):
    theirs, passed = build(Micrograd, leaf_data, program, well_conditioned)
    ours, _ = build(Value, leaf_data, passed)
    negative_bases = [step for step in program if step[0] == "pow" and step[4] != int(step[4])]
    for i, data in changes:
        data = abs(data) if negative_bases else data
        theirs[i % len(theirs)].data = data
        ours[i % len(ours)].data = data
    theirs[-1].backward()
    ours[-1].backward()
    assert_close(ours, theirs)


@given(
    leaves,
    instructions.map(without_hidden_nodes),
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from([-2.0, 0, 1, 0.5]))),
)
def test_gradients_assigned_before_backward_flow_on(leaf_data, program, changes):
    theirs, passed = build(Micrograd, leaf_data, program, well_conditioned)
    ours, _ = build(Value, leaf_data, passed)
    for i, grad in changes:
        theirs[i % len(theirs)].grad = grad
        ours[i % len(ours)].grad = grad
    theirs[-1].backward()
    ours[-1].backward()
    assert_close(ours, theirs)


# micrograd adds up in an order that changes from run to run, so the rest are small whole numbers.
SPECIAL = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, -2.0, 3.0]


def backward_of_what_passes(root):
    """micrograd's backward, but where it multiplies 0 with inf or nan: there nothing passes."""
    order, seen = [], set()

    def build_topo(v):
        if v not in seen:
            seen.add(v)
            for child in v._prev:
                build_topo(child)
            order.append(v)

    build_topo(root)
    root.grad = 1
    for v in reversed(order):
        if v.grad != 0 and not (v._op == "ReLU" and not v.data > 0):
            v._backward()


@given(
    st.lists(st.sampled_from(SPECIAL), min_size=1, max_size=4),
    st.lists(
        st.tuples(
            st.sampled_from(["+", "*", "neg", "relu"]),
            st.integers(0, 30),
            st.integers(0, 30),
            st.just(1),
            st.just(1),
        ),
        min_size=1,
        max_size=6,
    ),
)
def test_nan_and_inf_are_values_like_any_other(leaf_data, program):
    theirs, _ = build(Micrograd, leaf_data, program)
    ours, _ = build(Value, leaf_data, program)
    backward_of_what_passes(theirs[-1])
    ours[-1].backward()
    for our, their in zip(ours, theirs, strict=True):
        assert same(our.data, their.data) or our.data == their.data == 0
        assert our.grad == their.grad or (math.isnan(our.grad) and math.isnan(their.grad))


def sanity_expression(Value):
    """micrograd's own test_more_ops."""
    a = Value(-4.0)
    b = Value(2.0)
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + (b + a).relu()
    d += 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    g += 10.0 / f
    g.backward()
    return a.data, a.grad, b.data, b.grad, g.data


def test_the_expression_of_the_readme():
    ours = sanity_expression(Value)
    theirs = sanity_expression(Micrograd)
    assert ours == pytest.approx(theirs, rel=1e-12)
    assert f"{ours[4]:.4f} {ours[1]:.4f} {ours[3]:.4f}" == "24.7041 138.8338 645.5773"


@pytest.mark.parametrize(
    "expression, op",
    [
        ("a + b", "+"),
        ("a * b", "*"),
        ("a ** 2", "**2"),
        ("a ** -1", "**-1"),
        ("a ** 0.5", "**0.5"),
        ("a.relu()", "ReLU"),
    ],
)
def test_op_names_and_parents_are_those_of_micrograd(expression, op):
    for cls in Micrograd, Value:
        a, b = cls(2.0), cls(3.0)
        out = eval(expression)
        assert out._op == op, cls
        assert out._prev == ({a, b} if "b" in expression else {a}), cls


def test_a_number_operand_becomes_a_leaf():
    for cls in Micrograd, Value:
        a = cls(2.0)
        for out in a + 3, 3 + a, a * 3, 3 * a:
            (other,) = out._prev - {a}
            assert isinstance(other, cls) and other.data == 3 and other._prev == set()


def test_repr_is_that_of_micrograd():
    for cls in Micrograd, Value:
        a = cls(2.5)
        (a * 2.0).backward()
        assert repr(a) == "Value(data=2.5, grad=2.0)"


def test_difference_from_micrograd_data_and_grad_are_floats():
    assert repr(Value(2)) == "Value(data=2.0, grad=0.0)"


def test_difference_from_micrograd_minus_and_division_hide_no_node():
    """micrograd's hidden node for -b keeps its gradient from the first backward."""
    for cls, expected in (Micrograd, -3.0), (Value, -2.0):
        a, b = cls(1.0), cls(2.0)
        out = a - b
        out.backward()
        out.backward()
        assert b.grad == expected, cls
        assert a.grad == 2.0, cls


def test_difference_from_micrograd_division_reads_the_divisor_at_backward():
    """micrograd keeps the value that b**-1 had when it was built."""
    for cls, expected in (Micrograd, 0.5), (Value, 0.25):
        a, b = cls(1.0), cls(2.0)
        out = a / b
        b.data = 4.0
        out.backward()
        assert a.grad == expected, cls
