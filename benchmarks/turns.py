"""Every (workload, engine) takes its turn in a process of its own, round after round.

Taking turns is what makes the ratios of a run good on a noisy machine: its drift hits all alike.
pyperf's manager runs all processes of one benchmark before those of the next, so it cannot do this;
its workers can (``worker.py``), and this file stands in for the manager.
"""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.engines import ONE_THREAD, installed

BUDGET = 20.0  # seconds a case may have used before it is left out of further rounds
LIMIT = 120.0  # seconds after which a turn is ended
MISSING = "missing: not installed"


@dataclass
class Outcome:
    """What came of one engine at one workload: the values of its turns, or why there are none."""

    workload: str
    engine: str
    size: int
    note: str
    turns: list[list[float]] = field(default_factory=list)
    loops: int = 0  # of the timed step; 0 until the first turn has calibrated them
    version: str = ""
    error: str = ""
    seconds: float = 0.0  # used so far, start-up of the processes included

    @property
    def values(self):
        return [value for turn in self.turns for value in turn]

    @property
    def median(self):
        return statistics.median(self.values)


def ratio(above, below):
    """The median, over the rounds that both took part in, of `above` to `below`."""
    both = zip(above.turns, below.turns, strict=False)
    return statistics.median(statistics.median(a) / statistics.median(b) for a, b in both)


def outcomes_of(workloads, engines, quick):
    """An empty outcome for every case asked for; those that cannot run here say so."""
    outcomes = []
    for workload in workloads:
        for engine, case in workload.cases.items():
            if engine in engines:
                size = workload.size_for(engine, quick)
                outcome = Outcome(workload.name, engine, size, case.note)
                outcome.error = "" if installed(engine) else MISSING
                outcomes.append(outcome)
    return outcomes


def run(outcomes, rounds, before_turn):
    """Fill the outcomes in; `before_turn(round, outcome)` is called to show how far it is."""
    for number in range(1, rounds + 1):
        for outcome in outcomes:
            before_turn(number, outcome)
            if not outcome.error and outcome.seconds < BUDGET:
                take_turn(outcome)


def take_turn(outcome):
    """Run one worker and add what it reports to the outcome."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "report.json")
        command = [sys.executable, "-m", "benchmarks.worker", f"--output={path}"]
        command += [f"--workload={outcome.workload}", f"--engine={outcome.engine}"]
        command += [f"--size={outcome.size}", f"--loops={outcome.loops}"]
        outcome.error = run_process(command)
        if not outcome.error:
            report = json.loads(path.read_text())
            outcome.turns.append(report["values"])
            outcome.loops = report["loops"]
            outcome.version = report["version"]
    outcome.seconds += time.monotonic() - started


def run_process(command):
    """Run it to its end, held to one thread; '' or what went wrong. Leaves no process behind."""
    process = subprocess.Popen(
        command,
        env=os.environ | ONE_THREAD,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that a worker's own children can be ended with it
    )
    try:
        _, errors = process.communicate(timeout=LIMIT)
    except BaseException as reason:
        kill(process)
        if isinstance(reason, subprocess.TimeoutExpired):
            return f"took longer than {LIMIT:.0f} s"
        raise
    if process.returncode < 0:
        return f"killed by {signal.Signals(-process.returncode).name}"
    if process.returncode > 0:
        return (errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
    return ""


def kill(process):
    """End the process and all that it started, and wait for it."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.communicate()
