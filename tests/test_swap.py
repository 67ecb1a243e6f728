"""micrograd_c under micrograd's name: install(), `python -m micrograd_c` and --swap."""

import importlib.machinery
import json
import pkgutil
import signal
import subprocess
import sys
import textwrap
import zipfile

import pytest

import micrograd_c
from micrograd_c import swap as swapping

SUBMODULES = [module.name for module in pkgutil.iter_modules(micrograd_c.__path__)]

# A Value as single-file programs carry it, in the style of micrograd. Its methods count their
# calls, so a program can tell whose they are.
OWN_VALUE = """\
import math

calls = 0


class Value:
    def __init__(self, data, _children=(), _op=''):
        global calls
        calls += 1
        self.data = data
        self.grad = 0
        self._backward = lambda: None
        self._prev = set(_children)
        self._op = _op

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        out = Value(self.data + other.data, (self, other), '+')
        def _backward():
            self.grad += out.grad
            other.grad += out.grad
        out._backward = _backward
        return out

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        out = Value(self.data * other.data, (self, other), '*')
        def _backward():
            self.grad += other.data * out.grad
            other.grad += self.data * out.grad
        out._backward = _backward
        return out

    __radd__ = __add__
    __rmul__ = __mul__

    def backward(self):
        topo, visited = [], set()
        def build(v):
            if v not in visited:
                visited.add(v)
                for child in v._prev:
                    build(child)
                topo.append(v)
        build(self)
        self.grad = 1
        for v in reversed(topo):
            v._backward()
"""


class Ended:
    """How a program ended and what it printed."""

    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    def __eq__(self, other):
        return vars(self) == vars(other)

    def __repr__(self):
        return f"exit code {self.code}\n{self.out}-- stderr\n{self.err}"


@pytest.fixture
def python(tmp_path):
    """python(*arguments): a fresh interpreter, run in tmp_path."""

    def python(*arguments, stdin=b""):
        command = [sys.executable, *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, input=stdin, capture_output=True, timeout=120)
        done.stdout = done.stdout.decode().replace("\r\n", "\n")
        done.stderr = done.stderr.decode().replace("\r\n", "\n")
        return Ended(done)

    return python


@pytest.fixture
def ours(python):
    """ours(*arguments): python -m micrograd_c, run in tmp_path."""
    return lambda *arguments, **given: python("-m", "micrograd_c", *arguments, **given)


@pytest.fixture
def write(tmp_path):
    """write(name, text): a file in tmp_path."""

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write


# install() and uninstall()


@pytest.fixture
def untouched():
    """The import system is after the test as it was before."""

    def state():
        loaded = {name: sys.modules[name] for name in sys.modules if name.startswith("micrograd")}
        return list(sys.meta_path), loaded

    # All that a test may load, so that nothing else can differ.
    for name in SUBMODULES:
        importlib.import_module(f"micrograd_c.{name}")
    importlib.import_module("micrograd.nn")
    before = state()
    yield
    micrograd_c.uninstall()
    assert state() == before


def test_install_with_micrograd_loaded(untouched):
    theirs = importlib.import_module("micrograd.engine")
    micrograd_c.install()
    import micrograd
    import micrograd.engine
    from micrograd.nn import MLP

    assert micrograd is micrograd_c
    assert micrograd.engine is micrograd_c.engine
    assert micrograd.engine.Value is micrograd_c.Value
    assert MLP is micrograd_c.nn.MLP
    micrograd_c.uninstall()
    assert importlib.import_module("micrograd.engine") is theirs
    assert theirs.Value is not micrograd_c.Value


def test_install_with_micrograd_half_loaded(python):
    ended = python(
        "-c",
        "import micrograd, micrograd_c; theirs = micrograd; micrograd_c.install()\n"
        "import micrograd.engine; assert micrograd is micrograd_c\n"
        "micrograd_c.uninstall()\n"
        "import micrograd.engine; assert micrograd is theirs\n"
        "assert micrograd.engine.Value is not micrograd_c.Value\n",
    )
    assert ended.code == 0, ended


def test_install_without_micrograd(python, write):
    write(
        "program.py",
        """\
        import sys

        class Missing:
            def find_spec(self, name, path=None, target=None):
                if name.startswith('micrograd.') or name == 'micrograd':
                    raise ModuleNotFoundError(name, name=name)

        sys.meta_path.insert(0, Missing())
        import micrograd_c

        micrograd_c.install()
        from micrograd.engine import Value
        from micrograd.nn import MLP
        import micrograd
        assert Value is micrograd.Value is micrograd_c.Value and MLP is micrograd_c.nn.MLP
        micrograd_c.uninstall()
        assert not [name for name in sys.modules if name.split('.')[0] == 'micrograd']
        try:
            import micrograd.engine
        except ModuleNotFoundError as error:
            print('gone:', error)
        """,
    )
    assert python("program.py").out == "gone: micrograd\n"


def test_no_module_is_loaded_twice(untouched):
    micrograd_c.install()
    for name in SUBMODULES:
        module = importlib.import_module(f"micrograd.{name}")
        assert module is importlib.import_module(f"micrograd_c.{name}")
        assert module.__name__ == module.__spec__.name == f"micrograd_c.{name}"
        assert module.__spec__.loader is not None
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "micrograd":
            assert module is sys.modules[name.replace("micrograd", "micrograd_c", 1)]
    assert micrograd_c.__spec__.name == "micrograd_c"


def test_no_module_that_we_lack(untouched):
    micrograd_c.install()
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'micrograd\.nothing'"):
        importlib.import_module("micrograd.nothing")
    assert importlib.util.find_spec("micrograd.nothing") is None


def test_other_names_are_left_alone(untouched, tmp_path, monkeypatch):
    (tmp_path / "micrograd_extra.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    micrograd_c.install()
    assert importlib.import_module("micrograd_extra").x == 1
    del sys.modules["micrograd_extra"]


def test_install_and_uninstall_may_be_repeated(untouched):
    finders = len(sys.meta_path)
    micrograd_c.uninstall()
    assert len(sys.meta_path) == finders
    micrograd_c.install()
    import micrograd

    micrograd_c.install()
    assert len(sys.meta_path) == finders + 1
    assert importlib.import_module("micrograd") is micrograd is micrograd_c
    micrograd_c.uninstall()
    assert importlib.import_module("micrograd") is not micrograd_c
    micrograd_c.uninstall()
    micrograd_c.install()
    assert importlib.import_module("micrograd") is micrograd_c


def test_ipython_extension(python, tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    ended = python(
        "-c",
        "import micrograd_c\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell()\n"
        "def cell(text): shell.run_cell(text).raise_error()\n"
        "cell('%load_ext micrograd_c')\n"
        "cell('from micrograd.engine import Value; import micrograd')\n"
        "assert shell.user_ns['Value'] is micrograd_c.Value\n"
        "cell('%reload_ext micrograd_c')\n"
        "cell('from micrograd.nn import MLP')\n"
        "assert shell.user_ns['MLP'] is micrograd_c.nn.MLP\n"
        "cell('%unload_ext micrograd_c')\n"
        "cell('from micrograd.engine import Value')\n"
        "assert shell.user_ns['Value'] is not micrograd_c.Value\n",
    )
    assert ended.code == 0, ended


# python -m micrograd_c: the command


def test_help(ours):
    ended = ours("--help")
    assert ended.code == 0 and ended.err == ""
    for part in ("usage: python -m micrograd_c [--swap NAME] script.py", "-m module", "-c code"):
        assert part in ended.out


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "one of the arguments script.py -m -c is required"),
        (["--swap"], "--swap: expected one argument"),
        (["--swap", "Value"], "one of the arguments script.py -m -c is required"),
        (["-m"], "-m: expected one argument"),
        (["--swop", "Value", "x.py"], "unrecognized arguments: --swop"),
    ],
)
def test_wrong_use(ours, arguments, message):
    ended = ours(*arguments)
    assert ended.code == 2 and message in ended.err and "usage:" in ended.err


