"""Value: construction in both dialects, attributes, operators, and what a Value is to Python."""

import gc
import math
import operator
import random
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import same

import micrograd_c
from micrograd_c import Value, tape

# ---- construction


def test_one_class_under_every_name():
    import micrograd_c.engine
    import micrograd_c.nn

    assert micrograd_c.engine.Value is micrograd_c.Value
    assert micrograd_c.nn.Value is micrograd_c.Value
    assert Value.__name__ == "Value"


def test_a_new_value_is_a_leaf():
    v = Value(2.5)
    assert (v.data, v.grad, v._op, v.label) == (2.5, 0.0, "", "")
    assert v._prev == set() and v._children == () and tuple(v._local_grads) == ()
    assert type(v._prev) is set and type(v._children) is tuple


def test_micrograds_signature():
    a, b = Value(1.0), Value(2.0)
    c = Value(3.0, (a, b), "+", "c")
    assert (c.data, c._prev, c._op, c.label) == (3.0, {a, b}, "+", "c")
    d = Value(data=3.0, _children=(a, b), _op="+", label="d")
    assert (d.data, d._children, d._op, d.label) == (3.0, (a, b), "+", "d")


def test_a_label_alone():
    assert Value(2.0, label="w1").label == "w1"


def test_local_gradients_signature():
    a, b = Value(1.0), Value(2.0)
    for c in (
        Value(3.0, (a, b), (4.0, 5.0)),
        Value(3.0, children=(a, b), local_grads=(4.0, 5.0)),
        Value(3.0, (a, b), local_grads=[4, np.float64(5)]),
        Value(3.0, [a, b], np.array([4.0, 5.0])),
        Value(3.0, (a, b), _op="own", local_grads=(4.0, 5.0)),
    ):
        assert c._children == (a, b) and tuple(c._local_grads) == (4.0, 5.0)
        a.grad = b.grad = 0.0
        c.backward()
        assert (a.grad, b.grad) == (4.0, 5.0)


@pytest.mark.parametrize("children, partials", [(2, 1), (1, 2), (0, 1), (3, 2)])
def test_children_and_local_gradients_must_agree_in_number(children, partials):
    leaves = [Value(1.0) for _ in range(children)]
    before = tape.size()
    with pytest.raises(ValueError):
        Value(3.0, tuple(leaves), (1.0,) * partials)
    assert tape.size() == before


def test_children_may_come_in_a_list_or_a_set():
    a, b = Value(1.0), Value(2.0)
    assert Value(3.0, [a, b], "+")._children == (a, b)
    assert Value(3.0, {a, b}, "+")._prev == {a, b}


def test_one_child_given_twice():
    a = Value(3.0)
    out = Value(9.0, (a, a), (3.0, 3.0))
    out.backward()
    assert out._children == (a, a) and out._prev == {a} and a.grad == 6.0


@pytest.mark.parametrize("bad", ["3", None, 1j, [1.0], (), object(), {}, b"1"], ids=repr)
def test_data_of_a_wrong_type_is_named(bad):
    before = tape.size()
    with pytest.raises(TypeError, match=type(bad).__name__):
        Value(bad)
    assert tape.size() == before


def test_children_must_be_values():
    a = Value(1.0)
    before = tape.size()
    for bad in ((a, 2.0), (None, a), (a, "a"), 5):
        with pytest.raises(TypeError):
            Value(1.0, bad)
        with pytest.raises(TypeError):
            Value(1.0, bad, (1.0, 1.0))
    assert tape.size() == before


def test_local_gradients_must_be_numbers():
    a, b = Value(1.0), Value(2.0)
    before = tape.size()
    for bad in ((1.0, "x"), (None, 1.0), (1j, 1.0)):
        with pytest.raises(TypeError):
            Value(1.0, (a, b), bad)
    assert tape.size() == before


def test_calling_init_again_makes_a_leaf_of_it():
    a = Value(1.0)
    b = a * 2.0
    b.__init__(5.0)
    assert (b.data, b.grad, b._prev) == (5.0, 0.0, set())
    b.backward()
    assert a.grad == 0.0


