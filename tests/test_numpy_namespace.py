"""Every public function of NumPy's on Arrays of Values, against the same on floats.

The functions are those that NumPy's namespaces hold, so that one of a later NumPy is tried, too.
Each is called with many arguments; what it takes of floats it must compute of Arrays as well, with
the gradient, or refuse with a TypeError that says what to write.
"""

import functools
import inspect
import itertools
import os
import random
import re
import types
import warnings

import numpy as np
import pytest

import micrograd_c as mg
from micrograd_c import Value, functions

LEFT_OUT = """
    from_dlpack frombuffer fromfile fromregex fromstring genfromtxt get_include info load loadtxt
    save savetxt savez savez_compressed set_printoptions setbufsize seterr seterrcall show_config
    show_runtime test
""".split()
# Before NumPy 2.4 np.fix(x, out=x) is wrong of floats, and quantiles take lists of arrays apart.
OLD = tuple(map(int, np.__version__.split(".")[:2])) < (2, 4)
LEFT_OUT = [*LEFT_OUT, *(["fix"] if OLD else [])]  # files, memory as it is, settings
# What is numbers though it has a derivative: sets, and the edges of bins.
SETS = """
    angle array2string array_repr array_str histogram histogram2d histogram_bin_edges histogramdd
    intersect1d setdiff1d setxor1d union1d unique unique_all unique_counts unique_inverse
    unique_values
""".split()


