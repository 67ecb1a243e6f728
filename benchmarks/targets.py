"""What must hold, and what is aimed at: one line a target."""

from dataclasses import dataclass

from benchmarks.turns import ratio


@dataclass(frozen=True)
class Target:
    """`engine` at `workload`, against another engine where one is named.

    bound '<=': the measured value, or its ratio to `against`, is at most `must`.
    bound '>=': the engine is at least `must` times faster than `against`.
    """

    what: str
    workload: str
    engine: str
    against: str
    bound: str
    must: float
    aim: float | None


MS, US, NS = 1e-3, 1e-6, 1e-9
MB = 1e6

# fmt: off
TARGETS = [
    Target("scalar operation, forward", "op", "micrograd_c", "python", "<=", 1.7, 1.4),
    Target("scalar chain", "chain", "micrograd_c", "micrograd", ">=", 36, 45),
    Target("scalar chain", "chain", "micrograd_c", "xad", ">=", 22, 30),
    Target("scalar chain", "chain", "micrograd_c", "torch", ">=", 180, 250),
    Target("moons step, own Neuron", "moons", "micrograd_c", "micrograd", ">=", 120, 220),
    Target("moons step, nn", "moons", "micrograd_c.nn", "micrograd", ">=", 170, 350),
    Target("GPT step, --swap Value", "gpt", "micrograd_c", "python", ">=", 25, 40),
    Target("moons step, compiled", "moons", "micrograd_c.compile", "jax", ">=", 2, 4),
    Target("moons step, compiled", "moons", "micrograd_c.compile", "torch", ">=", 8, 30),
    Target("moons step, compiled", "moons", "micrograd_c.compile", "micrograd", ">=", 10e3, 40e3),
    Target("moons step, compiled", "moons", "micrograd_c.compile", "c", "<=", 4, 2),
    Target("GPT step, compiled", "gpt", "micrograd_c.compile", "python", ">=", 1500, 4000),
    Target("GPT step, 16 names", "gpt16", "micrograd_c.compile", "python", ">=", 3000, 10e3),
    Target("one sample's gradient", "sample", "micrograd_c.compile", "casadi", ">=", 2, 5),
    Target("mixed operation", "mixed", "micrograd_c.compile", "", "<=", 8 * NS, 3 * NS),
    Target("two threads", "threads", "micrograd_c.threads", "micrograd_c.compile", ">=", 1.7, 1.95),
    Target("call of a small program", "call", "micrograd_c.compile", "", "<=", 1.5 * US, 0.6 * US),
    Target("elementwise Array", "elementwise", "micrograd_c.array", "", "<=", 60 * NS, None),
    Target("the same", "elementwise", "micrograd_c.array", "micrograd_c", "<=", 1.5, None),
    Target("dot of Arrays", "dot", "micrograd_c.array", "", "<=", 12 * NS, None),
    Target("@ of Arrays", "matmul", "micrograd_c.array", "", "<=", 12 * NS, None),
    Target("Rosenbrock, gradient", "rosenbrock", "micrograd_c.compile", "jax", ">=", 1, None),
    Target("Rosenbrock, gradient", "rosenbrock", "micrograd_c.compile", "casadi", ">=", 2, None),
    Target("dense Hessian", "hessian", "micrograd_c.compile", "jax", ">=", 1, None),
    Target("dense Hessian", "hessian", "micrograd_c.compile", "casadi", ">=", 2, None),
    Target("sparse Hessian", "sparse_hessian", "micrograd_c.compile", "casadi", ">=", 1, None),
    Target("hvp, to an evaluation", "hvp", "micrograd_c.compile", "", "<=", 6, None),
    Target("memory a node", "memory", "micrograd_c", "", "<=", 48, 34),
    Target("backward, 10^7 others live to none", "live", "micrograd_c", "", "<=", 2, 1.1),
    Target("growth over 10^4 steps, own Neuron", "growth", "micrograd_c", "", "<=", 1 * MB, None),
    Target("growth over 10^4 steps, nn", "growth", "micrograd_c.nn", "", "<=", 1 * MB, None),
    Target("import beyond numpy's", "import", "micrograd_c", "", "<=", 30 * MS, 10 * MS),
]
# fmt: on


def measure(outcomes):
    """[(target, the number to hold against it or None)] for the workloads that were asked for."""
    asked = {outcome.workload for outcome in outcomes}
    ran = {(o.workload, o.engine): o for o in outcomes if o.turns}
    return [(target, measured(target, ran)) for target in TARGETS if target.workload in asked]


def measured(target, ran):
    own = ran.get((target.workload, target.engine))
    if own and not target.against:
        return own.median
    other = ran.get((target.workload, target.against))
    if not own or not other:
        return None
    return ratio(own, other) if target.bound == "<=" else ratio(other, own)


def mark(target, value):
    """'aim' or 'must' for the better of the two that is reached, 'short', or 'not measured'."""
    if value is None:
        return "not measured"

    def reached(bound):
        return value <= bound if target.bound == "<=" else value >= bound

    if not reached(target.must):
        return "short"
    return "aim" if target.aim is not None and reached(target.aim) else "must"
