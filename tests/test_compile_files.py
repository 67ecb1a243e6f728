"""Programs in files and pickles: what was saved comes back, and what was damaged is refused."""

import concurrent.futures
import copy
import multiprocessing
import operator
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from reference import live_nodes

import micrograd_c as mg
from micrograd_c import Value


def make_program():
    """A small program with all there is: nested arguments, an index, captured Values, two results;
    and arguments for it."""
    table = [[Value(0.1 * i - 0.2 * j) for j in range(2)] for i in range(3)]
    w = Value(0.5) * 3.0

    def fn(point, rest, index, scale=2, mode="tanh"):
        row = mg.take(table, index)
        h = sum(a * b for a, b in zip(row, point["x"]))
        h = getattr(h * w + rest[0], mode)() * scale
        return {"score": h, "pair": (mg.max([h, rest[0]]), mg.where(h, 1.5, w.detach() ** 2))}

    args = {"x": [0.3, -0.7]}, (0.25,), 1
    return mg.compile(fn).program(*args), args


def make_tiny():
    """One multiplication by a captured Value, and one exp."""
    w = Value(0.5)
    return mg.compile(lambda x: (w * x).exp()).program(1.0), (1.5,)


def flat(result):
    """All Values of a result, in order."""
    if isinstance(result, Value):
        return [result]
    parts = result.values() if isinstance(result, dict) else result
    return [v for part in parts for v in flat(part)]


def answers(program, args):
    """All numbers that a call gives: results, and the gradients of captured Values."""
    found = []
    for k in range(len(flat(program(*args)))):
        for v in program.captured:
            v.grad = 0.0
        out = flat(program(*args))[k]
        out.backward()
        found += [out.data, *(v.grad for v in program.captured)]
    return found


def assert_equal(ours, program, args):
    assert type(ours) is type(program)
    for name in ("inputs", "outputs", "ops", "memory"):
        assert getattr(ours, name) == getattr(program, name), name
    assert str(ours) == str(program)
    assert [v.data for v in ours.captured] == [v.data for v in program.captured]
    assert answers(ours, args) == answers(program, args)


@pytest.fixture(params=[make_program, make_tiny], ids=["large", "tiny"])
def made(request):
    return request.param()


# ---- what is saved comes back


def through_a_file(program, tmp_path):
    program.save(tmp_path / "program.npz")
    return mg.load(tmp_path / "program.npz")


def through_a_pickle(program, tmp_path):
    return pickle.loads(pickle.dumps(program))


def through_an_old_pickle(program, tmp_path):
    return pickle.loads(pickle.dumps(program, 2))


def through_a_copy(program, tmp_path):
    return copy.deepcopy(program)


every_way = pytest.mark.parametrize(
    "duplicate", [through_a_file, through_a_pickle, through_an_old_pickle, through_a_copy]
)


@every_way
def test_a_program_comes_back(made, duplicate, tmp_path):
    program, args = made
    assert_equal(duplicate(program, tmp_path), program, args)


@every_way
def test_it_comes_back_twice(duplicate, tmp_path):
    program, args = make_program()
    assert_equal(duplicate(duplicate(program, tmp_path), tmp_path), program, args)


@every_way
def test_captured_values_come_back_as_values_of_their_own(duplicate, tmp_path):
    program, args = make_program()
    twin = duplicate(program, tmp_path)
    assert len(twin.captured) == len(program.captured) == 7
    assert all(type(v) is Value and v._prev == set() and v.grad == 0.0 for v in twin.captured)
    assert not set(twin.captured) & set(program.captured)
    before = answers(program, args)
    for v in twin.captured:
        v.data += 0.5
    assert answers(program, args) == before != answers(twin, args)
    for v in program.captured:
        v.data += 0.5
    assert answers(program, args) == pytest.approx(answers(twin, args), rel=1e-14)


@every_way
def test_it_does_all_that_a_program_does(duplicate, tmp_path):
    f = mg.compile(lambda x, y: (x[0] * y).sin() + x[1] * x[1])
    program = f.program([1.0, 2.0], 3.0)
    twin = duplicate(program, tmp_path)
    x, y = np.random.default_rng(0).normal(size=(50, 2)), np.linspace(0, 1, 50)
    assert np.array_equal(twin.map(x.tolist(), y), program.map(x.tolist(), y))
    assert twin.mean(x.tolist(), y).data == program.mean(x.tolist(), y).data
    assert twin.grad([0.5, 2.0], 3.0) == program.grad([0.5, 2.0], 3.0)
    assert twin.value_and_grad([0.5, 2.0], 3.0) == program.value_and_grad([0.5, 2.0], 3.0)
    a = Value(0.5)
    twin([a, 2.0], 3.0).backward()
    assert a.grad == pytest.approx(3.0 * np.cos(1.5))
    for bad in [([1.0], 3.0), ((1.0, 2.0), 3.0), ([1.0, 2.0], [3.0])]:
        with pytest.raises(ValueError):
            twin(*bad)


