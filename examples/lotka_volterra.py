"""Hares and lynxes: an equation's parameters, found from twenty years of furs.

    python examples/lotka_volterra.py [--steps N] [--output FILE]

The Lotka-Volterra equations say how prey and predators come and go. They are solved here in plain
scalar code, by Runge and Kutta's method, and fitted to the furs that the Hudson's Bay Company was
brought. micrograd_c compiles that code and its derivatives, gradient, Hessian and Jacobian;
scipy.optimize does the rest. The Hessian also says how well the furs determine each parameter.
Writes a picture of the fit.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

import micrograd_c as mg

try:
    from matplotlib.figure import Figure
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from scipy.optimize import least_squares, minimize
except ModuleNotFoundError as error:
    package = error.name.partition(".")[0]
    sys.exit(f"lotka_volterra.py needs {package}: pip install 'micrograd_c[examples]'")

# Thousands of pelts, as in C. Elton and M. Nicholson, The ten-year cycle in numbers of the lynx in
# Canada (1942), and in many textbooks since.
YEARS = np.arange(1900, 1921)
PELTS = np.array(
    [
        [30.0, 47.2, 70.2, 77.4, 36.3, 20.6, 18.1, 21.4, 22.0, 25.4, 27.1]
        + [40.3, 57.0, 76.6, 52.3, 19.5, 11.2, 7.6, 14.6, 16.2, 24.7],
        [4.0, 6.1, 9.8, 35.2, 59.4, 41.7, 19.0, 13.0, 8.3, 9.1, 7.4]
        + [8.0, 12.3, 19.5, 45.7, 51.1, 29.7, 15.8, 9.7, 10.1, 8.6],
    ]
).T
COLOURS = {"hares": "#0f766e", "lynxes": "#c2410c"}

# What the searches start from, and what it is; the rates are a year's.
PARAMETERS = {
    "births": (0.5, "of hares, per hare"),
    "hunting": (0.02, "deaths of hares, per hare and thousand lynxes"),
    "deaths": (0.5, "of lynxes, per lynx"),
    "feeding": (0.02, "births of lynxes, per lynx and thousand hares"),
    "hares": (30.0, "thousands, in 1900"),
    "lynxes": (4.0, "thousands, in 1900"),
}
INK, MUTED = "#1e293b", "#94a3b8"
START = np.log([start for start, _ in PARAMETERS.values()])


def change(hares, lynxes, births, hunting, deaths, feeding):
    """How fast the two populations grow."""
    return (births - hunting * lynxes) * hares, (feeding * hares - deaths) * lynxes


def populations(logarithms, steps):
    """Both populations from 1900 to 1920, one row for each of the `steps` of a year.

    The parameters come as logarithms: they must stay above zero, and so they do.
    """
    *rates, hares, lynxes = np.exp(logarithms)
    dt = 1 / steps
    rows = [(hares, lynxes)]
    for _ in range(steps * (len(YEARS) - 1)):
        h1, l1 = change(hares, lynxes, *rates)
        h2, l2 = change(hares + h1 * (dt / 2), lynxes + l1 * (dt / 2), *rates)
        h3, l3 = change(hares + h2 * (dt / 2), lynxes + l2 * (dt / 2), *rates)
        h4, l4 = change(hares + h3 * dt, lynxes + l3 * dt, *rates)
        hares = hares + (h1 + 2 * h2 + 2 * h3 + h4) * (dt / 6)
        lynxes = lynxes + (l1 + 2 * l2 + 2 * l3 + l4) * (dt / 6)
        rows.append((hares, lynxes))
    return np.array(rows)


def residuals(logarithms, steps):
    """By how much the logarithms of equations and furs part: the noise is in proportion."""
    return (np.log(populations(logarithms, steps)[::steps]) - np.log(PELTS)).ravel()


def misfit(logarithms, steps):
    """Half the sum of the squares."""
    r = residuals(logarithms, steps)
    return r @ r / 2


def log_populations(logarithms, steps):
    return np.log(populations(logarithms, steps))


compiled_residuals, compiled_misfit = mg.compile(residuals), mg.compile(misfit)
gradient, hessian = mg.grad(misfit), mg.hessian(misfit)
jacobian, slopes = mg.jacobian(residuals), mg.jacobian(log_populations)


def residual_numbers(logarithms, steps):
    return mg.get_data(compiled_residuals(logarithms, steps))


def misfit_number(logarithms, steps):
    return compiled_misfit(logarithms, steps).data


def newton(steps):
    derivatives = {"jac": gradient, "hess": hessian}
    return minimize(misfit_number, START, args=(steps,), method="trust-exact", **derivatives)


def gauss_newton(steps):
    return least_squares(residual_numbers, START, args=(steps,), jac=jacobian)


def differences(steps):
    return minimize(misfit_number, START, args=(steps,), method="BFGS")


SEARCHES = [
    (newton, "trust-exact", "gradient, Hessian"),
    (gauss_newton, "least_squares", "Jacobian"),
    (differences, "BFGS", "finite differences"),
]


def trace(steps):
    """Call all that is compiled, once, so that the searches' times are their own."""
    for function in (compiled_residuals, compiled_misfit, gradient, hessian, jacobian, slopes):
        function(START, steps)


