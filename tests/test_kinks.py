"""Kinks: what is not chosen contributes nothing; nan, infinities and -0 are what NumPy has."""

import math
import random

import numpy as np
import pytest

import micrograd_c as mg
from micrograd_c import Value, autograd

INF, NAN = math.inf, math.nan

# Not chosen where x is 0, where they or their derivatives are infinite or nan.
BRANCHES = {
    "log": lambda x: x.log(),
    "sqrt": lambda x: x.sqrt(),
    "1/x": lambda x: 1 / x,
    "cbrt": lambda x: x.cbrt(),
    "x**-0.5": lambda x: x**-0.5,
    "x**1.5": lambda x: (x**1.5).atanh() * x**2.5,
    "x/0": lambda x: mg.softmax([x / 0.0, x.tanh(), 1 / x])[1] * (x / 0.0),
    "x**x": lambda x: (x - 1) ** x,
    "x*(1/x)": lambda x: x * (1 / x),
    "tanh of nan": lambda x: ((x - 1).sqrt() * x).tanh().sin().sigmoid(),
    "exp": lambda x: (1 / x).exp() * x.exp(),
    "asin": lambda x: (2 - x).asin() * (x + 1).acos() * (x - 1).atanh() * (x + 1).acosh(),
    "atan2": lambda x: x.atan2(x) * x.hypot(x) / x,
    "dot": lambda x: mg.dot([x, x, 3 * x, x.tanh()], [1 / x, x.log(), x, 1 / x], x.log()),
    "choices": lambda x: (x.log() * x).relu() * mg.max([x.log(), 1 / x]) - mg.min([1 / x, x]),
    "where": lambda x: mg.where(1 / x, x.log() * x, x.sqrt() * x),
    "logsumexp": lambda x: mg.logsumexp([1 / x, x.log()]) * mg.softmax([1 / x, x])[0],
}
every_branch = pytest.mark.parametrize("branch", BRANCHES.values(), ids=BRANCHES)


def polynomial(x):
    """Its derivatives at 0: 5, 8, 18, 0."""
    return 3 * x * x * x + 4 * x * x + 5 * x


def nth(f, order):
    for _ in range(order):
        f = mg.grad(f)
    return f


@every_branch
def test_the_branch_not_chosen_contributes_nothing_compiled(branch):
    w = Value(2.0)

    def f(x):
        return w * mg.where(x, branch(x), polynomial(x))

    compiled = mg.compile(f)
    assert compiled.value_and_grad(0.0) == (0, 10)
    x = Value(0.0)
    y = compiled(x)
    y.backward()
    assert (y.data, x.grad, w.grad) == (0, 10, 0)
    # Many samples, the last block of them padded.
    xs = np.zeros(19)
    assert compiled.value_and_grad.map(xs)[1].tolist() == [10] * 19
    assert compiled.value_and_grad.mean(xs) == (0, pytest.approx(np.full(19, 10 / 19)))
    w.grad = 0
    compiled.sum(xs).backward()
    assert w.grad == 0


@every_branch
def test_the_branch_not_chosen_contributes_nothing_at_higher_order(branch):
    def f(x):
        return mg.where(x, lambda: branch(x), polynomial(x))

    assert [float(nth(f, order)(0.0)) for order in range(1, 5)] == [5, 8, 18, 0]
    assert [mg.compile(nth(f, order))(0.0).data for order in range(1, 5)] == [5, 8, 18, 0]
    assert nth(f, 2)(Value(0.0)).data == 8
    assert mg.jvp(f, (0.0,), (1.0,)) == (0, 5)
    assert mg.jvp(mg.grad(f), (0.0,), (1.0,)) == (5, 8)
    assert mg.hvp(f, 0.0, 1.0) == 8
    assert mg.vjp(f, 0.0)[1](1.0) == (5,)

    def of_two(v):
        return f(v[0]) * v[1] + v[1] * v[1]

    at = np.array([0.0, 3.0])
    assert mg.hessian(of_two)(at).tolist() == [[24, 5], [5, 2]]
    assert mg.hessian(of_two, sparse=True)(at).toarray().tolist() == [[24, 5], [5, 2]]


