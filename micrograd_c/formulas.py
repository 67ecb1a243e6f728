"""The formulas of the op table (src/ops/ops.h), read as expressions of Python.

A formula is C: numbers, + - * /, comparisons, && || !, one `? :` on the outside, and calls of other
formulas, or of functions that are the value of an operation. setup.py reads all of them: a formula
that is anything else ends the build. The core reads them when a program is first differentiated.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple


class Operation(NamedTuple):
    """An operation of the table. Its formulas are of a, b and, but for `value`, v."""

    name: str
    arity: int
    value: str
    by_a: str
    by_b: str


class Formula(NamedTuple):
    """A function that formulas may call."""

    name: str
    parameters: str
    value: str


READABLE = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Call, ast.Name, ast.Constant),
    *(ast.Load, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.USub, ast.BitAnd, ast.BitOr, ast.Invert),
    *(ast.Lt, ast.Gt, ast.LtE, ast.GtE, ast.Eq),
)


def in_python(text: str) -> str:
    """A formula in Python, where & | ~ stand for && || !, and `choice` stands for ? :."""
    test, question, rest = text.partition("?")
    if question:
        x, _, y = rest.partition(":")
        return f"choice({in_python(test)}, {x.strip()}, {y.strip()})"
    text = text.strip().replace("!", "~")
    for c, python in (("||", " | "), ("&&", " & ")):
        parts = _split(text, c)
        if len(parts) > 1:
            return python.join(f"({in_python(part)})" for part in parts)
    if _is_enclosed(text):
        return f"({in_python(text[1:-1])})"
    if "||" in text or "&&" in text:
        raise ValueError(f"the formula has || or && within {text!r}, where it cannot be read")
    return f"({text})"


def readable(text: str, names: Iterable[str]) -> str:
    """A formula in Python that uses these names alone; ValueError says what cannot be read."""
    known = set(names)
    try:
        tree = ast.parse(in_python(text), mode="eval")
    except SyntaxError:
        raise ValueError(f"the formula {text!r} is no expression") from None
    for node in ast.walk(tree):
        if not isinstance(node, READABLE):
            raise ValueError(f"the formula {text!r} has a {type(node).__name__}: it cannot be read")
        if isinstance(node, ast.Compare) and len(node.ops) > 1:
            raise ValueError(
                f"the formula {text!r} compares twice in a row, which C reads otherwise"
            )
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            if _is_whole(node.left) and _is_whole(node.right):
                raise ValueError(
                    f"the formula {text!r} divides integers, which C rounds: write 1.0"
                )
        if isinstance(node, ast.Name) and node.id not in known:
            raise ValueError(
                f"the formula {text!r} uses {node.id!r}, which is no operand, no formula, and no"
                " function that is the value of an operation"
            )
    return in_python(text)


def read_partials(
    operations: Iterable[Operation],
    formulas: Iterable[Formula],
    names: dict[str, Any],
    function_of: Callable[[str], Any],
) -> list[tuple[Any, Any]]:
    """The partials of each operation by a and by b, as functions of a, b and v.

    names: what formulas may use besides: `choice`, and constants. function_of: gives, for the name
    of an operation, the function that computes it.
    """
    operations = list(operations)
    for operation in operations:  # exp(a) makes exp a name, logistic(a) makes it one of sigmoid
        call = re.fullmatch(r"(\w+)\(a(, b)?\)", operation.value)
        if call:
            names.setdefault(call[1], function_of(operation.name))
    for name, parameters, value in formulas:
        own = re.findall(r"double (\w+)", parameters)
        names[name] = eval(f"lambda {', '.join(own)}: {readable(value, {*names, *own})}", names)
    known = {*names, "a", "b", "v"}

    def function(text: str) -> Any:
        return eval(f"lambda a, b, v: {readable(text, known)}", names)

    return [(function(operation.by_a), function(operation.by_b)) for operation in operations]


def table(text: str) -> tuple[list[Operation], list[Formula]]:
    """The operations and formulas of ops.h."""
    operations = [Operation(row[1], int(row[3]), *row[4:7]) for row in _rows(text, "X", 10)]
    return operations, [Formula(*row) for row in _rows(text, "F", 3)]


def signatures(text: str) -> str:
    """The stub of what the functions of ops.h are as methods of Value."""
    functions = text[text.index("#define UNARY_FUNCTIONS") : text.index("#define DERIVED_OPS")]
    return "\n".join(
        [
            "# Written by setup.py from src/ops/ops.h.",
            "from typing import Self\n",
            "from micrograd_c._core import Value, _Number\n",
            "class Functions:",
            *(
                f"    def {name}(self{', other: Value | _Number, /' * (arity == 2)}) -> Self: ..."
                for name, arity, *_ in table(functions)[0]
            ),
            "",
        ]
    )


def _rows(text: str, macro: str, columns: int) -> list[list[str]]:
    """The arguments of the lines `macro(...)`."""
    rows = []
    for line in re.findall(rf"^{macro}\((.*)\) *\\?$", text, re.M):
        rows.append([x.strip() for x in _split(line, ",")])
        if len(rows[-1]) != columns:
            raise ValueError(f"{macro}({line}) has {len(rows[-1])} columns, not {columns}")
    return rows


def _split(text: str, separator: str) -> list[str]:
    """The parts between separators that stand in no parentheses and no string."""
    parts, depth, quoted, begin = [], 0, False, 0
    for k, c in enumerate(text):
        quoted ^= c == '"'
        depth += 0 if quoted else (c == "(") - (c == ")")
        if depth == 0 and not quoted and k >= begin and text.startswith(separator, k):
            parts.append(text[begin:k])
            begin = k + len(separator)
    return [*parts, text[begin:]]


def _is_enclosed(text: str) -> bool:
    """Whether one pair of parentheses encloses all of it."""
    depth = 0
    for k, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0:
            return 0 < k == len(text) - 1
    return False


def _is_whole(node: ast.expr) -> bool:
    """Whether it is made of whole numbers alone, which C takes for integers."""
    parts = list(ast.walk(node))
    numbers = [part.value for part in parts if isinstance(part, ast.Constant)]
    names = any(isinstance(part, ast.Name) for part in parts)
    return not names and all(isinstance(number, int) for number in numbers)