def covariance(logarithms, steps):
    """Of the logarithms' errors, to first order: the noise's variance over the misfit's Hessian."""
    variance = 2 * misfit_number(logarithms, steps) / (PELTS.size - len(START))
    return variance * np.linalg.inv(hessian(logarithms, steps))


def search_table(steps):
    """(the best parameters' logarithms, a table of how each search came to them)."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("search", "derivatives"):
        table.add_column(column, no_wrap=True)
    for column in ("iterations", "calls", "misfit", "time"):
        table.add_column(column, justify="right", no_wrap=True)
    found = []
    for search, *names in SEARCHES:
        begin = time.perf_counter()
        result = search(steps)
        seconds = time.perf_counter() - begin
        found.append(result.x)
        iterations = result.get("nit", result.get("njev"))  # least_squares counts Jacobians
        cost = misfit_number(result.x, steps)
        cells = f"{iterations}", f"{result.nfev}", f"{cost:.6f}", f"{1000 * seconds:.0f} ms"
        table.add_row(*names, *cells)
    return found[0], table


def parameter_table(logarithms, errors):
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("parameter", "start", "fitted", "std. error"):
        table.add_column(column, justify="left" if column == "parameter" else "right")
    table.add_column("what it is")
    for (name, (start, what)), log, error in zip(PARAMETERS.items(), logarithms, errors):
        x = np.exp(log)
        table.add_row(name, f"{start:g}", f"{x:.6g}", f"{x * error:.2g}", what)
    return table


def draw(logarithms, spread, steps, path):
    """The fit as a picture: both populations over the years, and against each other."""
    curve = populations(logarithms, steps)
    slope = slopes(logarithms, steps)
    deviation = np.sqrt(np.einsum("tpi,ij,tpj->tp", slope, spread, slope))
    years = YEARS[0] + np.arange(len(curve)) / steps
    furs = {"linestyle": "", "marker": "o", "markersize": 6, "markeredgecolor": "white"}
    heading = {"loc": "left", "color": INK, "weight": "bold", "fontsize": 10}

    figure = Figure(figsize=(11.5, 4.6), dpi=130, layout="constrained")
    over_time, against = figure.subplots(1, 2, width_ratios=[1.7, 1])
    for k, (name, colour) in enumerate(COLOURS.items()):
        low, high = (curve[:, k] * np.exp(side * deviation[:, k]) for side in (-2, 2))
        over_time.fill_between(years, low, high, color=colour, alpha=0.18, linewidth=0)
        over_time.plot(years, curve[:, k], color=colour, linewidth=2, label=f"{name}, fitted")
        over_time.plot(YEARS, PELTS[:, k], color=colour, label=f"{name}, furs", **furs)
    title = "Furs, and the equations fitted to them, two standard errors either way"
    over_time.set_title(title, **heading)
    over_time.set_ylabel("thousands of pelts")
    over_time.set_xlim(YEARS[0] - 0.4, YEARS[-1] + 0.4)
    over_time.set_xticks(YEARS[::5])
    over_time.set_ylim(0, 100)
    over_time.legend(ncols=4, frameon=False, loc="upper center", columnspacing=1.2)

    against.plot(*curve.T, color=INK, linewidth=2)
    against.plot(*PELTS.T, color=MUTED, linewidth=0.8, zorder=1)
    against.plot(*PELTS.T, color=MUTED, **furs)
    for year in (1900, 1902, 1904, 1906, 1913, 1915):
        pelts = PELTS[year - YEARS[0]]
        beside = {"xytext": (6, 4 if pelts[1] > 15 else -11), "textcoords": "offset points"}
        against.annotate(str(year), pelts, color=INK, fontsize=8, **beside)
    against.set_title("Lynxes against hares", **heading)
    against.set_xlabel("thousands of hares")
    against.set_ylabel("thousands of lynxes")
    against.set_xlim(0, 90)
    against.set_ylim(0, 70)
    for axes in over_time, against:
        axes.grid(color="#e2e8f0", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=INK, length=0)
        axes.spines[:].set_visible(False)
    figure.savefig(path, format="png")


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def main():
    parser = argparse.ArgumentParser(description="Fit the Lotka-Volterra equations to furs.")
    parser.add_argument("--steps", type=positive, default=20, help="of Runge and Kutta's, a year")
    parser.add_argument("--output", type=Path, default=Path("lotka_volterra.png"))
    args = parser.parse_args()
    if not args.output.parent.is_dir():
        parser.error(f"there is no folder {args.output.parent} for the picture")

    console = Console()
    begin = time.perf_counter()
    trace(args.steps)
    console.print(f"compiled in {1000 * (time.perf_counter() - begin):.0f} ms", highlight=False)
    logarithms, searched = search_table(args.steps)
    console.print(searched)
    spread = covariance(logarithms, args.steps)
    console.print(parameter_table(logarithms, np.sqrt(np.diag(spread))))
    draw(logarithms, spread, args.steps, args.output)
    console.print(f"picture: {args.output}", highlight=False)


if __name__ == "__main__":
    main()
