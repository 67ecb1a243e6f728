"""Which methods of a program's own Value class compute what micrograd_c.Value does: for `--swap`.

The methods of the class run on a few points, in a process that is forked for this. It writes no
files and prints nothing. If they change a counter or a list, that change ends with the process.
"""

import functools
import inspect
import io
import itertools
import json
import math
import os
import random
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any, NamedTuple, NoReturn

from micrograd_c._core import NUMPY_NAMES, OPS, Value

SECONDS = 10  # that the other process may take
CALL_SECONDS = 1.0  # of the processor's time, that it may take to try one method

_NAMED = {op.name: op.arity for op in OPS if hasattr(Value, op.name)}
_BINARY = ("add", "sub", "mul", "truediv", "pow")
ARITY = {
    **_NAMED,
    **{alias: _NAMED[name] for alias, name in NUMPY_NAMES.items()},
    **{f"__{name}__": 1 for name in ("neg", "pos", "abs")},
    **{f"__{name}__": 2 for name in (*_BINARY, "lt", "le", "gt", "ge")},
    **{f"__r{name}__": 2 for name in _BINARY},
    "backward": 1,
}  # the methods that are compared: how many operands they have
_FIELDS = "__dataclass_fields__"
TESTS = ("__bool__", "__eq__", "__ne__")  # kept in any case, and no less strictly


class Case(NamedTuple):
    """The operands of a call: x, and for a method of two also y, Value(y), or x again."""

    x: float
    y: float | None = None
    second: str = "number"

    def __str__(self) -> str:
        if self.second == "same":
            return f"of {self.x} and itself"
        if self.y is None:
            return f"at {self.x}"
        return f"at {self.x} and {f'Value({self.y})' if self.second == 'Value' else self.y}"


POINTS = (-30.0, -1.7, -0.4, 0.0, 0.3, 1.0, 2.5, 30.0)
CASES = {
    1: [Case(x) for x in POINTS],
    2: [
        Case(x, y, second)
        for x in (-1.7, 0.0, 0.3, 2.5)
        for second, y in [*itertools.product(("number", "Value"), (2, -1.0, 0.5, x)), ("same", x)]
    ],
}

# How a class may want to be given a number. micrograd_c.Value takes all of them.
CALLS: tuple[Callable[[Any, float], Any], ...] = (
    lambda cls, x: cls(x),
    lambda cls, x: cls(data=x),
    lambda cls, x: cls(x, ()),
    lambda cls, x: cls(x, (), ()),
    lambda cls, x: cls(x, (), ""),
)


class Verdict(NamedTuple):
    """What came of a comparison."""

    keep: dict[str, str]  # methods to keep although micrograd_c.Value has them, and why
    notes: list[str]  # what the user should know besides
    refusal: str = ""  # why the class cannot be replaced, if it cannot


class Seen(NamedTuple):
    """What a call gave: the kind of its result, and numbers by what they are."""

    kind: str
    numbers: dict[str, float]


class _TooLong(BaseException):
    """A method does not come to an end."""


class Subject(NamedTuple):
    """A class whose methods are called, and how it makes a Value of a number."""

    cls: Any
    make: Callable[[Any, float], Any]


def compared(
    original: type,
    globals: dict[str, Any],
    kept: Callable[[Iterable[str]], dict[str, Any]],
    made: Callable[[dict[str, Any]], type],
) -> Verdict:
    """The verdict on a class, found in a process of its own.

    globals: the names that its methods look up. kept: a function that returns the attributes that
    the replacement takes over; it is given the names to keep although micrograd_c.Value has them.
    made: a function that returns the replacement; it is given these attributes.
    """
    if not hasattr(os, "fork"):
        return Verdict({}, ["its methods were not compared: this system has no fork"])
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that other threads are not there: none is needed
        child = os.fork()
    if not child:
        _exit_with(writer, lambda: _judge(original, globals, kept, made))
    try:
        os.close(writer)
        answer = _read(reader)
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if not answer:
        return Verdict(
            {}, ["its methods were not compared: the process that does so did not end well"]
        )
    return Verdict(*json.loads(answer))


def _read(reader: int) -> bytes:
    """All that comes, if it comes to an end in time; else nothing."""
    answer, end = b"", time.monotonic() + SECONDS
    while select.select([reader], [], [], max(0.0, end - time.monotonic()))[0]:
        part = os.read(reader, 1 << 16)
        if not part:
            return answer
        answer += part
    return b""