@every_branch
def test_the_branch_not_chosen_contributes_nothing_eagerly(branch):
    x = Value(0.0)
    y = mg.where(x, lambda: branch(x), polynomial(x))
    y.backward()
    assert (y.data, x.grad) == (0, 5)
    assert autograd.jvp(y, x, 1.0) == 5
    # It is not even computed; the one chosen is, on either side.
    assert mg.where(x, lambda: 1 / 0, lambda: 2 * x + 1).data == 1
    assert mg.where(1 - x, lambda: x + 3, lambda: 1 / 0).data == 3


def test_branches_that_raise_nothing_need_be_no_functions():
    x = Value(0.0)
    y = mg.where(x, x.sqrt() * x.sqrt() + x.cbrt(), 5 * x)
    y.backward()
    assert (x.grad, autograd.jvp(y, x)) == (5, 5)
    assert autograd.grad(y, x) == 5
    # Numbers that were assigned since: the branch may have become infinite.
    x, u = Value(1.0), Value(1.0)
    y = mg.where(u, x.log() + 1 / x, 7 * x)
    x.data = u.data = 0.0
    y.backward()
    assert x.grad == 7


def test_what_raises_still_does_and_functions_must_give_numbers():
    x = Value(0.0)
    with pytest.raises(ValueError, match="math domain error|expected a positive input"):
        mg.where(x, x.log(), 0.0)
    with pytest.raises(ValueError, match="math domain error|expected a positive input"):
        mg.where(x, 0.0, lambda: x.log())
    with pytest.raises(TypeError, match="a must be a Value or a real number, not str"):
        mg.where(1.0, lambda: "a", 0.0)
    with pytest.raises(TypeError, match="test must be a Value or a real number, not function"):
        mg.where(lambda: 1.0, 0.0, 0.0)
    # In a trace both are called, once.
    calls = []
    f = mg.compile(lambda x: mg.where(x, lambda: calls.append(1) or x.log(), lambda: 2 * x))
    assert (f(0.0).data, f(1.0).data, f(-2.0).data, calls) == (0, 0, -4, [1])


def test_a_zero_adjoint_passes_nothing_on():
    """Below what chooses by its own numbers, and beneath plain products."""
    for f, at, expected in [
        (lambda x: mg.max([x.log(), 2 * x]), 0.0, 2),
        (lambda x: mg.min([1 / x, 2 * x]), 0.0, 2),
        (lambda x: x.log().relu() + x, 0.0, 1),
        (lambda x: (1 / x - 1).relu() * 0 + x, -1.0, 1),
        (lambda x: (x.sqrt() + 3).max(5.0) + x, 0.0, 1),
        (lambda x: x.relu().sqrt() + x, -1.0, 1),  # infinite, times 0
        (lambda x: x.max(x * x).sqrt().max(1.0) + x, 0.0, 1),
    ]:
        assert mg.compile(f).grad(at) == expected
        assert mg.compile(mg.grad(f))(at).data == expected
        assert mg.jvp(f, (at,), (1.0,))[1] == expected
        assert nth(f, 2)(at) == 0
    # By a product of its own, in reverse alone: forward, it is the tangent that is infinite.
    f = lambda x: x.sqrt() ** 2 + x  # noqa: E731
    x = Value(0.0)
    f(x).backward()
    assert x.grad == mg.compile(f).grad(0.0) == mg.compile(mg.grad(f))(0.0).data == 1


def test_infinities_that_come_from_outside():
    f = mg.compile(lambda x, y: mg.where(x, x * y, 3 * x) + mg.where(x, mg.dot([x, x], [y, y]), 0))
    for y in (INF, -INF, NAN):
        assert f.grad(0.0, y, argnums=(0, 1)) == (3, 0)
        assert [g.tolist() for g in f.grad.map([0.0] * 9, [y] * 9, argnums=(0, 1))] == [
            [3] * 9,
            [0] * 9,
        ]
        a, b = Value(0.0), Value(y)
        (mg.where(a, a * b, 3 * a) + mg.where(a, mg.dot([a, a], [b, b]), 0)).backward()
        assert (a.grad, b.grad) == (3, 0)


