"""micrograd against micrograd_c: the two moons demo on both engines, side by side.

    python examples/race.py

Starts moons.py twice at the same moment, once on each engine, shows how far each has come, and
compares time a step, final loss and final accuracy. micrograd needs a minute or two for its 100
steps. Writes the decision boundary of the network that micrograd_c trained.
"""

import argparse
import asyncio
import json
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path

try:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.table import Table
except ModuleNotFoundError as error:
    sys.exit(f"race.py needs {error.name}: pip install 'micrograd_c[examples]'")

MOONS = Path(__file__).resolve().with_name("moons.py")
ENGINES = {
    "micrograd": [sys.executable, str(MOONS)],
    "micrograd_c": [sys.executable, "-m", "micrograd_c", str(MOONS)],
}


class Failed(Exception):
    pass


async def run(engine, options, on_step):
    """One training run of moons.py; calls on_step(record) at each step, returns its last record.

    Raises Failed with what moons.py printed if it did not finish. However this ends, the process
    is gone afterwards.
    """
    process = await asyncio.create_subprocess_exec(
        *ENGINES[engine],
        "--json",
        *options,
        cwd=MOONS.parent,  # `-m` looks for micrograd_c there: it must not find an unbuilt checkout
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    record, remarks = {}, []
    try:
        async for line in process.stdout:
            if line.startswith(b"{"):
                record = json.loads(line)
                if "step" in record:
                    on_step(record)
            else:
                remarks.append(line.decode(errors="replace"))
        if await process.wait() != 0:
            raise Failed(f"moons.py on {engine} failed:\n{''.join(remarks)}".rstrip())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return record


@contextmanager
def bars(steps):
    columns = (
        TextColumn("[bold]{task.description:11}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[numbers]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, expand=True) as progress:
        tasks = {
            engine: progress.add_task(engine, total=steps, numbers="starting") for engine in ENGINES
        }

        def on_step(engine, record):
            numbers = f"{record['seconds'] * 1e3:8,.1f} ms a step  loss {record['loss']:.4f}"
            progress.update(tasks[engine], completed=record["step"], numbers=numbers)

        yield on_step


@contextmanager
def lines(steps):
    every = max(1, steps // 10)

    def on_step(engine, record):
        if record["step"] % every == 0 or record["step"] == steps:
            print(
                f"{engine:11}  step {record['step']:4}/{steps}  loss {record['loss']:.4f}  "
                f"{record['seconds'] * 1e3:9,.1f} ms",
                flush=True,
            )

    yield on_step


async def race(on_step, options, picture):
    """Run both engines at once; returns the last record of each, by engine."""
    pictures = {"micrograd": ["--no-plot"], "micrograd_c": ["--output", str(picture)]}
    records = await asyncio.gather(
        *(run(engine, options + pictures[engine], partial(on_step, engine)) for engine in ENGINES)
    )
    return dict(zip(ENGINES, records))


def report(console, ends, steps, picture):
    table = Table("engine", "time a step (median)", "final loss", "final accuracy")
    for engine, end in ends.items():
        milliseconds = end["step_seconds"] * 1e3
        table.add_row(
            engine, f"{milliseconds:,.2f} ms", f"{end['loss']:.15f}", f"{end['accuracy']:.1%}"
        )
    console.print(table)
    python, compiled = ends.values()
    speedup = python["step_seconds"] / compiled["step_seconds"]
    difference = abs(python["loss"] - compiled["loss"])
    console.print(f"micrograd_c is [bold]{speedup:,.0f} times[/] faster a step.", highlight=False)
    same = f"differ by {difference:.1e}" if difference else "are the same to the last bit"
    console.print(f"After {steps} steps the losses {same}.", highlight=False)
    console.print(f"Decision boundary: {picture}", soft_wrap=True)


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def main():
    parser = argparse.ArgumentParser(description="Race micrograd and micrograd_c on two moons.")
    parser.add_argument("--steps", type=positive, default=100)
    parser.add_argument("--seed", type=int, default=1337)
    parser.add_argument("--output", type=Path, default="moons.png", help="the picture to write")
    args = parser.parse_args()
    picture = args.output.resolve()
    options = ["--steps", str(args.steps), "--seed", str(args.seed)]

    console = Console()
    show = bars if console.is_terminal else lines
    try:
        with show(args.steps) as on_step:
            ends = asyncio.run(race(on_step, options, picture))
    except KeyboardInterrupt:
        print("Stopped: both runs were ended.", file=sys.stderr)
        sys.exit(130)
    except Failed as failure:
        sys.exit(str(failure))
    report(console, ends, args.steps, picture)


if __name__ == "__main__":
    main()
