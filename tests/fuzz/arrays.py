"""NumPy's functions, methods and operators on arrays of Values against the same on floats.

The functions are those that NumPy's namespaces have, whichever version it is; their arguments are
drawn by the names of their parameters. On Arrays each gives the same numbers, in the same shape,
and the gradient that differences of NumPy's own results give; or a TypeError. Where NumPy warns, or
gives what is not finite, Python's own errors for such numbers may stand instead.
"""

import inspect
import re
import warnings

import numpy as np

import micrograd_c as mg
from micrograd_c import Value

from . import Case, Skip, Wrong

SHAPES = [(), (1,), (3,), (4,), (2, 3), (3, 3), (3, 1), (2, 2, 2), (0,), (2, 0)]
NUMBERS = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 2.0, -0.25, 3.0, 1.5]

# Those that write files, print, keep state of their own, look at memory, or tell of types.
APART = """array2string array_repr array_str asfarray base_repr binary_repr broadcast_shapes
busday_count busday_offset byte_bounds can_cast common_type copyto datetime_as_string datetime_data
deprecate disp dtype dump dumps fastCopyAndTranspose find_common_type format_parser
frombuffer fromfile fromfunction fromiter frompyfunc fromregex fromstring from_dlpack genfromtxt
get_array_wrap get_include get_printoptions getbufsize geterr geterrcall geterrobj getfield info
is_busday isfortran issubclass_ issubdtype issubsctype issctype iterable load loadtxt lookfor
maximum_sctype may_share_memory min_scalar_type mintypecode nested_iters newbyteorder byteswap
obj2sctype promote_types recfromcsv recfromtxt resize result_type safe_eval save savetxt savez
savez_compressed sctype2char set_numeric_ops set_printoptions set_string_function setbufsize seterr
seterrcall seterrobj setfield setflags shares_memory show_config show_runtime source test tobytes
tofile tostring tracemalloc_domain typename view who require asmatrix bmat mat matrix""".split()


