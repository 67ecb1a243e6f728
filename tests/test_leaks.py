"""Loops that must not grow: reference counts, the size of the tape, resident memory."""

import gc
import sys

import pytest

import micrograd_c
from micrograd_c import Value, tape

# Every scenario is one round of a loop, run in a fresh interpreter, first to warm up and then to
# see whether nodes, Python's blocks of memory or the resident memory grow with the rounds.
SETUP = """
import gc, math, os, pickle, copy, random, sys
import psutil
import micrograd_c
from micrograd_c import Value, tape
from micrograd_c.nn import MLP

def rss():
    return psutil.Process().memory_info().rss

a = Value(0.5)
class Sub(Value):
    def __init__(self, data, extra=None):
        super().__init__(data)
        self.extra = extra
class Slotted(Value):
    __slots__ = ("m",)
model = MLP(2, [4, 1])
def tanh(x):
    t = math.tanh(x.data)
    out = Value(t, (x,), "tanh")
    def _backward():
        x.grad += (1 - t * t) * out.grad
    out._backward = _backward
    return out
def broken():
    yield a
    yield a * 2.0
    raise KeyError
"""

ROUNDS = {
    "operations": "(a * 2.0 + a).exp().backward()",
    "kept results": "kept = [a * float(i) for i in range(10)]",
    "closures": "tanh(tanh(a) * 2.0).backward()",
    "closures never swept": "tanh(tanh(a))",
    "attributes": "v = a * 2.0; v.note = [1, 2, 3]; v.other = v; v.label = 'label' + str(i)",
    "attributes overwritten": "a.note = [i]; a.label = str(i)",
    "attributes deleted": "a.gone = [i]; del a.gone",
    "subclasses": "v = Sub(1.0, [i]) * 2; v = v + Slotted(1.0)",
    "slots": "v = Slotted(1.0); v.m = [i]; v = v * v",
    "children": "v = (a * 2.0) + 1.0; v._prev; v._children; v._children[0]._local_grads",
    "sum and dot": "micrograd_c.dot([a, 1.0], [a, 2.0], micrograd_c.sum([a, a, 3])).backward()",
    "local gradients": "Value(1.0, (a, a), (1.0, [2.0][0])).backward()",
    "steps": "s = (a * a)._backward; s()",
    "steps replaced": "v = a * a; v._backward = lambda: v; v._backward = lambda: None",
    "deep copies": "v = copy.deepcopy(model)",
    "pickles": "v = pickle.loads(pickle.dumps([a, model.parameters()[0]]))",
    "nn": "model([1.0, a]).backward(); model.zero_grad()",
    "repr": "repr(a); format(a, '.4f'); hash(a)",
    "weak references": "import weakref; v = Value(1.0); r = weakref.ref(v); v.x = r",
    "errors of operators": """
try: a + 'a'
except TypeError: pass
try: a / 0
except ZeroDivisionError: pass
try: (a - 10).log()
except ValueError: pass
try: Value('x')
except TypeError: pass
""",
    "errors of n-ary nodes": """
try: Value(1.0, (a, a), (1.0,))
except ValueError: pass
try: Value(1.0, (a, None), (1.0, 2.0))
except TypeError: pass
try: micrograd_c.sum([a, a * 2.0, 'x'])
except TypeError: pass
try: micrograd_c.dot([a, a * 2.0], [a])
except ValueError: pass
try: micrograd_c.sum(broken())
except KeyError: pass
""",
    "errors in closures": """
v = a * 2.0
def fail(v=v, note=[i] * 10): raise KeyError
v._backward = fail
try: (v * 3.0).backward()
except KeyError: pass
""",
    "errors of attributes": """
v = a * 2.0
try: v.missing
except AttributeError: pass
try: v.data = 'x'
except TypeError: pass
try: float(v)
except TypeError: pass
try: pickle.dumps(v)
except TypeError: pass
""",
}


@pytest.mark.memory
@pytest.mark.parametrize("name", ROUNDS)
def test_memory_does_not_grow(run, name):
    body = "\n".join("        " + line for line in ROUNDS[name].strip().splitlines())
    blocks, resident = run(
        SETUP
        + f"""
def rounds(n):
    for i in range(n):
{body}
rounds(4000)
gc.collect()
nodes, blocks, resident = tape.live(), sys.getallocatedblocks(), rss()
for _ in range(2):
    rounds(3000)
    gc.collect()
assert tape.live() <= nodes + 10, (nodes, tape.live())
print(sys.getallocatedblocks() - blocks, rss() - resident)
"""
    ).split()
    # One object a round would be 6,000 blocks; one malloc of 500 bytes a round would be 3 MB.
    assert int(blocks) < 300
    assert int(resident) < 3_000_000


class Sub(Value):
    pass


class Token:
    pass


def settle():
    gc.collect()
    tape.collect()
    gc.collect()  # classes whose last instance the tape has let go


def test_the_reference_count_of_a_class():
    settle()
    for cls in (Value, Sub):
        before = sys.getrefcount(cls)
        kept = [cls(1.0) for _ in range(100)]
        kept += [v * 2.0 for v in kept]
        [v.relu() for v in kept]
        kept[-1].backward()
        del kept
        settle()
        assert abs(sys.getrefcount(cls) - before) <= 1, cls


def test_the_reference_count_of_an_attribute():
    token = Token()
    before = sys.getrefcount(token)
    v = Value(1.0)
    v.token = token
    v.other = token
    w = Sub(1.0) * 2.0
    w.token = token
    out = w + v
    del w
    settle()
    assert sys.getrefcount(token) == before + 3
    del v.other
    assert sys.getrefcount(token) == before + 2
    v.token = None
    assert sys.getrefcount(token) == before + 1
    del v, out
    settle()
    assert sys.getrefcount(token) == before


def test_the_reference_count_of_labels_and_closures():
    label, op = "label " + str(id(Token())), "op " + str(id(Token()))

    def closure():
        pass

    before = [sys.getrefcount(x) for x in (label, op, closure)]
    v = Value(1.0, label=label)
    w = Value(1.0, (v,), op)
    w._backward = closure
    assert w._backward is closure and w._op == op and v.label == label
    out = w * 1.0
    out.backward()
    out.label, out._op = label, op
    out.label = out._op = ""
    w._backward = lambda: None
    v.label = ""
    del v, w, out
    settle()
    assert [sys.getrefcount(x) for x in (label, op, closure)] == before


def test_the_reference_count_of_operands():
    a, b = Value(1.0), Value(2.0)
    settle()
    before = sys.getrefcount(a), sys.getrefcount(b)
    out = a * b + micrograd_c.sum([a, b]) + micrograd_c.dot([a], [b], a)
    out += Value(1.0, (a, b), (1.0, 2.0))
    out.backward()
    for child in out._children:
        assert len(child._prev) and child._children and child._local_grads
    del child
    step = out._backward
    step()
    with pytest.raises(TypeError):
        micrograd_c.sum([a, b, None])
    with pytest.raises(ValueError):
        micrograd_c.dot([a, b], [a])
    with pytest.raises(TypeError):
        a + "x"
    assert (sys.getrefcount(a), sys.getrefcount(b)) == before
    del out, step


def test_the_reference_count_of_none_and_numbers():
    class Float(float):
        pass

    number = Float(2.5)
    before = sys.getrefcount(number)
    v = Value(number)
    v.data = v.grad = number
    (v * number + number).backward()
    micrograd_c.sum([v, number])
    micrograd_c.dot([number], [v], number)
    Value(1.0, (v,), (number,))
    assert not v < number
    del v
    settle()
    assert sys.getrefcount(number) == before