# In the other process


def _exit_with(writer: int, judge: Callable[[], Verdict]) -> NoReturn:
    """Write the verdict and end, whatever happens."""
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nowhere, stream)
        sys.stdin = sys.stdout = sys.stderr = io.StringIO()
        sys.addaudithook(_without_effects)
        signal.signal(signal.SIGVTALRM, _too_long)
        os.write(writer, json.dumps(judge()).encode())
    finally:
        os._exit(0)


def _without_effects(event: str, args: tuple[Any, ...]) -> None:
    """An audit hook that lets a method read, and nothing else."""
    allowed = event in ("os.listdir", "os.scandir", "os.walk", "os.fwalk")
    if event == "open":
        writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        allowed = not args[2] & writes
    elif event.partition(".")[0] not in ("os", "shutil", "socket", "subprocess"):
        allowed = True
    if not allowed:
        raise PermissionError(f"{event}, while --swap compares methods")


def _judge(
    original: type,
    globals: dict[str, Any],
    kept: Callable[[Iterable[str]], dict[str, Any]],
    made: Callable[[dict[str, Any]], type],
) -> Verdict:
    globals[original.__name__] = original  # as it will be for its methods
    try:
        own = Subject(original, _way_to_make(original))
        data = [float(own.make(original, x).data) for x in POINTS]
        _call(own, "backward", CASES[1][0])
    except Exception as error:
        return Verdict({}, [f"its methods were not compared: {_text(error)}"])
    for x, made_of_x in zip(POINTS, data):
        if made_of_x != x:
            why = f"its constructor makes {made_of_x!r} of {x}, and micrograd_c.Value's keeps {x}"
            return Verdict({}, [], why)
    present = {name for base in original.__mro__[:-1] for name in vars(base)}
    keep = {name: why for name in ARITY if name in present and (why := _difference(own, name))}
    attributes = kept(keep)
    # What they do in the class itself, while its methods still find that when they look it up.
    before = {name: _repeatable(own, name, f) for name, f in attributes.items()}
    globals[original.__name__] = replacement = made(attributes)
    notes = []
    for name, seen in before.items():
        try:
            change = _change(seen, Subject(replacement, own.make), name)
        except (Exception, _TooLong) as error:
            change = f"would not work with micrograd_c.Value: {_text(error)}"
            if name not in keep and name not in TESTS:  # if the program calls it, it will hear so
                notes.append(f"its own {name} {change}")
                continue
        if change:
            hint = (
                "; @dataclass(eq=False) makes none"
                if name == "__eq__" and _FIELDS in present
                else ""
            )
            return Verdict({}, [], f"its own {name} {change}{hint}")
    return Verdict(keep, notes)


def _way_to_make(cls: type) -> Callable[[Any, float], Any]:
    """The first of CALLS that the class takes; the error of the first if there is none."""
    errors = []
    for make in CALLS:
        try:
            make(cls, POINTS[0])
            return make
        except Exception as error:
            errors.append(error)
    raise errors[0]


