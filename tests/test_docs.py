"""Every example in a docstring runs, and so does the README's."""

import doctest
import importlib
import inspect
import pkgutil
import re
import shutil
from pathlib import Path

import pytest
from reference import OPERATIONS

import micrograd_c
from micrograd_c import _core, _graph

MODULES = [micrograd_c] + [
    importlib.import_module(f"micrograd_c.{module.name}")
    for module in pkgutil.iter_modules(micrograd_c.__path__)
    if module.name not in ("__main__", "_core", "_graph")
]
COMPILED = {
    f"{owner}.{name}": item
    for owner, names in (
        ("_core", vars(_core)),
        ("_graph", vars(_graph)),
        ("Value", vars(micrograd_c.Value)),
    )
    for name, item in names.items()
    if ">>>" in (inspect.getdoc(item) or "")
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
    assert {"_core.Value", "_core.sum", "_core.dot", "Value.backward"} <= set(COMPILED)


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