def test_our_options_end_at_the_script(ours, write):
    write("script.py", "import sys; print(sys.argv)")
    arguments = ["--swap", "x", "--help", "-m", "-c", "--", "-"]
    assert ours("script.py", *arguments).out == f"{['script.py', *arguments]}\n"
    assert ours("--", "script.py", *arguments).out == f"{['script.py', *arguments]}\n"
    assert ours("-c", "import sys; print(sys.argv)", *arguments).out == f"{['-c', *arguments]}\n"
    assert ours("-mscript", *arguments).out.endswith(f"script.py', {str(arguments)[1:]}\n")


@pytest.mark.parametrize("how", [["script.py"], ["-m", "script"], ["-c"], ["-"]])
def test_micrograd_is_ours(ours, write, how):
    # The program's own folder comes before what is installed, as in a checkout of micrograd.
    write("micrograd/__init__.py", "raise AssertionError('not this one')")
    text = """\
        import micrograd, micrograd.engine
        from micrograd.engine import Value
        from micrograd.nn import MLP
        import micrograd_c
        assert Value is micrograd.Value is micrograd.engine.Value is micrograd_c.Value
        assert MLP is micrograd_c.nn.MLP
        print(Value(2.0) * 3)
        """
    path = write("script.py", text)
    ended = ours(*how, *([path.read_text()] if how == ["-c"] else []), stdin=path.read_bytes())
    assert ended.code == 0 and ended.out == "Value(data=6.0, grad=0.0)\n", ended


# python -m micrograd_c: what the program sees


FACTS = '''\
"""What a program can see of how it was started."""
import json, sys, __main__
names = sorted(set(globals()))
x: int = 1
here = sys.modules[__name__]
annotations = [str(here.__annotations__), sorted(set(globals()))]
print(json.dumps({
    "names": names,
    "name": __name__,
    "file": globals().get("__file__"),
    "cached": str(globals().get("__cached__")),
    "package": __package__,
    "loader": getattr(__loader__, "__name__", type(__loader__).__name__),
    "spec": __spec__ and [__spec__.name, __spec__.origin],
    "doc": __doc__,
    "annotations": annotations,
    "builtins": type(__builtins__).__name__,
    "main": __main__.__dict__ is globals() and sys.modules["__main__"] is __main__,
    "argv": sys.argv,
    "path": sys.path,
}))
'''

