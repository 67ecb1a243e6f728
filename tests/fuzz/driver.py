"""Runs cases in processes of their own, side by side, and makes what fails small.

A worker runs one kind, and writes the number of the case before it starts it where its parent can
read it. So the parent knows the case also where the worker crashes or does not end.
"""

from __future__ import annotations

import faulthandler
import importlib
import math
import mmap
import os
import pickle
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from typing import Any

from . import Case, Skip, Wrong

KINDS = ("sessions", "compiled", "outside", "transforms", "arrays", "files")
PATIENCE = 60  # seconds for one case; sanitizers are slow
MOST_FAILURES = 3  # of a kind, that are made small and printed
SHRINKING = 30  # seconds


def kind_of(name: str) -> Any:
    return importlib.import_module(f".{name}", __package__)


def made(kind: Any, seed: int, k: int) -> Case:
    """Case k: the same whatever ran before it."""
    name = kind.__name__.rpartition(".")[2]
    return kind.case(random.Random(f"{seed} {name} {k}"))


def failure(kind: Any, case: Case) -> str:
    """What is wrong, or ''. Any error but Skip is one: a case knows which it expects."""
    try:
        kind.run(case)
    except Skip:
        pass
    except Wrong as error:
        return str(error)
    except Exception:
        return traceback.format_exc(limit=-3)
    return ""


def failure_apart(kind: Any, case: Case) -> str:
    """The same, in a child: a crash and a case that does not end are failures, too."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        quiet()
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(failure(kind, case), pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        ended = waited(child, time.monotonic() + PATIENCE)
        found = pipe.read()
    if ended is None:
        return f"does not end within {PATIENCE} s"
    if ended != 0 or not found:
        return ending(ended)
    return pickle.loads(found)


def ending(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"ends the process with {signal.Signals(-code).name if code < 0 else f'status {code}'}"


def waited(child: int, until: float) -> int | None:
    """The status that the child ends with; None, and it is killed, if it does not."""
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def quiet() -> None:
    """A child that crashes on purpose says nothing."""
    faulthandler.disable()
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)


def shrunk(kind: Any, case: Case, text: str, until: float = math.inf) -> tuple[Case, str]:
    """The case, which fails with `text`, with as few of its steps as can be, and what is wrong.

    A kind may have `smaller(case)`: simpler setups, the best first.
    """
    until = min(until, time.monotonic() + SHRINKING)
    for simpler in getattr(kind, "smaller", lambda case: ())(case):
        found = failure_apart(kind, simpler) if time.monotonic() < until else ""
        if found:
            return shrunk(kind, simpler, found, until)
    steps = list(case.steps)
    size = max(1, len(steps) // 2)
    while True:
        at, smaller = len(steps), False
        while at > 0 and time.monotonic() < until:
            start = max(0, at - size)
            fewer = steps[:start] + steps[at:]
            found = failure_apart(kind, case._replace(steps=fewer))
            if found:
                steps, text, smaller = fewer, found, True
            at = start
        if time.monotonic() >= until or (size == 1 and not smaller):
            return case._replace(steps=steps), text
        size = size if smaller and size == 1 else max(1, size // 2)


def report(name: str, seed: int, k: int, text: str) -> None:
    """Print a failure, small: `text`, where it does not fail again by itself."""
    kind = kind_of(name)
    print(f"\n== {name}-{k} of seed {seed} fails. Again: make fuzz SEED={seed} CASE={name}-{k}")
    case = made(kind, seed, k)
    alone = failure_apart(kind, case)
    if alone:
        case, alone = shrunk(kind, case, alone)
        print(alone.rstrip(), end="\n\n")
        print(kind.script(case), flush=True)
    else:
        print(f"{text.rstrip()}\n(not where it runs alone)", flush=True)


class Worker:
    """A process that runs cases of one kind, from number `first`, until the time is over."""

    def __init__(self, name: str, seed: int, until: float, first: int, last: float):
        self.name, self.seed, self.until, self.last = name, seed, until, last
        # The case that runs; how many have run; when it began, in ns.
        self.state = memoryview(mmap.mmap(-1, 24)).cast("q")
        self.state[0], self.state[2] = first, time.monotonic_ns()
        self.failures = tempfile.TemporaryFile()
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            status = 1
            try:
                self.work()
                status = 0
            except KeyboardInterrupt:
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)

    def work(self) -> None:
        kind, failures = kind_of(self.name), 0
        while self.state[0] < self.last and time.monotonic() < self.until:
            self.state[2] = time.monotonic_ns()
            text = failure(kind, made(kind, self.seed, self.state[0]))
            if text:
                pickle.dump((self.state[0], text), self.failures)
                self.failures.flush()
                failures += 1
            self.state[1] += 1
            if failures == MOST_FAILURES:
                break
            self.state[0] += 1

    def ended(self) -> str | None:
        """How a worker came to its end other than by itself, else ''; None while it runs."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            return ending(status) if status else ""
        if time.monotonic_ns() - self.state[2] < PATIENCE * 1e9:
            return None
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return f"does not end within {PATIENCE} s"

    def found(self) -> list[tuple[str, int, str]]:
        """(kind, case, text) of each failure."""
        self.failures.seek(0)
        found = []
        while True:
            try:
                found.append((self.name, *pickle.load(self.failures)))
            except EOFError:
                return found


def fuzz(seconds: float, seed: int, kinds: Sequence[str] = KINDS, most: float = math.inf) -> int:
    """Run all kinds for that long, print failures and how many cases ran; the exit status.

    most: cases of each kind.
    """
    counts = dict.fromkeys(kinds, 0)
    failed: list[tuple[str, int, str]] = []
    running: list[Worker] = []
    waiting = list(kinds)
    at_once = min(len(kinds), os.cpu_count() or 1)
    share = seconds / -(-len(kinds) // at_once)
    begun = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(Worker(waiting.pop(0), seed, time.monotonic() + share, 0, most))
            time.sleep(0.002)
            for worker in list(running):
                text = worker.ended()
                if text is None:
                    continue
                running.remove(worker)
                name, k = worker.name, worker.state[0]
                counts[name] += worker.state[1]
                failed += worker.found()
                if text:  # the next one begins after the case that ended this one
                    counts[name] += 1
                    failed.append((name, k, text))
                    if [n for n, *_ in failed].count(name) < MOST_FAILURES:
                        running.append(Worker(name, seed, worker.until, k + 1, most))
    except KeyboardInterrupt:
        print("\nstopped", flush=True)
        for worker in running:
            waited(worker.pid, time.monotonic() + 5)
            counts[worker.name] += worker.state[1]
            failed += worker.found()
    took = time.monotonic() - begun
    try:
        for name, k, text in failed:
            report(name, seed, k, text)
    except KeyboardInterrupt:
        pass
    listed = ", ".join(f"{n} {name}" for name, n in counts.items())
    print(
        f"fuzz: seed {seed}: {sum(counts.values())} cases ({listed}) in {took:.0f} s,"
        f" {len(failed)} failed"
    )
    return 1 if failed else 0
