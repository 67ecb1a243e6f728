"""What a signature says: its text, its arguments, and where its parts end.

src/program/signature.pyx takes arguments apart into signatures, and says what they hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from micrograd_c._core import LEVELS

_Signature = tuple[Any, ...]


class Argument(NamedTuple):
    """What an argument of a program is.

    name: its name, or (names of the parameters, its position among them)
    spec: its signature, in an internal form
    first: the number of the first of its inputs
    count: how many inputs (numbers) it has
    integers: whether there are integers among them
    text: its signature as people write structures

    >>> import micrograd_c as mg
    >>> argument = mg.compile(lambda x: x[0] * x[1]).program([1.0, 2.0]).arguments[0]
    >>> argument.first, argument.count, argument.integers, argument.text
    (0, 2, False, '[float, float]')
    """

    name: Any
    spec: _Signature
    first: int
    count: int  # type: ignore[assignment]  # hides tuple.count
    integers: bool
    text: str


def argument_name(argument: Any) -> str:
    """The name of an argument, which is given, or (names of the parameters, its position)."""
    if isinstance(argument, str):
        return repr(argument)
    names, k = argument
    if k < len(names):
        return repr(names[k])
    return f"{k + 1} (of {len(names)})" if names else f"{k + 1}"


def spec_text(spec: Any) -> str:
    """A signature as people write structures: ['f', ('a', (2,), 'f')] is 'float, array(2)'."""
    items, parts = iter(spec), []
    for item in items:
        parts.append(_text(item, items))
    return ", ".join(parts)


def _text(item: Any, items: Iterator[Any]) -> str:
    """The text of a part that begins with an item, and goes on with the next ones."""

    def several(count: int) -> list[str]:
        return [_text(next(items), items) for _ in range(count)]

    kind = item[0]
    if isinstance(item, str):
        return "float" if item == "f" else "int"
    if kind == "=":
        return repr(item[2]) if item[1] != "array" else f"bool array{item[2][0]}"
    if kind == "a":
        return f"{'int ' if item[2] == 'i' else ''}array{tuple(item[1])}"
    if kind == "o":
        several(math.prod(item[1]))
        return f"array{tuple(item[1])} of Values"
    if kind == "{":
        pairs = zip(item[1], several(len(item[1])))
        return f"{{{', '.join([f'{key!r}: {text}' for key, text in pairs])}}}"
    if kind == "n":
        return f"{item[1].__name__}({', '.join(several(len(item[1]._fields)))})"
    if kind == "k":
        return ", ".join([f"{key}={text}" for key, text in zip(item[1], several(len(item[1])))])
    inner = ", ".join(several(item[1]))
    if kind == "[":
        return f"[{inner}]"
    return f"({inner},)" if item[1] == 1 else f"({inner})"


def arguments_of(spec: _Signature, names: tuple[str, ...]) -> tuple[Argument, ...]:
    """What each argument of a signature is. names: of the parameters."""
    arguments: list[Argument] = []
    at = first = 0
    keywords = None
    while at < len(spec):
        if spec[at][0] == "k":
            keywords = iter(spec[at][1])
            at += 1
            continue
        name = (names, len(arguments)) if keywords is None else next(keywords)
        end, count, integers = end_of(spec, at)
        part = spec[at:end]
        arguments.append(Argument(name, part, first, count, integers, spec_text(part)))
        at = end
        first += count
    return tuple(arguments)


def end_of(spec: _Signature, at: int) -> tuple[int, int, bool]:
    """(where the part that begins at `at` ends, its number of inputs, whether there are integers).

    ValueError if it does not end, is nested deeper than what is taken apart, or holds what no
    argument is.
    """
    inputs, integers = 0, False
    open_parts = [1]  # how many more items each level has
    while open_parts:
        if at >= len(spec) or len(open_parts) > LEVELS + 2:
            raise ValueError("the signature is not complete, or too deep")
        item = spec[at]
        at += 1
        open_parts[-1] -= 1
        kind = item[0]
        if item in ("f", "i"):
            inputs += 1
            integers |= item == "i"
        elif isinstance(item, str) or kind not in ("=", "a", "o", "{", "n", "[", "("):
            raise ValueError(f"the signature holds {item!r} in an argument")
        elif kind == "a":
            inputs += math.prod(item[1])
            integers |= item[2] == "i"
        elif kind == "o":
            open_parts.append(math.prod(item[1]))
        elif kind == "{":
            open_parts.append(len(item[1]))
        elif kind == "n":
            open_parts.append(len(item[1]._fields))
        elif kind != "=":
            open_parts.append(item[1])
        while open_parts and not open_parts[-1]:
            open_parts.pop()
    return at, inputs, integers


def integer_inputs(spec: Any) -> list[int]:
    """The numbers of the inputs that are integers."""
    numbers: list[int] = []
    first = 0
    for item in spec:
        if isinstance(item, str) or item[0] == "a":
            count = 1 if isinstance(item, str) else math.prod(item[1])
            if item == "i" or item[-1] == "i":
                numbers.extend(range(first, first + count))
            first += count
    return numbers