def test_what_is_nan_stays_nan():
    f = mg.compile(lambda x: mg.where(x, x.sqrt(), x * 2) * mg.where(x, 0.0, (x - 1).sqrt()))
    assert math.isnan(f(0.0).data) and math.isnan(f.grad(0.0))
    for g in (f.grad.map(np.zeros(9)), f.grad.mean(np.zeros(9))):
        assert np.isnan(g).all()
    assert mg.compile(lambda x: x.sqrt()).grad(0.0) == INF


def programs_of_all_kinds(rng):
    """A function of 24 numbers and an index, with dots, runs and lookups of all lengths."""
    w = [Value(rng.uniform(-1, 1)) for _ in range(24)]
    picks = [[rng.randrange(24) for _ in range(rng.choice((1, 2, 3, 9, 40)))] for _ in range(12)]
    weights = [rng.uniform(-1, 1) for _ in range(24)]

    def f(x, k):
        h = [mg.dot(w[: 5 + j], list(x[: 5 + j]), w[j]) for j in range(16)]
        h += [a * b + a.tanh() for a, b in zip(x, w)]
        h += [mg.dot([h[q] for q in p], [h[-q] for q in p]).sin() for p in picks]
        rows = [[h[j], h[j + 1], w[j]] for j in range(10)]
        a, b, c = mg.take(rows, k)
        h += [a * b, (c * c + 1) / (b * b + 2), mg.where(a, b * c, a * a), mg.max([a, b, c])]
        h += [(q * q + 0.5).log() + q.exp() for q in h[:9]] + [q.relu() ** 3 for q in h[9:20]]
        return mg.dot(h[:24], weights) + mg.sum(h)

    return f, w, np.array([rng.uniform(-1, 1) for _ in range(24)])


@pytest.mark.parametrize("seed", range(6))
def test_the_careful_sweep_is_the_quick_one_but_for_nan(seed):
    """A branch that is not chosen, and nan within, changes no other derivative of any program."""
    f, w, x = programs_of_all_kinds(random.Random(seed))

    def g(x, k):  # another branch on top of all: 0 * inf everywhere
        y = f(x, k)
        return mg.where(y - y, (y - y).log() * y, y)

    quick, careful = mg.compile(f), mg.compile(g)
    assert quick.grad(x, 3) == pytest.approx(careful.grad(x, 3), rel=1e-12, abs=1e-12)
    xs, ks = np.linspace(0.5, 2, 21)[:, None] * x, np.arange(21) % 10
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)  # noqa: E731
    close(quick.grad.map(xs, ks), careful.grad.map(xs, ks))
    for call in (lambda f: f(x, 3), lambda f: f.mean(xs, ks), lambda f: f.sum(mg.shared(x), ks)):
        grads = []
        for h in (quick, careful):
            for v in w:
                v.grad = 0.0
            call(h).backward()
            grads.append([v.grad for v in w])
        close(*grads)
    if seed == 0:
        close(mg.hessian(f)(x, 3), mg.hessian(g)(x, 3))


@pytest.mark.parametrize("isa", ["baseline", "avx2"])
def test_every_engine_is_careful(run, isa, monkeypatch):
    monkeypatch.setenv("MICROGRAD_C_ISA", isa)
    out = run(
        """
        import numpy as np
        try:
            import micrograd_c as mg
        except ImportError as error:
            assert "processor" in str(error)
            print("not here")
        else:
            w = mg.Value(3.0)
            f = mg.compile(lambda x: mg.where(x, mg.dot([w, x], [1 / x, x.log()]), w * x))
            print(f.grad(0.0), f.grad.map(np.zeros(9)).tolist() == [3.0] * 9)
        """
    )
    assert out.strip() in ("3.0 True", "not here")


# ---- max, min, logsumexp, softmax

NUMBERS = [
    [INF, 1.0],
    [1.0, -INF],
    [-INF, -INF],
    [INF, -INF],
    [INF, INF],
    [-INF],
    [INF],
    [NAN, 1.0],
    [1.0, NAN],
    [2.0, NAN, 3.0, NAN],
    [INF, NAN],
    [NAN, -INF],
    [NAN],
    [0.5, -2.0, 3.0],
]


def same(a, b):
    return np.array_equal(np.asarray(a, float), np.asarray(b, float), equal_nan=True)


