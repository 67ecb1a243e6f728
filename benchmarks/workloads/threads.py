"""The moons step on many samples: what a second thread brings."""

from benchmarks.registry import workload
from benchmarks.workloads.moons import moons, step_by_hand

threads = workload(
    "threads",
    "Moons step, 10,000 samples: one thread and two",
    size=10_000,
    quick_size=1000,
    unit="second",
    per="",
    expected=step_by_hand,
)

for engine in ("micrograd_c.compile", "c", "torch", "jax"):
    case = moons.cases[engine]
    threads.on(engine, note=case.note)(case.run)


@threads.on("micrograd_c.threads", note="two threads")
def _(samples):
    import micrograd_c as mg

    mg.set_num_threads(2)
    return moons.cases["micrograd_c.compile"].run(samples)