@every_way
def test_special_numbers_come_back(duplicate, tmp_path):
    numbers = [np.inf, -np.inf, np.nan, -0.0, 5e-324, 1.7e308]
    values = [Value(x) for x in numbers]
    f = mg.compile(lambda x: [mg.where(x, v, c) for v, c in zip(values, reversed(numbers))])
    program = f.program(1.0)
    twin = duplicate(program, tmp_path)
    for x in (1.0, -1.0):
        ours, expected = ([v.data for v in p(x)] for p in (twin, program))
        np.testing.assert_array_equal(ours, expected)
        assert np.array_equal(np.signbit(ours), np.signbit(expected))
    assert repr([v.data for v in twin.captured]) == repr([v.data for v in program.captured])


@every_way
def test_signatures_come_back(duplicate, tmp_path):
    def fn(a, b, n, flag, name, none, *, key):
        assert flag is True and name == "näme" and none is None
        return sum(a.ravel()) * n + b[0]["k"][1] * key

    f = mg.compile(fn)
    args = np.ones((2, 3)), ({"k": [1.0, 2.0]},), 3, True, "näme", None
    program = f.program(*args, key=0.5)
    twin = duplicate(program, tmp_path)
    assert twin(*args, key=0.5).data == program(*args, key=0.5).data == 19.0
    for k, bad in enumerate([np.ones((3, 2)), ([1.0],), 4, False, "name", 0.0]):
        with pytest.raises(ValueError):
            twin(*args[:k], bad, *args[k + 1 :], key=0.5)


def test_loading_and_copying_leave_only_the_captured_values(tmp_path):
    program, args = make_program()
    before = live_nodes()
    twins = [through_a_file(program, tmp_path), through_a_pickle(program, tmp_path)]
    assert live_nodes() <= before + 14
    for twin in twins:
        answers(twin, args)
    del twin, twins
    assert live_nodes() == before


def test_a_path_may_be_a_string_and_a_file_is_overwritten(tmp_path):
    path = str(tmp_path / "program.npz")
    program, args = make_program()
    tiny, tiny_args = make_tiny()
    program.save(path)
    tiny.save(path)
    assert_equal(mg.load(path), tiny, tiny_args)
    assert [p.name for p in tmp_path.iterdir()] == ["program.npz"]


def test_the_file_is_plain_arrays(tmp_path):
    path = tmp_path / "program.npz"
    make_program()[0].save(path)
    with np.load(path, allow_pickle=False) as arrays:
        assert len(arrays.files) > 3
        assert all(arrays[name].dtype != object for name in arrays.files)
        assert any("version" in name for name in arrays.files)


def test_a_program_of_a_million_nodes_comes_back(tmp_path):
    w = Value(1.0 - 1e-6)

    def fn(x):
        for _ in range(300_000):
            x = x * w + 1e-3
        return x

    program = mg.compile(fn).program(1.0)
    twin = through_a_file(program, tmp_path)
    assert twin(2.0).data == program(2.0).data
    assert twin.grad(2.0) == program.grad(2.0)


# ---- other processes


