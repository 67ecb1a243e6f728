"""Subclasses of Value: results are of the subclass, made without running its __init__."""

import math
import operator

import pytest
from reference import METHODS_OF_TWO, call, live_nodes, operands

import micrograd_c
from micrograd_c import Value, tape
from micrograd_c._core import OPS


class Named(Value):
    """A subclass with an __init__ of its own and a method."""

    calls = 0

    def __init__(self, data, _children=(), _op="", label="", name="?"):
        super().__init__(data, _children, _op, label)
        Named.calls += 1
        self.name = name

    def double(self):
        return self * 2


class Left(Value):
    pass


class Right(Value):
    pass


class MoreLeft(Left):
    pass


@pytest.mark.parametrize("op", OPS, ids=[op.name for op in OPS])
def test_every_op_gives_the_subclass_without_its_init(op):
    leaves = [*map(Named, operands(op, 0.5, 0.25))]
    calls = Named.calls
    out = call(op.name, *leaves)
    assert type(out) is Named and Named.calls == calls
    assert not hasattr(out, "name") or out.name == "?"
    assert type(out.double()) is Named


def test_numbers_and_plain_values_take_the_subclass():
    v, plain = Named(2.0), Value(3.0)
    calls = Named.calls
    for op in operator.add, operator.sub, operator.mul, operator.truediv, operator.pow:
        for out in (op(v, 2), op(2, v), op(v, plain), op(plain, v)):
            assert type(out) is Named
    for name in METHODS_OF_TWO:
        assert type(getattr(v, name)(1.0)) is Named
        assert type(getattr(v, name)(plain)) is Named
        assert type(getattr(plain, name)(v)) is Named
    assert Named.calls == calls


def test_augmented_assignment_keeps_the_subclass():
    v = Named(2.0)
    v += 1
    v *= Value(2.0)
    assert type(v) is Named and v.data == 6.0


@pytest.mark.parametrize("op", [operator.add, operator.sub, operator.mul, operator.truediv])
def test_two_subclasses_the_more_derived_else_the_left_one(op):
    left, right, more = Left(1.0), Right(2.0), MoreLeft(3.0)
    assert type(op(left, right)) is Left
    assert type(op(right, left)) is Right
    assert type(op(left, more)) is MoreLeft
    assert type(op(more, left)) is MoreLeft
    assert type(op(more, right)) is MoreLeft
    assert type(op(right, more)) is Right


def test_data_is_right_whichever_side_the_subclass_is_on():
    a, b = Value(7.0), MoreLeft(2.0)
    assert (a - b).data == 5.0 and (b - a).data == -5.0
    assert (a / b).data == 3.5 and (a**b).data == 49.0
    assert (a - b)._children == (a, b)


def test_sum_and_dot_follow_the_same_rule():
    left, right, more, plain = Left(1.0), Right(2.0), MoreLeft(3.0), Value(4.0)
    assert type(micrograd_c.sum([plain, 1.0, left])) is Left
    assert type(micrograd_c.sum([left, right])) is Left
    assert type(micrograd_c.sum([left, right, more])) is MoreLeft
    assert type(micrograd_c.dot([plain, 2.0], [1.0, right])) is Right
    assert type(micrograd_c.dot([left], [more])) is MoreLeft
    assert type(micrograd_c.dot([plain], [plain], left)) is Left
    assert type(micrograd_c.sum([plain, plain])) is Value
    calls = Named.calls
    assert type(micrograd_c.sum([Named(1.0)])) is Named
    assert Named.calls == calls + 1


def test_the_python_sum_of_a_subclass():
    out = sum([Named(1.0), Named(2.0)])
    assert type(out) is Named and out.double().data == 6.0


def test_a_subclass_with_more_arguments():
    class Parameter(Value):
        def __init__(self, data, rate, *, decay=0.0, **options):
            super().__init__(data, label="parameter")
            self.rate, self.decay, self.options = rate, decay, options

    p = Parameter(3.0, 0.1, decay=0.5, tag="w")
    assert (p.data, p.rate, p.decay, p.label) == (3.0, 0.1, 0.5, "parameter")
    assert p.options == {"tag": "w"}
    assert type(p * 2) is Parameter


def test_instances_keep_their_attributes(nursery):
    v = Named(2.0, name="first")
    w = Named(3.0, name="second")
    out = v * w
    tape.collect()
    assert [child.name for child in out._children] == ["first", "second"]
    v.extra = 1
    assert v.extra == 1 and not hasattr(w, "extra")


def test_class_and_attributes_survive_the_facade(nursery):
    out = Named(2.0, name="leaf") * 3.0 + 1.0
    for _ in range(5):
        tape.collect()
        Value(1.0)
    product = out._children[0]
    assert type(product) is Named
    leaf = product._children[0]
    assert type(leaf) is Named and leaf.name == "leaf"
    assert leaf.double().data == 4.0


def test_a_subclass_with_slots(nursery):
    class Slotted(Value):
        __slots__ = ("m", "v")

        def __init__(self, data):
            super().__init__(data)
            self.m = 0.0

    p = Slotted(2.0)
    p.m += 1.0
    out = p * 3.0
    assert type(out) is Slotted
    assert not hasattr(out, "m")
    out.v = "product"
    last = out + p
    del out, p
    tape.collect()
    Value(0.0)
    product, leaf = last._children
    assert type(product) is Slotted and product.v == "product" and leaf.m == 1.0
    last.backward()
    assert leaf.grad == 4.0


def test_a_subclass_without_an_init():
    class Plain(Value):
        def square(self):
            return self * self

    v = Plain(3.0, (), "", "v")
    out = v.square().square()
    out.backward()
    assert (out.data, v.grad, v.label) == (81.0, 108.0, "v")


