"""The outcomes as tables for the terminal and as JSON."""

import json
import statistics

from rich import box
from rich.table import Table
from rich.text import Text

from benchmarks import targets
from benchmarks.engines import ENGINES
from benchmarks.turns import MISSING, ratio
from benchmarks.workloads import WORKLOADS

OWN = "micrograd_c"  # what the others are compared to
SCALES = {
    "second": [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")],
    "byte": [(1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")],
    "ratio": [(1.0, "x")],
}
STYLES = {"aim": "bold green", "must": "green", "short": "bold red", "not measured": "yellow"}


def quantity(value, unit):
    """A number with its unit, three digits: 1.23 ms, 45.6 B."""
    number, name = scaled(value, unit)
    return f"{three_digits(number)} {name}"


def scaled(value, unit):
    """(number, name) of a value in the largest of its units that it reaches."""
    scales = SCALES[unit]
    scale, name = next((s for s in scales if abs(value) >= 0.9995 * s[0]), scales[-1])
    return value / scale, name


def three_digits(number):
    decimals = 2 if abs(number) < 9.995 else 1 if abs(number) < 99.95 else 0
    return f"{number:,.{decimals}f}"


def times(factor):
    """How many times as much: 45.6x, 0.012x."""
    return f"{factor:.2g}x" if factor < 0.995 else f"{three_digits(factor)}x"


def machine_table(machine, outcomes):
    """The machine, and the version of every engine that ran."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for what, text in machine.items():
        table.add_row(Text(what, "bold"), text)
    for engine, about in ENGINES.items():
        version = version_of(engine, outcomes)
        if version:
            table.add_row(Text(engine, "bold"), f"{version}  ({about.about})")
    return table


def version_of(engine, outcomes):
    """The version that the engine's workers reported, or why there is none; '' if not asked for."""
    own = [outcome for outcome in outcomes if outcome.engine == engine]
    versions = [outcome.version for outcome in own if outcome.version]
    if versions:
        return versions[0]
    missing = any(outcome.error == MISSING for outcome in own)
    return MISSING if missing else ""


def workload_table(workload, outcomes):
    """Every engine's median at one workload, fastest first; those without one at the end."""
    cases = [outcome for outcome in outcomes if outcome.workload == workload.name]
    own = next((outcome for outcome in cases if outcome.engine == OWN), None)
    table = Table(title=heading(workload), title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("engine", no_wrap=True)
    for name in ("median", "spread", "values", f"to {OWN}"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("note")
    for outcome in sorted(cases, key=lambda o: (not o.turns, o.turns and o.median)):
        name = Text(outcome.engine, "bold" if outcome.engine.startswith(OWN) else "")
        if outcome.turns:
            median, count = quantity(outcome.median, workload.unit), str(len(outcome.values))
            row = [median, spread(outcome), count, compared(outcome, own)]
        else:
            row = ["-"] * 4
        table.add_row(name, *row, note_of(workload, outcome))
    return table


def heading(workload):
    """The workload's title, and what a value stands for."""
    return f"{workload.title} (per {workload.per})" if workload.per else workload.title


def spread(outcome):
    """Half the range between the quartiles, in percent of the median."""
    if len(outcome.values) < 2 or not outcome.median:
        return ""
    low, _, high = statistics.quantiles(outcome.values, n=4, method="inclusive")
    return f"±{50 * (high - low) / abs(outcome.median):.0f}%"


def note_of(workload, outcome):
    """What went wrong, the case's own note, and a size that is not the others'."""
    note = Text(outcome.error, "red")
    parts = [outcome.note] if outcome.note else []
    if workload.cases[outcome.engine].scale < max(case.scale for case in workload.cases.values()):
        parts.append(f"size {outcome.size:,}")
    return note.append("; " if note and parts else "").append(", ".join(parts), "default")


def compared(outcome, own):
    """How many times the package's own median the outcome's is; '' where that says nothing."""
    if WORKLOADS[outcome.workload].unit == "ratio" or not own or not own.turns:
        return ""
    return times(ratio(outcome, own)) if min(outcome.values + own.values) > 0 else ""


def target_table(outcomes, judged):
    """The targets against what was measured; not `judged` if the sizes were not the real ones."""
    table = Table(title="Targets", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("what")
    for name in ("measured", "must", "aim"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("reached", no_wrap=True)
    for target, value in targets.measure(outcomes):
        mark = targets.mark(target, value) if judged else "not judged"
        table.add_row(
            f"{target.what}, {comparison(target)}" if target.against else target.what,
            "" if value is None else number_for(target, value),
            f"{target.bound} {number_for(target, target.must)}",
            "" if target.aim is None else number_for(target, target.aim),
            Text(mark, STYLES.get(mark, "")),
        )
    return table


def comparison(target):
    return f"{'to' if target.bound == '<=' else 'faster than'} {target.against}"


def number_for(target, value):
    """A target's number: a ratio, or a quantity in the workload's unit."""
    return times(value) if target.against else quantity(value, WORKLOADS[target.workload].unit)


def as_json(machine, outcomes, rounds, judged):
    """All that was measured, as JSON text; times in seconds, memory in bytes."""
    return json.dumps(
        {
            "machine": machine,
            "rounds": rounds,
            "versions": {engine: version_of(engine, outcomes) for engine in ENGINES},
            "outcomes": [
                {
                    "workload": outcome.workload,
                    "engine": outcome.engine,
                    "size": outcome.size,
                    "unit": WORKLOADS[outcome.workload].unit,
                    "per": WORKLOADS[outcome.workload].per,
                    "median": outcome.median if outcome.turns else None,
                    "turns": outcome.turns,
                    "loops": outcome.loops,
                    "note": outcome.note,
                    "error": outcome.error,
                }
                for outcome in outcomes
            ],
            "targets": [
                vars(target)
                | {
                    "measured": value,
                    "reached": targets.mark(target, value) if judged else "not judged",
                }
                for target, value in targets.measure(outcomes)
            ],
        },
        indent=1,
    )
