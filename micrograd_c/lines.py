"""Which line of the user's code made a node: for errors that name it.

A trace costs the same with this and without: only who asks for lines traces anew with them.
"""

from __future__ import annotations

import os
import sys
from bisect import bisect_right
from types import CodeType, FrameType
from typing import Any

from micrograd_c._core import tape_size

OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep
STANDARD = (os.path.dirname(os.__file__) + os.sep, "<frozen ")
INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def is_library(filename: str) -> bool:
    """Whether code is not the user's: micrograd_c's, Python's, or an installed package's."""
    return filename.startswith((OWN, *STANDARD)) or any(mark in filename for mark in INSTALLED)


def user_frame(frame: FrameType | None, end: FrameType | None = None) -> FrameType | None:
    """The innermost frame of the user's: in no library, or failing that, not in micrograd_c.

    From `frame` outwards, up to `end`, which is left out; None if there is none.
    """
    innermost = None
    while frame is not None and frame is not end:
        name = frame.f_code.co_filename
        if not is_library(name):
            return frame
        if innermost is None and not name.startswith(OWN):
            innermost = frame
        frame = frame.f_back
    return innermost


def line_text(code: CodeType, line: int, names: dict[str, Any]) -> str:
    """A line as errors name it: file, number, function, and its text where that is found.

    names: the globals of the code, which may know where its source is.
    """
    import linecache

    source = linecache.getline(code.co_filename, line, names).strip()
    return f"{code.co_filename}, line {line}, in {code.co_name}{source and ': '}{source}"


def user_line() -> str:
    """The line of the user's code that is being run, as text."""
    here = sys._getframe()
    frame = user_frame(here) or here
    return line_text(frame.f_code, frame.f_lineno, frame.f_globals)


class record_lines:
    """Within a `with`, notes which line of the user's code makes which nodes of the tape.

    It is for this thread, and for what the frame that enters it calls. Lines of libraries count as
    the line of the user's code that called them. It takes the place of this thread's `sys.settrace`
    function, which is restored at the end. Nodes must keep their indices in between: nothing may be
    collected, as in a trace.

    >>> from micrograd_c import Value, tape
    >>> def square(x):
    ...     return x * x
    >>> x = Value(3.0)
    >>> with record_lines() as lines:
    ...     y = square(x)
    >>> print(lines.of(tape.size() - 1).split(", ", 1)[1])
    line 2, in square: return x * x
    """

    def __init__(self) -> None:
        # The line places[k] made the nodes from sizes[k] on, up to the next.
        self._sizes: list[int] = []
        self._places: list[tuple[CodeType, int, dict[str, Any]] | None] = []

    def __enter__(self) -> record_lines:
        self._end = sys._getframe(1)
        self._before = sys.gettrace()
        sys.settrace(self._called)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(self._before)

    def of(self, node: int) -> str | None:
        """The line that made the node of this index, as text; None if none of the user's did."""
        k = bisect_right(self._sizes, node) - 1
        place = self._places[k] if k >= 0 else None
        return None if place is None else line_text(*place)

    def _called(self, frame: FrameType, event: str, arg: Any) -> Any:
        if user_frame(frame, self._end) is not frame:
            return None
        self._note(frame)
        return self._ran

    def _ran(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            self._note(frame)
        elif event == "return":
            self._note(user_frame(frame.f_back, self._end))
        return self._ran

    def _note(self, frame: FrameType | None) -> None:
        size = tape_size()
        if not self._sizes or self._sizes[-1] != size:
            self._sizes.append(size)
            self._places.append(None)
        self._places[-1] = frame and (frame.f_code, frame.f_lineno, frame.f_globals)