def functions():
    found = []
    for prefix, module in (("np", np), ("np.linalg", np.linalg), ("np.fft", np.fft)):
        for name in sorted(dir(module)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    f = getattr(module, name)
                except AttributeError:
                    continue
            if name.startswith("_") or name in APART or isinstance(f, type) or not callable(f):
                continue
            found.append((f"{prefix}.{name}", f))
    return found


LAPACK = ("linalg", "polyfit", "roots")  # what may not end on inf or nan
# Flags that jump with an array's truth; bounds that are one array, which moves as a whole in a tie.
KINKS = re.compile(r"endpoint=a\d|clip\(.*\b(a\d), (a_max=)?\1\b")
FUNCTIONS = functions()
METHODS = [
    name
    for name in sorted(dir(np.ndarray))
    if not name.startswith("_") and name not in APART and callable(getattr(np.ndarray, name))
]
OPERATORS = """a0 + a1|a0 - a1|a0 * a1|a0 / a1|a0 ** 2|2.0 ** a0|-a0|+a0|abs(a0)|a0 @ a1|a0 == a1
a0 != a1|a0 < a1|a0 >= 1.0|1.0 > a0|a0 == 2.0|a0 <= np.ones(3)|bool(a0)|a0 // a1|a0 % a1|~a0
divmod(a0, 2.0)
a0 & a1|a0[0]|a0[-1:]|a0[a0 > 0]|a0[..., None]|a0[np.array([0, 0])]|a0[::-1]|len(a0)|a0.T|a0.flat[0]
list(a0)|sum(a0)|max(a0)|min(a0)|sorted(a0)|2.0 in a0|a0.shape|a0.size|float(a0)
[x for x in a0.flat if x > 0]|a0 if a0.any() else 0.0|not a0|round(a0, 1)""".replace(
    "\n", "|"
).split("|")


def array_text(rng):
    return rng.choice(["a0", "a0", "a1", "a2"])


def index(rng):
    return rng.choice(["0", "1", "-1", "2"])


# What a parameter of that name is given.
PARAMETERS = {
    ("axis",): lambda r: r.choice(["0", "-1", "1", "None", "(0, 1)"]),
    ("axis1", "source", "start"): index,
    ("axis2", "destination", "k", "ddof", "n", "N", "M", "num", "repeats", "shift", "kth"): index,
    ("deg", "decimals", "sections", "copy", "subok", "ndmin", "minlength", "offset"): index,
    ("shape", "newshape", "reps"): lambda r: r.choice(["(3,)", "(2, 3)", "-1", "(3, 2)", "6", "2"]),
    ("indices", "obj", "ind", "multi_index", "indices_or_sections"): lambda r: r.choice(
        ["[0, 2]", "1", "np.array([1, 0, 1])", "np.array([[0], [1]])", "3", "slice(0, 2)"]
    ),
    ("condition", "mask", "where", "conditions"): lambda r: r.choice(
        ["a0 > 0", "np.array([True, False, True])", "b0", "a1"]
    ),
    ("q",): lambda r: r.choice(["0.5", "0.25", "[0.1, 0.5]", "50", "1.0"]),
    ("arrays", "tup", "seq", "arys", "choicelist", "choices", "args", "xi"): lambda r: r.choice(
        ["[a0, a1]", "[a0, a0]", "(a0, a1, a2)", "[a0]", "[a0, np.ones(3)]"]
    ),
    ("condlist",): lambda r: r.choice(["[a0 > 0, a0 < 0]", "[b0, b0]"]),
    ("funclist",): lambda r: "[lambda v: v * 2, lambda v: v + 1]",
    ("func", "func1d", "pyfunc", "function"): lambda r: r.choice(
        ["np.sum", "lambda v: v * 2", "lambda v, *w: v"]
    ),
    ("subscripts",): lambda r: r.choice(["'i,i'", "'ij,jk'", "'ij->ji'", "'i->'", "'ij,j->i'"]),
    ("bins",): lambda r: r.choice(["3", "np.array([-1.0, 0.0, 2.0])"]),
    (
        "keepdims",
        "sparse",
        "assume_unique",
        "return_index",
        "return_inverse",
        "full",
        "density",
        "right",
    ): (lambda r: r.choice(["True", "False"])),
    ("side",): lambda r: r.choice(["'left'", "'right'"]),
    ("mode",): lambda r: r.choice(
        ["'full'", "'same'", "'valid'", "'edge'", "'clip'", "'constant'"]
    ),
    ("ord",): lambda r: r.choice(["None", "1", "2", "np.inf", "'fro'"]),
    ("pad_width",): lambda r: r.choice(["1", "(1, 2)"]),
    ("a_min", "min", "lower"): lambda r: r.choice(["-0.05", "None", "a1"]),
    ("a_max", "max", "upper"): lambda r: r.choice(["0.95", "None", "a1"]),  # no tie with a_min
    ("axes",): lambda r: r.choice(["None", "(1, 0)", "1", "([0], [0])"]),
    ("order",): lambda r: r.choice(["'C'", "'F'"]),
    ("nan", "rtol", "atol", "fill_value", "val", "initial", "prepend", "append", "dx"): lambda r: (
        r.choice(["0.5", "1.0", "a1"])
    ),
    ("kind", "dtype", "casting", "out", "like", "method", "device", "stable"): lambda r: None,
    ("overwrite_input",): lambda r: None,  # what is left there is not defined
}
BY_NAME = {name: draw for names, draw in PARAMETERS.items() for name in names}


def argument(rng, name):
    return BY_NAME.get(name, array_text)(rng)


def parameters_of(f):
    """The parameters by position or keyword, and those that have a default."""
    if isinstance(f, np.ufunc):
        return [("x", False)] * f.nin
    try:
        found = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return None
    return [
        ("args" if p.kind is p.VAR_POSITIONAL else p.name, p.default is not p.empty or p.kind > 2)
        for p in found
        if p.kind is not p.VAR_KEYWORD
    ]


def call_text(rng, name, f):
    parameters = parameters_of(f)
    if parameters is None:  # by trial
        parameters = [
            (rng.choice(["x", "x", "k", "arrays"]), False) for _ in range(rng.choice([1, 1, 2, 3]))
        ]
    texts, by_position = [], True
    for parameter, optional in parameters:
        if optional and rng.random() < 0.75:
            by_position = False
            continue
        text = argument(rng, parameter)
        if parameter == "args" and not optional:
            texts.append("*" + text if text[0] in "[(" else text)
        elif text is None:
            by_position = False
        elif by_position and not optional:
            texts.append(text)
        else:
            texts.append(f"{parameter}={text}")
    # NumPy's own power.reduce([1.4, 2.0, 0.5]) is 1.18, not 1.4, and arctan2 is as wrong.
    reduces = isinstance(f, np.ufunc) and f.nin == 2 and not re.search("pow|tan2", name)
    if reduces and rng.random() < 0.15:
        kind = rng.choice(["reduce", "accumulate", "outer"])
        return f"{name}.{kind}({', '.join(texts if kind == 'outer' else texts[:1])})"
    return f"{name}({', '.join(texts)})"


def method_text(rng):
    name = rng.choice(METHODS)
    given = [
        argument(rng, rng.choice(["axis", "k", "x", "shape"]))
        for _ in range(rng.choice([0, 0, 1, 2]))
    ]
    return f"a0.{name}({', '.join(given)})"


def text_of(rng):
    kind = rng.random()
    if kind < 0.12:
        return rng.choice(OPERATORS)
    if kind < 0.27:
        return method_text(rng)
    return call_text(rng, *rng.choice(FUNCTIONS))


def numbers(rng, shape, special):
    size = int(np.prod(shape))

    def one():
        if special and rng.random() < 0.2:
            return rng.choice([np.nan, np.inf, -np.inf, 0.0])
        return rng.choice(NUMBERS) if rng.random() < 0.4 else round(rng.gauss(0.5, 1), 2)

    return np.array([one() for _ in range(size)]).reshape(shape)


def case(rng):
    for _ in range(12):
        shape = rng.choice(SHAPES)
        other = rng.choice(SHAPES) if rng.random() < 0.3 else shape
        text = text_of(rng)
        special = rng.random() < 0.15 and not any(name in text for name in LAPACK)
        setup = {
            "text": text,
            "a0": numbers(rng, shape, special),
            "a1": numbers(rng, other, False),
            "a2": numbers(rng, rng.choice([shape, (3,)]), False),
            "replaced": rng.choice([["a0", "a1", "a2"], ["a0", "a1", "a2"], ["a0"], ["a1"]]),
        }
        if "pow" in text:  # NumPy takes the square root for a power of 0.5: nan of -inf, not inf
            setup["a0"][np.isneginf(setup["a0"])] = np.inf
        case = Case(setup, [])
        if KINKS.search(text):
            continue
        try:
            names = floats(case)
            evaluated(setup["text"], names)
        except Exception:
            continue
        return case
    return case


def smaller(case):
    """One array of Values instead of several."""
    for name in case.setup["replaced"]:
        if len(case.setup["replaced"]) > 1:
            yield case._replace(setup={**case.setup, "replaced": [name]})


def floats(case):
    found = {"np": np, "b0": np.array([True, False, True])}
    return found | {name: case.setup[name].copy() for name in ("a0", "a1", "a2")}


def evaluated(text, names):
    """(the result, whether NumPy warned of numbers)"""
    met = []
    with np.errstate(all="call"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = np.seterrcall(lambda *what: met.append(what))
        try:
            return eval(text, names), bool(met)
        finally:
            np.seterrcall(before)


def plain(x):
    """A result as float arrays in lists; what has no numbers as it is."""
    if isinstance(x, Value):
        return np.array(x.data)
    if isinstance(x, np.ndarray):
        if x.dtype == object:
            flat = [v.data if isinstance(v, Value) else v for v in x.ravel().tolist()]
            return np.array(flat, float).reshape(x.shape) if all(map(number, flat)) else flat
        return x
    if isinstance(x, (list, tuple)):
        return [plain(item) for item in x]
    if isinstance(x, dict):
        return [plain(item) for item in x.values()]
    if number(x):
        return np.array(x)
    return None if hasattr(x, "__next__") else x


def number(x):
    return isinstance(x, (bool, int, float, complex, np.number, np.bool_))


def same(x, y, what="the result"):
    """Raise Wrong unless the plain x is y."""
    if isinstance(y, list):
        if not isinstance(x, (list, np.ndarray)) or len(x) != len(y):
            raise Wrong(f"{what} is {x!r}, where floats give {y!r}")
        for k, (p, q) in enumerate(zip(x, y)):
            same(plain(p), q, f"{what}[{k}]")
    elif isinstance(y, np.ndarray) and y.dtype.kind in "biufc":
        if not isinstance(x, np.ndarray) or x.dtype.kind not in "biufc":
            raise Wrong(f"{what} is {x!r}, where floats give {y!r}")
        if x.shape != y.shape:
            raise Wrong(f"{what} has shape {x.shape}, where that of floats has {y.shape}: {x!r}")
        size = np.abs(y[np.isfinite(y)]).max(initial=1.0) if y.size else 1.0
        if not np.allclose(x, y, rtol=1e-12, atol=1e-13 * size, equal_nan=True):
            raise Wrong(f"{what} is {x!r}, where floats give {y!r}")


def leaves(x):
    """The Values and numbers of a result, from left to right."""
    if isinstance(x, np.ndarray):
        return x.ravel().tolist()
    if isinstance(x, (list, tuple)):
        return [v for item in x for v in leaves(item)]
    return [x]


def run(case):
    setup = case.setup
    text, names = setup["text"], floats(case)
    used = [name for name in setup["replaced"] if name in text]
    if not used:
        raise Skip
    if "compress" in text and "a0" not in used:
        raise Skip  # a plain array's own method, which asks for the truth of Values and not us
    try:
        found, warned = evaluated(text, names)
    except Exception:
        raise Skip from None
    if "dot" in text and not all(finite(setup[name]) for name in used):
        raise Skip  # BLAS leaves out what is multiplied by 0
    expected = plain(found)
    given = floats(case)
    for name in used:
        given[name] = mg.array(given[name])
    inputs = {name: given[name].copy() for name in used}  # the Values, whatever is done to arrays
    try:
        ours, _ = evaluated(text, given)
    except TypeError:
        return
    except (ArithmeticError, ValueError) as error:
        if "output array is not acceptable" in str(error) or "Value(" in str(error):
            return  # NumPy's own code, which did not ask us, refuses Values with a word
        if warned or not finite(expected) or not all(finite(setup[name]) for name in used):
            return
        raise Wrong(f"{type(error).__name__}: {error}, where floats give {expected!r}") from None
    if "empty" in text:
        return
    same(plain(ours), expected)
    for name in used:
        same(plain(given[name]), names[name], f"{name}, afterwards,")
    if not warned and finite(expected) and all(finite(setup[name]) for name in used):
        check_gradient(case, used, inputs, ours)


def finite(x):
    if isinstance(x, list):
        return all(map(finite, x))
    return not isinstance(x, np.ndarray) or x.dtype.kind not in "fc" or bool(np.isfinite(x).all())


def check_gradient(case, used, inputs, ours):
    """Along one direction, against differences of NumPy's results."""
    heads = leaves(ours)
    values = [v for v in heads if isinstance(v, Value)]
    if not values or len(values) < len(heads):
        return
    if "> 0" in case.setup["text"] and not case.setup["a0"].all():
        return  # what is chosen at 0 may be neither's
    text, a0 = case.setup["text"], case.setup["a0"]
    if not all(finite(case.setup[name]) for name in ("a0", "a1", "a2")):
        return  # inf / inf, inf * 0
    if "copysign" in text and not all(case.setup[name].all() for name in ("a0", "a1", "a2")):
        return  # along one line it may be smooth, through a point where it is not
    if "clip" in text and np.isin(a0, (-1, 0, 1, 2)).any():
        return  # an element that is a limit
    chosen = (np.unique(case.setup[name]).size < case.setup[name].size for name in used)
    if re.search("median|quantile|percentile", text) and any(chosen):
        return  # which of equal elements moves the result is not told
    draw = np.random.default_rng(len(case.setup["text"]))
    along = {name: draw.normal(size=case.setup[name].shape) for name in used}
    weights = draw.normal(size=len(heads))

    def at(step):
        names = floats(case)
        for name in used:
            names[name] = names[name] + step * along[name]
        found = leaves(evaluated(case.setup["text"], names)[0])
        return float(np.dot(weights, np.array(found, float)))

    try:
        slopes = [(at(h) - at(-h)) / (2 * h) for h in (1e-4, 5e-5)]
        sides = [(at(h) - at(0)) / h for h in (1e-6, -1e-6)]
    except Exception:
        return
    size = 1 + abs(slopes[0])
    if not np.isfinite(slopes + sides).all() or np.ptp(slopes + sides) > 1e-3 * size:
        return  # there is none
    for name in used:
        inputs[name].grad = 0.0
    mg.dot(values, weights.tolist()).backward()
    ours = sum(float((inputs[name].grad * along[name]).sum()) for name in used)
    if "std" in case.setup["text"] and not np.isfinite(ours):
        return  # the root of 0, of one number
    if not abs(ours - slopes[1]) <= 2e-3 * size:
        raise Wrong(
            f"the gradient along a direction is {ours!r}, where differences give {slopes[1]!r}"
        )


def script(case):
    setup = case.setup
    lines = ["import numpy as np", "import micrograd_c as mg", "from numpy import inf, nan"]
    lines.append("b0 = np.array([True, False, True])")
    for name in ("a0", "a1", "a2"):
        if name in setup["text"]:
            text = f"np.array({setup[name].tolist()})"
            if setup[name].size == 0:
                text += f".reshape({setup[name].shape})"
            lines.append(f"{name} = {text}")
    lines.append(f"expected = {setup['text']}")
    lines += [f"{n} = mg.array({n})" for n in setup["replaced"] if n in setup["text"]]
    lines.append(f"ours = {setup['text']}")
    return "\n".join([*lines, "print(ours, expected)"])