def namespace():
    """(name, function) of each public function, once."""
    seen = set()
    for module, prefix in (
        (np, ""),
        (np.linalg, "linalg."),
        (np.fft, "fft."),
        (np.emath, "emath."),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            names = [(name, getattr(module, name)) for name in sorted(dir(module))]
        for name, f in names:
            if (
                not name.startswith("_")
                and name not in LEFT_OUT
                and callable(f)
                and not isinstance(f, (type, types.ModuleType))
                and id(f) not in seen
            ):
                seen.add(id(f))
                yield prefix + name, f


FUNCTIONS = dict(namespace())


def numbers(seed, kind):
    """Arrays by name."""
    draw = np.random.default_rng(seed)
    shapes = {
        "v": (4,),
        "w": (4,),
        "m": (3, 3),
        "n": (3, 3),
        "t": (2, 3),
        "x": (3,),
        "s": (2, 3, 3),
    }
    arrays = {name: draw.uniform(0.1, 0.9, shape) for name, shape in shapes.items()}
    if kind == "signs":
        arrays = {name: draw.normal(size=x.shape) * 2 for name, x in arrays.items()}
    elif kind == "ties":
        arrays = {name: draw.integers(-1, 2, x.shape).astype(float) for name, x in arrays.items()}
    elif kind == "nan":
        for x in arrays.values():
            x.flat[draw.integers(x.size)] = np.nan
    elif kind == "infinite":
        for x in arrays.values():
            x.flat[draw.integers(x.size)] = np.inf
            x.flat[draw.integers(x.size)] = -np.inf
    elif kind == "none":
        arrays = {name: np.zeros(x.shape) for name, x in arrays.items()}
    return arrays


class Constant:
    """An argument that is no array of the pool."""

    def __init__(self, x):
        self.x = x


MASK, NO, INDEX = np.array([True, False, True, True]), np.zeros(4, bool), np.array([2, 0, 1, 3])
C = Constant
POSITIONAL = [
    "v", "m", "t", "s", ("v", "w"), ("m", "n"), ("m", "x"), ("x", "m"), ("v", "v"), (["v", "w"],),
    (["m", "t"],), (["m", "n"], C(1)), ("v", C(0.5)), ("v", C(2.0)), (C(0.5), "v"), ("v", C(1)),
    ("v", C(2)), ("m", C(0)), ("m", C(1)), ("m", C(-1)), (C(2), "m"), ("s", C(1)), ("m", C((0, 1))),
    ("v", C((4, 1))), ("m", C((3, 1, 3))), ("v", C(INDEX)), (C(INDEX), "v"), ("v", C(MASK)),
    (C(MASK), "v"), (C(NO), "v"), (C(MASK), "v", "w"), (C(NO), "v", C(0.0)), (C(MASK), C(0.0), "w"),
    (C(NO), C(0.0), "w"), ("v", "v", "w"), ("v", C(MASK), "w"), ("v", C(MASK), C(2.0)),
    ("v", C(INDEX), "w"), ("v", C([1, 2]), C(5.0)), (C([0, 1, 0, 1]), ["v", "w"]),
    ([C(MASK)], ["v"]), ([C(MASK), C(~MASK)], ["v", "w"]), ([C(NO)], ["v"]), ("v", C(0.2), C(0.6)),
    ("v", C(None), C(0.6)), ("v", C(0.2), C(None)), ("v", "w", C(0.7)), ("v", C(1), C(0)),
    ("m", C(0), C(1)), ("m", C(1), C(0)), ("m", C([0.25, 0.5]), C(0)), ("v", C(30.0)),
    ("v", C([20.0, 50.0])), (C("i->"), "v"), (C("ij,jk->ik"), "m", "n"), (C("ii"), "m"),
    (C("i,i"), "v", "w"), (C("ij->ji"), "m"), ("m", "n", C(1)), ("v", C(2), C("edge")),
    ("v", C(2), C("mean")), ("v", C(2), C("maximum")), (C(np.sum), C(0), "m"),
    (C(np.cumsum), C(0), "m"), (C(np.sum), "m", C([0])), (C(np.max), C(1), "m"),
    ("v", [C(MASK), C(~MASK)], C([lambda x: x * 2, lambda x: x * x])), ("v", C("fro")),
    ("m", C("fro")), ("m", C(np.inf)), ("m", C(-np.inf)), ("v", C(np.inf)), ("v", C(3)),
    ("m", C("nuc")), ("m", C([2, 1])), ("s", "m"), ("v", C(np.arange(4.0))),
    (C(np.arange(4.0)), "v"), ("v", C(0.1), C("nearest")),
]  # fmt: skip
KEYWORDS = [
    {}, {"axis": 0}, {"axis": 1}, {"axis": -1, "keepdims": True}, {"axis": None}, {"axis": (0, 1)},
    {"keepdims": True}, {"where": MASK}, {"where": MASK, "initial": 0.25}, {"initial": 0.25},
    {"where": NO, "initial": 2.0}, {"ddof": 1}, {"axis": 0, "ddof": 1}, {"ord": 1}, {"ord": 3},
    {"ord": np.inf}, {"axis": (0, 1), "ord": 1}, {"axis": 1, "ord": -np.inf, "keepdims": True},
    {"mode": "edge"}, {"mode": "reflect"}, {"mode": "same"}, {"mode": "full"}, {"decimals": 1},
    {"k": 1}, {"include_initial": True}, {"retstep": True, "num": 4}, {"num": 5},
    {"weights": np.arange(1.0, 5.0)}, {"weights": "w"}, {"returned": True}, {"method": "lower"},
    {"method": "median_unbiased"}, {"axis": 0, "method": "weibull"}, {"right": True},
    {"return_index": True}, {"return_counts": True}, {"equal_nan": True}, {"nan": 0.5},
    {"prepend": 0.0}, {"append": "w"}, {"to_end": 1.0}, {"rowvar": False}, {"bias": True},
    {"aweights": np.arange(1.0, 5.0)}, {"fweights": np.arange(1, 5)}, {"dx": 0.5},
    {"x": np.arange(4.0)}, {"x": "w"}, {"stable": True}, {"trim": "f"}, {"min": 0.3}, {"max": 0.5},
    {"correction": 1}, {"dtype": float}, {"out": True}, {"axis": 0, "out": True},
]  # fmt: skip


def is_name(x):
    return isinstance(x, str)


def filled(x, arrays, make):
    """A template of arguments with arrays in it."""
    if isinstance(x, Constant):
        return x.x.copy() if isinstance(x.x, np.ndarray) else x.x
    if isinstance(x, list):
        return [filled(y, arrays, make) for y in x]
    return make(x, arrays[x])


def call(f, positional, keywords, arrays, make):
    """The result, the first argument as it is then, `out`, and the arrays by name as they were."""
    made = {}

    def once(name, x):
        return made.setdefault(name, make(x))

    args = [filled(x, arrays, once) for x in positional]
    more = {
        key: once(x, arrays[x]) if is_name(x) and x in arrays else x for key, x in keywords.items()
    }
    if "out" in more:
        del more["out"]  # NumPy crashes where cumsum is given one of another shape
        floats = [filled(x, arrays, lambda _, y: y.copy()) for x in positional]
        shape = np.shape(
            f(
                *floats,
                **{key: arrays[x] if is_name(x) and x in arrays else x for key, x in more.items()},
            )
        )
        more["out"] = once("out", np.zeros(shape))
    before = {name: x.copy() for name, x in made.items()}
    return f(*args, **more), args[0], more.get("out"), before


def flat(x):
    """The structure of a result, and its numbers; None for what is no number."""
    if isinstance(x, Value):
        return (), [x.data], [x]
    if isinstance(x, np.matrix):
        x = np.asarray(x)
    if isinstance(x, np.ndarray) and x.dtype == object:
        leaves = [flat(y) for y in x.ravel().tolist()]
        if all(shape == () for shape, *_ in leaves):
            return (
                x.shape,
                [n for _, ns, _ in leaves for n in ns],
                [v for _, _, vs in leaves for v in vs],
            )
    if (
        isinstance(x, (np.ndarray, np.generic, float, int, bool))
        and np.asarray(x).dtype.kind in "biuf"
    ):
        return np.shape(x), np.asarray(x, float).ravel().tolist(), []
    if isinstance(x, (tuple, list)):
        parts = [flat(y) for y in x]
        return (
            ("tuple", *(p[0] for p in parts)),
            [n for p in parts for n in p[1]],
            [v for p in parts for v in p[2]],
        )
    if isinstance(x, np.ndarray):
        return ("other", x.shape), [], []
    return ("other", type(x).__name__, x if isinstance(x, str) else ""), [], []


def kinds(x):
    """The classes of a result, without its numbers."""
    if isinstance(x, (tuple, list)):
        return [kinds(y) for y in x]
    if isinstance(x, (Value, mg.Array)):
        return type(x).__name__
    return "number"


DISPATCHED = []
OUTCOMES = "skipped", "refused", "errs", "a list", "a dtype"
HINTS = "Instead", ".values", "v.data", "mg.", "np.where"


@pytest.fixture(autouse=True, scope="module")
def noticed():
    """Note in DISPATCHED that NumPy has asked Array."""
    with pytest.MonkeyPatch.context() as patch:
        notice(patch.setattr)
        yield


def notice(setattr):
    for name in ("__array_function__", "__array_ufunc__"):
        asked = getattr(mg.Array, name)

        def method(self, *args, asked=asked, **keywords):
            DISPATCHED.append(args[0])
            return asked(self, *args, **keywords)

        setattr(mg.Array, name, method)


def differ(wanted, got):
    return not np.allclose(wanted, got, rtol=1e-12, atol=1e-12, equal_nan=True)


class Complaint(Exception):
    pass


def slope(f, positional, keywords, arrays, name, direction, head):
    """The derivative of the weighted result along a direction, by differences, or None."""

    def at(h):
        moved = {**arrays, name: arrays[name] + h * direction}
        with np.errstate(all="ignore"):
            result, *_ = call(f, positional, keywords, moved, np.copy)
        return np.asarray(flat(result)[1])

    try:
        points = {h: at(h) for h in (-2e-4, -1e-4, 1e-4, 2e-4, 0.0)}
    except Exception:
        return None
    if len({x.shape for x in points.values()}) > 1 or points[0.0].shape != head.shape:
        return None
    if not all(np.isfinite(x).all() for x in points.values()):
        return None
    p = {h: float(x @ head) for h, x in points.items()}
    right, left = (p[2e-4] - p[0.0]) / 2e-4, (p[0.0] - p[-2e-4]) / 2e-4
    if abs(right - left) > 0.05 * (1 + abs(right)):
        return None
    return (8 * (p[1e-4] - p[-1e-4]) - (p[2e-4] - p[-2e-4])) / (12e-4)


def tried(name, f, positional, keywords, kind, seed=0):
    """One call: one of OUTCOMES, or the kinds of its result; Complaint where it is wrong."""
    arrays = numbers(seed, kind)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            wanted, first, out, _ = call(f, positional, keywords, arrays, np.copy)
    except Exception:
        return "skipped"
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="warn"):
        warnings.simplefilter("always")
        call(f, positional, keywords, arrays, np.copy)
    DISPATCHED.clear()
    trouble = None
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            got, changed, out_got, made = call(f, positional, keywords, arrays, mg.array)
    except Exception as error:
        trouble = error
    if not DISPATCHED and any(isinstance(x, list) for x in positional):
        return "a list"  # of Arrays: an array of objects, which NumPy does not ask us about
    if isinstance(trouble, TypeError):
        if any(hint in str(trouble) for hint in HINTS) or not DISPATCHED:
            return "refused"  # by NumPy, where it does not ask
        raise Complaint(f"TypeError without an alternative: {trouble}") from trouble
    if isinstance(trouble, ArithmeticError) or isinstance(trouble, ValueError):
        warned = any(issubclass(w.category, RuntimeWarning) for w in caught)
        if warned or kind in ("nan", "infinite") or "no mean" in str(trouble):
            return "errs"
    if trouble is not None:
        raise Complaint(f"{type(trouble).__name__}: {trouble}") from trouble
    shape, expected, _ = flat(wanted)
    shape_got, found, leaves = flat(got)
    if wanted is None or got is None:
        if (wanted is None) != (got is None):
            raise Complaint(f"{got!r} instead of {wanted!r}")
    elif name == "empty_like":
        expected = found
    if shape != shape_got:
        if "dtype" in str(type(wanted)):
            return "a dtype"
        raise Complaint(f"structure {shape_got} instead of {shape}: {got!r} for {wanted!r}")
    if len(expected) != len(found) or differ(expected, found):
        raise Complaint(f"{got!r} instead of {wanted!r}")
    if isinstance(changed, mg.Array) and differ(flat(first)[1], flat(changed)[1]):
        raise Complaint(f"changed to {changed!r} instead of {first!r}")
    if out is not None and differ(flat(out)[1], flat(out_got)[1]):
        raise Complaint(f"out= is {out_got!r} instead of {out!r}")
    if kind == "signs" and expected and "empty" not in name:
        check_derivatives(name, f, positional, keywords, arrays, made, leaves, len(found))
    return kinds(got)


