"""What a function could read outside of itself, which a compiled function is guarded against.

`outside` goes through it before the function is traced, and makes one check for each object that
holds some of it. The core compares them before each replay, see src/program/guards.pyx.

What is looked at: the globals and closure cells that the function names, its defaults, and so on
for the Python functions and methods of the user's that it names; from there, and from `self`, the
items of lists, tuples, dicts, sets and deques, arrays, and those attributes of instances, classes
and modules that this code names (all attributes of an instance where the code has getattr, vars
and the like, and of UserDict, ChainMap and their kin). Not looked at: libraries (what lies in
the standard library, or in site-packages but for the package that the function is from),
attributes of Values, and what lies deeper than DEEPEST or beyond MOST items.

A list or set that the code only appends to, and a name that it only counts up (`n += 1`), are not
read.
"""

from __future__ import annotations

import builtins
import dis
import functools
import importlib.util
import os
import sys
import types
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy

from micrograd_c import _core
from micrograd_c._core import MISSING, Alive, Check, Function, Reference, Value, is_plain
from micrograd_c.lines import INSTALLED, OWN, is_library

DEEPEST = 20  # steps from the function
MOST = 1_000_000  # items
MOST_REFERENCED = 100_000  # elements of an array that is read at each call, not compared

CONTAINERS = (list, tuple, dict, set, frozenset, deque, numpy.ndarray)
# Calls that write to a list, set or the like and tell nothing about it.
WRITTEN = (list, set, deque, bytearray)
WRITERS = {"append", "appendleft", "add", "extend", "insert", "write"}
# Names that read attributes which the code does not spell; the first two may be given the name.
INDIRECT = {"getattr", "hasattr", "vars", "dir", "__dict__", "attrgetter", "eval", "exec"}
INDIRECT |= {"__getattribute__", "methodcaller", "globals", "locals"}


# Where an object is: what gets it, and what puts another there.
Place: TypeAlias = tuple[Callable[[], Any], Callable[[Any], None]]


class Reads(NamedTuple):
    """What code names. Of each name: whether it reads what is in it, or only writes there."""

    names: dict[str, bool]  # globals
    cells: dict[str, bool]
    attributes: dict[str, bool]
    modules: tuple[str, ...]  # imported within the function

    def by_kind(self) -> tuple[dict[str, bool], ...]:
        return self.names, self.cells, self.attributes


@functools.lru_cache(maxsize=512)
def reads(code: types.CodeType) -> Reads:
    """What a function's code names, with that of the functions within it."""
    found = Reads({}, {}, {}, ())
    modules: list[str] = []
    steps = [step for step in dis.get_instructions(code) if step.opname not in SKIPPED]
    for k, step in enumerate(steps):
        kind = KINDS.get(step.opname)
        if kind is None:
            if step.opname == "IMPORT_NAME":
                level = steps[k - 2].argval
                modules.append("." * (level if isinstance(level, int) else 0) + step.argval)
            elif step.opname == "MATCH_CLASS":
                for name in steps[k - 1].argval:
                    found.attributes[name] = True
                if step.argval:
                    found.attributes["__dict__"] = True
            continue
        read = how_read(step.argval, steps[k + 1 : k + 4])
        if step.argval in ("getattr", "hasattr") and given_name(steps[k + 2 : k + 5]):
            found.attributes[steps[k + 2].argval] = True
        elif step.argval in INDIRECT:
            found.attributes[step.argval] = True
        if read is not None:
            into = found.by_kind()[kind]
            into[step.argval] = into.get(step.argval, False) or read
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = reads(constant)
            for into, other in zip(found.by_kind(), inner.by_kind()):
                for name, read in other.items():
                    into[name] = into.get(name, False) or read
            modules += inner.modules
    return found._replace(modules=tuple(modules))


SKIPPED = {"CACHE", "NOP", "EXTENDED_ARG", "PUSH_NULL", "SWAP", "ROT_TWO"}
KINDS = {
    "LOAD_GLOBAL": 0,
    "LOAD_NAME": 0,
    "LOAD_FROM_DICT_OR_GLOBALS": 0,
    "LOAD_DEREF": 1,
    "LOAD_CLASSDEREF": 1,
    "LOAD_FROM_DICT_OR_DEREF": 1,
    "LOAD_ATTR": 2,
    "LOAD_METHOD": 2,
    "LOAD_SUPER_ATTR": 2,
    "IMPORT_FROM": 2,
}


