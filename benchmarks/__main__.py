"""``python -m benchmarks``: measure this package and its peers side by side; see --help."""

import argparse
import signal
import sys
from pathlib import Path

try:
    import matplotlib  # noqa: F401
    import psutil  # noqa: F401
    import pyperf  # noqa: F401
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
except ModuleNotFoundError as missing:
    sys.exit(f"the benchmarks need {missing.name}: pip install 'micrograd_c[bench]'")

from benchmarks import chart, machine, report, turns
from benchmarks.engines import ENGINES
from benchmarks.workloads import WORKLOADS


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def arguments():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure micrograd_c and its peers side by side, each in a process of its own, "
        "taking turns.",
    )
    parser.add_argument(
        "--only", nargs="+", choices=WORKLOADS, metavar="WORKLOAD", help=" ".join(WORKLOADS)
    )
    parser.add_argument(
        "--engines", nargs="+", choices=ENGINES, metavar="ENGINE", help=" ".join(ENGINES)
    )
    parser.add_argument("--rounds", type=positive, default=5, help="turns of each (default: 5)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one round of small sizes: shows that all runs, its numbers mean nothing",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("build/benchmarks"),
        help="folder for benchmarks.json and benchmarks.png (default: build/benchmarks)",
    )
    return parser.parse_args()


def measure(outcomes, rounds, console):
    """Take all turns, showing how far it is."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=rounds * len(outcomes))

        def before_turn(number, outcome):
            progress.update(
                bar,
                description=f"round {number} of {rounds}: {outcome.workload}, {outcome.engine}",
            )
            progress.advance(bar)

        turns.run(outcomes, rounds, before_turn)


def main():
    args = arguments()
    workloads = [WORKLOADS[name] for name in args.only or WORKLOADS]
    rounds = 1 if args.quick else args.rounds
    outcomes = turns.outcomes_of(workloads, args.engines or ENGINES, args.quick)
    if not outcomes:
        sys.exit("none of these engines takes part in any of these workloads")
    console = Console()
    where = machine.describe()
    measure(outcomes, rounds, console)

    if args.quick:
        console.print("A quick round at small sizes: it shows that all runs, not how fast.\n")
    console.print(report.machine_table(where, outcomes), "")
    for workload in workloads:
        console.print(report.workload_table(workload, outcomes))
    console.print(report.target_table(outcomes, judged=not args.quick))

    args.output.mkdir(parents=True, exist_ok=True)
    data, picture = args.output / "benchmarks.json", args.output / "benchmarks.png"
    data.write_text(report.as_json(where, outcomes, rounds, judged=not args.quick))
    chart.draw(outcomes, picture)
    console.print(f"{data}\n{picture}", highlight=False)


if __name__ == "__main__":
    # A polite request to end must not leave a worker behind either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