def test_a_file_moves_between_processes(run, tmp_path):
    program, args = make_program()
    program.save(tmp_path / "program.npz")
    out = run(
        f"""
        import micrograd_c as mg
        program = mg.load({str(tmp_path / "program.npz")!r})
        print(repr(program(*{args!r})["score"].data), len(program.captured))
        """
    )
    assert out.split() == [repr(program(*args)["score"].data), "7"]


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_pool_of_processes_is_handed_programs(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    w = Value(0.5)
    f = mg.compile(lambda x, y: (w * x[0]).tanh() * y + x[1])
    program = f.program(np.zeros(2), 1.0)
    x, y = np.random.default_rng(0).normal(size=(400, 2)), np.linspace(-1, 1, 400)
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        calls = [operator.methodcaller("map", x[k::2], y[k::2]) for k in range(2)]
        parts = list(pool.map(_call, calls, [program] * 2))
        grad = pool.submit(_gradient, program, x, y).result()
    for k in range(2):
        assert np.array_equal(parts[k], program.map(x[k::2], y[k::2]))
    w.grad = 0.0
    program.mean(x, y).backward()
    assert grad == [w.grad]


def _call(caller, program):
    return caller(program)


def _gradient(program, x, y):
    program.mean(x, y).backward()
    return [v.grad for v in program.captured]


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="fork as POSIX has it"
)
def test_a_fork_after_threads_have_worked(run):
    out = run(
        """
        import os
        import numpy as np
        import micrograd_c as mg
        w = mg.Value(0.5)
        f = mg.compile(lambda x: (w * x).exp())
        mg.set_num_threads(2)
        x = np.linspace(0, 1, 5000)
        expected = f.mean(x).data
        child = os.fork()
        if not child:
            os._exit(0 if f.mean(x).data == expected else 1)
        print(os.waitpid(child, 0)[1])
        """
    )
    assert out.split() == ["0"]


# ---- damaged files

# Loads every variant of a file that `variants` yields and uses what was accepted. A crash or an
# endless loop fails this process alone.
CHECK = """
import io, sys
sys.path.insert(0, {tests!r})
import numpy as np
import micrograd_c as mg
import test_compile_files as tests
from pathlib import Path

path, folder = Path({path!r}), Path({folder!r})
program, args = mg.load(path), {args!r}
whole, expected = path.read_bytes(), repr(tests.answers(program, args))

def load(data):
    damaged = folder / "damaged.npz"
    damaged.write_bytes(data)
    try:
        return mg.load(damaged)
    except ValueError as error:
        assert str(error), "an error without a message"
        return None
"""

DAMAGE = """
accepted = 0
def check(data, what):
    global accepted
    twin = load(data)
    if twin is not None:
        accepted += 1
        assert str(twin) == str(program), what
        assert repr(tests.answers(twin, args)) == expected, what
for k in range(len(whole)):
    flip = 0xFF if k % 2 else 1 << k // 2 % 8
    check(whole[:k] + bytes([whole[k] ^ flip]) + whole[k + 1:], ("flipped", k, flip))
    if k % 3 == 0:
        check(whole[:k], ("cut off", k))
for k in range(0, len(whole), 7):
    check(whole[:k] + whole[k + 1:], ("left out", k))
    check(whole[:k] + whole[k:k + 1] + whole[k:], ("doubled", k))
    check(whole[k:], ("beginning cut off", k))
print(len(whole), accepted)
"""


def check(run, tmp_path, made, code, timeout=120):
    program, args = made
    program.save(tmp_path / "program.npz")
    (tmp_path / "scratch").mkdir()
    setup = CHECK.format(
        tests=str(Path(__file__).parent),
        path=str(tmp_path / "program.npz"),
        folder=str(tmp_path / "scratch"),
        args=args,
    )
    return run(setup + code, timeout=timeout)


def test_a_file_damaged_byte_by_byte(run, tmp_path):
    size, accepted = map(int, check(run, tmp_path, make_tiny(), DAMAGE).split())
    assert size > 100
    assert accepted < size  # most damage is noticed; the rest is in what does not matter


# One number of one array replaced; the file itself is sound. What is accepted is called, and may
# refuse its arguments, but has to stay within its memory and come to an end.
MUTATE = """
arrays = dict(np.load(path, allow_pickle=False))

def use(twin):
    str(twin), twin.ops, twin.memory, twin.captured, twin.inputs, twin.outputs
    many = tuple(mg.shared(arg) for arg in args[:-1]) + ([args[-1]] * 20,)
    for call in (lambda: twin(*args), lambda: tests.answers(twin, args), lambda: twin.map(*many),
                 lambda: twin.sum(*many), lambda: twin.grad(*args), lambda: twin.grad.map(*many)):
        try:
            call()
        except (ValueError, TypeError, IndexError):
            pass

def attempt(changed):
    file = io.BytesIO()
    np.savez(file, **changed)
    twin = load(file.getvalue())
    if twin is not None:
        use(twin)
    return twin

assert attempt(arrays) is not None
counts = [0, 0]
for name, array in arrays.items():
    numbers = array.reshape(-1)
    if array.dtype.kind in "iu":
        info = np.iinfo(array.dtype)
        bad = {info.min, info.max, -1, 0, 1, 2, 40, len(numbers), len(numbers) - 1}
        if name == "signature":
            bad = {0, 255, *b'09"]'}
        bad = [x for x in bad if info.min <= x <= info.max]
    else:
        bad = [np.nan, np.inf, -1.0, 1e300, 0.5]
    for k in range(len(numbers)):
        for x in bad:
            changed = numbers.copy()
            changed[k] = x
            counts[attempt({**arrays, name: changed.reshape(array.shape)}) is not None] += 1
print(*counts)
"""