def check_derivatives(name, f, positional, keywords, arrays, made, leaves, count):
    """Those by each array, along a direction, of a weighted sum of the results."""
    if leaves and len(leaves) != count or not leaves and name.rpartition(".")[2] in SETS:
        return
    if name in ("arctan2", "atan2") and any(
        str(getattr(x, "x", 0)) in INFINITIES for x in positional
    ):
        return  # inf / inf
    draw = np.random.default_rng(1)
    head = draw.uniform(0.5, 1.5, count)
    for x in made.values():
        x.grad = 0.0
    if leaves:
        mg.autograd.backward([v * h for v, h in zip(leaves, head)])
    for array in sorted(made.keys() - {"out"}):
        direction = draw.uniform(0.5, 1.5, arrays[array].shape)
        by_difference = slope(f, positional, keywords, arrays, array, direction, head)
        by_sweep = float((made[array].grad * direction).sum())
        if by_difference is not None:
            if not abs(by_sweep - by_difference) < 1e-5 * (1 + abs(by_difference)):
                raise Complaint(f"derivative by {array}: {by_sweep} instead of {by_difference}")


def cases(f):
    """Arguments that the signature allows."""
    try:
        known = inspect.signature(f).parameters.values()
        known = None if any(p.kind is p.VAR_KEYWORD for p in known) else {p.name for p in known}
    except ValueError:
        known = {"axis", "keepdims", "where", "out", "dtype", "initial"}
    if isinstance(f, np.ufunc):
        known = {"where", "out", "dtype"}
    for positional, keywords in itertools.product(POSITIONAL, KEYWORDS):
        positional = positional if isinstance(positional, tuple) else (positional,)
        if known is not None and not keywords.keys() <= known:
            continue
        if "out" in keywords and any(isinstance(x, list) for x in positional):
            continue
        yield positional, keywords


