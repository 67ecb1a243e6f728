"""Damaged programs: what is loaded is refused with a ValueError, or can be called.

A program is saved, and damaged: bytes of the file; bytes of an array in it, the archive being
sound; numbers of an array; or what a pickle of it holds. A case runs in a child of the fuzzer, so a
crash fails it, and so does a program that does not come to an end.
"""

import io
import pickle
import random
import tempfile
import zipfile
from pathlib import Path

import numpy as np

import micrograd_c as mg
from micrograd_c import Value

from . import Case, Skip, Wrong, programs

HOW = ["file", "member", "member", "array", "array", "array", "array", "state", "pickle"]
STEPS = [*programs.STEPS, "take", "detach"]
LEAVES = ["x[0]", "x[1]", "p['a']", "p['b'][1]", "w[0]", "w[1]"]
NASTY = [
    -1,
    0,
    1,
    2,
    3,
    7,
    40,
    41,
    42,
    43,
    44,
    45,
    46,
    127,
    128,
    255,
    256,
    2**24,
    2**31 - 1,
    -(2**31),
]
FLOATS = [np.nan, np.inf, -np.inf, -1.0, 1e300, 0.5, -0.0]
STATES = [None, (), [], {}, 7, -1, "f", ("f",), (("[", 2**31),), {0: 1}, (("a", (2,)),)]
MOST = 5000  # inputs, of programs that are called
# What a program that was let through may answer to arguments.
REFUSALS = (ValueError, TypeError, IndexError, OverflowError, MemoryError)


def case(rng):
    setup = {
        "how": rng.choice(HOW),
        "steps": [programs.step(rng, STEPS) for _ in range(rng.choice([1, 3, 6, 12]))],
        "results": rng.choice(["one", "one", "several"]),
        "optimize": rng.random() < 0.7,
    }
    # Positions are fractions: of what there is when it is damaged.
    damage = [
        (rng.choice(DAMAGES), rng.random(), rng.random(), rng.choice(NASTY), rng.getrandbits(16))
        for _ in range(rng.choice([1, 1, 1, 2, 3, 5]))
    ]
    return Case(setup, damage)


DAMAGES = ["set", "set", "set", "near", "near", "cut", "insert", "delete", "double", "kind", "text"]


def source(setup):
    lines, nodes = programs.body(setup["steps"], LEAVES)
    made = nodes[len(LEAVES) :]
    result = " + ".join([made[-1], *made[:-1:3]])
    if setup["results"] == "several":
        result = f"{{'r': {result}, 's': ({made[0]}, w[0])}}"
    return programs.function("f(x, p, i, mode='m')", lines, result)


def program(setup):
    names = {"mg": mg, "w": [Value(0.4), Value(-1.2)]}
    exec(source(setup), names)
    f = mg.compile(names["f"], optimize=setup["optimize"])
    return f.program(np.array([0.3, 1.7]), {"a": 0.6, "b": [0.1, -0.8]}, 1)


# ---- damage


def in_bytes(content, damage):
    what, at, length, value, bits = damage
    k, n = int(at * len(content)), 1 + int(length * 8)
    if what in ("set", "near"):
        return (
            content[:k] + bytes([content[k] ^ (1 << bits % 8)]) + content[k + 1 :]
            if content
            else b""
        )
    if what == "cut":
        return content[:k]
    if what == "insert":
        return content[:k] + bits.to_bytes(2, "little") * n + content[k:]
    if what == "delete":
        return content[:k] + content[k + n :]
    if what == "double":
        return content[: k + n] + content[k:]
    return content[:k] + (value % 256).to_bytes(1, "little") * n + content[k + n :]