def given_name(step: list[dis.Instruction]) -> bool:
    """Whether a step puts a string as it stands in the code."""
    if not step or step[0].opname != "LOAD_CONST" or not isinstance(step[0].argval, str):
        return False
    if len(step) > 2 and step[1].opname.startswith("LOAD_"):  # the default of getattr
        step = step[1:]
    return len(step) > 1 and step[1].opname in ("PRECALL", "CALL", "CALL_FUNCTION")


def how_read(name: str, after: list[dis.Instruction]) -> bool | None:
    """Whether a load reads what is in a name: False if it only writes there, None if it counts."""
    if not after:
        return True
    if after[0].opname in ("LOAD_ATTR", "LOAD_METHOD") and after[0].argval in WRITERS:
        return False
    if (
        len(after) == 3
        and after[0].opname in ("LOAD_CONST", "LOAD_SMALL_INT")
        and after[1].opname in ("BINARY_OP", "INPLACE_ADD")
        and after[2].opname.startswith("STORE_")
        and after[2].argval == name
    ):
        return None
    return True


NN = OWN + "nn.py"  # whose layers are like the user's


def from_library(cls: type) -> bool:
    """Whether a library reads attributes of an instance: of UserDict, ChainMap and their kin."""
    return any(base.__module__ == "collections" for base in cls.__mro__)


def package_of(function: Any) -> str:
    """The folder, or file, of the installed package that a function is from; '' if from none."""
    filename: str = getattr(getattr(function, "__code__", None), "co_filename", "")
    for mark in INSTALLED:
        before, found, after = filename.partition(mark)
        if found and not filename.startswith(OWN):
            return before + found + after[: after.find(os.sep) + 1 or None]
    return ""


def outside(
    function: Callable[..., Any], instance: Any, by_reference: bool
) -> tuple[list[Check], list[Reference], Alive]:
    """The checks of what `function`, a method of `instance` or None, could read; and its arrays.

    Checks are in the order in which they must be compared: what holds an object is before it.
    by_reference: arrays of floats are read at each call, not compared.
    """
    attributes: dict[str, bool] = {}
    while True:
        walk = Walk(attributes, by_reference, package_of(function))
        walk.visit(function, "", 0, None)
        if instance is not None:
            walk.visit(instance, "self", 0, None)
        walk.run()
        if walk.attributes == attributes:
            return walk.checks, walk.references, walk.alive
        attributes = walk.attributes


