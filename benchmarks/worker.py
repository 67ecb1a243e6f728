"""One turn of one engine at one workload, in a process of its own (started by ``turns.py``).

What came out goes as JSON into the file `--output`, as the engines may use standard output. An
exception ends the process, and its last line on standard error says what went wrong.
"""

import argparse
import gc
import json
import sys
from pathlib import Path

import pyperf

from benchmarks.engines import hold_to_one_thread, version
from benchmarks.registry import Step
from benchmarks.workloads import WORKLOADS

TOLERANCE = 1e-9  # relative for numbers above 1, absolute below
MIN_TIME = 0.05  # seconds a timed value lasts at least
VALUES = 3  # timed values a turn
LONG = 0.5  # seconds: a step that takes longer is timed once a turn, warmed up by the checked one


class Mismatch(Exception):
    """The engine did not compute what the workload asks for."""


def check(result, expected):
    """Raise Mismatch unless both hold the same numbers."""
    if len(result) != len(expected):
        raise Mismatch(f"{len(result)} numbers where {len(expected)} are expected")
    for k, (got, want) in enumerate(zip(result, expected, strict=True)):
        # Written so that a nan fails.
        if not abs(got - want) <= TOLERANCE * max(1.0, abs(want)):
            raise Mismatch(f"number {k} is {float(got)!r} where {float(want)!r} is expected")


def time_step(step, inner_loops, loops, values):
    """Time `step` as a pyperf worker does; (loops, the values in seconds, over `inner_loops`).

    With `loops` 0 they are calibrated, and the value that ended the calibration is the only one.
    """
    options = ["--worker", "--quiet"]
    if loops:
        options += [f"--loops={loops}", f"--values={values}", f"--warmups={int(values > 1)}"]
    else:
        options += ["--calibrate-loops", "--values=1", "--warmups=0", f"--min-time={MIN_TIME}"]
    runner = pyperf.Runner()
    runner.parse_args(options)
    (run,) = runner.bench_func("step", step, inner_loops=inner_loops).get_runs()
    if loops:
        return loops, list(run.values)
    loops, value = run.warmups[-1]
    return loops, [value]


def turn(args):
    """Run the case, check its numbers, and return what `turns.py` is to know."""
    workload = WORKLOADS[args.workload]
    hold_to_one_thread(args.engine)
    # What the harness has imported is no burden to an engine whose garbage Python has to collect.
    gc.collect()
    gc.freeze()
    outcome = workload.cases[args.engine].run(args.size)
    if isinstance(outcome, Step):
        started = pyperf.perf_counter()
        outcome.step()
        long = pyperf.perf_counter() - started > LONG
        result = outcome.result()
    else:
        result = outcome.result
    if workload.expected:
        check(result, workload.expected(args.size))
    if isinstance(outcome, Step):
        inner_loops = args.size if workload.per else 1
        loops, values = time_step(outcome.step, inner_loops, args.loops, 1 if long else VALUES)
    else:
        loops, values = 1, [outcome.value]
    return {"loops": loops, "values": values, "version": version(args.engine)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workload", required=True)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--loops", type=int, required=True, help="of the timed step; 0: calibrate")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    try:
        report = turn(args)
    except RecursionError:
        sys.exit("recursion limit")
    args.output.write_text(json.dumps(report))


if __name__ == "__main__":
    main()
