"""Compiled programs: what needs no speed. The rest is in the core, src/program/program.pyx."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, overload

from micrograd_c import autograd
from micrograd_c._core import (
    OPS,
    Function,
    Program,
    Value,
    eager_arguments,
    flat_results,
    replayed,
    restored_program,
)
from micrograd_c._graph import OP_NAMES
from micrograd_c.signatures import argument_name, end_of

__all__ = ["compile", "load"]


@overload
def compile(
    function: Callable[..., Any], *, optimize: bool = True, verify: bool | None = None
) -> Function: ...
@overload
def compile(
    function: None = None, *, optimize: bool = True, verify: bool | None = None
) -> Callable[[Callable[..., Any]], Function]: ...
def compile(function: Any = None, *, optimize: bool = True, verify: bool | None = None) -> Any:
    """Compile a function of scalar code: trace it once, then replay it at the speed of C.

    function: of numbers, Values, arrays, and nested lists, tuples and dicts of them; it returns
    such. It is run once for each signature (the structure and shapes of its arguments, and which
    numbers are integers) on stand-in Values; from then on its operations are replayed, without
    Python. Numbers follow IEEE 754: infinities and nan flow on, nothing raises. optimize=False
    replays what was recorded as it is.

    The Values that it uses without receiving them, a model's parameters, are read at each call;
    so are arrays of floats. Whatever else it could read from outside is compared before each
    replay, and where that has changed, the function is traced anew. That covers the globals and
    closure cells that it names, its defaults, and the functions and methods of yours that it
    names; from there and from `self`, the items of lists, tuples, dicts, sets and deques, arrays,
    and the attributes of instances, classes and modules, 20 steps deep and up to a million items.
    A name that the function only counts up, and a list that it only appends to, are not read.

    What lies beyond is that of the trace: random numbers, files and clocks, iterators, the state
    inside libraries (but for the package that the function is from) and objects written in C,
    attributes hung on Values, what is behind weak references. verify=True (or
    MICROGRAD_C_VERIFY=1 in the environment) runs the function at each call besides and compares
    what it does with the program: StaleTraceError names the first operation that differs.

    What would need a number of a traced Value (`if x > 0`, `x.data`) raises TraceError, also where
    the function catches it. A function that has been traced nine times warns (RuntimeWarning) and
    names what differed.

    >>> w = Value(3.0)
    >>> @compile
    ... def loss(x, y):
    ...     return (w * x - y) ** 2
    >>> loss(2.0, 5.0).backward()
    >>> w.grad
    4.0
    >>> import numpy
    >>> loss.mean(numpy.array([1.0, 2.0]), numpy.array([3.0, 4.0])).data
    2.0
    >>> scale = [2.0]
    >>> twice = compile(lambda x: x * scale[0])
    >>> first = twice(1.0).data
    >>> scale[0] = 5.0
    >>> first, twice(1.0).data
    (2.0, 5.0)
    """
    if function is None:
        return lambda function: Function(function, optimize, verify)
    return Function(function, optimize, verify)


def parameter_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of the positional parameters, as far as they can be known."""
    import inspect

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ()
    return tuple(
        p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    )


# ------------------------------------------------------------------------------------- checking


def check(function: Function, args: tuple[Any, ...], keywords: dict[str, Any]) -> float:
    """The largest difference between a compiled function and its eager self. See Function.check."""
    program = function.program(*args, **keywords)
    leaves, args, keywords = eager_arguments(args, keywords, parameter_names(function))
    sources = leaves + list(program.captured)
    with autograd.record():
        compiled = flat_results(replayed(program, leaves))
        eager = flat_results(function.__wrapped__(*args, **keywords))
        return max(
            (
                _difference(x, y)
                for result, expected in zip(compiled, eager, strict=True)
                for x, y in zip(_numbers(result, sources), _numbers(expected, sources))
            ),
            default=0.0,
        )


def _numbers(result: Any, sources: list[Value]) -> list[float]:
    """A result and its derivatives by the sources."""
    if not isinstance(result, Value):
        return [float(result)] + [0.0] * len(sources)
    head = result * 1.0  # which has a graph, where the result is a mere number
    return [result.data, *autograd.grad(head, sources)]