class Walk:
    """One walk through the state, breadth first. `attributes`: those read, as far as known."""

    def __init__(self, attributes: dict[str, bool], by_reference: bool, package: str):
        self.given = attributes
        self.attributes = dict(attributes)  # and those that the code met on the way names
        self.whole = not INDIRECT.isdisjoint(attributes)
        self.by_reference, self.package = by_reference, package
        self.alive = Alive()
        self.checks: list[Check] = []
        self.references: list[Reference] = []
        self.seen: dict[int, Any] = {id(vars(builtins)): builtins}
        self.queue: deque[tuple[Any, str, int]] = deque()
        self.items = 0

    def visit(self, x: Any, name: str, depth: int, place: Place | None) -> Reference | None:
        """Look at x in its turn. A Reference if it is an array that is read by reference."""
        if issubclass(type(x), Value) or is_plain(x):
            return None
        if (
            place is not None
            and self.by_reference
            and type(x) is numpy.ndarray
            and x.dtype.kind == "f"
            and x.dtype.itemsize <= 8
            and 0 < x.size <= MOST_REFERENCED
        ):
            reference = Reference(name, x, *place)
            self.references.append(reference)
            return reference
        if id(x) not in self.seen and depth <= DEEPEST and self.items <= MOST:
            self.seen[id(x)] = x
            self.queue.append((x, name, depth))
        return None

    def run(self) -> None:
        while self.queue:
            x, name, depth = self.queue.popleft()
            for kinds, look in LOOKS:
                if issubclass(type(x), kinds):  # isinstance would take a proxy for what it is not
                    look(self, x, name, depth + 1)
                    break

    def check(
        self,
        kind: Callable[..., Check],
        x: Any,
        name: str,
        depth: int,
        items: list[Any],
        keys: list[Any] | None = None,
        places: Callable[[int], Place | None] | None = None,
        read: Callable[[Any], bool] = lambda key: True,
    ) -> Check:
        """Note one object's items, and look at them in their turn."""
        check = kind(name, x, items, keys, CONTAINERS, self.alive)
        self.checks.append(check)
        self.items += len(items)
        for k, item in enumerate(items):
            if item is MISSING:
                continue
            if keys is not None and not read(keys[k]) and type(item) in WRITTEN:
                continue
            if issubclass(type(item), Value) or is_plain(item):
                continue
            place = None if places is None else places(k)
            reference = self.visit(item, check.item_name(k), depth, place)
            if reference is not None:
                check.refer(k, reference)
        return check

    def is_library(self, filename: str) -> bool:
        """Whether code is not the user's. Theirs is the package that the function is from, too."""
        if filename == NN or self.package and filename.startswith(self.package):
            return False
        return is_library(filename)

    def is_library_module(self, module: Any) -> bool:
        filename = getattr(module, "__file__", None)
        if filename is None:  # built in; or made in the program, such as __main__ of a terminal
            return getattr(module, "__name__", None) in sys.stdlib_module_names
        return self.is_library(filename)

    # ---- one kind of object each

    def list_or_tuple(self, x: Any, name: str, depth: int) -> None:
        places = None if isinstance(x, tuple) else functools.partial(in_list, x)
        self.check(_core.ItemsCheck, x, name, depth, _core.sequence_items(x), places=places)
        if type(x) not in (list, tuple):
            self.instance(x, name, depth)

    def mapping(self, x: Any, name: str, depth: int) -> None:
        keys = list(dict.keys(x))
        items = list(dict.values(x))
        self.check(
            _core.MappingCheck,
            x,
            name,
            depth,
            items,
            keys,
            lambda k: in_dict(x, keys[k]),
        )
        for key in keys:
            self.visit(key, name, depth, None)
        if isinstance(x, OrderedDict):  # its order is beside the dict
            self.check(_core.MembersCheck, x, name, depth, _core.members(x))
        if type(x) is not dict:
            self.instance(x, name, depth)

    def collection(self, x: Any, name: str, depth: int) -> None:
        self.check(_core.MembersCheck, x, name, depth, _core.members(x))
        if type(x) not in (set, frozenset, deque):
            self.instance(x, name, depth)

    def array(self, x: Any, name: str, depth: int) -> None:
        if x.dtype.kind == "O":
            self.check(_core.ElementsCheck, x, name, depth, _core.elements_of(x))
        else:
            self.checks.append(_core.NumbersCheck(name, x, self.alive))

    def function(self, x: types.FunctionType, name: str, depth: int) -> None:
        if self.is_library(x.__code__.co_filename):
            self.wrapper(x, name, depth)
            return
        found = reads(x.__code__)
        for attribute, read in found.attributes.items():
            self.attributes[attribute] = self.attributes.get(attribute, False) or read
        cells = {
            key: cell
            for key, cell in zip(x.__code__.co_freevars, x.__closure__ or ())
            if key in found.cells
        }
        keys = [f"{x.__name__}.__code__", f"{x.__name__}.__defaults__"]
        keys += [f"{x.__name__}.__kwdefaults__", *cells]
        items = _core.function_items(x, list(cells.values()))
        self.check(
            functools.partial(_core.FunctionCheck, cells=list(cells.values())),
            x,
            "",
            depth,
            items,
            keys,
            lambda k: in_cell(cells[keys[k]]) if k >= 3 else None,
            lambda key: found.cells.get(key, True),
        )
        self.namespace(x.__globals__, "", depth, found.names)
        self.attributes_of(x, name or x.__name__, depth)
        modules = {}
        for module in found.modules:
            if module.startswith("."):
                try:
                    module = importlib.util.resolve_name(module, x.__globals__.get("__package__"))
                except (ImportError, ValueError):
                    continue
            while module:
                modules[module] = True
                module = module.rpartition(".")[0]
        if modules:
            self.namespace(sys.modules, "sys.modules", depth, modules)

    def namespace(self, x: dict[str, Any], name: str, depth: int, names: dict[str, bool]) -> None:
        keys = list(names)
        self.check(
            _core.NamesCheck,
            x,
            name,
            depth,
            [x.get(key, MISSING) for key in keys],
            keys,
            lambda k: in_dict(x, keys[k]),
            lambda key: names[key],
        )

    def module(self, x: types.ModuleType, name: str, depth: int) -> None:
        if not self.is_library_module(x):
            names = {key: read for key, read in self.given.items() if key in vars(x)}
            self.namespace(vars(x), name, depth, names)

    def cls(self, x: type, name: str, depth: int) -> None:
        """A class of the user's: its methods, and what else of it the code names."""
        module = sys.modules.get(x.__module__)
        if module is not None and self.is_library_module(module):
            return
        keys = [
            key
            for key in dict.fromkeys(key for base in x.__mro__[:-1] for key in vars(base))
            if self.whole or key in self.given or key.startswith("__")
        ]
        keys = [key for key in keys if key not in UNSEEN]
        keys += [key for key in self.given if key not in keys]
        items = [_core.class_attribute(x, key) for key in keys]
        self.check(
            _core.ClassCheck,
            x,
            name,
            depth,
            items,
            keys,
            read=lambda key: self.given.get(key, True),
        )
        for base in (*x.__mro__[1:-1], type(x)):
            self.visit(base, base.__name__, depth, None)

    def wrapper(self, x: Any, name: str, depth: int) -> None:
        """What other functions are in."""
        for part in ("__func__", "__self__", "func", "args", "keywords", "fget", "__wrapped__"):
            inner = getattr(x, part, None)
            if inner is not None:
                self.visit(inner, name or "self" if part == "__self__" else name, depth, None)
        if isinstance(x, Function):
            self.attributes_of(x, name, depth)

    def attributes_of(self, x: Any, name: str, depth: int, whole: bool = False) -> None:
        """What is in the __dict__ of x, if it has one."""
        if not type(x).__dictoffset__:
            return
        whole = whole or self.whole
        namespace = _core.namespace_of(x)
        keys = list(namespace) if whole else list(self.given)
        check: Any = self.check(
            _core.AttributesCheck,
            x,
            name,
            depth,
            [namespace.get(key, MISSING) for key in keys],
            keys,
            lambda k: in_dict(namespace, keys[k]),
            lambda key: self.given.get(key, True),
        )
        check.whole = whole
        if "__wrapped__" in namespace:
            self.visit(namespace["__wrapped__"], name, depth, None)

    def instance(self, x: Any, name: str, depth: int) -> None:
        cls = type(x)
        whole = self.whole or from_library(cls)
        self.attributes_of(x, name, depth, whole)
        slots = [
            slot
            for base in cls.__mro__
            for key, slot in vars(base).items()
            if isinstance(slot, types.MemberDescriptorType) and (whole or key in self.given)
        ]
        if slots or not cls.__dictoffset__:
            items = [_core.in_slot(x, slot) for slot in slots]
            self.check(
                _core.SlotsCheck,
                x,
                name,
                depth,
                items,
                slots,
                lambda k: (lambda: slots[k].__get__(x), lambda y: slots[k].__set__(x, y)),
                lambda slot: self.given.get(slot.__name__, True),
            )
        self.visit(cls, cls.__name__, depth, None)


