"""Formulas of the op table are read as C reads them, or refused."""

import re

import pytest
from source import SOURCE

from micrograd_c import formulas

NAMES = {"a", "b", "v", "exp", "choice"}


@pytest.mark.parametrize(
    "text",
    [
        "2 * (a > 0 || b > 0)",
        "a - (b > 0 && a > 0)",
        "exp((a > 0 || b > 0) * a)",
        "(a > 0 && b > 0) - (a < 0 && b < 0)",
        "1 / 2 * a",
        "-1 / 2 * a",
        "(1 + 2) / 2 * a",
        "0 < a < 1",
        "a % b",
        "a ? b : a ? 1 : 2",
        "2 * (a > 0 ? 1 : 0)",
        "a[0]",
        "a != b",
        "a +",
        "expn1(a)",
    ],
)
def test_what_cannot_be_read_is_refused(text):
    with pytest.raises(ValueError, match=re.escape("formula")):
        formulas.readable(text, NAMES)


@pytest.mark.parametrize(
    "text, python",
    [
        ("a * b", "(a * b)"),
        ("a > 0 && b > 0", "((a > 0)) & ((b > 0))"),
        ("(a > 0 && b > 0) || !(a == b)", "((((a > 0)) & ((b > 0)))) | ((~(a == b)))"),
        ("a > 0 ? exp(a) : 1", "choice((a > 0), exp(a), 1)"),
        ("(a > 0) - (b < 0)", "((a > 0) - (b < 0))"),
        ("1 / (3 * a)", "(1 / (3 * a))"),
        ("1.0 / 2 * a", "(1.0 / 2 * a)"),
    ],
)
def test_what_is_read(text, python):
    assert formulas.readable(text, NAMES) == python


def test_a_line_with_a_column_too_few_is_refused():
    table = (SOURCE / "src" / "ops" / "ops.h").read_text(encoding="utf-8")
    operations, own = formulas.table(table)
    assert len(operations) > 30 and len(own) > 5
    with pytest.raises(ValueError, match="9 columns, not 10"):
        formulas.table(table.replace(', "The sine, of radians."', ""))
