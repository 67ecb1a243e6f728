"""Copies and pickles: leaves and models; what is not a leaf says what to do."""

import copy
import pickle
import random

import pytest
from reference import live_nodes

from micrograd_c import Value
from micrograd_c.nn import MLP

PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)


def pickled(protocol):
    return lambda x: pickle.loads(pickle.dumps(x, protocol))


WAYS = {"deepcopy": copy.deepcopy, **{f"pickle {p}": pickled(p) for p in PROTOCOLS}}
every_way = pytest.mark.parametrize("duplicate", WAYS.values(), ids=WAYS.keys())


class Parameter(Value):
    def __init__(self, data, name):
        super().__init__(data, label=name)
        self.name = name

    def named(self):
        return f"{self.name}={self.data}"


class Slotted(Value):
    __slots__ = ("m",)


@every_way
def test_a_leaf_keeps_data_grad_label_and_attributes(duplicate):
    v = Value(2.5, label="w")
    v.grad = -1.5
    v.m = [1, 2]
    v._op = "input"
    w = duplicate(v)
    assert w is not v and type(w) is Value
    assert (w.data, w.grad, w.label, w._op, w.m) == (2.5, -1.5, "w", "input", [1, 2])
    assert w._prev == set()
    w.data, w.label = 7.0, "other"
    w.m.append(3)
    assert (v.data, v.label, v.m) == (2.5, "w", [1, 2])
    (w * v).backward()
    assert (w.grad, v.grad) == (1.0, 5.5)


@every_way
def test_special_numbers_survive(duplicate):
    for x in (float("inf"), -0.0, 5e-324, 0.1):
        assert repr(duplicate(Value(x))) == repr(Value(x))
    assert duplicate(Value(float("nan"))).data != duplicate(Value(float("nan"))).data


@every_way
def test_a_leaf_met_twice_stays_one(duplicate):
    v = Value(1.0)
    first, second = duplicate([v, v])
    assert first is second and first is not v


@every_way
def test_a_leaf_that_holds_itself(duplicate):
    v = Value(1.0)
    v.itself = v
    w = duplicate(v)
    assert w.itself is w and w is not v


@every_way
def test_a_subclass_leaf_is_copied_without_its_init(duplicate):
    v = Parameter(2.0, "w1")
    v.grad = 3.0
    w = duplicate(v)
    assert type(w) is Parameter
    assert (w.named(), w.label, w.grad) == ("w1=2.0", "w1", 3.0)
    assert type(w * 2) is Parameter


@every_way
def test_a_subclass_with_slots(duplicate):
    v = Slotted(2.0)
    v.m = 0.5
    w = duplicate(v)
    assert type(w) is Slotted and (w.data, w.m) == (2.0, 0.5)
    assert not hasattr(duplicate(Slotted(1.0)), "m")


@every_way
def test_a_model(duplicate):
    random.seed(1)
    model = MLP(2, [4, 1])
    model([1.0, 2.0]).backward()
    twin = duplicate(model)
    assert repr(twin) == repr(model)
    ours, twins = model.parameters(), twin.parameters()
    assert [p.data for p in ours] == [p.data for p in twins]
    assert [p.grad for p in ours] == [p.grad for p in twins]
    assert not set(ours) & set(twins)
    expected = model([1.0, 2.0]).data
    for p in twins:
        p.data += 1.0
    assert model([1.0, 2.0]).data == expected != twin([1.0, 2.0]).data
    before = [p.grad for p in ours]
    twin([1.0, 2.0]).backward()
    assert [p.grad for p in ours] == before


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_node_that_is_not_a_leaf_cannot_be_pickled_and_says_what_to_do(protocol):
    a = Value(1.0)
    before = live_nodes()
    for v in (a * a, Value(1.0, (a,)), Value(1.0, (a,), (2.0,))):
        with pytest.raises(TypeError, match=r"leaf|leaves") as error:
            pickle.dumps(v, protocol)
        assert ".data" in str(error.value)
    del v, error
    assert live_nodes() == before


def test_copy_of_a_leaf():
    v = Parameter(2.0, "w")
    v.grad, v.m = 3.0, [1]
    w = copy.copy(v)
    assert w is not v and type(w) is Parameter
    assert (w.data, w.grad, w.name, w.label) == (2.0, 3.0, "w", "w")
    assert w.m is v.m
    w.data = 5.0
    w.name = "other"
    assert (v.data, v.name) == (2.0, "w")


@every_way
def test_copies_are_freed(duplicate):
    v = Value(1.0)
    v.note = "x"
    before = live_nodes()
    for _ in range(100):
        duplicate([v, v])
    assert live_nodes() == before


def test_a_pickle_moves_between_processes(run, tmp_path):
    random.seed(1)
    model = MLP(2, [3, 1])
    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps(model))
    out = run(
        f"""
        import pickle
        model = pickle.load(open({str(path)!r}, "rb"))
        print(repr(model([1.0, 2.0]).data))
        """
    )
    assert float(out) == model([1.0, 2.0]).data


@pytest.mark.parametrize(
    "state", [None, 5, (), ("x",), {"data": "x"}, {1: 2}, (1.0,) * 9], ids=repr
)
def test_a_state_that_was_tampered_with_does_no_harm(state):
    v = Value(1.0)
    with pytest.raises((AttributeError, TypeError, ValueError)):
        v.__setstate__(state)
    (v * 2.0).backward()
    assert v.grad == 2.0
