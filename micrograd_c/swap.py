"""micrograd_c in micrograd's place: under its import name, and as a class that a program defines.

`install()` makes `import micrograd` mean this package; `python -m micrograd_c` does that for a
whole program and, with `--swap`, replaces the program's own Value class too.
"""

import ast
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import PathFinder
from types import (
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    ModuleType,
    new_class,
)
from typing import Any

from micrograd_c.aliases import Finder

__all__ = ["install", "load_ipython_extension", "uninstall", "unload_ipython_extension"]

STYLE = ("__add__", "__mul__", "backward")  # what makes a class a micrograd-style Value


def install() -> None:
    """Make `import micrograd` mean micrograd_c, whether or not micrograd is installed.

    `micrograd.engine`, `micrograd.nn` and so on are then the modules of micrograd_c themselves.
    Names that were imported from micrograd before keep their meaning. A second call changes
    nothing: one `uninstall()` ends all of them.

    >>> import micrograd_c
    >>> micrograd_c.install()
    >>> from micrograd.engine import Value
    >>> Value is micrograd_c.Value
    True
    >>> micrograd_c.uninstall()
    """
    if _finder not in sys.meta_path:
        for name in _loaded():
            _displaced[name] = sys.modules.pop(name)
        sys.meta_path.insert(0, _finder)


def uninstall() -> None:
    """Undo `install()`: `import micrograd` means again what it meant before.

    Without an `install()` before, nothing changes.

    >>> import micrograd_c
    >>> micrograd_c.install()
    >>> micrograd_c.uninstall()
    >>> micrograd_c.uninstall()  # nothing is left to undo
    """
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
        for name in _loaded():
            del sys.modules[name]
        sys.modules.update(_displaced)
        _displaced.clear()


def load_ipython_extension(ipython: Any) -> None:
    """What `%load_ext micrograd_c` calls in IPython or Jupyter: it calls `install()`.

    ipython: the shell, which is not used.
    """
    install()


def unload_ipython_extension(ipython: Any) -> None:
    """What `%unload_ext micrograd_c` calls in IPython or Jupyter: it calls `uninstall()`.

    ipython: the shell, which is not used.
    """
    uninstall()


def _loaded() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] == "micrograd"]


def _ours(name: str) -> str | None:
    """The name of this package's module that `micrograd` or `micrograd.x` stands for, or None."""
    package, dot, rest = name.partition(".")
    ours = f"micrograd_c{dot}{rest}"
    return ours if package == "micrograd" and importlib.util.find_spec(ours) else None


_finder = Finder(_ours)
_displaced: dict[str, ModuleType] = {}  # what stood in sys.modules when install() came


# --swap


class SwapError(Exception):
    """The program has no class that --swap could replace."""


def compile_swapped(source: bytes | str, path: str, name: str) -> CodeType:
    """Compile a program so that its own Value class `name` becomes micrograd_c.Value.

    Only classes at the top level count, also inside `if` or `try`. Each gets a decorator, outside
    of its own decorators, which swaps it as soon as it is made (see `_compiled`). Line numbers and
    everything else stay those of the program.

    SwapError if there is no class of this name, or none with the methods in STYLE; SyntaxError as
    `compile` raises it.
    """
    tree = compile(source, path, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
    assert isinstance(tree, ast.Module)
    file = os.path.basename(path)
    every = list(_classes(tree))
    classes = [node for node in every if node.name == name]
    if not classes:
        others = ", ".join(dict.fromkeys(node.name for node in every)) or "none"
        raise SwapError(f"{file} defines no class {name} at top level (its classes: {others})")
    lacking = []
    for node in classes:
        missing = [method for method in STYLE if method not in _bound(node)]
        where = f"class {name}, line {node.lineno} of {file}"
        given = [keyword.arg or "**" for keyword in node.keywords if keyword.arg != "metaclass"]
        if given:
            raise SwapError(f"{where}, is made with keywords, which have no second use: {given[0]}")
        if missing:
            lacking.append(f"{where}, lacks {', '.join(missing)}")
        else:
            _decorate(node, where)
    if len(lacking) == len(classes):
        raise SwapError(
            f"a micrograd-style Value has methods {', '.join(STYLE)}: {'; '.join(lacking)}"
        )
    return compile(tree, path, "exec", dont_inherit=True)


def _classes(node: ast.AST) -> Iterator[ast.ClassDef]:
    """The classes defined by a module's own statements, not inside a function or a class."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield child
        elif not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.expr)):
            yield from _classes(child)


def _bound(node: ast.ClassDef) -> set[str]:
    """The names that a class body's own statements define or assign."""
    names = set()
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef):
            names.add(statement.name)
        elif isinstance(statement, ast.Assign):
            names.update(target.id for target in statement.targets if isinstance(target, ast.Name))
    return names