# ---- data, grad, and the graph


def test_data_and_grad_are_floats_whatever_is_assigned():
    v = Value(True)
    assert type(v.data) is float and v.data == 1.0
    for x in (3, True, 2.5, np.float32(0.5), np.float64(0.25), np.int64(7), np.bool_(True)):
        v.data = x
        v.grad = x
        assert type(v.data) is float and v.data == float(x)
        assert type(v.grad) is float and v.grad == float(x)


@pytest.mark.parametrize("bad", ["3", None, 1j, [1.0]], ids=repr)
def test_assigning_a_wrong_type_is_named_and_changes_nothing(bad):
    v = Value(2.0)
    v.grad = 3.0
    with pytest.raises(TypeError, match=type(bad).__name__):
        v.data = bad
    with pytest.raises(TypeError, match=type(bad).__name__):
        v.grad = bad
    assert (v.data, v.grad) == (2.0, 3.0)


def test_data_and_grad_cannot_be_deleted():
    v = Value(2.0)
    with pytest.raises((AttributeError, TypeError)):
        del v.data
    with pytest.raises((AttributeError, TypeError)):
        del v.grad
    assert (v.data, v.grad) == (2.0, 0.0)


@pytest.mark.parametrize("name", ["label", "_op"])
def test_what_was_assigned_can_be_deleted_once(name):
    v = Value(2.0) * 3.0
    before = getattr(v, name)
    with pytest.raises(AttributeError, match=f"{name} was not assigned"):
        delattr(v, name)
    for text in ("mine", None):
        setattr(v, name, text)
        delattr(v, name)
        assert getattr(v, name) == before and name not in vars(v)
    with pytest.raises(AttributeError):
        delattr(v, name)


def test_before_init_it_has_no_attributes():
    class Plain:
        def __init__(self, data):
            self.data, self.grad = data, 0

        def __repr__(self):
            return f"Plain(data={self.data}, grad={self.grad})"

    for cls in (Plain, Value, type("Sub", (Value,), {})):
        v = cls.__new__(cls)
        for read in (repr, str, "{:}".format, lambda v: v.data, lambda v: v.grad):
            with pytest.raises(
                AttributeError, match=f"'{cls.__name__}' object has no attribute '(data|grad)'"
            ):
                read(v)
        assert not hasattr(v, "data") and getattr(v, "grad", None) is None
    with pytest.raises(AttributeError, match="has no node"):
        format(Value.__new__(Value), ".2f")


def test_assigning_a_value_to_data_names_the_remedy():
    v = Value(2.0)
    with pytest.raises(TypeError, match=r"\.data"):
        v.data = Value(3.0)


def test_prev_holds_the_same_objects():
    a, b = Value(1.0), Value(2.0)
    c = a * b
    assert a in c._prev and b in c._prev and len(c._prev) == 2
    assert c._children[0] is a and c._children[1] is b
    assert (b * a)._children == (b, a)
    assert (a * a)._children == (a, a) and (a * a)._prev == {a}


def test_the_facade_of_a_node_is_one_object_while_it_lives(nursery):
    a, b = Value(1.0), Value(2.0)
    d = a * b + 3.0
    product = d._children[0]
    for _ in range(20):
        assert d._children[0] is product
        assert product in d._prev
        assert product._children[0] is a
    assert {product: "seen"}[d._children[0]] == "seen"


def test_a_dropped_facade_is_reached_again_with_its_numbers():
    a = Value(2.0)
    d = (a * 3.0) + 1.0
    d.backward()
    product = d._children[0]
    assert (product.data, product.grad, product._op) == (6.0, 1.0, "*")
    product.grad = 7.0
    del product
    assert d._children[0].grad == 7.0


def test_op_is_assignable():
    v = Value(1.0)
    v._op = "input"
    assert v._op == "input"
    w = v * v
    w._op = "square"
    assert w._op == "square"
    w.backward()
    assert v.grad == 2.0


