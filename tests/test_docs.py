"""Every example in a docstring runs, and so does the README's."""

import doctest
import importlib
import inspect
import math as standard
import pkgutil
import re
import shutil
from pathlib import Path

import pytest
from reference import OPERATIONS

import micrograd_c
from micrograd_c import _core, _graph, arrays, math

MODULES = [micrograd_c] + [
    importlib.import_module(f"micrograd_c.{module.name}")
    for module in pkgutil.iter_modules(micrograd_c.__path__)
    if module.name not in ("__main__", "_core", "_graph")
]
PUBLIC_MODULES = [
    micrograd_c,
    *(item for name in micrograd_c.__all__ if inspect.ismodule(item := getattr(micrograd_c, name))),
]


def public():
    """(name, item, class that it is a member of or None): functions, classes and their members."""
    seen = []
    for module in PUBLIC_MODULES:
        for name in module.__all__:
            item = getattr(module, name)
            if inspect.ismodule(item) or isinstance(item, float) or item in seen:
                continue
            seen.append(item)
            yield f"{module.__name__}.{name}", item, None
            for member in dir(item) if inspect.isclass(item) else ():
                owner = next((c for c in item.__mro__ if member in vars(c)), object)
                if member[0] != "_" and owner.__module__.startswith("micrograd_c"):
                    yield f"{module.__name__}.{name}.{member}", vars(owner)[member], item


def of_python(name):
    """Whether a function of `micrograd_c.math` has the documentation of Python's own."""
    text = getattr(getattr(standard, name, None), "__doc__", None)
    return text is not None and getattr(math, name).__doc__ == text


PUBLIC = {name: (item, owner) for name, item, owner in public()}
OF_NUMPY = [*arrays.AS_FUNCTIONS, "sort", "partition", "byteswap", "tobytes", "tofile"]
# What has no example, and why.
WITHOUT_EXAMPLE = {
    # The formula stands there instead: see test_methods_document_their_formulas.
    *(f"micrograd_c.{c}.{op.name}" for op in _core.OPS for c in ("Array", "Value")),
    *(f"micrograd_c.Value.{name}" for name in _core.NUMPY_NAMES),
    # NumPy's documentation has examples.
    *(f"micrograd_c.Array.{name}" for name in OF_NUMPY),
    # These functions and their documentation are Python's own.
    *(f"micrograd_c.math.{name}" for name in math.__all__ if of_python(name)),
    # IPython calls them.
    "micrograd_c.load_ipython_extension",
    "micrograd_c.unload_ipython_extension",
}
# The docstrings of what is compiled, in which no module's doctests look.
COMPILED = {
    f"{owner}.{name}": item
    for owner, names in (
        ("_core", vars(_core)),
        ("_graph", vars(_graph)),
        *((c.__name__, vars(c)) for c in vars(_core).values() if inspect.isclass(c)),
    )
    for name, item in names.items()
    if ">>>" in (inspect.getdoc(item) or "") and not inspect.ismodule(item)
}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples_in_modules(module):
    if module is micrograd_c.viz and shutil.which("dot") is None:
        pytest.skip("Graphviz is not installed")
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("name", COMPILED)
def test_examples_in_the_core(name):
    text = inspect.getdoc(COMPILED[name])
    test = doctest.DocTestParser().get_doctest(text, {**vars(_graph), **vars(_core)}, name, None, 0)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0


def test_the_core_has_examples():
    assert {"_core.Value", "_core.where", "_core.dot", "Value.backward"} <= set(COMPILED)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_documented(name):
    """By a docstring that stands alone; attributes without one by a line in that of their class."""
    item, owner = PUBLIC[name]
    last = name.rpartition(".")[2]
    text = inspect.getdoc(item) or ""
    if owner is not None and (not text or text.startswith("Alias for field")):
        assert re.search(rf"^ *(\w+, )*{last}(, \w+)*: ", inspect.getdoc(owner), re.M)
        return
    assert text, f"{name} has no docstring"
    assert not re.match("the same|see |as ", text, re.I), f"{name}: {text}"
    if name not in WITHOUT_EXAMPLE:
        classes = owner.__mro__ if owner is not None else ()
        in_class = any(f".{last}(" in (c.__doc__ or "") for c in classes)
        assert ">>>" in text or in_class, f"the docstring of {name} has no example"


@pytest.mark.parametrize("op", _core.OPS, ids=lambda op: op.name)
def test_methods_document_their_formulas(op):
    """The documentation of a function is made from its line in the op table."""
    method = getattr(micrograd_c.Value, op.name, None)
    if method is None:
        assert "{name}" not in OPERATIONS[op.name].spelled
    else:
        assert op.value in method.__doc__ and op.by_a in method.__doc__


def test_the_readme_runs():
    readme = Path(__file__).parent.parent / "README.md"
    blocks = re.findall(r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