KINDS = "plain", "signs", "ties", "nan", "infinite", "none"
CASES = 4 if "asan" in os.environ.get("LD_PRELOAD", "") else 24  # a sanitizer is slow
INFINITIES = "inf", "-inf"
# Where NumPy itself is at odds with IEEE 754: BLAS skips a factor 0, x**0.5 is a square root. And
# LAPACK may hang on infinities.
BY_NUMPY_ALONE = {"dot", "inner", "pow", "power", "float_power"}


def works(f, positional, keywords):
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            call(f, positional, keywords, numbers(0, "signs"), np.copy)
    except Exception:
        return False
    return True


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_numpy(name):
    f = FUNCTIONS[name]
    draw = random.Random(name)
    known = list(cases(f))
    draw.shuffle(known)
    usable = (case for case in known if works(f, *case))
    for positional, keywords in itertools.islice(usable, CASES):
        found = {}
        for kind in ("signs", draw.choice(KINDS), draw.choice(KINDS)):
            by_numpy = name in BY_NUMPY_ALONE or name.startswith("linalg.")
            if by_numpy and kind in ("nan", "infinite"):
                continue
            result = tried(name, f, positional, keywords, kind)
            if result not in OUTCOMES:
                found[kind] = str(result)
        assert len(set(found.values())) <= 1, (positional, keywords, found)