def test_label_and_op_stay_with_the_node(nursery):
    a = Value(2.0, label="a")
    product = a * 3.0
    product.label = "product"
    product._op = "times"
    out = product + 1.0
    del product
    for _ in range(10):
        Value(0.0)
        tape.collect()
    (again,) = (v for v in out._prev if v.data == 6.0)
    assert (again.label, again._op) == ("product", "times")


def test_attributes_stay_with_the_node(nursery):
    a = Value(2.0)
    a.m = 0.5
    product = a * 3.0
    product.note = {"layer": 1}
    out = product + 1.0
    del product
    for _ in range(10):
        Value(0.0)
        tape.collect()
    assert out._children[0].note == {"layer": 1}
    assert a.m == 0.5
    del a.m
    assert not hasattr(a, "m")


def test_an_attribute_that_was_never_set():
    v = Value(1.0)
    get = operator.attrgetter("momentum")
    with pytest.raises(AttributeError, match="momentum"):
        get(v)
    v.m = 1.0
    with pytest.raises(AttributeError, match="momentum"):
        get(v)
    with pytest.raises(AttributeError, match="momentum"):
        del v.momentum


def test_adam_keeps_its_moments_in_attributes():
    p = Value(1.0)
    p.m, p.v = 0.0, 0.0
    for _ in range(3):
        p.grad = 0.0
        (p * p).backward()
        p.m = 0.9 * p.m + 0.1 * p.grad
        p.v = 0.99 * p.v + 0.01 * p.grad**2
        p.data -= 0.1 * p.m
    assert type(p.m) is float and p.m != 0.0 and p.v != 0.0


def test_children_may_be_walked_by_the_users_own_backward(nursery):
    """The local-gradients dialect: backward written over _children and _local_grads."""

    def backward(root):
        order, seen = [], set()

        def visit(v):
            if v not in seen:
                seen.add(v)
                for child in v._children:
                    visit(child)
                order.append(v)

        visit(root)
        root.grad = 1.0
        for v in reversed(order):
            for child, partial in zip(v._children, v._local_grads, strict=True):
                child.grad += partial * v.grad

    def expression():
        a, b = Value(2.0), Value(-3.0)
        c = micrograd_c.sum([a * b, a.exp(), b**2, -a, micrograd_c.dot([a, b], [b, 4.0], a)])
        return a, b, (c / a - b).tanh() + c * 0.5

    a, b, out = expression()
    out.backward()
    x, y, same_out = expression()
    backward(same_out)
    assert (x.grad, y.grad) == pytest.approx((a.grad, b.grad), rel=1e-14)


# ---- backward


def test_backward_on_a_leaf():
    v = Value(2.0)
    v.backward()
    v.backward()
    assert v.grad == 1.0


def test_backward_returns_nothing():
    assert Value(2.0).backward() is None


def test_backward_twice_accumulates_in_leaves_and_between():
    a, b = Value(2.0), Value(3.0)
    c = a * b
    d = c + 1.0
    d.backward()
    assert (d.grad, c.grad, a.grad, b.grad) == (1.0, 1.0, 3.0, 2.0)
    d.backward()
    # c keeps its 1 and receives another; it then passes 2 on, as in micrograd.
    assert (d.grad, c.grad, a.grad, b.grad) == (1.0, 2.0, 9.0, 6.0)


def test_backward_overwrites_the_roots_gradient():
    a = Value(2.0)
    b = a * 3.0
    b.grad = 100.0
    b.backward()
    assert (b.grad, a.grad) == (1.0, 3.0)


def test_a_shared_node_is_visited_once():
    a = Value(1.0)
    x = a
    for _ in range(200):
        x = x + x
    x.backward()
    assert a.grad == 2.0**200


def test_nodes_newer_than_the_root_are_left_alone():
    a = Value(2.0)
    b = a * 3.0
    c = b * 5.0
    c.grad = 11.0
    b.backward()
    assert (c.grad, b.grad, a.grad) == (11.0, 1.0, 3.0)