def _difference(x: float, y: float) -> float:
    if x == y or (x != x and y != y):
        return 0.0
    difference = abs(x - y) / max(1.0, abs(y))
    return difference if math.isfinite(difference) else math.inf


# -------------------------------------------------------------------------------------- listings

FIRST_NARY = OP_NAMES.index("plain")
SHOWN = 12  # terms of a sum, rows of a table, that are written out


def listing(program: Program) -> str:
    """A program as text, one instruction a line."""
    names = node_names(program)
    lines = [repr(program)[1:-1]]
    lines += [f"  {names[i]} = {text}" for i, _, text in instructions(program, names)]
    lines.append(f"  return {', '.join(names[i] for i in program.graph.outputs.tolist())}")
    return "\n".join(lines)


def input_names(program: Program) -> list[str]:
    """The name of each input: its argument, numbered where that holds several."""
    names = []
    for argument in program.arguments:
        name = argument_name(argument.name).strip("'")
        name = name if name.isidentifier() else f"argument{name.split(' ')[0]}"
        if argument.count == 1:
            names.append(name)
        else:
            names += [f"{name}[{k}]" for k in range(argument.count)]
    return names


def node_names(program: Program) -> list[str]:
    """A name for each node: an input's, a captured Value's, a constant's number, %0, %1, ..."""
    inputs = input_names(program)
    captured = captured_names(program, set(inputs))
    names = []
    count = 0
    graph = program.graph
    for op, kind, number, data in zip(
        graph.op.tolist(), graph.lhs.tolist(), graph.rhs.tolist(), graph.data.tolist()
    ):
        if op:
            names.append(f"%{count}")
            count += 1
        elif kind == CONSTANT:
            names.append(f"{data:.6g}")
        elif kind == INPUT:
            names.append(inputs[number])
        else:
            names.append(captured[number])
    return names


def captured_names(program: Program, taken: set[str]) -> list[str]:
    """For each captured Value its label, where that is a name and no other's, else c0, c1, ..."""
    labels = [str(v.label) for v in program.captured]
    uses = Counter(labels)
    return [
        label
        if label and label.isprintable() and uses[label] == 1 and label not in taken
        else f"c{k}"
        for k, label in enumerate(labels)
    ]


def instructions(
    program: Program, names: list[str], most: int = SHOWN
) -> Iterator[tuple[int, list[int], str]]:
    """(node, the operands that stand in the text, its operation as text) for each instruction.

    most: how many terms of a sum, and rows of a table, are written out.
    """
    graph = program.graph
    lhs, rhs, edges = graph.lhs.tolist(), graph.rhs.tolist(), graph.edges.tolist()
    for i, op in enumerate(graph.op.tolist()):
        if not op:
            continue
        yield i, *instruction(op, lhs[i], rhs[i], edges, names, most)


def instruction(
    op: int, lhs: int, rhs: int, edges: Any, names: Any, most: int = SHOWN
) -> tuple[list[int], str]:
    """The same of one node. names: a list, or a dict, that has those of its operands."""
    if op >= FIRST_NARY:
        return _nary(OP_NAMES[op], edges[lhs : lhs + rhs], names, most)
    # What only derivatives are made of is not in OPS.
    name, symbol, arity = OPS[op - 1][:3] if op <= len(OPS) else (OP_NAMES[op], OP_NAMES[op], 2)
    operands = [lhs, rhs][:arity]
    given = [names[k] for k in operands]
    infix = arity == 2 and not symbol[0].isalpha()
    return operands, f" {symbol} ".join(given) if infix else f"{name}({', '.join(given)})"


def _nary(kind: str, edges: Any, names: Any, most: int) -> tuple[list[int], str]:
    given = [names[k] for k in edges]
    if kind == "dot":
        # A term that is no product has node 0, the number 1, for its first factor.
        factors = [(x, y) if x else (y,) for x, y in zip(edges[::2], edges[1::2])]
        factors += [(x,) for x in edges[2 * len(factors) :]]
        terms = ["*".join(names[k] for k in term) for term in factors]
        count = f"  ({len(terms)} terms)" if len(terms) > most else ""
        operands = [k for term in factors for k in term]
        return operands, " + ".join(shortened(terms, most)) + count
    if kind == "take":
        return edges, f"take([{', '.join(shortened(given[1:], most))}], {given[0]})"
    return edges, f"{'detach' if kind == 'plain' else kind}({', '.join(given)})"