def test_most_functions_are_not_refused():
    """The walk is not of refusals alone: of all that is written here there is a right call."""
    for name in functions.COMPOSED:
        f = functools.reduce(lambda x, part: getattr(x, part, None), name.split("."), np)
        if f is None or OLD and name.endswith(("percentile", "quantile")):
            continue
        results = [tried(name, f, *case, "signs") for case in cases(f) if works(f, *case)]
        assert any(r not in OUTCOMES for r in results), name


def test_the_table_names_functions_that_there_are():
    """No name is misspelt: those that this NumPy lacks are of another."""
    older = "cumproduct in1d nancumproduct nanproduct product round_ row_stack trapz".split()
    newer = """astype concat cumulative_prod cumulative_sum matrix_transpose permute_dims trapezoid
        unique_all
        unique_counts unique_inverse unique_values unstack
        linalg.cross linalg.diagonal linalg.matmul
        linalg.matrix_norm linalg.matrix_transpose linalg.outer linalg.tensordot linalg.trace
        linalg.vecdot linalg.vector_norm""".split()
    for name in [
        *functions.OF_NUMBERS,
        *functions.ON_OBJECTS,
        *functions.WITH_CONDITION,
        *functions.ON_ARRAYS,
        *functions.COMPOSED,
        *functions.CHANGING,
        *functions.INSTEAD,
    ]:
        f = functools.reduce(lambda x, part: getattr(x, part, None), name.split("."), np)
        assert f is not None or name in older + newer, name


def test_a_function_that_is_not_known_is_refused():
    def later(x):
        raise AssertionError

    with pytest.raises(TypeError, match="has no rule for arrays of Values. Instead, .*x.values"):
        mg.Array.__array_function__(mg.array([1.0]), later, (mg.Array,), (), {})


def of_both(text, *arrays):
    """What an expression of a, b, ... gives of floats and of Arrays, and the Arrays."""
    given = [mg.array(x) for x in arrays]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        both = [
            eval(text, {"np": np, **dict(zip("ab", xs))})
            for xs in ([np.array(x) for x in arrays], given)
        ]
    return *both, given


@pytest.mark.parametrize("axis", (0, -1))
@pytest.mark.parametrize(
    "call",
    """np.sum(a, {}) np.max(a, {}) a.min({}) np.ptp(a, {}) np.prod(a, {}) np.nansum(a, {})
    np.nanmean(a, {}) np.nanvar(a, {}) np.nanmax(a, {}) np.cumsum(a, {}) np.cumprod(a, {})
    np.add.reduce(a, {}) np.maximum.reduce(a, {}) np.fmin.reduce(a, {}) np.hypot.reduce(a, {})
    np.copysign.reduce(a, {}) np.mod.reduce(a, {}) np.max(a, {}, initial=3.0)
    np.sum(a, {}, keepdims=True)""".replace(", {", ",{")
    .replace(", i", ",i")
    .replace(", k", ",k")
    .split(),
)
def test_an_array_without_axes_is_reduced_over_its_first(call, axis):
    floats, ours, (a,) = of_both(call.format(axis), -2.5)
    assert np.shape(ours) == np.shape(floats) and not differ(flat(floats)[1], flat(ours)[1])
    slope = {"ptp": 0.0, "var": 0.0, "initial": 0.0, "hypot": -1.0}
    ours.backward()
    assert a.grad == next((d for name, d in slope.items() if name in call), 1.0)