def in_numpy(numbers):
    """max, min, logsumexp and softmax as NumPy and SciPy have them."""
    x = np.array(numbers)
    special = pytest.importorskip("scipy.special")
    with np.errstate(all="ignore"):
        return [x.max(), x.min(), special.logsumexp(x), special.softmax(x)]


def taken_by(x, extreme):
    """The gradient of an extreme: the first nan, else the first that equals it, takes all."""
    x = np.array(x)
    hits = np.isnan(x) if math.isnan(extreme) else x == extreme
    return (np.arange(len(x)) == hits.argmax()).astype(float)


@pytest.mark.parametrize("numbers", NUMBERS, ids=str)
def test_nan_and_infinities_as_numpy_has_them(numbers):
    largest, smallest, logsum, probabilities = in_numpy(numbers)
    x = np.array(numbers)
    gradients = {
        mg.max: taken_by(x, largest),
        mg.min: taken_by(x, smallest),
        mg.logsumexp: probabilities if math.isfinite(largest) else taken_by(x, largest),
    }
    for function, expected in zip(gradients, (largest, smallest, logsum)):

        def f(v, function=function):
            return function(list(v))

        close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-14)  # noqa: E731
        v = mg.array(numbers)
        y = f(v)
        y.backward()
        close(y.data, expected)
        close(v.grad, gradients[function])
        value, grad = mg.compile(f).value_and_grad(x)
        close(value, expected)
        close(grad, gradients[function])
        close(mg.jacobian(f)(x), gradients[function])
        columns = [mg.jvp(f, (x,), (e,))[1] for e in np.eye(len(x))]
        close(columns, gradients[function])
    assert np.allclose([p.data for p in mg.softmax(numbers)], probabilities, equal_nan=True)
    compiled = mg.compile(lambda v: mg.softmax(list(v)))
    assert np.allclose([p.data for p in compiled(x)], probabilities, equal_nan=True)
    assert np.allclose(
        [p[-1] for p in compiled.map(np.array([x] * 9))], probabilities, equal_nan=True
    )


# ---- second derivatives

EXACT = {  # first to third derivative
    "asin": lambda t: (
        (1 - t * t) ** -0.5,
        t * (1 - t * t) ** -1.5,
        (1 + 2 * t * t) * (1 - t * t) ** -2.5,
    ),
    "acos": lambda t: tuple(-d for d in EXACT["asin"](t)),
    "atanh": lambda t: (
        1 / (1 - t * t),
        2 * t / (1 - t * t) ** 2,
        (2 + 6 * t * t) / (1 - t * t) ** 3,
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_derivatives_of_inverse_functions_near_0_and_1(name):
    mpmath = pytest.importorskip("mpmath")
    for size in (1e-300, 1e-20, 1e-12, 1e-8, 1e-4, 0.1, 0.7, 0.71, 0.9, 0.999, 1 - 1e-9):
        for x in (size, -size):
            with mpmath.workdps(60):
                exact = [float(d) for d in EXACT[name](mpmath.mpf(x))]
                if 0.1 <= size < 0.9:
                    checked = mpmath.diff(getattr(mpmath, name), mpmath.mpf(x), 2)
                    assert exact[1] == pytest.approx(float(checked), rel=1e-9)
            for order in (1, 2, 3):
                found = nth(lambda v: getattr(v, name)(), order)(x)
                assert found == pytest.approx(exact[order - 1], rel=1e-12, abs=0), (x, order)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0])
def test_hessians_of_powers_at_a_base_of_0_agree(exponent):
    f = lambda v: v[0] ** v[1]  # noqa: E731
    at = np.array([0.0, exponent])
    dense = mg.hessian(f)(at)
    assert np.array_equal(dense, dense.T)
    assert np.array_equal(dense, mg.hessian(f, sparse=True)(at).toarray())
    assert np.array_equal(dense, mg.jacobian(mg.grad(f))(at))
    assert dense[0, 0] == (2 if exponent == 2 else 0)


# ---- the sign of zero