def _decorate(node: ast.ClassDef, where: str) -> None:
    """Put the decorator `_compiled(where)` around the class, and the method _CELL into it."""
    call = f"__import__('micrograd_c.swap').swap._compiled({where!r})"
    cell = f"def {_CELL}(): return __class__"
    first = node.decorator_list[0] if node.decorator_list else node
    decorator = ast.parse(call, mode="eval").body
    node.decorator_list.insert(0, decorator)
    node.body += ast.parse(cell).body
    for added in (decorator, node.body[-1]):
        for part in ast.walk(added):
            ast.copy_location(part, first)


# A method put into the class, whose closure holds the cell that super() and __class__ read in
# all of its methods, however they are wrapped.
_CELL = "__micrograd_c_cell__"


def _compiled(where: str) -> Callable[[Any], type]:
    """The decorator that turns a program's Value class into micrograd_c.Value.

    Attributes that micrograd_c.Value lacks are kept, and so are methods that compute other numbers
    (see `compare`). The result is then a subclass of micrograd_c.Value with these attributes, and
    with the class's own bases after it.
    """

    def swap(original: Any) -> type:
        from .compare import compared

        def made(attributes: dict[str, Any]) -> type:
            return _replacement(original, attributes)

        why = _hindrance(original)
        if not why:
            keep, notes, why = compared(
                original,
                vars(original)[_CELL].__globals__,
                lambda names: _kept(original, names),
                made,
            )
        if not why:
            attributes = _kept(original, keep)
            try:
                result = made(attributes)
            except Exception as error:
                why = f"no class of its kind can be made of micrograd_c.Value: {error}"
        if why:
            # Not an error, which the program might catch: it cannot go on without the class.
            print(f"micrograd_c: {where}, cannot be replaced: {why}", file=sys.stderr)
            raise SystemExit(2)
        if original.__module__ == "__main__":  # silent where multiprocessing runs it again
            own = [name for name in attributes if name not in _DATACLASS]
            lines = [f"{where}, is now micrograd_c.Value" + _listed(", with its own ", own)]
            lines += filter(None, [_listed("compiled ones replace its ", _replaced(original, own))])
            lines += [f"its own {name} is kept: {reason}" for name, reason in keep.items()]
            lacking = [
                name for name in attributes.get(_DATACLASS[0], ()) if name not in dir(result)
            ]
            lines += filter(None, [_listed("it has no more, of its fields, ", lacking)])
            for line in [*lines, *notes]:
                print(f"micrograd_c: {line}", file=sys.stderr)
        return result

    return swap


_DATACLASS = ("__dataclass_fields__", "__dataclass_params__", "__match_args__")


def _listed(words: str, names: list[str]) -> str:
    return f"{words}{', '.join(names)}" if names else ""


def _hindrance(original: Any) -> str:
    """Why a class cannot be replaced, whatever its methods compute, or ''."""
    if not isinstance(original, type):
        return f"its decorators make a {type(original).__name__} of it, no class"
    if type(original).__call__ is not type.__call__:
        return (
            f"its metaclass {type(original).__name__} has a __call__, "
            "which operations of micrograd_c.Value would not run"
        )
    return ""


def _replacement(original: Any, attributes: dict[str, Any]) -> type:
    """micrograd_c.Value with these attributes, and with the bases and metaclass of the class."""
    from . import Value

    bases = vars(original).get("__orig_bases__", original.__bases__)  # Generic[T], not Generic
    bases = [base for base in bases if base is not object]
    kind = type(original)
    if not attributes and not bases and kind is type:
        return Value
    names = ("__module__", "__qualname__", "__doc__", "__type_params__")
    body = {name: getattr(original, name) for name in names if hasattr(original, name)}
    body |= attributes
    keywords = {} if kind is type else {"metaclass": kind}
    result = new_class(original.__name__, (Value, *bases), keywords, lambda ns: ns.update(body))
    vars(original)[_CELL].__closure__[0].cell_contents = result
    return result


def _kept(original: type, differing: Iterable[str]) -> dict[str, Any]:
    """The attributes that a class keeps: those we lack, and methods that mean other than ours."""
    from . import Value

    ours = {name for base in Value.__mro__[:-1] for name in vars(base)}
    meant = {"__bool__", "__float__", "__int__", "__complex__", *differing}  # ours test or refuse
    # Any type that compares has an __eq__, but ours is object's: the class's own means something.
    if isinstance(original.__eq__, FunctionType):
        meant |= {"__eq__", "__ne__", "__hash__"}
    found = {}
    for base in original.__mro__[-2::-1]:  # what a base has is found there, unless ours hides it
        found.update({k: a for k, a in vars(base).items() if base is original or k in ours & meant})
    kept = {}
    not_the_programs = {_CELL, "__annotate_func__", "__replace__", "_abc_impl"}
    for name, attribute in found.items():
        if name in not_the_programs:
            continue
        special = name.startswith("__") and name.endswith("__") and name not in _DATACLASS
        slot = isinstance(attribute, (MemberDescriptorType, GetSetDescriptorType))
        method = isinstance(attribute, (FunctionType, classmethod, staticmethod, property))
        if name not in ours - meant and not slot and (method or not special):
            kept[name] = attribute
    return kept