def test_files_with_any_one_number_replaced(run, tmp_path, made):
    refused, accepted = map(int, check(run, tmp_path, made, MUTATE, timeout=300).split())
    assert refused > 50


# Whole arrays replaced: all of these have to be refused.
HOSTILE = """
import os, pickle, zipfile
arrays = dict(np.load(path, allow_pickle=False))

class Harm:
    def __reduce__(self):
        return os.mkdir, (str(folder / "harm"),)

def refused(changed, what, save=np.savez):
    file = io.BytesIO()
    save(file, **changed)
    assert load(file.getvalue()) is None, what
    assert not (folder / "harm").exists(), what

def attempt_signature(text):
    file = io.BytesIO()
    np.savez(file, **{**arrays, "signature": np.frombuffer(text.encode(), np.uint8)})
    return load(file.getvalue())

for name, array in arrays.items():
    rest = {k: a for k, a in arrays.items() if k != name}
    refused(rest, ("missing", name))
    refused({**rest, name: np.array([Harm()], dtype=object)}, ("pickle", name))
    refused({**rest, name: array.astype(object)}, ("objects", name))
    refused({**rest, name: array.astype(complex) if array.dtype.kind in "iuf" else np.zeros(3)},
            ("kind", name))
    refused({**rest, name: array[None]}, ("an axis more", name))
    refused({**rest, name: np.zeros((0, *[2] * 31), np.uint8)}, ("axes", name))
    refused({**rest, name: np.datetime64("2020")}, ("date", name))
    if array.ndim and len(array):
        refused({**rest, name: array[0]}, ("an axis less", name))
        if array.dtype.kind in "iu":
            refused({**rest, name: array.astype(float) + 0.5}, ("fractions", name))
            refused({**rest, name: np.full(len(array), np.iinfo(array.dtype).max, array.dtype)},
                    ("all too large", name))

def header(text, data=b""):
    text = text.encode() + b" " * (-(len(text) + 11) % 64) + b"\\n"
    return b"\\x93NUMPY\\x01\\x00" + len(text).to_bytes(2, "little") + text + data

def with_member(name, content):
    file = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(file, "w") as new:
        for member in old.namelist():
            new.writestr(member, content if member == name + ".npy" else old.read(member))
    return file.getvalue()

for name, array in arrays.items():
    for shape in ((2**62,), (2**40,), (10**9, 10**9), (2**31,), (-1,), (2**63, 2), (2**100,)):
        text = "{'descr': %r, 'fortran_order': False, 'shape': %r, }" % (array.dtype.str, shape)
        assert load(with_member(name, header(text, array.tobytes()))) is None, (name, shape)
    for descr in ("'|O'", "'>f2'", "[('a', '<f8')]", "'<U999999999'", "'<V8'", "__import__('os')"):
        text = "{'descr': %s, 'fortran_order': False, 'shape': %r, }" % (descr, array.shape)
        assert load(with_member(name, header(text, array.tobytes()))) is None, (name, descr)
    assert load(with_member(name, b"")) is None
    assert load(with_member(name, pickle.dumps(Harm()))) is None
assert not (folder / "harm").exists()

# Nodes that stand before their parents, or are their own.
n = len(arrays["op"])
for name in ("lhs", "rhs"):
    for k in range(n):
        if arrays["op"][k] in (arrays["op"][-1], arrays["op"][-2]) and arrays["op"][k] != 0:
            for at in (k, n - 1 if k < n - 1 else k, n, n + 1, -1, -n, 2**31 - 1, -2**31):
                changed = arrays[name].copy()
                changed[k] = at
                refused({**arrays, name: changed}, ("cycle", name, k, at))
for at in (-1, n, 2**31 - 1):
    refused({**arrays, "outputs": np.full_like(arrays["outputs"], at)}, ("output", at))
for name in ("op", "lhs", "rhs", "data", "outputs"):
    refused({**arrays, name: arrays[name][:-1]}, ("short", name))
    refused({**arrays, name: np.append(arrays[name], arrays[name][-1:])}, ("long", name))
    refused({**arrays, name: arrays[name][:0]}, ("empty", name))
def signed(text):
    return {**arrays, "signature": np.frombuffer(text.encode(), np.uint8)}

signature = arrays["signature"].tobytes().decode()
assert attempt_signature(signature) is not None
for text in ("", "null", "[]", "{}", "x", "[" * 100_000, '{"a":' * 100_000, "1" * 10_000, "1e999",
             signature + "}", signature.replace('"f"', '["[", 2147483647]'),
             signature.replace('"f"', '["a", [2147483647, 2147483647], "f"]'),
             signature.replace('"f"', '["a", [-1, -1], "f"]'),
             signature.replace('"f"', '["[", 1], ' * 5000 + '"f"'),
             signature.replace('"f"', '["=", "str", 1]'), signature.replace('"f"', '"f", "f"'),
             signature.replace('"f"', '["[", -1], "f"'),
             signature.replace('"f"', '["{", [[1]]], "f"')):
    refused(signed(text), text[:200])
refused({}, "nothing")
refused({"x": np.zeros(3)}, "another archive")
print("all refused")
"""