def test_a_subclass_may_override_an_operator():
    class Logged(Value):
        log_of_ops = []

        def __add__(self, other):
            self.log_of_ops.append("add")
            return super().__add__(other)

        __radd__ = __add__

        def __neg__(self):
            self.log_of_ops.append("neg")
            return super().__neg__()

        def relu(self):
            self.log_of_ops.append("relu")
            return super().relu()

        def backward(self):
            self.log_of_ops.append("backward")
            super().backward()

    v = Logged(2.0)
    out = -(1 + (v + 1).relu())
    out.backward()
    assert Logged.log_of_ops == ["add", "relu", "add", "neg", "backward"]
    assert type(out) is Logged and out.data == -4.0 and v.grad == -1.0


def test_super_of_a_reflected_operator():
    class Reflected(Value):
        def __rsub__(self, other):
            return super().__rsub__(other) * 100.0

        def __rpow__(self, other):
            return super().__rpow__(other) * 100.0

    assert (10 - Reflected(3.0)).data == 700.0
    assert (Value(10.0) - Reflected(3.0)).data == 700.0  # Python asks the subclass first
    assert (2 ** Reflected(3.0)).data == 800.0
    assert (Reflected(3.0) - 1.0).data == 2.0


def test_a_subclass_may_define_an_operator_that_value_lacks():
    class Extended(Value):
        def __matmul__(self, other):
            return self * other

        def __call__(self, x):
            return self * x

        def __float__(self):
            return self.data

        def __eq__(self, other):
            return self.data == getattr(other, "data", other)

        __hash__ = Value.__hash__

    v = Extended(3.0)
    assert (v @ v).data == 9.0 and v(2).data == 6.0 and float(v) == 3.0
    assert v == 3.0 and v == Extended(3.0) and v != 4.0
    assert math.exp(v) == math.exp(3.0)


def test_properties_and_class_attributes_work():
    class Scaled(Value):
        scale = 10.0

        @property
        def scaled(self):
            return self.data * self.scale

        @classmethod
        def zero(cls):
            return cls(0.0)

    v = Scaled(2.0)
    assert (v + 1).scaled == 30.0 and type(Scaled.zero() + 1) is Scaled


def test_multiple_inheritance():
    class Mixin:
        def hello(self):
            return f"hello {self.data}"

    class Both(Mixin, Value):
        pass

    assert (Both(1.0) + 1).hello() == "hello 2.0"


def test_micrograd_style_methods_in_a_subclass(nursery):
    class Tutorial(Value):
        def tanh(self):
            t = (math.exp(2 * self.data) - 1) / (math.exp(2 * self.data) + 1)
            out = Tutorial(t, (self,), "tanh")

            def _backward():
                self.grad += (1 - t**2) * out.grad

            out._backward = _backward
            return out

    def neuron(cls):
        x1, x2 = cls(2.0), cls(0.0)
        w1, w2 = cls(-3.0), cls(1.0)
        b = cls(6.8813735870195432)
        n = x1 * w1 + x2 * w2 + b
        o = (n * 0.5).tanh() * 2 + n.tanh()
        o.backward()
        return [v.grad for v in (x1, x2, w1, w2, b)]

    assert neuron(Tutorial) == pytest.approx(neuron(Value), rel=1e-12)


def test_attributes_may_be_set_before_the_parents_init(nursery):
    class Early(Value):
        def __init__(self, data, name):
            self.name = name
            super().__init__(data)

    v = Early(2.0, "v")
    out = v * v
    tape.collect()
    assert (v.name, v.data, type(out)) == ("v", 2.0, Early)
    out.backward()
    assert v.grad == 4.0


def test_an_init_that_forgets_its_parent_does_no_harm(nursery):
    class Forgetful(Value):
        def __init__(self, data):
            pass

    a = Value(2.0)
    v = Forgetful(3.0)
    for use in (
        lambda: v.data,
        lambda: v.grad,
        lambda: v * a,
        lambda: a - v,
        lambda: -v,
        lambda: v.backward(),
        lambda: v._prev,
        lambda: v < a,
        lambda: micrograd_c.sum([a, v]),
        lambda: micrograd_c.dot([a], [v]),
        lambda: Value(1.0, (a, v), (1.0, 1.0)),
    ):
        with pytest.raises((AttributeError, ValueError, RuntimeError)):
            use()
    (a * 3.0).backward()
    assert a.grad == 3.0


def test_an_init_that_raises_leaves_no_node():
    class Refusing(Value):
        def __init__(self, data):
            super().__init__(data)
            self.note = "x"
            raise RuntimeError("no")

    before = live_nodes()
    with pytest.raises(RuntimeError) as caught:
        Refusing(1.0)
    del caught
    assert live_nodes() == before


def test_isinstance_and_repr():
    v = Left(1.0)
    assert isinstance(v * 2, Value)
    assert repr(v) == "Value(data=1.0, grad=0.0)"  # as micrograd prints a subclass


def test_a_number_on_the_left_goes_through_an_overridden_operator():
    """In micrograd 2 * v is v * 2, and so is whatever a subclass makes of it."""

    class Loud(Value):
        def __add__(self, other):
            return "added"

        def __mul__(self, other):
            return "multiplied"

    assert 2 + Loud(1.0) == "added" and 2 * Loud(1.0) == "multiplied"
    assert (2 - Loud(1.0)).data == 1.0


def test_a_finalizer_finds_its_attributes():
    seen = []

    class Named(Value):
        def __del__(self):
            seen.append(self.name)

    v = Named(1.0)
    v.name = "v"
    del v
    tape.collect()
    assert seen == ["v"]
