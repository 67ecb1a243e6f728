"""What moves an option's price: a call under Heston's model, by Monte Carlo, with all its Greeks.

    python examples/pricing.py [--paths N] [--steps N] [--seed N]

One path of the market is priced in plain scalar code. `compile` traces that code once, `mean` runs
it on many paths at once, and one `backward` gives the derivatives of the price by all nine
parameters for the cost of a few prices. They are compared with finite differences on the same
random numbers, which take two prices a parameter, and the price with Heston's own formula.
"""

import argparse
import sys
import time
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np

import micrograd_c as mg

PARAMETERS = {
    "spot": 100.0,  # the price of the stock now
    "strike": 100.0,  # what the call lets its holder buy the stock for at maturity
    "rate": 0.03,  # of interest, a year
    "maturity": 1.0,  # years
    "variance": 0.04,  # of the stock's return, a year; as it is now
    "reversion": 2.0,  # how fast the variance is drawn to its level, a year
    "level": 0.05,
    "vol_of_vol": 0.4,
    "correlation": -0.7,  # of the variance's noise with the stock's
}
FLOOR = 1e-8  # of the variance under the root, whose slope at 0 is infinite
BATCHES = 50  # the paths come in so many, and standard errors from the spread between them
BUMP = 1e-7  # of a parameter, relative, for its finite difference


def discounted_payoff(market, normals):
    """What the call pays on one path, in today's money.

    Euler's scheme for the stock's logarithm and for its variance, which is cut off near 0 wherever
    it is used (Lord, Koekkoek and van Dijk, 2010). `normals`: two standard normal numbers a step.
    """
    dt = market.maturity / len(normals)
    other_weight = (1 - market.correlation**2).sqrt()
    log_spot, variance = market.spot.log(), market.variance
    for normal, other in normals:
        truncated = variance.max(FLOOR)
        deviation = (truncated * dt).sqrt()
        noise = market.correlation * normal + other_weight * other
        log_spot = log_spot + (market.rate - truncated / 2) * dt + deviation * normal
        drift = market.reversion * (market.level - truncated) * dt
        variance = variance + drift + market.vol_of_vol * deviation * noise
    return (-market.rate * market.maturity).exp() * (log_spot.exp() - market.strike).relu()


def heston_price(spot, strike, rate, maturity, variance, reversion, level, vol_of_vol, correlation):
    """The call's exact price: Lewis's integral over Heston's characteristic function."""
    u = np.linspace(0, 200, 20_001)
    z = u - 0.5j
    beta = reversion - correlation * vol_of_vol * 1j * z
    root = np.sqrt(beta**2 + vol_of_vol**2 * z * (z + 1j))
    below = beta - root
    g = below / (beta + root)
    decay = np.exp(-root * maturity)
    by_level = below * maturity - 2 * np.log((1 - g * decay) / (1 - g))
    by_variance = below * (1 - decay) / (1 - g * decay)
    exponent = (reversion * level * by_level + variance * by_variance) / vol_of_vol**2
    forward = np.log(spot / strike) + rate * maturity
    density = (np.exp(1j * u * forward + exponent) / (u**2 + 0.25)).real
    integral = np.sum((density[1:] + density[:-1]) / 2) * u[1]
    return spot - np.sqrt(spot * strike) * np.exp(-rate * maturity / 2) * integral / np.pi


def simulate(paths, steps, rng):
    """Price the paths batch by batch.

    Yields a row for each: the price and its derivatives by backward, then by finite differences,
    and the seconds that each of the two took.
    """
    market = SimpleNamespace(**{name: mg.Value(x) for name, x in PARAMETERS.items()})
    parameters = list(vars(market).values())

    @mg.compile
    def payoff(normals):
        return discounted_payoff(market, normals)

    def bumped(parameter, bump):
        start = parameter.data
        parameter.data = start + bump
        price = payoff.map(normals).mean()
        parameter.data = start
        return price

    for _ in range(BATCHES):
        normals = rng.standard_normal((paths // BATCHES, steps, 2))
        begin = time.perf_counter()
        price = payoff.mean(normals)
        for parameter in parameters:
            parameter.grad = 0.0
        price.backward()
        middle = time.perf_counter()
        differences = []
        for parameter in parameters:
            bump = BUMP * abs(parameter.data)
            differences.append((bumped(parameter, bump) - bumped(parameter, -bump)) / (2 * bump))
        end = time.perf_counter()
        greeks = [parameter.grad for parameter in parameters]
        yield [price.data, *greeks, *differences, middle - begin, end - middle]


@contextmanager
def bar():
    """Progress as a bar that is drawn over and over, on a terminal."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[numbers]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, expand=True) as progress:
        task = progress.add_task("batches", total=BATCHES, numbers="")

        def show(rows):
            progress.update(task, completed=len(rows), numbers=running_price(rows))

        yield show


@contextmanager
def lines():
    """Progress as a line now and then."""

    def show(rows):
        if len(rows) % (BATCHES // 5) == 0:
            print(f"batch {len(rows)}/{BATCHES}  {running_price(rows)}", flush=True)

    yield show


def running_price(rows):
    price, error = mean_and_error([row[0] for row in rows])
    return f"price {price:.4f} ± {error:.4f}"


def mean_and_error(numbers):
    """The mean over batches, and its standard error: nan after the first."""
    error = np.std(numbers, ddof=1) / len(numbers) ** 0.5 if len(numbers) > 1 else np.nan
    return np.mean(numbers), error


def report(rows):
    count = len(PARAMETERS)
    columns = np.transpose(rows)
    price, error = mean_and_error(columns[0])
    exact = heston_price(**PARAMETERS)
    print(f"\nprice {price:.4f} ± {error:.4f}, by Heston's formula {exact:.4f}\n")
    print("parameter         value  derivative   std. error  finite difference")
    for k, (name, x) in enumerate(PARAMETERS.items(), 1):
        greek, error = mean_and_error(columns[k])
        difference = columns[count + k].mean()
        print(f"{name:12} {x:10g} {greek:11.5f} ±{error:11.5f} {difference:18.5f}")
    backward, bumping = columns[-2:].sum(axis=1)
    print(
        f"\nprice and derivatives by backward {backward:.2f} s, finite differences {bumping:.2f} s"
    )


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def main():
    parser = argparse.ArgumentParser(description="Price a call, with all its Greeks.")
    parser.add_argument("--paths", type=positive, default=100_000, help=f"a multiple of {BATCHES}")
    parser.add_argument("--steps", type=positive, default=50, help="from now to maturity")
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()
    if args.paths % BATCHES:
        parser.error(f"paths come in {BATCHES} batches: --paths must be a multiple of it")

    show = lines
    if sys.stdout.isatty():
        try:
            import rich  # noqa: F401

            show = bar
        except ModuleNotFoundError:
            pass  # the bar is rich's; lines do as well

    rows = []
    try:
        print(f"{args.paths} paths of {args.steps} steps", flush=True)
        with show() as update:
            for row in simulate(args.paths, args.steps, np.random.default_rng(args.seed)):
                rows.append(row)
                update(rows)
    except KeyboardInterrupt:
        print(f"Stopped after {len(rows)} of {BATCHES} batches.", file=sys.stderr)
        sys.exit(130)
    report(rows)


if __name__ == "__main__":
    main()