def in_array(array, damage):
    what, at, length, value, bits = damage
    if array.ndim != 1:
        return np.array(value)
    k = int(at * len(array))
    if what == "text" or array.dtype == np.uint8 and len(array) > 40:  # the signature: JSON
        return np.frombuffer(in_text(array.tobytes(), damage), np.uint8)
    if what == "cut":
        return array[:k]
    if what == "insert":
        return np.insert(array, k, array[k] if len(array) else 0)
    if what == "delete":
        return np.delete(array, k) if len(array) else array
    if what == "double":
        return np.concatenate([array, array[k:]])
    if what == "kind":
        kinds = [np.float64, np.int64, np.int32, np.uint8, bool, np.float32, ">i4"]
        with np.errstate(all="ignore"):
            return array.astype(kinds[bits % len(kinds)])
    if not len(array):
        return array
    array = array.copy()
    if array.dtype.kind == "f":
        array[k] = FLOATS[bits % len(FLOATS)]
    elif array.dtype.kind == "b":
        array[k] = not array[k]
    elif what == "near":  # another node, itself, the next one
        array[k] = (k, k + 1, len(array), len(array) - 1, int(length * len(array)))[bits % 5] % 256
    else:
        info = np.iinfo(array.dtype)
        array[k] = min(max(value, int(info.min)), int(info.max))
    return array


def in_text(content, damage):
    """Another number, a token more or less, a byte."""
    what, at, length, value, bits = damage
    tokens = [
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b'"',
        b'"f"',
        b'"i"',
        b'["a",[2],"f"]',
        b'["[",2]',
        b"null",
    ]
    tokens += [
        str(value).encode(),
        b"1e400",
        b'["=","int",7]',
        b'["{",["k","k"]]',
        b"true",
        b'["k",[]]',
    ]
    digits = [k for k, c in enumerate(content) if chr(c).isdigit()]
    if what in ("set", "near") and digits:
        k = digits[int(at * len(digits))]
        return content[:k] + str(value).encode() + content[k + 1 :]
    k, n = int(at * len(content)), 1 + int(length * 8)
    if what in ("cut", "delete"):
        return content[:k] + content[k + n :]
    return (
        content[:k] + tokens[bits % len(tokens)] + (content[k:] if bits & 64 else content[k + n :])
    )