def shortened(items: list[str], most: int) -> list[str]:
    """Items, or the first ones and the last if there are more than so many."""
    return items if len(items) <= most else [*items[: most - 1], "...", items[-1]]


CONSTANT, INPUT, CAPTURED = range(3)  # kinds of leaves


# ----------------------------------------------------------------------------------------- files

VERSION = 2
ARRAYS = {
    "op": "u1",
    "lhs": "<i4",
    "rhs": "<i4",
    "data": "<f8",
    "edges": "<i4",
    "outputs": "<i4",
    "captured": "<f8",
    "signature": "u1",
}
MOST_INPUTS = 2**24
PLAIN_TYPES = {"bool": bool, "str": str, "NoneType": type(None), "int": int}


def save(program: Program, path: Any) -> None:
    """Write a program to a file. See Program.save."""
    import io
    import json

    import numpy

    signature = {
        "spec": [_spec_item_out(item) for item in program.spec],
        "results": [_spec_item_out(item) for item in program.result_spec],
        "baked": sorted(program.baked.items()),
        "names": list(program.names),
        "optimize": program.optimize,
    }
    arrays: dict[str, Any] = dict(zip(program.graph._fields, program.graph))
    arrays["captured"] = numpy.array([v.data for v in program.captured], numpy.float64)
    arrays["signature"] = numpy.frombuffer(json.dumps(signature).encode(), numpy.uint8)
    arrays = {name: numpy.asarray(arrays[name], dtype) for name, dtype in ARRAYS.items()}
    content = io.BytesIO()
    numpy.savez(content, version=numpy.array(VERSION), **arrays)
    write_whole(path, content.getvalue())


def write_whole(path: Any, content: bytes) -> None:
    """Write all of a file, or nothing: what was there stays if anything fails."""
    from pathlib import Path

    target = Path(os.fsdecode(path))
    if not target.name:
        raise ValueError(f"path must name a file, not {path!r}")
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        beside.replace(target)
    except OSError as error:
        if error.filename is None:
            raise
        # It names the file beside, of which the caller knows nothing.
        raise type(error)(error.errno, error.strerror, os.fspath(path)) from None
    finally:
        beside.unlink(missing_ok=True)


def load(path: Any) -> Program:
    """A program from a file that `Program.save` has written.

    Its captured Values are new ones, in `captured`. The file is checked in full: ValueError tells
    what is wrong with it; nothing in it is executed.

    >>> import micrograd_c as mg, tempfile, pathlib
    >>> w = Value(3.0)
    >>> program = mg.compile(lambda x: w * x).program(2.0)
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "triple.npz"
    >>> program.save(file)
    >>> mg.load(file)(2.0).data
    6.0
    """
    with open(os.fspath(path), "rb") as file:
        content = file.read()
    try:
        return _loaded(content)
    except Exception as error:
        raise ValueError(
            f"{os.fsdecode(path)} is not a program that can be loaded: {error}"
        ) from error


