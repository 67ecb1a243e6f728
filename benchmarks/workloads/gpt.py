"""Training steps of examples/gpt.py, on its own class Value and on the one --swap puts there."""

import random
from pathlib import Path

from benchmarks.registry import Step, workload

SCRIPT = Path(__file__).parents[2] / "examples" / "gpt.py"
LEARNING_RATE = 0.01
BETAS = 0.9, 0.99  # the script's own for Adam
LETTERS = 5  # in the names of a batch: most names have as many


def run(code):
    """The script's names, once its top level has run without its main()."""
    names = {"__name__": "gpt", "__file__": str(SCRIPT)}
    exec(code, names)  # noqa: S102 - our own example
    return names


def as_it_stands():
    return run(compile(SCRIPT.read_bytes(), SCRIPT, "exec"))


def swapped():
    """The script on micrograd_c's Value."""
    from micrograd_c.swap import compile_swapped

    return run(compile_swapped(SCRIPT.read_bytes(), str(SCRIPT), "Value"))


def traceable():
    """The same, with the lookup and the softmax that can be traced."""
    import micrograd_c as mg

    script = swapped()
    script.update(softmax=mg.softmax, take=mg.take)
    return script


def prepare(script, names, length=None):
    """A new model, and the tokens of the first names, or of the first with `length` letters."""
    made_up = script["made_up_names"]()
    letters = sorted(set("".join(made_up)))
    end = len(letters)
    chosen = [name for name in made_up if length in (None, len(name))][:names]
    batch = [
        [end, *(letters.index(letter) for letter in name), end][: script["CONTEXT"] + 1]
        for name in chosen
    ]
    return script["make_model"](random.Random(42), len(letters) + 1), batch


def train_on(script, names):
    """A step trains on the same few names, one after the other, as the script's own loop does."""
    model, batch = prepare(script, names)
    adam = script["Adam"](script["parameters"](model))
    losses = []

    def step():
        nonlocal losses
        losses = [script["train_step"](model, adam, tokens, LEARNING_RATE) for tokens in batch]

    return Step(step, lambda: losses + [p.data for p in adam.parameters])


def by_python(names):
    step, result = train_on(as_it_stands(), names)
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


@gpt.on("python", note="the script's own class Value")
def _(names):
    return train_on(as_it_stands(), names)


@gpt.on("micrograd_c", note="the same script, --swap Value")
def _(names):
    return train_on(swapped(), names)


@gpt.on("micrograd_c.compile", note="its loss traced once a length")
def _(names):
    import micrograd_c as mg

    script = traceable()
    model, batch = prepare(script, names)
    parameters = script["parameters"](model)
    adam = mg.optim.Adam(parameters, lr=LEARNING_RATE, betas=BETAS)
    losses = []

    @mg.compile
    def name_loss(tokens):
        return script["name_loss"](model, tokens)

    def step():
        losses.clear()
        for tokens in batch:
            loss = name_loss(tokens)
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(loss.data)

    return Step(step, lambda: [*losses, *mg.get_data(parameters)])


def train_on_batch(script, names):
    """A step trains on names of one length at once, by the mean of their losses.

    Gradients add up name by name: one graph of all names would be slower here.
    """
    model, batch = prepare(script, names, LETTERS)
    adam = script["Adam"](script["parameters"](model))
    mean_loss = 0.0

    def step():
        nonlocal mean_loss
        mean_loss = 0.0
        for tokens in batch:
            loss = script["name_loss"](model, tokens) / len(batch)
            loss.backward()
            mean_loss += loss.data
        adam.step(LEARNING_RATE)

    return Step(step, lambda: [mean_loss, *(p.data for p in adam.parameters)])


def batch_by_python(names):
    step, result = train_on_batch(as_it_stands(), names)
    step()
    return result()


gpt16 = workload(
    "gpt16",
    "GPT step: examples/gpt.py's model, 16 names of 5 letters at once",
    size=16,
    quick_size=2,
    unit="second",
    per="name",
    expected=batch_by_python,
)


@gpt16.on("python", note="the script's own class Value")
def _(names):
    return train_on_batch(as_it_stands(), names)


@gpt16.on("micrograd_c", note="the same script, --swap Value")
def _(names):
    return train_on_batch(swapped(), names)


@gpt16.on("micrograd_c.compile", note="its loss traced once")
def _(names):
    import numpy as np

    import micrograd_c as mg

    script = traceable()
    model, batch = prepare(script, names, LETTERS)
    batch = np.array(batch)
    parameters = script["parameters"](model)
    adam = mg.optim.Adam(parameters, lr=LEARNING_RATE, betas=BETAS)
    loss = None

    @mg.compile
    def name_loss(tokens):
        return script["name_loss"](model, tokens)

    def step():
        nonlocal loss
        loss = name_loss.mean(batch)
        adam.zero_grad()
        loss.backward()
        adam.step()

    return Step(step, lambda: [loss.data, *mg.get_data(parameters)])
