"""A training step of examples/gpt.py, on its own class Value and on the one --swap puts there."""

import random
from pathlib import Path

from benchmarks.registry import Step, workload

SCRIPT = Path(__file__).parents[2] / "examples" / "gpt.py"
LEARNING_RATE = 0.01


def train_on(script, names):
    """A step trains on the same few names, one after the other, as the script's own loop does."""
    made_up = script["made_up_names"]()
    letters = sorted(set("".join(made_up)))
    end = len(letters)
    batch = [
        [end, *(letters.index(letter) for letter in name), end][: script["CONTEXT"] + 1]
        for name in made_up[:names]
    ]
    model = script["make_model"](random.Random(42), len(letters) + 1)
    adam = script["Adam"](script["parameters"](model))
    losses = []

    def step():
        nonlocal losses
        losses = [script["train_step"](model, adam, tokens, LEARNING_RATE) for tokens in batch]

    return Step(step, lambda: losses + [p.data for p in adam.parameters])


def run(code):
    """The script's names, once its top level has run without its main()."""
    names = {"__name__": "gpt", "__file__": str(SCRIPT)}
    exec(code, names)  # noqa: S102 - our own example
    return names


def in_python(names):
    """The script as it stands."""
    return train_on(run(compile(SCRIPT.read_bytes(), SCRIPT, "exec")), names)


def by_python(names):
    step, result = in_python(names)
    step()
    return result()


gpt = workload(
    "gpt",
    "GPT step: examples/gpt.py, the mean of 4 names",
    size=4,
    quick_size=1,
    unit="second",
    per="name",
    expected=by_python,
)

gpt.on("python", note="the script's own class Value")(in_python)


@gpt.on("micrograd_c", note="the same script, --swap Value")
def _(names):
    from micrograd_c.dropin import compile_swapped

    return train_on(run(compile_swapped(SCRIPT.read_bytes(), str(SCRIPT), "Value")), names)
