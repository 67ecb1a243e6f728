"""Monte Carlo sensitivities: examples/pricing.py's price and Greeks from one set of paths."""

import importlib.util
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from benchmarks.registry import gradient_step, workload

EXAMPLE = Path(__file__).parents[2] / "examples" / "pricing.py"
STEPS = 50


@cache
def example():
    spec = importlib.util.spec_from_file_location("pricing", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def normals_of(paths):
    return np.random.default_rng(42).standard_normal((paths, STEPS, 2))


def complex_steps(paths):
    """The price and its derivatives by finite differences: with an imaginary bump they are exact.

    f(x + ih) is f(x) + ih f'(x) up to h**2, and nothing is subtracted: h can be tiny.
    """
    parameters, floor, bump = example().PARAMETERS, example().FLOOR, 1e-30
    normals = normals_of(paths)
    numbers = []
    for bumped in parameters:
        m = SimpleNamespace(**parameters)
        setattr(m, bumped, parameters[bumped] + 1j * bump)
        dt = m.maturity / STEPS
        other_weight = np.sqrt(1 - m.correlation**2)
        log_spot, variance = np.log(m.spot), np.full(paths, m.variance)
        for normal, other in normals.transpose(1, 2, 0):
            truncated = np.where(variance.real > floor, variance, floor)
            deviation = np.sqrt(truncated * dt)
            noise = m.correlation * normal + other_weight * other
            log_spot = log_spot + (m.rate - truncated / 2) * dt + deviation * normal
            drift = m.reversion * (m.level - truncated) * dt
            variance = variance + drift + m.vol_of_vol * deviation * noise
        gain = np.exp(log_spot) - m.strike
        price = (np.exp(-m.rate * m.maturity) * np.where(gain.real > 0, gain, 0)).mean()
        numbers.append(price.imag / bump)
    return [price.real, *numbers]


pricing = workload(
    "pricing",
    f"Heston call: price and 9 Greeks, 10,000 paths of {STEPS} steps",
    size=10_000,
    quick_size=100,
    unit="second",
    per="path",
    expected=complex_steps,
)


@pricing.on("micrograd_c.compile", note="examples/pricing.py's path, mean and backward")
def _(paths):
    import micrograd_c as mg

    market = SimpleNamespace(**{name: mg.Value(x) for name, x in example().PARAMETERS.items()})
    parameters = list(vars(market).values())
    normals = normals_of(paths)

    @mg.compile
    def payoff(normals):
        return example().discounted_payoff(market, normals)

    def price_and_greeks():
        for parameter in parameters:
            parameter.grad = 0.0
        price = payoff.mean(normals)
        price.backward()
        return price.data, [parameter.grad for parameter in parameters]

    return gradient_step(price_and_greeks)


@pricing.on("jax", note="vmap of value_and_grad")
def _(paths):
    import jax
    import jax.numpy as jnp

    floor = example().FLOOR

    def payoff(m, normals):
        dt = m["maturity"] / STEPS
        other_weight = jnp.sqrt(1 - m["correlation"] ** 2)

        def advance(state, step_normals):
            log_spot, variance = state
            normal, other = step_normals
            truncated = jnp.maximum(variance, floor)
            deviation = jnp.sqrt(truncated * dt)
            noise = m["correlation"] * normal + other_weight * other
            log_spot = log_spot + (m["rate"] - truncated / 2) * dt + deviation * normal
            drift = m["reversion"] * (m["level"] - truncated) * dt
            variance = variance + drift + m["vol_of_vol"] * deviation * noise
            return (log_spot, variance), None

        start = jnp.log(m["spot"]), m["variance"]
        (log_spot, _), _ = jax.lax.scan(advance, start, normals)
        return jnp.exp(-m["rate"] * m["maturity"]) * jax.nn.relu(jnp.exp(log_spot) - m["strike"])

    @jax.jit
    def price_and_greeks(market, normals):
        rows = jax.vmap(jax.value_and_grad(payoff), in_axes=(None, 0))(market, normals)
        return jax.tree.map(jnp.mean, rows)

    market, normals = example().PARAMETERS, jnp.asarray(normals_of(paths))
    return gradient_step(
        lambda: jax.block_until_ready(price_and_greeks(market, normals)),
        flat=lambda greeks: [greeks[name] for name in market],
    )


@pricing.on("micrograd_c", scale=0.01, note="examples/pricing.py's path, recorded anew")
def _(paths):
    import micrograd_c as mg

    market = SimpleNamespace(**{name: mg.Value(x) for name, x in example().PARAMETERS.items()})
    parameters = list(vars(market).values())
    normals = normals_of(paths).tolist()

    def price_and_greeks():
        for parameter in parameters:
            parameter.grad = 0.0
        price = 0.0
        for path in normals:
            payoff = example().discounted_payoff(market, path) / paths
            payoff.backward()
            price += payoff.data
        return price, [parameter.grad for parameter in parameters]

    return gradient_step(price_and_greeks)