STARTS = {
    "script": ["facts.py", "a", "-x", "--swap"],
    "dot": ["./facts.py"],
    "folder": ["sub/facts.py", "a"],
    "up": ["sub/../facts.py"],
    "absolute": ["TMP/sub/facts.py"],
    "link": ["linked.py", "a"],
    "isolated": ["-I", "facts.py"],
    "compiled": ["facts.pyc", "a"],
    "directory": ["app", "a"],
    "directory-isolated": ["-I", "app", "a"],
    "zip": ["app.zip", "a"],
    "module": ["-m", "facts", "a", "-m"],
    "submodule": ["-m", "sub.facts", "a"],
    "package": ["-m", "app", "--help"],
    "code": ["-c", FACTS, "a", "-c"],
    "stdin": ["-", "a"],
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_the_program_sees_what_python_shows(python, write, tmp_path, start):
    import py_compile

    script = write("facts.py", FACTS)
    write("sub/facts.py", FACTS)
    write("app/__main__.py", FACTS)
    py_compile.compile(str(script), str(tmp_path / "facts.pyc"))
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("__main__.py", FACTS)
    if "linked.py" in start:
        (tmp_path / "linked.py").symlink_to("sub/facts.py")
    flags = [argument for argument in start if argument == "-I"]
    rest = [argument.replace("TMP", str(tmp_path)) for argument in start[len(flags) :]]
    plain = python(*flags, *rest, stdin=FACTS.encode())
    ran = python(*flags, "-m", "micrograd_c", *rest, stdin=FACTS.encode())
    assert plain.code == 0 and ran.err == "" and json.loads(ran.out) == json.loads(plain.out)


# Modules beside the program that have names of the standard library


SHADOWS = """\
import sys
found = {}
for name in sys.argv[1:]:
    module = __import__(name)
    found[name] = getattr(module, "whose", "Python's")
print(found)
"""
# What `python -m` itself imports from the folder that it is started in.
NEEDED = "collections contextlib functools importlib itertools keyword operator pkgutil reprlib"
NEEDED = [*NEEDED.split(), "runpy", "types", "warnings"]


def beside(folder, but=()):
    """Names of standard modules and others, of which the folder then has modules of its own."""
    # But those that do something when they are imported or at exit, or that setuptools hooks into.
    but = {*but, "antigravity", "distutils", "ensurepip", "importlib", "this", "threading"}
    names = {*sys.stdlib_module_names, "numpy", "scipy"} - but
    built_in = (importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter)
    names = sorted(n for n in names if n[0] != "_" and not any(i.find_spec(n) for i in built_in))
    for name in names:
        (folder / f"{name}.py").write_text("whose = 'own'\n")
    return names


def test_every_module_beside_the_program_is_its_own(python, write):
    names = beside(write("sub/script.py", SHADOWS).parent)
    plain = python("sub/script.py", *names)
    assert plain.code == 0 and plain.out.count("own") > 100, plain
    assert python("-m", "micrograd_c", "sub/script.py", *names) == plain


@pytest.mark.parametrize("how", [["script.py"], ["-m", "script"], ["-c", SHADOWS], ["-"]])
def test_every_module_in_the_current_folder_is_the_programs(python, write, how):
    script = write("script.py", SHADOWS)
    names = beside(script.parent, but=[*NEEDED, "linecache"])  # for -c, from CPython 3.13 on
    plain = python(*how, *names, stdin=SHADOWS.encode())
    assert plain.code == 0 and plain.out.count("own") > 100, plain
    ended = python("-m", "micrograd_c", *how, *names, stdin=SHADOWS.encode())
    assert ended == plain


@pytest.mark.parametrize("arguments", ["script.py", "--swap Value swapped.py", "--help"])
def test_what_we_need_is_not_taken_from_the_programs_folder(ours, write, arguments):
    program = "print((Value(2.0) * 3).data, calls)\nimport pickle; print(pickle.whose)\n"
    path = write(
        "script.py", "from micrograd import Value, nn\nnn.MLP(2, [1])\ncalls = 0\n" + program
    )
    write("swapped.py", OWN_VALUE.replace("import math\n", "") + program)
    expected = ours("--help").out if arguments == "--help" else "6.0 0\nown\n"
    beside(path.parent, but=NEEDED)
    ended = ours(*arguments.split())
    assert ended.code == 0 and ended.out == expected, ended


def test_a_package_beside_the_program_is_its_own_with_its_modules(python, ours, write):
    write("multiprocessing/__init__.py", "")
    write("multiprocessing/pool.py", "whose = 'own'\n")
    write("logging/there.txt", "")  # a folder that is no package hides nothing
    write("script.py", "import multiprocessing.pool as p, logging; print(p.whose, logging.INFO)\n")
    assert ours("script.py") == python("script.py")


def test_pickling_what_the_program_defines(ours, write):
    write(
        "script.py",
        """\
        import dataclasses, pickle
        from micrograd.engine import Value

        @dataclasses.dataclass
        class Point:
            x: int = 1

        class Mine(Value):
            pass

        assert pickle.loads(pickle.dumps(Point(2))) == Point(2)
        mine = pickle.loads(pickle.dumps(Mine(2.0)))
        assert type(mine) is Mine and mine.data == 2.0
        """,
    )
    ended = ours("script.py")
    assert ended.code == 0, ended


# python -m micrograd_c: how the program ends

ENDS = {
    "runs": "print('hello')",
    "nothing": "",
    "exit": "import sys; sys.exit()",
    "exit-code": "import sys; sys.exit(3)",
    "exit-message": "import sys; sys.exit('bye')",
    "exit-object": "raise SystemExit((1, 2))",
    "os-exit": "import os; os._exit(7)",
    "raises": "def f(x):\n    return 1 / x\n\nprint('hello')\nf(0)\n",
    "cause": "def f():\n    try:\n        {}['a']\n    except KeyError as e:\n"
    "        raise ValueError('b') from e\nf()\n",
    "context": "try:\n    1 / 0\nexcept ZeroDivisionError:\n    open('nothing')\n",
    "base-exception": "raise GeneratorExit('x')",
    "import-missing": "import nothing_of_this_name",
    "import-raises": "import raises",
    "import-syntax": "import wrong",
    "syntax": "x = 1\ndef f(:\n    pass\n",
    "indentation": "if x:\ny = 1\n",
    "eval-syntax": "x = 1\neval('1 +')\n",
    "excepthook": "import sys, traceback\ndef hook(kind, error, tb):\n"
    "    traceback.print_exception(kind, error, tb)\n    traceback.print_tb(error.__traceback__)\n"
    "    print('hook', kind)\nsys.excepthook = hook\n1 / 0\n",
    "excepthook-exits": "import sys\nsys.excepthook = lambda *_: sys.exit(5)\n1 / 0\n",
    "atexit-and-threads": "import atexit, threading, time\natexit.register(print, 'atexit')\n"
    "def f():\n    time.sleep(0.1)\n    print('thread', __name__)\n"
    "threading.Thread(target=f).start()\nprint('end of main')\n",
    "atexit-after-error": "import atexit\natexit.register(print, 'atexit')\n1 / 0\n",
    "thread-raises": "import threading\ndef f():\n    1 / 0\n"
    "thread = threading.Thread(target=f)\nthread.start()\nthread.join()\n",
    "del": "class A:\n    def __del__(self):\n        print('del', __name__)\na = A()\n",
    "warnings": "import warnings\nwarnings.warn('a')\nwarnings.warn('b', DeprecationWarning)\n",
    "future": "from __future__ import annotations\ndef f(x: y): pass\nprint(f.__annotations__)\n",
    "bom": "\ufeffprint('bom')\n1 / 0\n",
    "interrupt": "import atexit, os, signal, time\natexit.register(print, 'atexit')\n"
    "os.kill(os.getpid(), signal.SIGINT)\ntime.sleep(10)\n",
    "interrupt-raised": "raise KeyboardInterrupt",
}


@pytest.mark.parametrize(
    "how, text",
    [
        pytest.param(how, text, id=f"{how}-{name}")
        for how in ("script.py", "-c", "-")
        for name, text in ENDS.items()
        if (how, name) != ("-c", "bom")  # a byte order mark is no part of an argument
    ],
)
def test_the_program_ends_as_under_python(python, ours, write, how, text):
    path = write("script.py", text)
    write("raises.py", "def f():\n    raise ValueError('r')\n\nf()\n")
    write("wrong.py", "def (\n")
    start = [how, text] if how == "-c" else [how]
    plain = python(*start, stdin=path.read_bytes())
    assert ours(*start, stdin=path.read_bytes()) == plain
    assert "micrograd" not in plain.err


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_an_interrupt_is_death_by_sigint(ours, write):
    write("script.py", ENDS["interrupt"])
    assert ours("script.py").code == -signal.SIGINT


def test_encoding_cookie(ours, tmp_path):
    (tmp_path / "script.py").write_bytes(b"# coding: latin-1\nprint(ascii('\xe9'))\n")
    assert ours("script.py").out == "'\\xe9'\n"


@pytest.mark.parametrize("end", ["", "1 / 0", "import sys; sys.exit(3)"])
def test_interactive_afterwards(python, write, end):
    write("script.py", f"x = 1\n{end}\n")
    stdin = b"1 / x\nprint(__name__, x)\nundefined\nexit(4)\n"
    plain = python("-i", "script.py", stdin=stdin)
    assert plain.code == 4
    assert python("-i", "-m", "micrograd_c", "script.py", stdin=stdin) == plain


def test_last_traceback_is_the_programs(ours, write):
    write(
        "script.py",
        """\
        import atexit, sys, traceback
        @atexit.register
        def last():
            print([frame.name for frame in traceback.extract_tb(sys.last_traceback)])
        def f():
            1 / 0
        f()
        """,
    )
    assert ours("script.py").out == "['<module>', 'f']\n"


@pytest.mark.parametrize(
    "start",
    [
        ["nothing.py"],
        ["sub/nothing.py"],
        ["empty"],
        ["-m", "nothing"],
        ["-m", "empty"],
        ["-m", "sys"],
    ],
    ids=" ".join,
)
def test_no_such_program(python, ours, tmp_path, start):
    (tmp_path / "empty").mkdir()
    plain, ended = python(*start), ours(*start)
    assert plain.code in (1, 2) and ended.code == plain.code
    # What precedes is the name of the interpreter, as it was called or as it calls itself.
    assert ended.err.split(": ", 1)[1] == plain.err.split(": ", 1)[1]


@pytest.mark.parametrize("name", ["nothing.below", "script.py"])
def test_no_such_submodule(ours, write, name):
    write("script.py", "")
    ended = ours("-m", name)
    assert ended.code == 1 and ended.err.endswith(f": No module named {name}\n")


def test_a_package_that_fails_to_import_shows_why(ours, write):
    write("package/__init__.py", "import nothing_of_this_name\n")
    write("package/module.py", "")
    ended = ours("-m", "package.module")
    assert ended.code == 1
    assert ended.err.endswith("ModuleNotFoundError: No module named 'nothing_of_this_name'\n")
    assert "package" in ended.err.splitlines()[-3]


# multiprocessing

WORKERS = """\
import multiprocessing, sys
{value}

def work(x):
    y = Value(x) * 3 + 1
    y.backward()
    return y.data, type(y).__module__, x

if __name__ == '__main__':
    context = multiprocessing.get_context(sys.argv[1])
    with context.Pool(1) as pool:
        print(pool.map(work, [1.0, 2.0]))
"""
METHODS = [m for m in ("spawn", "forkserver", "fork") if sys.platform != "win32" or m == "spawn"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", [["script.py"], ["-m", "script"]], ids=["script", "module"])
@pytest.mark.parametrize("swap", [[], ["--swap", "Value"]], ids=["import", "swap"])
def test_child_processes_run_on_ours_too(ours, write, method, how, swap):
    value = OWN_VALUE if swap else "from micrograd.engine import Value"
    write("script.py", WORKERS.format(value=value))
    ended = ours(*swap, *how, method)
    assert ended.code == 0, ended
    module = micrograd_c.Value.__module__
    assert ended.out == f"[(4.0, '{module}', 1.0), (7.0, '{module}', 2.0)]\n"
    assert ended.err.count("is now micrograd_c.Value") == len(swap[:1])  # the message, once


PRELOADING = """\
import multiprocessing, sys
import helper
{value}
sys.stdout.write("imported %s %d\\n" % (__name__, len(sys.argv)))

def work(x):
    return (Value(x) * 3).data, type(Value(x)).__module__, helper.whose

if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "helper"])
    with context.Pool(1) as pool:
        print(pool.map(work, [1.0, 2.0]))
"""


@pytest.mark.skipif("forkserver" not in METHODS, reason="forkserver")
@pytest.mark.parametrize("swap", [[], ["--swap", "Value"]], ids=["import", "swap"])
def test_what_a_fork_server_imports_is_ours(python, ours, write, swap):
    """And it imports the program itself where Python's does, once, under the same conditions."""
    value = OWN_VALUE if swap else "from micrograd.engine import Value"
    write("sub/script.py", PRELOADING.format(value=value))
    write("sub/helper.py", "from micrograd.engine import Value; whose = Value.__module__\n")
    plain, ended = python("sub/script.py", "x"), ours(*swap, "sub/script.py", "x")
    assert ended.code == plain.code == 0, ended
    module = micrograd_c.Value.__module__
    results = f"[(3.0, '{module}', '{module}'), (6.0, '{module}', '{module}')]"
    assert ended.out.splitlines()[-1] == results
    assert sorted(ended.out.splitlines()[:-1]) == sorted(plain.out.splitlines()[:-1])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("swap", [[], ["--swap", "Value"]], ids=["import", "swap"])
def test_child_processes_import_what_is_beside_the_program(python, ours, write, method, swap):
    value = OWN_VALUE if swap else "from micrograd.engine import Value"
    names = ["numbers", "argparse", "pickle"]
    text = WORKERS.replace(", x\n", ", *[__import__(name).__file__ for name in names]\n")
    write("sub/script.py", f"names = {names}\n" + text.format(value=value))
    for name in names[:-1]:
        write(f"sub/{name}.py", "")
    plain, ended = python("sub/script.py", method), ours(*swap, "sub/script.py", method)
    module = "__main__" if swap else "micrograd.engine"
    if method != "fork" and swap:
        module = "__mp_main__"
    assert plain.code == ended.code == 0, ended
    assert ended.out == plain.out.replace(module, micrograd_c.Value.__module__)


def test_multiprocessing_that_was_loaded_before_us(python, write):
    write("script.py", "import sys, __main__; assert sys.modules['__mp_main__'] is __main__")
    program = "import multiprocessing, runpy, sys; sys.argv[1:] = ['script.py']\n"
    program += "runpy.run_module('micrograd_c', run_name='__main__', alter_sys=True)"
    ended = python("-c", program)
    assert ended.code == 0, ended


# --swap

REPLACED = "compiled ones replace its "


@pytest.fixture
def swap(ours, write):
    """swap(text): run it with --swap Value; what it printed, and the message without its start.

    swap.replaced: the methods that are said to be replaced. swap.notes: the lines after that.
    """

    def swap(text, name="script.py", *arguments):
        write(name, text)
        ended = ours("--swap", "Value", name, *arguments)
        assert ended.code == 0, ended
        lines = [line.split("micrograd_c: ", 1) for line in ended.err.splitlines()]
        (_, first), (_, second), *rest = lines
        assert all(before == "" for before, _ in lines), ended
        assert first.startswith("class Value, line "), ended
        assert second.startswith(REPLACED), ended
        swap.replaced = second.removeprefix(REPLACED).split(", ")
        swap.notes = [line for _, line in rest]
        return ended.out, first.removeprefix("class Value, line ")

    return swap


def test_swap(swap):
    out, message = swap(
        OWN_VALUE + "import micrograd_c; assert Value is micrograd_c.Value\n"
        "a = Value(3.0); b = a * a + 2 * a; b.backward(); print(b.data, a.grad, calls)\n"
    )
    assert message == "6 of script.py, is now micrograd_c.Value"
    assert swap.replaced == "__init__ __add__ __mul__ __radd__ __rmul__ backward".split()
    assert swap.notes == [] and out == "15.0 8.0 0\n"


def test_swap_only_adds_lines_on_stderr(python, ours, write):
    write("script.py", OWN_VALUE + "def f(v):\n    return v.data / 0\n\nf(Value(1.0) + 1)\n")
    plain, ended = python("script.py"), ours("--swap", "Value", "script.py")
    message, replaced, rest = ended.err.split("\n", 2)
    assert message.endswith("is now micrograd_c.Value") and REPLACED in replaced
    assert (ended.code, ended.out, rest) == (plain.code, plain.out, plain.err)


def test_swap_comes_before_later_uses_of_the_name(swap):
    out, _ = swap(
        "first = lambda: Value(1.0)\n" + OWN_VALUE + "class Neuron:\n    weight = Value(2.0)\n"
        "def f(x: Value, y=Value(1.0)):\n    return y\n"
        "print({type(v).__module__ for v in (first(), Neuron.weight, f(1))})\n"
    )
    assert out == f"{ {micrograd_c.Value.__module__} }\n"


@pytest.mark.parametrize("how", [["-m", "script"], ["-c"], ["-"], ["app"], ["app.zip"]])
def test_swap_however_the_program_is_given(ours, write, tmp_path, how):
    text = OWN_VALUE + "print((Value(2.0) * 3).data, calls)\n"
    write("script.py", text)
    write("app/__main__.py", text)
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("__main__.py", text)
    start = [*how, text] if how == ["-c"] else how
    ended = ours("--swap", "Value", *start, stdin=text.encode())
    assert ended.out == "6.0 0\n", ended
    file = {"-c": "<string>", "-": "<stdin>", "-m": "script.py"}.get(how[0], "__main__.py")
    assert ended.err.startswith(f"micrograd_c: class Value, line 6 of {file}, is now micrograd_c")


def test_swap_of_another_name(ours, write):
    write("script.py", OWN_VALUE.replace("Value", "Scalar") + "print(Scalar(2.0) * 3)\n")
    ended = ours("--swap", "Scalar", "script.py")
    assert ended.out == "Value(data=6.0, grad=0.0)\n"
    assert "class Scalar, line 6 of script.py, is now micrograd_c.Value\n" in ended.err


@pytest.mark.parametrize(
    "before", ["if 1:", "try:", "for _ in 1,:", "with open(__file__):", "if 0:\n    pass\nelse:"]
)
def test_swap_inside_a_statement(swap, before):
    after = "finally:\n    pass\n" if before == "try:" else ""
    own = textwrap.indent(OWN_VALUE.replace("global calls", "calls = 1"), "    ")
    out, message = swap(f"{before}\n{own}\n{after}print((Value(2.0) * 3).data, calls)\n")
    assert out == "6.0 0\n"
    assert message == f"{7 + before.count(chr(10))} of script.py, is now micrograd_c.Value"


def test_swap_of_the_one_of_two_that_is_made(swap):
    own = textwrap.indent(OWN_VALUE, "    ").replace("global calls", "pass").replace("calls", "n")
    own = own.replace("n += 1", "pass")
    _, message = swap(f"if 0:\n{own}\nelse:\n{own}\nassert Value.__module__ != __name__\n")
    assert int(message.split()[0]) > 50


def test_swap_leaves_out_a_class_of_another_style(swap):
    _, message = swap("class Value: pass\n" + OWN_VALUE + "assert Value.__module__ != __name__")
    assert message == "7 of script.py, is now micrograd_c.Value"


def test_swap_keeps_line_numbers():
    own = OWN_VALUE.replace("class Value", "@print\n@print\nclass Value")
    own += "    def more(self):\n        return 1\nprint(Value)\n"

    def lines(code):
        """Per function, where it starts and the lines that a debugger would stop at."""
        own = sorted({line for _, _, line in code.co_lines() if line})
        nested = [lines(const) for const in code.co_consts if hasattr(const, "co_lines")]
        return code.co_name, code.co_firstlineno, own, [n for n in nested if n[0] != swapping._CELL]

    plain = compile(own, "script.py", "exec")
    assert lines(swapping.compile_swapped(own, "script.py", "Value")) == lines(plain)


LOCAL_GRADIENTS = '''
class Value:
    """In the newer dialect."""
    __slots__ = ("data", "grad", "_children", "_local_grads")

    def __init__(self, data, children=(), local_grads=()):
        self.data, self.grad = data, 0.0
        self._children, self._local_grads = children, local_grads

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    def backward(self):
        self.grad = 1.0
        stack = [self]  # enough for trees
        while stack:
            v = stack.pop()
            for child, local_grad in zip(v._children, v._local_grads):
                child.grad += local_grad * v.grad
                stack.append(child)
'''


def test_swap_in_the_local_gradients_dialect(swap):
    out, message = swap(
        LOCAL_GRADIENTS + "import micrograd_c; assert Value is micrograd_c.Value\n"
        "a = Value(3.0); b = Value(a.data ** 2, (a,), (2 * a.data,)) + a\n"
        "b.backward(); print(b.data, a.grad)\n"
    )
    assert message == "2 of script.py, is now micrograd_c.Value"
    assert out == "12.0 7.0\n"


def test_swap_of_a_decorated_class(swap):
    own = OWN_VALUE.replace("class Value", "@passed\n@passed\nclass Value")
    out, message = swap(
        f"def passed(cls): return cls\n{own}"
        "    def __lt__(self, other): return self.data < other.data\n"
        "import micrograd_c; assert Value is micrograd_c.Value\n"
        "print(Value(1.0) < Value(2.0))\n"
    )
    assert out == "True\n" and "__lt__" in swap.replaced
    assert message == "9 of script.py, is now micrograd_c.Value"


def test_decorators_are_given_the_programs_own_class(swap):
    own = OWN_VALUE.replace("class Value", "@seen\nclass Value")
    out, _ = swap(
        "def seen(cls):\n    print(cls.__module__, cls(1.0)._prev)\n    return cls\n"
        f"{own}\nimport micrograd_c; assert Value is micrograd_c.Value\n"
    )
    assert out == "__main__ set()\n"


# --swap: what the program's class has and micrograd_c.Value lacks


def test_kept_methods_build_values_in_micrograds_style(swap):
    out, message = swap(
        OWN_VALUE + "    def cube(self):\n"
        "        out = Value(self.data ** 3, (self,), 'cube')\n"
        "        def _backward():\n"
        "            self.grad += 3 * self.data ** 2 * out.grad\n"
        "        out._backward = _backward\n"
        "        return out\n"
        "    def twice(self): return self + self\n"
        "import micrograd_c; assert issubclass(Value, micrograd_c.Value)\n"
        "a = Value(2.0); b = (a * 3).cube().twice() + a\n"
        "b.backward(); print(b.data, a.grad, type(b) is Value, b._op, calls)\n"
    )
    assert message == "6 of script.py, is now micrograd_c.Value, with its own cube, twice"
    assert out == f"{2 * 6**3 + 2}.0 {2 * 3 * 3 * 6**2 + 1}.0 True + 0\n"


def test_every_kind_of_attribute_is_kept(swap):
    out, message = swap(
        "import functools\n"
        "def passed_on(function):\n"
        "    @functools.wraps(function)\n"
        "    def call(*args): return function(*args)\n"
        "    return call\n"
        + OWN_VALUE
        + '''\
    """The program's own words."""
    __slots__ = ("data", "grad", "_prev", "_op", "_backward", "extra")
    made = []
    limit: float = 5.0
    note: str
    @property
    def amount(self): return self.data
    @amount.setter
    def amount(self, data): self.data = data
    @staticmethod
    def zeros(n): return [Value(0.0) for _ in range(n)]
    @classmethod
    def one(cls): return cls(1.0)
    def __hidden(self): return self.data + self.__more
    __more = 10.0
    def shown(self): return self.__hidden()
    def __matmul__(self, other): return self * other
    def __call__(self): return self.data
    def __iter__(self): return iter([self.data])
    def __float__(self): return float(self.data)
    def __str__(self): return 'str'
    square = property(lambda self: self * self)
    plus = __add__

v = Value.one() + 4
assert v.amount == 5.0 == v() == float(v) == v.limit and [*v] == [5.0] and str(v) == 'str'
v.amount = 6.0
assert v.data == 6.0 and v.shown() == 16.0 and v._Value__hidden() == 16.0
assert (v @ v).data == v.square.data == 36.0
assert [type(z) for z in Value.zeros(2)] == [Value, Value] and type(Value.one()) is Value
v.extra = 'set'
assert v.extra == 'set' and Value.made == [] and Value.__doc__ is None
assert v.plus(1).data == 7.0
assert Value.__name__ == Value.__qualname__ == 'Value' and Value.__module__ == '__main__'
print('kept')
'''
    )
    assert out == "kept\n"
    assert message.startswith("11 of script.py, is now micrograd_c.Value, with its own made, limit")


def test_the_docstring_is_kept_with_a_subclass(swap):
    text = OWN_VALUE.replace("class Value:\n", 'class Value:\n    """Mine."""\n    limit = 5\n')
    assert swap(text + "print(Value.__doc__)\n")[0] == "Mine.\n"


def test_kept_methods_may_use_super_and_class(swap):
    out, _ = swap(
        "import functools\n"
        "def passed_on(function):\n"
        "    @functools.wraps(function)\n"
        "    def call(*args): return function(*args)\n"
        "    return call\n"
        + OWN_VALUE
        + """\
    def doubled(self): return super().__add__(self)
    @passed_on
    def wrapped(self): return super().__mul__(2)
    @property
    def cls(self): return __class__
    @staticmethod
    def static(): return (lambda: __class__)()
    @classmethod
    def of(cls, data): return super().__new__(cls, data)
v = Value(3.0)
assert v.doubled().data == v.wrapped().data == 6.0
assert v.cls is Value.static() is Value and type(Value.of(1.0)) is Value
print('super')
"""
    )
    assert out == "super\n"


def test_the_bases_are_kept(swap):
    out, message = swap(
        "class Named:\n    def named(self, name):\n        self.label = name\n        return self\n"
        + OWN_VALUE.replace("class Value:", "class Value(Named):")
        + "v = (Value(1.0) + 2).named('v')\n"
        "import micrograd_c; assert isinstance(v, Named) and isinstance(v, micrograd_c.Value)\n"
        "print(v.label, v.data, calls)\n"
    )
    assert out == "v 3.0 0\n"
    assert message == "10 of script.py, is now micrograd_c.Value"


def test_equality_by_data_is_kept(swap):
    out, message = swap(
        OWN_VALUE + "    def __eq__(self, other): return self.data == other.data\n"
        "    def __hash__(self): return id(self)\n"
        "a = Value(1.0); b = a * 2 + a; b.backward()\n"
        "print(b == Value(3.0), b == a, len({a, b, Value(3.0)}), a.grad)\n"
    )
    assert out == "True False 3 3.0\n"
    assert message.endswith("with its own __eq__, __hash__")


def test_a_hash_by_identity_is_no_method_of_its_own(swap):
    _, message = swap(OWN_VALUE + "    def __hash__(self): return id(self)\n")
    assert message == "6 of script.py, is now micrograd_c.Value"


def test_pickling_a_swapped_class(swap):
    out, _ = swap(
        OWN_VALUE + "    def twice(self): return self + self\n"
        "import pickle; v = pickle.loads(pickle.dumps(Value(2.0)))\n"
        "print(type(v) is Value, v.twice().data)\n"
    )
    assert out == "True 4.0\n"


# --swap: what the program's class computes otherwise

IN_CLASS = "class Value:\n"
USE = """
a, b = Value(-2.0), Value(3.0)
c = (a * b + a).relu() * 2 + (a * 0.5 + b).relu() + b
c.backward()
print(float(c.data), float(a.grad), float(b.grad))
"""
RELU = """
    def relu(self):
        out = Value(self.data if self.data > 0 else 0.0, (self,), 'ReLU')
        def _backward():
            self.grad += (1.0 if self.data > 0 else 0.0) * out.grad
        out._backward = _backward
        return out
"""
LEAKY = RELU.replace("0.0,", "0.1 * self.data,").replace("else 0.0", "else 0.1")
LOCAL_RELU = """
    def relu(self):
        return Value(max(self.data, 0.0), (self,), (float(self.data > 0),))
"""
DATACLASS = (
    OWN_VALUE[OWN_VALUE.index("class") :].replace("global calls", "").replace("calls += 1", "")
)
i, j = DATACLASS.index("    def __init__"), DATACLASS.index("    def __add__")
DATACLASS = "from dataclasses import dataclass, field, fields\n@dataclass(eq=False)\n" + (
    f"""{DATACLASS[:i]}\
    data: float
    _prev: tuple = ()
    _op: str = ''
    grad: float = 0.0
    _backward: object = field(default=lambda: None, repr=False)
{DATACLASS[j:]}"""
)

# Classes that give the same numbers, after and before: what there is besides, the statements after
# the class, and what the message says is its own.
SURVIVORS = {
    "closures": (OWN_VALUE + RELU, "", ""),
    "local gradients": (LOCAL_GRADIENTS + LOCAL_RELU, "", ""),
    "dataclass": (
        DATACLASS + RELU,
        "print([f.name for f in fields(Value)], a.__match_args__)",
        "",
    ),
    "dataclass with fields of its own": (
        DATACLASS.replace("_prev", "parents") + RELU,
        "print([f.name for f in fields(a)])",
        "parents",
    ),
    "slots dataclass": (DATACLASS.replace("eq=False", "eq=False, slots=True") + RELU, "", ""),
    "generic": (
        "from typing import Generic, TypeVar\nT = TypeVar('T')\n"
        + OWN_VALUE.replace("Value:", "Value(Generic[T]):", 1)
        + RELU,
        "print(Value[float], Value[float](1.0).data)",
        "",
    ),
    "metaclass": (
        "class Meta(type):\n    made = []\n    def __len__(cls): return 7\n"
        "    def __init__(cls, *a, **k):\n        cls.made.append(cls.__name__)\n"
        + OWN_VALUE.replace("Value:", "Value(metaclass=Meta):", 1)
        + RELU,
        "print(len(Value), type(Value).__name__, set(Value.made))",
        "",
    ),
    "abstract base": (
        "import abc\n" + OWN_VALUE.replace("Value:", "Value(abc.ABC):", 1) + RELU,
        "print(type(Value))",
        "",
    ),
    "leaky relu": (OWN_VALUE + LEAKY, "", "relu"),
    "leaky relu, local gradients": (
        LOCAL_GRADIENTS
        + LOCAL_RELU.replace("0.0", "0.1 * self.data")
        .replace("float(", "(0.1, 1.0)[")
        .replace("> 0),", "> 0],"),
        "",
        "relu",
    ),
    "leaky relu of a base": (
        f"class Base:{LEAKY}" + OWN_VALUE.replace("Value:", "Value(Base):", 1),
        "",
        "relu",
    ),
    "relu with another derivative at 0": (
        OWN_VALUE + RELU.replace("(1.0 if self.data > 0", "(1.0 if self.data >= 0"),
        "x = Value(0.0); x.relu().backward(); print(float(x.grad))",
        "relu",
    ),
    "relu that needs what comes later": (OWN_VALUE + LEAKY.replace("0.1", "slope"), "", "relu"),
    "relu with an argument": (
        OWN_VALUE + LEAKY.replace("(self)", "(self, slope)").replace("0.1", "slope"),
        "print(a.relu(0.5).data)",
        "relu",
    ),
    "truth": (
        OWN_VALUE + RELU + "    def __bool__(self): return self.data > 0\n",
        "print(bool(a), bool(b), [v.data for v in (a, b) if v])",
        "__bool__",
    ),
    "truth of a base": (
        "class Base:\n    def __bool__(self): return self.data > 0\n"
        + OWN_VALUE.replace("Value:", "Value(Base):", 1)
        + RELU,
        "print(bool(a), bool(b))",
        "__bool__",
    ),
    "equality": (
        OWN_VALUE + RELU + "    def __eq__(self, other): return self.data == other.data\n"
        "    def __hash__(self): return id(self)\n",
        "print(a == Value(-2.0), a == b, a != b)",
        "__eq__, __hash__",
    ),
    "numbers clipped": (
        OWN_VALUE + RELU + "    def exp(self):\n"
        "        x = math.exp(min(self.data, 20.0))\n"
        "        out = Value(x, (self,), 'exp')\n"
        "        def _backward(): self.grad += x * out.grad\n"
        "        out._backward = _backward\n        return out\n",
        "print(Value(25.0).exp().data)",
        "exp",
    ),
    "log that cannot fail": (
        OWN_VALUE + RELU + "    def log(self):\n"
        "        out = Value(math.log(self.data + 1e-8), (self,), 'log')\n"
        "        def _backward(): self.grad += out.grad / (self.data + 1e-8)\n"
        "        out._backward = _backward\n        return out\n",
        "print(Value(0.0).log().data)",
        "log",
    ),
    "gradients overwritten": (
        OWN_VALUE.replace("self.grad += out.grad", "self.grad = out.grad") + RELU,
        "x = Value(1.0); (x + x + x).backward(); print(float(x.grad))",
        "__add__, __radd__, backward",
    ),
    "backward that clears first": (
        OWN_VALUE.replace(
            "        self.grad = 1\n", "        for v in topo: v.grad = 0\n        self.grad = 1\n"
        )
        + RELU,
        "(a * 5).backward(); print(float(a.grad))",
        "backward",
    ),
    "in place": (
        OWN_VALUE + RELU + "    def tanh(self):\n        self.data = math.tanh(self.data)\n",
        "print(b.tanh(), b.data)",
        "tanh",
    ),
    "maximum of a list": (
        OWN_VALUE + RELU + "    def max(self, *others):\n"
        "        return sorted([self, *others], key=lambda v: v.data)[-1]\n",
        "print(a.max(b, Value(7.0)).data)",
        "max",
    ),
    "data as a property": (
        OWN_VALUE.replace("self.data = data", "self._data = data")
        + RELU
        + "    @property\n    def data(self): return self._data\n"
        "    @data.setter\n    def data(self, data): self._data = data\n",
        "a.data = 5.0; print(a.data)",
        "",
    ),
    "operations that we lack": (
        OWN_VALUE + RELU + "    def gelu(self): return self * (self * 1.702).sigmoid()\n"
        "    def sigmoid(self):\n"
        "        out = Value(1 / (1 + math.exp(-self.data)), (self,), 'sigmoid')\n"
        "        def _backward(): self.grad += out.data * (1 - out.data) * out.grad\n"
        "        out._backward = _backward\n        return out\n",
        "d = a.gelu(); d.backward(); print(round(d.data, 12), round(a.grad, 12))",
        "gelu",
    ),
}


@pytest.mark.parametrize("own, after, kept", SURVIVORS.values(), ids=SURVIVORS)
def test_swapped_and_unswapped_programs_print_the_same(python, swap, own, after, kept):
    text = f"{own}\nslope = 0.1\n{USE}{after}\n"
    if "(self, slope)" in own:
        text = text.replace(".relu()", ".relu(0.25)")
    out, message = swap(text)
    assert out == python("script.py").out and out
    assert message.endswith(f"is now micrograd_c.Value{kept and f', with its own {kept}'}")
    own_words = [note.split()[2] for note in swap.notes]
    assert (
        own_words
        == [
            name
            for name in kept.split(", ")
            if name in dir(micrograd_c.Value) and not name.endswith(("bool__", "eq__", "hash__"))
        ]
        or kept == ""
    )
    assert not {*swap.replaced} & {*kept.split(", ")} and "__mul__" in swap.replaced


@pytest.mark.parametrize(
    "own, note",
    [
        (LEAKY, "its value at -30.0 is -3.0, micrograd_c's is 0.0"),
        (
            LEAKY.replace("0.1 * self.data", "0.0"),
            "its derivative at -30.0 is 0.1, micrograd_c's is 0.0",
        ),
        (LEAKY.replace("0.1", "slope"), "it could not be compared: NameError: name 'slope' is not"),
        (
            RELU.replace("+=", "="),
            "its derivative, used twice, at 0.3 is 1.0, micrograd_c's is 2.0",
        ),
        (
            "    def relu(self): return max(self.data, 0.0)\n",
            "its kind of result at -30.0 is number",
        ),
        (
            "    def relu(self):\n        while True: pass\n",
            "it could not be compared: it takes more",
        ),
    ],
)
def test_swap_says_why_a_method_is_kept(swap, own, note):
    swap(OWN_VALUE + own)
    assert swap.notes and swap.notes[0].startswith(f"its own relu is kept: {note}")


def test_swap_compares_in_a_process_of_its_own(swap, tmp_path):
    own = OWN_VALUE.replace("Value:\n", "Value:\n    count = 0\n", 1)
    own = own.replace(
        "self.data = data", "self.data = data; made.append(self); Value.count += 1; print(data)"
    )
    relu = LEAKY.replace("out =", "open('log.txt', 'a').write('x'); out =")
    exp = "    def exp(self):\n        import os\n        os._exit(3)\n"
    out, _ = swap(f"made = []\n{own}{relu}print(calls, made, Value.count)\n")
    assert out == "0 [] 0\n" and not (tmp_path / "log.txt").exists()
    assert swap.notes == [
        "its own relu is kept: it could not be compared: "
        "PermissionError: open, while --swap compares methods"
    ]
    out, message = swap(own.replace("made.append(self)", "0") + RELU + exp + "print('ran')")
    assert out == "ran\n" and message.endswith("with its own count")
    assert swap.notes == [
        "its methods were not compared: the process that does so did not end well"
    ]


@pytest.mark.parametrize(
    "change, note",
    [
        (("data, _children=(), _op=''", "tape, data"), "TypeError: Value.__init__() missing 1"),
        (
            ("self.data = data", "self.data = data + later"),
            "NameError: name 'later' is not defined",
        ),
        (
            ("        self.grad = 1\n", "        self.grad = later\n"),
            "NameError: name 'later' is not",
        ),
        (("self.data", "self.x"), "AttributeError: 'Value' object has no attribute 'data'"),
    ],
    ids=["constructor", "constructor-raises", "backward-raises", "other-names"],
)
def test_swap_says_that_methods_were_not_compared(swap, change, note):
    swap(OWN_VALUE.replace(*change) + RELU)
    assert len(swap.notes) == 1
    assert swap.notes[0].startswith(f"its methods were not compared: {note}")


@pytest.mark.parametrize(
    "constructor", ["data, _children", "data, _children, _op", "*, data, _children=(), _op=''"]
)
def test_swap_compares_whatever_the_constructor_wants(swap, constructor):
    own = OWN_VALUE.replace("data, _children=(), _op=''", constructor).replace("= _op", "= ''")
    for old in (
        "Value(other)",
        "Value(self.data + other.data, (self, other), '+')",
        "Value(self.data * other.data, (self, other), '*')",
    ):
        assert old in own
    data = "data=" if "*" in constructor else ""
    tail = "" if "=" in constructor or "_op" not in constructor else ", ''"
    children = "_children=" if data else ""
    own = own.replace("Value(other)", f"Value({data}other, {children}(){tail})")
    for op in "+*":
        own = own.replace(
            f"Value(self.data {op} other.data, (self, other), '{op}')",
            f"Value({data}self.data {op} other.data, {children}(self, other){tail})",
        )
    relu = LEAKY.replace("Value(self.data if", f"Value({data}self.data if")
    relu = relu.replace(", (self,), 'ReLU')", f", {children}(self,){tail})")
    swap(own + relu)
    assert swap.notes == ["its own relu is kept: its value at -30.0 is -3.0, micrograd_c's is 0.0"]


# Classes that cannot be replaced, and why.
REFUSALS = {
    "metaclass with a call of its own": (
        "class Meta(type):\n    def __call__(cls, *args): return super().__call__(*args)\n"
        + OWN_VALUE.replace("Value:", "Value(metaclass=Meta):", 1),
        "its metaclass Meta has a __call__",
    ),
    "metaclass that refuses": (
        "class Meta(type):\n    def __new__(cls, name, bases, body):\n"
        "        if bases: raise TypeError('no bases here')\n"
        "        return super().__new__(cls, name, bases, body)\n"
        + OWN_VALUE.replace("Value:", "Value(metaclass=Meta):", 1),
        "no bases here",
    ),
    "number": (OWN_VALUE.replace("Value:", "Value(float):", 1), "lay-out conflict"),
    "no class": (
        "def made(cls): return lambda *a: cls(*a)\n@made\n" + OWN_VALUE[OWN_VALUE.index("class") :],
        "its decorators make a function of it",
    ),
    "single precision": (
        "import numpy\n" + OWN_VALUE.replace("self.data = data", "self.data = numpy.float32(data)"),
        "its constructor makes -1.7000000476837158 of -1.7",
    ),
    "equality by all fields": (
        DATACLASS.replace("eq=False", "eq=True, unsafe_hash=True")
        .replace("v not in visited", "id(v) not in visited")
        .replace("visited.add(v)", "visited.add(id(v))")
        .replace("_prev", "parents")
        .replace("parents: tuple = ()", "parents: tuple = field(default_factory=tuple)"),
        "its own __eq__ would",
    ),
    "operation in another dialect": (
        OWN_VALUE.replace(
            "        self._prev", "        self.step = None\n        self._prev"
        ).replace("            v._backward()", "            v.step() if v.step else v._backward()")
        + RELU.replace("_backward = _backward", "step = _backward").replace("relu", "square_or_so"),
        "its own square_or_so would change: its derivative at 0.3 from 1.0 to 0.0",
    ),
    "a number put elsewhere": (
        OWN_VALUE.replace("self.data = data", "self._data = data")
        + "    @property\n    def data(self): return self._data\n"
        "    def put(self, data): self._data = data\n",
        "its own put would change: its data afterwards at -1.7 and 2 from 2.0 to -1.7",
    ),
}


@pytest.mark.parametrize("own, why", REFUSALS.values(), ids=REFUSALS)
def test_swap_of_a_class_that_cannot_be_replaced(ours, write, own, why):
    write("script.py", f"{own}\nprint('ran')\n")
    ended = ours("--swap", "Value", "script.py")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended
    assert ended.err.startswith("micrograd_c: class Value, line "), ended
    assert "of script.py, cannot be replaced: " in ended.err and why in ended.err, ended


def test_swap_of_a_class_made_with_keywords(ours, write):
    base = "class Base:\n    def __init_subclass__(cls, tag=None): cls.tag = tag\nprint('ran')\n"
    write("script.py", base + OWN_VALUE.replace("Value:", "Value(Base, tag=3):", 1))
    refused(ours("--swap", "Value", "script.py"), "class Value, line 9 of script.py", "tag")


# --swap: nothing to replace


def refused(ended, *parts):
    assert ended.code == 2 and ended.out == "", ended
    assert ended.err.startswith("micrograd_c: --swap Value: ") and ended.err.count("\n") == 1
    for part in parts:
        assert part in ended.err, ended


def test_swap_without_such_a_class(ours, write):
    write("script.py", "print('ran')\nclass Tensor: pass\n")
    refused(
        ours("--swap", "Value", "script.py"),
        "script.py defines no class Value at top level",
        "Tensor",
    )


def test_swap_of_a_class_that_is_imported(ours, write):
    write("script.py", "print('ran')\nfrom micrograd.engine import Value\n")
    refused(ours("--swap", "Value", "script.py"), "no class Value", "(its classes: none)")


@pytest.mark.parametrize("line", ["def f():", "class Outer:", "async def f():"])
def test_swap_of_a_class_that_is_not_at_the_top_level(ours, write, line):
    write("script.py", f"print('ran')\n{line}\n" + textwrap.indent(OWN_VALUE, "    "))
    refused(ours("--swap", "Value", "script.py"), "no class Value at top level")


def test_swap_of_a_class_of_another_style(ours, write):
    write("script.py", "print('ran')\nclass Value:\n    def __add__(self, other): pass\n")
    refused(
        ours("--swap", "Value", "script.py"),
        "__add__, __mul__, backward",
        "class Value, line 2 of script.py, lacks __mul__, backward",
    )


def test_swap_without_source(ours, write, tmp_path):
    import py_compile

    script = write("script.py", OWN_VALUE + "print('ran')\n")
    py_compile.compile(str(script), str(tmp_path / "other.pyc"))
    refused(ours("--swap", "Value", "other.pyc"), "no source")
    refused(ours("--swap", "Value", "-m", "sys"), "no source")


def test_swap_in_a_program_with_a_syntax_error(python, ours, write):
    write("script.py", OWN_VALUE + "x = = 1\n")
    assert ours("--swap", "Value", "script.py") == python("script.py")