def _limited(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with _TooLong raised in it when its time is up."""

    @functools.wraps(function)
    def limited(*args: Any) -> Any:
        signal.setitimer(signal.ITIMER_VIRTUAL, CALL_SECONDS, CALL_SECONDS)
        try:
            return function(*args)
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    return limited


def _too_long(*_: Any) -> NoReturn:
    raise _TooLong(f"it takes more than {CALL_SECONDS:g} s")


@_limited
def _difference(own: Subject, name: str) -> str:
    """Why the class's own method does not do what micrograd_c.Value's does, or ''.

    Points that it refuses are passed over, but there must be one that it takes.
    """
    error: BaseException | None = None
    alike = False
    for case in CASES[ARITY[name]]:
        try:
            theirs = _call(own, name, case)
        except (Exception, _TooLong) as raised:
            if _refuses(raised):
                error = error or raised
                continue
            error, alike = raised, False
            break
        try:
            ours = _call(Subject(Value, own.make), name, case)
        except Exception as raised:
            return f"{case}, micrograd_c's raises {_text(raised)}"
        if unlike := _unlike(theirs, ours):
            return "its {0} {case} is {1}, micrograd_c's is {2}".format(*unlike, case=case)
        alike = True
    return "" if alike else f"it could not be compared: {_text(error)}"


def _refuses(error: BaseException) -> bool:
    """Whether the error is about a number or an operand that a method does not take.

    Another, such as a name that the program gives a meaning later, says nothing of the method.
    """
    if isinstance(error, AttributeError):
        return isinstance(error.obj, (int, float))
    kinds = ArithmeticError, AssertionError, NotImplementedError, TypeError, ValueError
    return isinstance(error, kinds)


@_limited
def _repeatable(own: Subject, name: str, method: Any) -> dict[Case, Seen]:
    """What a method does, at the points where it can be called and a second call does the same."""
    found = {}
    for case in CASES.get(_operands(name, method), ()):
        try:
            seen, again = _call(own, name, case), _call(own, name, case)
        except Exception:
            continue
        except _TooLong:
            break
        if not _unlike(seen, again):
            found[case] = seen
    return found


def _operands(name: str, method: Any) -> int:
    """How many operands a method must be given; 0 for what is no method, or wants other things."""
    if not isinstance(method, FunctionType):
        return 0
    if name in ARITY:
        return ARITY[name]
    parameters = inspect.signature(method).parameters.values()
    needed = [p for p in parameters if p.default is p.empty and "VAR" not in p.kind.name]
    return 0 if any(p.kind is p.KEYWORD_ONLY for p in needed) else len(needed)


@_limited
def _change(before: dict[Case, Seen], replacement: Subject, name: str) -> str:
    """How the method of the replacement differs from what it was, or ''; its error if it raises."""
    for case, seen in before.items():
        now = _call(replacement, name, case)
        if name not in ARITY and name not in TESTS:  # a number may be an id, or count attributes
            seen.numbers.pop("result", None), now.numbers.pop("result", None)
        if unlike := _unlike(seen, now):
            return "would change: its {0} {case} from {1} to {2}".format(*unlike, case=case)
    return ""


def _call(subject: Subject, name: str, case: Case) -> Seen:
    """What a call of the method gives, and its derivatives by the class's own backward()."""
    cls, make = subject
    random.seed(0)
    if name == "backward":
        return _swept(subject, case.x)

    def operands() -> list[Any]:
        x = make(cls, case.x)
        if case.y is None:
            return [x]
        return [x, {"same": x, "number": case.y, "Value": make(cls, case.y)}[case.second]]

    method = getattr(cls, name)
    given = operands()
    result = method(*given)
    if result is NotImplemented:
        raise TypeError("unsupported operand")
    numbers = {}
    if isinstance(result, cls):
        kind = "Value"
        numbers["value"] = float(result.data)
        numbers |= _derivatives(result, given, cls, "derivative")
        given = operands()
        twice = method(*given) + method(*given)
        numbers |= _derivatives(twice, given, cls, "derivative, used twice,")
    elif hasattr(result, "__float__"):
        kind = "number"
        numbers["result"] = float(result)
    else:
        kind = type(result).__name__
    for k, x in enumerate(given):
        if isinstance(x, cls):
            numbers["data of the second operand" if k else "data afterwards"] = float(x.data)
    return Seen(kind, numbers)


def _swept(subject: Subject, number: float) -> Seen:
    """What backward() adds up to: over two results, and over two calls for one."""
    cls, make = subject
    x, y = make(cls, number), make(cls, number)
    _sweep(x * x + x)
    _sweep(x * x)
    result = y * y + y
    _sweep(result)
    _sweep(result)
    return Seen("", {"sum over two results": _grad(x), "sum over two calls": _grad(y)})


def _derivatives(result: Any, given: list[Any], cls: Any, what: str) -> dict[str, float]:
    _sweep(result)
    by = {k: _grad(x) for k, x in enumerate(given) if isinstance(x, cls)}
    return {f"{what} by the second" if k else what: number for k, number in by.items()}


def _sweep(result: Any) -> None:
    try:
        result.backward()
    except TypeError:
        result.backward(1.0)  # a seed that must be given


def _grad(x: Any) -> float:
    return 0.0 if x.grad is None else float(x.grad)


def _unlike(a: Seen, b: Seen) -> tuple[str, Any, Any] | None:
    """The first thing in which they differ, if there is one, and what it is in each."""
    if a.kind != b.kind:
        return "kind of result", a.kind, b.kind
    for what, x in a.numbers.items():
        y = b.numbers.get(what, math.nan)
        if not (math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-12) or x != x and y != y):
            return what, x, y
    return None


def _text(error: BaseException | None) -> str:
    kind = "" if isinstance(error, _TooLong) else f"{type(error).__name__}: "
    return f"{kind}{error}".split("\n")[0]