def test_children_without_partials_receive_nothing():
    a, b = Value(1.0), Value(2.0)
    out = Value(5.0, (a, b), "mystery")
    (out * 2.0).backward()
    assert out.grad == 2.0 and (a.grad, b.grad) == (0.0, 0.0)
    assert out._prev == {a, b}


# ---- operators

NUMBERS = [2, -3, True, 2.5, np.float64(0.5), np.float32(0.1), np.int64(3), np.bool_(True)]
OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow]


@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.__name__)
@pytest.mark.parametrize("number", NUMBERS, ids=lambda x: type(x).__name__ + str(x))
def test_numbers_on_either_side(op, number):
    a, b = Value(1.5), Value(1.5)
    right = op(a, number)
    assert type(right) is Value and type(right.data) is float
    assert right.data == op(1.5, float(number))
    right.backward()
    op(b, Value(float(number))).backward()
    assert a.grad == pytest.approx(b.grad, rel=1e-14)
    if op is operator.pow and number < 0:
        with pytest.raises(ValueError):
            op(number, a)
        return
    a, b = Value(1.5), Value(1.5)
    left = op(number, a)
    assert type(left) is Value and type(left.data) is float
    assert left.data == op(float(number), 1.5)
    left.backward()
    op(Value(float(number)), b).backward()
    assert a.grad == pytest.approx(b.grad, rel=1e-14)