def _loaded(content: bytes) -> Program:
    import io
    import json
    import zipfile

    import numpy

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED or member.file_size > len(content):
                raise ValueError(f"{member.filename} is compressed")
    with numpy.errstate(all="ignore"), numpy.load(io.BytesIO(content), allow_pickle=False) as file:
        if set(file.files) != {"version", *ARRAYS}:
            raise ValueError(f"it has {sorted(file.files)} where {['version', *ARRAYS]} belong")
        version = file["version"]
        if version.shape != () or version.dtype.kind != "i" or int(version) != VERSION:
            raise ValueError(f"its version is {version}, not {VERSION}")
        arrays = {name: file[name] for name in ARRAYS}
    for name, array in arrays.items():
        if array.ndim != 1 or array.dtype != numpy.dtype(ARRAYS[name]):
            raise ValueError(f"{name} must be 1-dimensional, of {numpy.dtype(ARRAYS[name])}")
    graph = [
        numpy.ascontiguousarray(arrays[name], numpy.dtype(ARRAYS[name]).newbyteorder("="))
        for name in list(ARRAYS)[:6]
    ]
    signature = json.loads(arrays["signature"].tobytes())
    spec = tuple(_spec_item_in(item) for item in signature["spec"])
    results = tuple(_spec_item_in(item) for item in signature["results"])
    inputs = _check_spec(spec, "arguments")
    _check_spec(results, "results", one=True)
    names = tuple(signature["names"])
    if not all(isinstance(name, str) for name in names):
        raise ValueError("a parameter's name is not a string")
    baked = {k: x for k, x in signature["baked"]}
    for k, x in baked.items():
        if type(k) is not int or not 0 <= k < inputs or type(x) is not int:
            raise ValueError(f"an integer that is part of the signature: {k}: {x}")
    return restored_program(
        graph, arrays["captured"].tolist(), spec, results, baked, names, bool(signature["optimize"])
    )


def _spec_item_out(item: Any) -> Any:
    """One item of a signature, for JSON. A namedtuple comes back as a tuple."""
    if isinstance(item, str):
        return item
    kind = item[0]
    if kind == "=":
        if item[1] == "array":
            return ["=", "array", [list(item[2][0]), item[2][1].hex()]]
        if item[1] not in PLAIN_TYPES.values():
            raise TypeError(f"a program is saved without arguments such as {item[2]!r}")
        return ["=", item[1].__name__, item[2]]
    if kind == "n":
        return ["(", len(item[1]._fields)]
    if kind in "{":
        for key in item[1]:
            if not (key is None or isinstance(key, (str, int, float))):
                raise TypeError(
                    f"a program with a dict is saved if its keys are strings, not {key!r}"
                )
    return [list(part) if isinstance(part, tuple) else part for part in item]


def _spec_item_in(item: Any) -> Any:
    """One item of a signature, from JSON; ValueError if it is none."""
    if item == "f" or item == "i":
        return item
    match item:
        case ["=", "array", [shape, data]]:
            size = _shape(shape)
            bits = bytes.fromhex(data)
            if len(bits) != size or set(bits) - {0, 1}:
                raise ValueError("an array of bools of another size")
            return "=", "array", (tuple(shape), bits)
        case ["=", str(name), x] if name in PLAIN_TYPES and type(x) is PLAIN_TYPES[name]:
            return "=", PLAIN_TYPES[name], x
        case ["a", shape, "f" | "i" as kind]:
            _shape(shape)
            return "a", tuple(shape), kind
        case ["o", shape]:
            _shape(shape)
            return "o", tuple(shape)
        case ["[" | "(" as kind, int(n)] if type(n) is int and 0 <= n <= MOST_INPUTS:
            return kind, n
        case ["{" | "k" as kind, list(keys)]:
            if not all(key is None or isinstance(key, (str, int, float)) for key in keys):
                raise ValueError(f"keys {keys!r}")
            return kind, tuple(keys)
    raise ValueError(f"{item!r} in the signature")


def _shape(shape: Any) -> int:
    """The size of an array of that shape; ValueError if it is none."""
    size = 1
    if not isinstance(shape, list) or len(shape) > 32:
        raise ValueError(f"{shape!r} is not the shape of an array")
    for n in shape:
        if type(n) is not int or not 0 <= n <= MOST_INPUTS or size * n > MOST_INPUTS:
            raise ValueError(f"{shape!r} is not the shape of an array")
        size *= n
    return size


def _check_spec(spec: tuple[Any, ...], name: str, one: bool = False) -> int:
    """The number of inputs of a signature whose parts are complete and not nested too deep."""
    at = total = parts = 0
    while at < len(spec):
        if spec[at][0] == "k":
            if not all(isinstance(key, str) for key in spec[at][1]):
                raise ValueError(f"the {name} have keywords that are no strings")
            at += 1
            continue
        at, inputs, _ = end_of(spec, at)
        total += inputs
        parts += 1
    if total > MOST_INPUTS or one and parts != 1:
        raise ValueError(f"the {name} have the wrong size")
    return total