def test_hostile_files(run, tmp_path):
    assert check(run, tmp_path, make_tiny(), HOSTILE).strip() == "all refused"


def test_files_of_other_kinds(tmp_path):
    path = tmp_path / "other.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "not an array")
    contents = [path.read_bytes(), b"", b"PK", b"PK\x05\x06" + bytes(18), b"x = 1\n" * 100]
    np.save(tmp_path / "array.npy", np.zeros(3))
    contents += [(tmp_path / "array.npy").read_bytes(), pickle.dumps([1, 2]), bytes(10_000)]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(ValueError, match="."):
            mg.load(path)
    with pytest.raises(FileNotFoundError):
        mg.load(tmp_path / "missing.npz")
    with pytest.raises(OSError):
        mg.load(tmp_path)


def test_a_version_from_the_future_is_named(tmp_path):
    path = tmp_path / "program.npz"
    make_tiny()[0].save(path)
    arrays = dict(np.load(path, allow_pickle=False))
    [name] = [name for name in arrays if "version" in name]
    np.savez(path, **{**arrays, name: arrays[name] + 41})
    with pytest.raises(ValueError, match=str(int(arrays[name].item()) + 41)):
        mg.load(path)


def test_a_file_that_cannot_be_written(tmp_path):
    program, args = make_tiny()
    with pytest.raises(OSError):
        program.save(tmp_path / "missing" / "program.npz")
    with pytest.raises((OSError, TypeError, ValueError)):
        program.save(None)
    assert answers(program, args)


@pytest.mark.parametrize("state", [None, (), {}, 5, b"", ("x",), [1, 2, 3], (1.0,) * 9], ids=repr)
def test_a_pickle_that_was_tampered_with_does_no_harm(state):
    program, args = make_tiny()
    expected = answers(program, args)
    reduced = program.__reduce_ex__(4)
    make, given = reduced[:2]
    for tampered in ((), (state,), (*given[:-1], state) if given else (state,)):
        try:
            twin = make(*tampered)
            if len(reduced) > 2 and reduced[2] is not None:
                twin.__setstate__(state)
        except (AttributeError, TypeError, ValueError):
            continue
        # A bare object, which was never given its state, has to refuse work instead.
        for use in (lambda p: p(1.0), lambda p: p.map([1.0]), str, lambda p: p.captured):
            try:
                use(twin)
            except (AttributeError, TypeError, ValueError):
                pass
    assert answers(program, args) == expected


def test_a_state_with_fewer_outputs_than_results_is_refused():
    make, (arrays, *state) = mg.compile(lambda x: x * 2.0).program(1.0).__reduce__()
    for outputs in (arrays[5][:0], np.repeat(arrays[5], 2)):
        with pytest.raises(ValueError, match="results"):
            make((*arrays[:5], outputs), *state)


@pytest.mark.parametrize("item", ["{", "x", "", ("x", 1), ("k", ("x",))], ids=repr)
def test_a_state_whose_signature_holds_what_no_argument_is_is_refused(item):
    make, (arrays, numbers, spec, *state) = mg.compile(lambda x: x * 2.0).program(1.0).__reduce__()
    assert spec == ("f",)
    with pytest.raises((ValueError, IndexError)):
        make(arrays, numbers, (item,), *state)