def load(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.npz"
        path.write_bytes(content)
        try:
            return mg.load(path)
        except ValueError as error:
            if not str(error):
                raise Wrong("it is refused without a message") from None
            raise Skip from None


def unpickled(make, allowed):
    try:
        return make()
    except allowed:
        raise Skip from None


class Careful(pickle._Unpickler):
    """Which calls nothing but what pickles of programs have.

    It is the one in Python, so that a damaged dtype can be refused: to set its state may end NumPy
    with a SIGSEGV.
    """

    dispatch = dict(pickle._Unpickler.dispatch)

    def load_build(self):
        state, dtype = self.stack[-1], self.stack[-2]
        if isinstance(dtype, np.dtype) and state != dtype.__reduce__()[2]:
            raise pickle.UnpicklingError("a dtype of another state")
        super().load_build()

    dispatch[pickle.BUILD[0]] = load_build

    def find_class(self, module, name):
        if (module.split(".")[0], name) in (
            ("micrograd_c", "restored_program"),
            ("numpy", "_reconstruct"),
            ("numpy", "_frombuffer"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        ):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(name)


def damaged(case):
    """The program, if it is let through."""
    how, sound = case.setup["how"], program(case.setup)
    if how == "pickle":
        content = pickle.dumps(sound, 2 if case.setup["optimize"] else 4)
        for damage in case.steps:
            content = in_bytes(content, damage)
        return unpickled(lambda: Careful(io.BytesIO(content)).load(), Exception)
    if how == "state":
        make, (arrays, *state) = sound.__reduce__()
        arrays = list(arrays)
        for damage in case.steps:
            k = int(damage[2] * (len(arrays) + len(state)))
            if k < len(arrays):
                arrays[k] = in_array(arrays[k], damage)
            else:
                values = [
                    None,
                    (),
                    [],
                    {},
                    7,
                    -1,
                    "f",
                    ("f",),
                    (("[", 2**31),),
                    {0: 1},
                    (("a", (2,)),),
                ]
                state[k - len(arrays)] = values[damage[4] % len(values)]
        refused = (ValueError, TypeError, AttributeError, IndexError, OverflowError)
        return unpickled(lambda: make(tuple(arrays), *state), refused)
    with tempfile.TemporaryDirectory() as folder:
        sound.save(Path(folder) / "sound.npz")
        content = (Path(folder) / "sound.npz").read_bytes()
    if how == "file":
        for damage in case.steps:
            content = in_bytes(content, damage)
        return load(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for damage in case.steps:
        name = sorted(members)[int(damage[2] * len(members))]
        if how == "member":
            members[name] = in_bytes(members[name], damage)
        else:
            array, file = np.load(io.BytesIO(members[name])), io.BytesIO()
            np.save(file, in_array(array, damage))
            members[name] = file.getvalue()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return load(file.getvalue())


# ---- use


def arguments(spec, draw):
    """Arguments of that signature: (args, keywords)."""
    items = list(spec)[::-1]

    def one():
        item = items.pop()
        if item == "f":
            return draw.choice([0.5, -1.0, 0.0, 2.5])
        if item == "i":
            return draw.randrange(-3, 3)
        kind = item[0]
        if kind == "=":
            return np.zeros(item[2][0], bool) if item[1] == "array" else item[2]
        if kind == "a":
            return np.full(item[1], 1.0) if item[2] == "f" else np.ones(item[1], int)
        if kind == "o":
            flat = np.empty(int(np.prod(item[1])), object)
            flat[:] = [one() for _ in flat]
            return flat.reshape(item[1])
        if kind == "{":
            return {key: one() for key in item[1]}
        parts = [one() for _ in range(item[1])]
        return parts if kind == "[" else tuple(parts)

    args, keywords = [], {}
    while items:
        if items[-1][0] == "k":
            keywords = {name: one() for name in items.pop()[1]}
        else:
            args.append(one())
    return args, keywords


def use(twin):
    """Everything that a program does, on some arguments."""
    str(twin), twin.ops, twin.memory, twin.captured, twin.outputs, twin.arguments
    if twin.inputs > MOST or twin.outputs > MOST or len(str(twin.spec)) > 10 * MOST:
        raise Skip
    args, keywords = arguments(twin.spec, random.Random(0))
    many = [[arg] * 20 if isinstance(arg, (float, int)) else mg.shared(arg) for arg in args]
    calls = [
        lambda: twin(*args, **keywords),
        lambda: mg.sum(leaves(twin(*args, **keywords))).backward(),
        lambda: twin.map(*many, **keywords),
        lambda: twin.mean(*many, **keywords),
        lambda: twin.grad(*args, **keywords),
        lambda: twin.grad.map(*many, argnums=tuple(range(len(args))), **keywords),
        lambda: mg.grad(twin)(*args, **keywords),
        lambda: mg.hessian(twin)(*args, **keywords),
        lambda: mg.jacobian(twin)(*args, **keywords),
        lambda: pickle.loads(pickle.dumps(twin))(*args, **keywords),
    ]
    for call in calls:
        try:
            call()
        except REFUSALS:
            pass


def leaves(x):
    if isinstance(x, (list, tuple, np.ndarray)):
        return [v for item in x for v in leaves(item)]
    return [v for item in x.values() for v in leaves(item)] if isinstance(x, dict) else [x]


def run(case):
    twin = damaged(case)
    if not isinstance(twin, mg.Program):
        raise Skip  # a pickle of something else
    use(twin)


def script(case):
    return "\n".join(
        [
            "from tests.fuzz import Case, files",
            f"case = Case({case.setup!r},",
            f"    {case.steps!r})",
            "# the function:",
            *("#     " + line for line in source(case.setup).splitlines()),
            "files.run(case)",
        ]
    )