def in_list(x: list[Any], k: int) -> Place:
    return functools.partial(list.__getitem__, x, k), functools.partial(list.__setitem__, x, k)


def in_dict(x: dict[Any, Any], key: Any) -> Place:
    return functools.partial(dict.get, x, key), functools.partial(dict.__setitem__, x, key)


def in_cell(cell: types.CellType) -> Place:
    return lambda: cell.cell_contents, functools.partial(setattr, cell, "cell_contents")


# In classes, what tells nothing.
UNSEEN = {"__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__slots__"}
UNSEEN |= {"__repr__", "__del__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__"}
UNSEEN |= {"__static_attributes__", "__firstlineno__", "__annotate__", "__qualname__"}

LOOKS: list[tuple[Any, Callable[[Walk, Any, str, int], None]]] = [
    ((list, tuple), Walk.list_or_tuple),
    (dict, Walk.mapping),
    ((set, frozenset, deque), Walk.collection),
    (numpy.ndarray, Walk.array),
    (types.FunctionType, Walk.function),
    (types.ModuleType, Walk.module),
    (type, Walk.cls),
    (
        (types.MethodType, types.BuiltinMethodType, types.MethodWrapperType, Function)
        + (functools.partial, functools.partialmethod, staticmethod, classmethod, property)
        + (functools.cached_property, type(functools.lru_cache(len))),
        Walk.wrapper,
    ),
    (object, Walk.instance),
]