def _replaced(original: type, kept: Iterable[str]) -> list[str]:
    """The methods of a class that micrograd_c.Value's stand for, in the order of definition."""
    from . import Value

    names = [
        k
        for base in original.__mro__[:-1]
        for k, a in vars(base).items()
        if callable(a) or isinstance(a, property)
    ]
    kept = {*kept, _CELL}
    return [k for k in dict.fromkeys(names) if k not in kept and hasattr(Value, k)]


# the program's own modules


def make_ready(swap: str | None) -> None:
    """Install, and import the modules that load lazily, before the program's folder is on the path.

    So no module in that folder takes the place of one that they need. `Array` is left out: it
    imports NumPy, which the program may not need.
    """
    import micrograd_c

    install()
    for name in dir(micrograd_c):
        if name != "Array":
            getattr(micrograd_c, name)
    if swap is not None:
        from . import compare  # noqa: F401


def give_way(folder: str, last: str) -> None:
    """Let the program import the modules in its folder, even if others of their names are loaded.

    The program did not ask for the modules that were imported after the module `last`. If its
    folder has one of the same name, ours leaves sys.modules; the modules that imported it keep it.
    """
    names = list(sys.modules)
    later = names[names.index(last) + 1 :]
    hidden = {name for name in later if _is_hidden(name, folder)}
    for name in names:
        if name.partition(".")[0] in hidden:
            del sys.modules[name]


def _is_hidden(name: str, folder: str) -> bool:
    """Whether a module that is loaded is not the one that an import from the folder would find."""
    spec = getattr(sys.modules[name], "__spec__", None)
    if "." in name or spec is None or spec.origin in ("built-in", "frozen") or name == __package__:
        return False
    found = PathFinder.find_spec(name, [folder])
    return found is not None and found.loader is not None and found.origin != spec.origin


# multiprocessing


class _Preparation(dict[str, Any]):
    """What multiprocessing sends to a child that it starts, there read by `_prepare`."""

    swap: str | None

    def __reduce__(self) -> Any:
        return _prepare, (dict(self), self.swap)


class _ServersPath(list[str]):
    """sys.path in the command that starts a fork server, which is made of reprs."""

    swap: str | None

    def __repr__(self) -> str:
        return f"__import__('micrograd_c.swap').swap._serve({[*self]!r}, {self.swap!r})"


def spawn_alike(swap: str | None) -> None:
    """Let the children that multiprocessing starts run the program on micrograd_c as well.

    A child that is spawned is a new interpreter that imports the program again under the name
    __mp_main__. The first thing it reads is pickled, so unpickling that can install us before the
    import. A fork server may import the program before it forks a child: there we are installed by
    the command that starts it.
    """
    import multiprocessing.spawn as spawn

    standard = spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        data = _Preparation(standard(name))
        data.swap = swap
        if name == "ignore":  # the name that a fork server is started with
            data["sys_path"] = path = _ServersPath(data["sys_path"])
            path.swap = swap
        return data

    spawn.get_preparation_data = get_preparation_data


def _prepare(data: dict[str, Any], swap: str | None) -> dict[str, Any]:
    """In a child: install, and import the program here if its class is to be swapped."""
    import multiprocessing.spawn as spawn

    from . import __main__ as runner

    make_ready(swap)
    give_way(data["sys_path"][0], "multiprocessing.spawn")
    path, name = data.get("init_main_from_path"), data.get("init_main_from_name", "__main__")
    if swap is None or not (path or not name.endswith("__main__")):
        return data
    spawn.prepare({key: data[key] for key in data if not key.startswith("init_main")})
    if path is None:
        _run_again(*runner.load_module(name, swap))
    elif getattr(sys.modules["__main__"], "__file__", None) != path:  # else the server has done it
        _run_again(*runner.load_script(path, swap))
    return {}


def _serve(path: list[str], swap: str | None) -> list[str]:
    """In a fork server, before it imports anything for the program: install; returns the path."""
    import multiprocessing.spawn as spawn

    from . import __main__ as runner

    make_ready(swap)
    give_way(path[0], "multiprocessing.spawn")
    if swap is not None:

        def import_main_path(main_path: str) -> None:
            _run_again(*runner.load_script(main_path, swap))

        spawn.import_main_path = import_main_path
    return path


def _run_again(module: ModuleType, code: CodeType) -> None:
    """Import the program as multiprocessing does, under the name __mp_main__."""
    module.__name__ = "__mp_main__"
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    exec(code, module.__dict__)
