"""What training leaves behind: resident memory over many steps of a small moons network."""

from benchmarks.registry import Measured, workload
from benchmarks.resident import resident
from benchmarks.workloads.moons import own_network, value_step

SAMPLES = 4
LAYERS = [2, 4, 4, 1]
FIRST = 100  # steps that are not counted

growth = workload(
    "growth",
    "Growth of resident memory over 10^4 steps: 4 moons samples, MLP 2-4-4-1",
    size=10**4,
    quick_size=100,
    unit="byte",
    per="",
)


def grown(Value, MLP, steps):
    """Resident bytes gained from the first steps to the last."""
    step, _ = value_step(Value, MLP, SAMPLES, LAYERS)
    for _ in range(FIRST):
        step()
    before = resident()
    for _ in range(steps):
        step()
    return Measured(resident() - before)


@growth.on("micrograd_c", note="the user's own Neuron")
def _(steps):
    from micrograd_c import Value

    return grown(Value, own_network(Value), steps)


@growth.on("micrograd_c.nn")
def _(steps):
    from micrograd_c import Value
    from micrograd_c.nn import MLP

    return grown(Value, MLP, steps)


@growth.on("micrograd", scale=0.1, note="the user's own Neuron")
def _(steps):
    from micrograd.engine import Value

    return grown(Value, own_network(Value), steps)