@pytest.mark.parametrize(
    "op, expected",
    [
        (operator.iadd, 5.0),
        (operator.isub, 1.0),
        (operator.imul, 6.0),
        (operator.itruediv, 1.5),
        (operator.ipow, 9.0),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_augmented_assignment_makes_a_new_value(op, expected):
    for other in (2.0, Value(2.0)):
        a = kept = Value(3.0)
        a = op(a, other)
        assert a is not kept and a.data == expected and kept.data == 3.0
        assert kept in a._prev


def test_a_number_may_be_augmented_by_a_value():
    total, v = 1.0, Value(2.0)
    total += v
    total *= v
    assert type(total) is Value and total.data == 6.0


def test_unary_operators():
    for x in (2.0, -2.0):
        v = Value(x)
        assert (-v).data == -x and (+v).data == x and abs(v).data == 2.0
        (+v).backward()
        assert v.grad == 1.0
        v.grad = 0.0
        (-v * 3.0).backward()
        assert v.grad == -3.0
        v.grad = 0.0
        abs(v).backward()
        assert v.grad == math.copysign(1.0, x)


def test_the_operators_may_be_called_by_name():
    v = Value(3.0)
    for name, args, expected in [
        ("__add__", (1,), 4.0),
        ("__radd__", (1,), 4.0),
        ("__sub__", (1,), 2.0),
        ("__rsub__", (10,), 7.0),
        ("__mul__", (2,), 6.0),
        ("__rmul__", (2,), 6.0),
        ("__truediv__", (2,), 1.5),
        ("__rtruediv__", (6,), 2.0),
        ("__pow__", (2,), 9.0),
        ("__rpow__", (2,), 8.0),
        ("__neg__", (), -3.0),
        ("__pos__", (), 3.0),
        ("__abs__", (), 3.0),
    ]:
        assert getattr(v, name)(*args).data == getattr(Value, name)(v, *args).data == expected
    assert v.__add__("a") is NotImplemented


def test_methods_may_be_added_to_value_itself_and_replaced():
    """Tutorials do so: Value.tanh = tanh."""
    own = Value.tanh
    try:
        Value.cube = lambda self: self**3
        Value.tanh = lambda self: self.cube() + 1.0
        assert Value(2.0).tanh().data == 9.0 and (Value(1.0) * 2.0).cube().data == 8.0
    finally:
        Value.tanh = own
        del Value.cube
    assert Value(0.5).tanh().data == math.tanh(0.5)
    assert not hasattr(Value(1.0), "cube")


def test_minus_division_and_negation_are_one_node_each():
    a, b = Value(3.0), Value(2.0)
    assert (a - b)._op == "-" and (a - b)._children == (a, b)
    assert (a / b)._op == "/" and (a / b)._children == (a, b)
    assert (-a)._op == "neg" and (-a)._children == (a,)


floats = st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True)


@given(floats, floats)
def test_arithmetic_is_pythons_bit_for_bit(x, y):
    for op in operator.add, operator.sub, operator.mul, operator.truediv:
        if op is operator.truediv and y == 0.0:
            continue
        expected = op(x, y)
        for out in (op(Value(x), Value(y)), op(Value(x), y), op(x, Value(y))):
            assert same(out.data, expected), (op.__name__, x, y, out.data, expected)
    assert same((-Value(x)).data, -x)
    assert same(abs(Value(x)).data, abs(x))


@given(floats, floats, floats)
def test_a_product_and_a_sum_are_rounded_apart(x, y, z):
    """A fused multiply-add would round once."""
    assert same((Value(x) * Value(y) + Value(z)).data, x * y + z)


def test_an_integer_of_any_size_counts_as_python_would_convert_it():
    n = 2**53 + 1
    assert (Value(0.0) + n).data == 0.0 + n
    assert Value(n).data == float(n)
    assert (Value(1.0) * 10**300).data == 1.0 * 10**300


@pytest.mark.parametrize("op", [operator.lt, operator.le, operator.gt, operator.ge])
def test_ordering_compares_data(op):
    cases = [-1, 0.0, -0.0, 1, 2.5, math.inf, math.nan]
    for x in cases:
        for y in cases:
            for left, right in ((Value(x), Value(y)), (Value(x), y), (x, Value(y))):
                assert op(left, right) is op(x, y), (x, y)
    assert bool(op(np.float64(1.0), Value(2.0))) is op(1.0, 2.0)
    assert bool(op(Value(1.0), np.float32(2.0))) is op(1.0, 2.0)


def test_ordering_against_a_huge_integer():
    assert Value(1.0) < 10**400 and not Value(1.0) > 10**400 and Value(1.0) > -(10**400)


def test_ordering_against_anything_else_is_a_type_error():
    for bad in ("a", None, 1j, []):
        for op in (operator.lt, operator.le, operator.gt, operator.ge):
            with pytest.raises(TypeError):
                op(Value(1.0), bad)
            with pytest.raises(TypeError):
                op(bad, Value(1.0))


def test_comparing_adds_no_node():
    a, b = Value(1.0), Value(2.0)
    before = tape.size()
    assert a < b and a <= 2 and b > 1.0 and b >= a and a != b
    assert tape.size() == before


def test_max_min_and_sorted_work_on_values():
    values = [Value(float(x)) for x in (3, 1, 2)]
    assert max(values) is values[0] and min(values) is values[1]
    assert [v.data for v in sorted(values)] == [1.0, 2.0, 3.0]


def test_equality_and_hash_are_identity():
    a, b = Value(1.0), Value(1.0)
    assert a == a and not a != a
    assert a != b and not a == b
    assert a != 1.0 and not a == 1.0 and a != "a" and a is not None
    assert hash(a) == hash(a) and len({a, b}) == 2
    table = {a: "a", b: "b"}
    tape.collect()
    assert table[a] == "a" and table[b] == "b"
    assert b in [a, b] and [a, b].index(b) == 1


def test_hash_and_identity_survive_a_collect_that_moves_nodes():
    garbage = [Value(0.0) for _ in range(1000)]
    a = Value(1.0)
    key, table = hash(a), {a: 1}
    del garbage
    tape.collect()
    assert hash(a) == key and table[a] == 1


def test_every_value_is_true():
    assert bool(Value(0.0)) and bool(Value(math.nan)) and bool(Value(1.0))


@pytest.mark.parametrize(
    "convert",
    [float, int, complex, math.exp, math.floor, math.isnan, round, math.trunc, math.sqrt],
    ids=lambda f: f.__name__,
)
def test_no_silent_conversion_to_a_number(convert):
    with pytest.raises(TypeError):
        convert(Value(1.0))


@pytest.mark.parametrize("convert", [float, int, math.exp, math.sqrt], ids=lambda f: f.__name__)
def test_a_refused_conversion_names_data(convert):
    with pytest.raises(TypeError, match=r"\.data"):
        convert(Value(1.0))


def test_a_value_is_no_index():
    with pytest.raises(TypeError):
        [1, 2, 3][Value(1.0)]
    with pytest.raises(TypeError):
        range(Value(3.0))


def test_other_operators_are_type_errors():
    for op in (operator.floordiv, operator.mod, operator.matmul, operator.and_, divmod):
        with pytest.raises(TypeError):
            op(Value(3.0), Value(2.0))
        with pytest.raises(TypeError):
            op(Value(3.0), 2)
    with pytest.raises(TypeError):
        pow(Value(3.0), 2, 5)
    with pytest.raises(TypeError):
        len(Value(1.0))
    with pytest.raises(TypeError):
        iter(Value(1.0))


def test_format_formats_data():
    v = Value(1 / 3)
    assert f"{v:.4f}" == "0.3333"
    assert f"{v:8.2e}" == format(1 / 3, "8.2e")
    assert f"{v}" == str(v) == repr(v) == f"Value(data={1 / 3}, grad=0.0)"
    with pytest.raises(ValueError):
        f"{v:Q}"
    for spec in (3, 0, None, b""):
        with pytest.raises(TypeError) as expected:
            (1 / 3).__format__(spec)
        with pytest.raises(TypeError) as raised:
            v.__format__(spec)
        assert str(raised.value) == str(expected.value)


def test_repr_of_the_same_numbers_as_float():
    for x in (0.1, -0.0, 1e300, math.nan, -math.inf, 5e-324):
        assert repr(Value(x)) == f"Value(data={x!r}, grad=0.0)"


def test_python_sum_and_math_prod_work():
    values = [Value(2.0), Value(3.0), Value(4.0)]
    total = sum(values)
    assert total.data == 9.0
    total.backward()
    assert [v.grad for v in values] == [1.0, 1.0, 1.0]
    product = math.prod(values)
    assert product.data == 24.0
    product.backward()
    assert [v.grad for v in values] == [13.0, 9.0, 7.0]


# ---- what a Value is to Python


def test_the_cyclic_collector_does_not_track_values():
    """A graph of a million Values must not slow Python down."""
    v = Value(1.0)
    assert not gc.is_tracked(v) and not gc.is_tracked(v * 2.0)


def test_weak_references():
    v = Value(1.0)
    called = []
    ref = weakref.ref(v, called.append)
    assert ref() is v
    del v
    assert ref() is None and called == [ref]


def test_weak_dictionaries():
    a, b = Value(1.0), Value(2.0)
    by_value = weakref.WeakKeyDictionary({a: "a", b: "b"})
    by_name = weakref.WeakValueDictionary(a=a, b=b)
    del a
    assert list(by_value.values()) == ["b"] and list(by_name) == ["b"]
    assert by_name["b"] is b


def test_a_weak_reference_to_a_value_with_attributes_lives_as_long_as_the_node(nursery):
    v = Value(1.0)
    v.note = "x"
    ref = weakref.ref(v)
    out = v * 2.0
    del v
    tape.collect()
    assert out._children[0].note == "x"
    del out
    tape.collect()
    assert ref() is None


def test_values_in_flight_survive_a_random_use_of_the_freelist(nursery):
    """Facades are recycled: a recycled one must not be taken for the old one."""
    draw = random.Random(1)
    live = {}
    for step in range(3000):
        v = Value(float(step))
        if draw.random() < 0.5:
            v = v * 1.0
        live[step] = v
        if draw.random() < 0.5:
            live.pop(draw.choice(list(live)))
        assert len(set(map(id, live.values()))) == len(live)
    assert all(v.data == step for step, v in live.items())
