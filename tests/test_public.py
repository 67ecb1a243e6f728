"""What is public: the names that dir() shows, old names, and what an import loads."""

import importlib
import inspect
import json
import pickle
import sys

import pytest

import micrograd_c as mg
from micrograd_c import aliases, derivatives

MODULES = [mg, *(item for name in mg.__all__ if inspect.ismodule(item := getattr(mg, name)))]
STUB = mg.__file__.removesuffix("py") + "pyi"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_dir_shows_what_is_public(module):
    assert dir(module) == sorted(module.__all__)
    assert all(hasattr(module, name) and not name.startswith("_") for name in module.__all__)


def test_the_stub_has_the_public_names():
    with open(STUB) as file:
        names = [line.split(" as ")[1].strip() for line in file if " as " in line]
    assert sorted(names) == mg.__all__


@pytest.mark.parametrize("name", [name for name in mg.__all__ if name in mg._HOME])
def test_a_public_name_is_in_the_list_of_its_module(name):
    names = getattr(importlib.import_module(f"micrograd_c.{mg._HOME[name]}"), "__all__", None)
    assert names is None or name in names


def test_names_that_are_not_public(run):
    """Internal modules can be imported, and still are not shown."""
    importlib.import_module("micrograd_c.functions")
    assert hasattr(mg, "functions") and "functions" not in dir(mg)
    with pytest.raises(AttributeError, match="'micrograd_c' has no attribute 'nothing'"):
        _ = mg.nothing
    with pytest.raises(ImportError, match="nothing"):
        exec("from micrograd_c import nothing")


def test_everything_is_imported_by_a_star():
    names = {}
    exec("from micrograd_c import *", names)
    assert set(mg.__all__) == names.keys() - {"__builtins__"}


def test_every_class_that_is_returned_is_public():
    f = mg.compile(lambda x: x * x)
    program = f.program(2.0)
    returned = [
        f,
        f.grad,
        program,
        program.graph,
        program.arguments[0],
        mg.grad(f),
        mg.array([1.0]),
    ]
    for x in [*returned, mg.array([1.0])]:
        assert getattr(mg, type(x).__name__) is type(x)
    assert type(mg.no_grad()) is mg.autograd.Scope


def test_an_import_loads_the_core_alone(run):
    loaded = json.loads(
        run(
            """
            import json, sys
            before = set(sys.modules)
            import micrograd_c
            print(json.dumps(sorted(set(sys.modules) - before)))
            """
        )
    )
    ours = {name for name in loaded if name.startswith("micrograd_c")}
    assert ours == {"micrograd_c", *(f"micrograd_c.{x}" for x in ("_core", "_graph", "aliases"))}
    slow = "ast contextlib dataclasses dis enum importlib.metadata inspect json numpy pathlib"
    assert not set(loaded) & {*slow.split(), "random", "re", "subprocess", "tempfile", "typing"}


def test_what_needs_numpy_loads_it(run):
    code = "import sys, micrograd_c as mg; {}; print('numpy' in sys.modules)"
    for needed in ("mg.nn, mg.autograd, mg.grad, mg.compile, mg.viz", "mg.Value(2.0).exp()"):
        assert run(code.format(needed)) == "False\n"
    assert run(code.format("mg.array([1.0])")) == "True\n"
    assert run(code.format("mg.Array")) == "True\n"


# ---- modules that were renamed


@pytest.fixture
def forgotten():
    """As if no old name had been imported yet."""

    def forget():
        for name in aliases.RENAMED:
            sys.modules.pop(name, None)
            vars(mg).pop(name.removeprefix("micrograd_c."), None)

    forget()
    yield
    forget()


@pytest.mark.parametrize("old", aliases.RENAMED)
def test_old_names_are_the_modules_themselves(old, forgotten):
    new = aliases.RENAMED[old]
    with pytest.warns(DeprecationWarning, match=f"{old} is now {new}") as warned:
        exec(f"import {old} as module")
        module = sys.modules[old]
    assert module is importlib.import_module(new) and module.__spec__.name == new
    assert [w.filename for w in warned] == ["<string>"]
    assert old.removeprefix("micrograd_c.") not in dir(mg)


def test_old_names_as_attributes(forgotten):
    with pytest.warns(DeprecationWarning, match="micrograd_c.transform is now"):
        assert mg.transform is derivatives


def test_pickles_with_an_old_name(forgotten):
    with pytest.warns(DeprecationWarning, match="micrograd_c.transform is now"):
        assert pickle.loads(b"cmicrograd_c.transform\ngrad\n.") is mg.grad
