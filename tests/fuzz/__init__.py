"""Random cases against independent references, each made from a seed alone. See `make fuzz`.

    python -m tests.fuzz --seconds 60 --seed 1          # every kind, side by side
    python -m tests.fuzz --seed 1 --case sessions-17    # that case again, made small and printed

A kind is a module with `case(rng)`, which makes a Case of a random.Random; `run(case)`, which
raises where the engine and the reference differ; and `script(case)`, the case as a short text.
"""

import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).parents[1]))  # of reference.py


class Case(NamedTuple):
    setup: Any
    """What stays as it is when a failure is made small."""
    steps: list[Any]
    """What may be left out, any of it."""


class Wrong(AssertionError):
    """The engine and the reference differ."""


class Skip(Exception):
    """A case in which there is nothing to compare."""