W = Value(-2.0)
SIGNS = {
    "x + 0": lambda x: (x + 0.0).atan2(-1.0),
    "0 + x": lambda x: (0.0 + x).atan2(-1.0),
    "x + -0": lambda x: (x + -0.0).atan2(-1.0),
    "x - 0": lambda x: (x - 0.0).atan2(-1.0),
    "x - -0": lambda x: (x - -0.0).atan2(-1.0),
    "0 - x": lambda x: (0.0 - x).atan2(-1.0),
    "sum": lambda x: sum([x * 1.5, x * 2.0]).atan2(-1.0),
    "two products": lambda x: (x * 2.0 + x * 3.0).atan2(-1.0),
    "mg.sum": lambda x: mg.sum([x, x]).atan2(-1.0),
    "mg.sum of one": lambda x: mg.sum([x]).atan2(-1.0),
    "mg.dot": lambda x: mg.dot([x], [2.0]).atan2(-1.0),
    "mg.dot from x": lambda x: (x * 2.0 + mg.dot([x], [2.0], x)).atan2(-1.0),
    "a sum of dots": lambda x: (mg.sum([x]) + x + mg.sum([x, x])).atan2(-1.0),
    "neg": lambda x: (-(x * 3.0) - x * 2.0).atan2(-1.0),
    "of a function": lambda x: ((x + 0.0).tanh() + 0.0).relu().atan2(x * x - 1.0),
    "of a choice": lambda x: mg.where(1.0, x + 0, 3).atan2(-1.0),
    "uniform": lambda x: (W * x).atan2(-1.0),
    "uniform sum": lambda x: (W * x + W * x).atan2(-1.0),
    "mixed": lambda x: (W * x + x * W + mg.dot([x, W], [W, x], W * x)).atan2(-1.0),
}


@pytest.mark.parametrize("f", SIGNS.values(), ids=SIGNS)
def test_the_sign_of_zero_is_kept_where_it_makes_another_number(f):
    for x in (0.0, -0.0):
        compiled, expected = mg.compile(f), f(Value(x)).data
        assert compiled(x).data == expected
        assert compiled.map(np.full(11, x)).tolist() == [expected] * 11


def test_the_sign_of_zero_divided_by():
    for f in (lambda x: (1 / (x + 0.0)).atan(), lambda x: ((x + 0.0) ** -3).atan()):
        for x in (0.0, -0.0):  # -0.0 + 0.0 is 0.0
            assert mg.compile(f)(x).data == math.pi / 2


MAKERS = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * 2.0,
    lambda a, b: mg.sum([a, b, a]),
    lambda a, b: mg.dot([a, b], [3.0, W], b),
    lambda a, b: -a,
    lambda a, b: W * a,
]


def test_random_zeros():
    """Sums and products of zeros: eager and compiled make the same angle of them."""
    rng = random.Random(5)
    for _ in range(150):
        signs = [rng.choice((0.0, -0.0)) for _ in range(4)]
        seed = rng.random()

        def f(p, q, r, s, seed=seed):
            x = [p, q, r, s]
            rng = random.Random(seed)
            nodes = [*x, 0.0, -0.0]
            for _ in range(8):
                a, b = (rng.choice(nodes) for _ in range(2))
                nodes.append(rng.choice(MAKERS)(a, b))
            return ((nodes[-1] + nodes[-2]) * x[0] - x[1]).atan2(-1.0)

        expected = f(*map(Value, signs)).data
        compiled = mg.compile(f)
        assert compiled(*signs).data == expected
        assert compiled.map(*[[s] * 9 for s in signs])[-1] == expected


def test_logsumexp_in_lanes_of_large_numbers():
    m = mg.Value(0.0)
    f = mg.compile(lambda x, u: mg.logsumexp([mg.sum([u, x]), x.relu()]))
    f.mean(np.array([1e17]), m).backward()
    assert m.grad == 0.5


def test_branches_of_where_that_are_no_numbers_or_change_the_test():
    class Called(mg.Value):
        def __call__(self):
            raise AssertionError

    assert mg.where(mg.Value(1.0), Called(3.0), 0).data == 3.0
    with pytest.raises(TypeError, match="a must be a Value"):
        mg.where(mg.Value(1.0), lambda: lambda: 5, 0)
    test = mg.Value(-1.0)

    def assigns():
        test.data = 1.0
        return mg.Value(5.0)

    with pytest.raises(ValueError, match="the test"):
        mg.where(test, lambda: mg.Value(7.0), assigns)