@pytest.mark.parametrize("call", ("np.mean(a, 0)", "np.sum(a, (0,))", "np.sum(a, 1)"))
def test_an_axis_that_numpy_refuses_of_an_array_without_axes(call):
    for a in (np.array(2.0), mg.array(2.0)):
        with pytest.raises(IndexError, match="out of bounds"):
            eval(call, {"np": np, "a": a})


@pytest.mark.parametrize("shape", ((0,), (2, 0), (0, 2)))
@pytest.mark.parametrize(
    "call",
    """np.median(a);np.median(a, -1);np.nanmedian(a, 0);np.nanmedian(a, -1, keepdims=True)
    np.nanpercentile(a, 50);np.nanquantile(a, [0.2, 0.5], -1, keepdims=True)
    np.quantile(a, [0.2, 0.5], axis=0);np.linalg.norm(a);np.linalg.norm(a, np.inf)
    np.linalg.norm(a, 1);np.linalg.norm(a, np.inf, axis=-1);np.nanvar(a, ddof=-1)
    np.nanstd(a, ddof=-1)""".replace("\n    ", ";").split(";"),
)
def test_of_nothing_is_what_floats_give(call, shape):
    try:
        floats = of_both(call, np.zeros(shape))[0]
    except Exception:
        with warnings.catch_warnings(), pytest.raises((ValueError, IndexError)):
            warnings.simplefilter("ignore")
            eval(call, {"np": np, "a": mg.array(np.zeros(shape))})
        return
    ours = of_both(call, np.zeros(shape))[1]
    assert np.shape(ours) == np.shape(floats) and not differ(flat(floats)[1], flat(ours)[1])


def test_weights_of_a_covariance_have_a_gradient():
    draw = np.random.default_rng(0)
    m, weights = draw.normal(size=(2, 5)), draw.uniform(0.5, 2.0, 5)
    head, direction = draw.normal(size=(2, 2)), draw.normal(size=5)
    for x in (m, mg.array(m)):
        w = mg.array(weights)
        c = np.cov(x, aweights=w, fweights=[1, 2, 1, 1, 3])
        assert not differ(np.cov(m, aweights=weights, fweights=[1, 2, 1, 1, 3]), c.values)
        np.sum(c * head).backward()

        def at(h):
            moved = weights + h * direction
            return (np.cov(m, aweights=moved, fweights=[1, 2, 1, 1, 3]) * head).sum()

        assert w.grad @ direction == pytest.approx((at(1e-5) - at(-1e-5)) / 2e-5, rel=1e-7)
    with pytest.raises(TypeError, match="fweights= are counts.* Instead, "):
        np.cov(m, fweights=mg.array(np.ones(5)))


def test_values_are_not_placed_where_they_are_read():
    a = mg.array([1.0, -1.0, 2.0])
    for values in (a, a[::-1]):
        with pytest.raises(TypeError, match=r"Instead, np.place\(a, mask, v.copy\(\)\)"):
            np.place(a, a > 0, values)
    assert a.values.tolist() == [1.0, -1.0, 2.0]
    np.place(a, a > 1, a.copy())
    np.putmask(a, a < 0, a)
    assert a.values.tolist() == [1.0, -1.0, 1.0]


@pytest.mark.parametrize(
    "call",
    (
        "np.logspace(a, b, num=0)",
        "np.linspace(a, b, num=0, retstep=True)",
        "np.linspace(a, b, num=1, retstep=True)",
        "np.logspace(0, a, num=1, base=b)",
        "np.logspace(a, 2, 3, base=b, axis=1)",
        "np.unwrap(a * np.inf)",
        "np.linalg.matrix_norm(b[:, None] * a, ord=None)",
        "np.linalg.vector_norm(a, ord=None)",
        "np.hypot.reduce(-a[:1])",
    ),
)
def test_the_same_as_on_floats(call):
    if not all(hasattr(np.linalg, name) for name in re.findall(r"linalg\.(\w+)", call)):
        pytest.skip("a later NumPy's")
    floats, ours, _ = of_both(call, [1.0, 2.0, 3.0], [0.5, 2.0, 4.0])
    assert flat(ours)[0] == flat(floats)[0] and not differ(flat(floats)[1], flat(ours)[1])


def test_the_first_of_a_space_has_no_part_of_its_end():
    a, b = mg.array([1.0]), mg.array([2.0])
    np.logspace(a, b, num=1, base=-2.0).backward()  # by the exponent: nan
    assert b.grad.tolist() == [0.0]
