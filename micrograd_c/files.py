"""Programs in files: what `Program.save` writes and `load` reads."""

from __future__ import annotations

import os
from typing import Any

from micrograd_c._core import Program, restored_program
from micrograd_c.signatures import end_of

__all__ = ["load"]

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
    """Read a program from a file that `Program.save` has written.

    path: a str, bytes or os.PathLike. Returns a Program whose captured Values are new ones, in
    `captured`, with the numbers that they had when the program was saved. Nothing in the file is
    executed.

    ValueError if the file is not a program, or is damaged: it says what is wrong. OSError if the
    file cannot be read.

    >>> import micrograd_c as mg, tempfile, pathlib
    >>> w = mg.Value(3.0)
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
            raise ValueError(
                f"it must have the arrays {['version', *ARRAYS]}, not {sorted(file.files)}"
            )
        version = file["version"]
        if version.shape != () or version.dtype.kind != "i" or int(version) != VERSION:
            raise ValueError(f"its version must be {VERSION}, not {version}")
        arrays = {name: file[name] for name in ARRAYS}
    for name, array in arrays.items():
        if array.ndim != 1 or array.dtype != numpy.dtype(ARRAYS[name]):
            raise ValueError(f"{name} must have one axis and the type {numpy.dtype(ARRAYS[name])}")
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
            raise ValueError(f"baked must map numbers of inputs to integers, not {k!r} to {x!r}")
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
            raise TypeError(
                f"a program with the argument {item[2]!r} cannot be saved: bools, strings, None and"
                " integers can"
            )
        return ["=", item[1].__name__, item[2]]
    if kind == "n":
        return ["(", len(item[1]._fields)]
    if kind in "{":
        for key in item[1]:
            if not (key is None or isinstance(key, (str, int, float))):
                raise TypeError(
                    f"a program with the dict key {key!r} cannot be saved: strings and numbers can"
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
                raise ValueError("an array of bools has another size than its shape")
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
                raise ValueError(f"the keywords of the {name} must be strings")
            at += 1
            continue
        at, inputs, _ = end_of(spec, at)
        total += inputs
        parts += 1
    if total > MOST_INPUTS or one and parts != 1:
        raise ValueError(f"the {name} have the wrong size")
    return total
