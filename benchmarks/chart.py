"""The medians as bars on a logarithmic scale, one panel a workload."""

from textwrap import fill

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchmarks.report import OWN, heading, quantity, scaled
from benchmarks.workloads import WORKLOADS

COLUMNS = 2
BAR, PANEL = 0.26, 0.95  # inches of height: a bar, and what a panel takes besides
ACCENT, MUTED, INK = "#c2410c", "#94a3b8", "#1e293b"


def draw(outcomes, path):
    """Write the picture to `path` as PNG. Ratios, and what is not above zero, have no bars."""
    panels = []
    for workload in WORKLOADS.values():
        cases = [o for o in outcomes if o.workload == workload.name and o.turns and o.median > 0]
        if cases and workload.unit != "ratio":
            panels.append((workload, sorted(cases, key=lambda outcome: outcome.median)))
    rows = [panels[k : k + COLUMNS] for k in range(0, len(panels), COLUMNS)]
    bars = [max(len(cases) for _, cases in row) for row in rows]
    heights = [PANEL + BAR * count for count in bars]

    figure = Figure(figsize=(6.2 * COLUMNS, sum(heights, 0.4)), dpi=120, layout="constrained")
    figure.suptitle("micrograd_c and its peers, logarithmic scales", color=INK, weight="bold")
    grid = figure.add_gridspec(max(1, len(rows)), COLUMNS, height_ratios=heights or [1])
    for k, row in enumerate(rows):
        for column, (workload, cases) in enumerate(row):
            axes = figure.add_subplot(grid[k, column])
            draw_panel(axes, workload, cases)
            axes.set_ylim(bars[k] - 0.5, -0.5)  # the fastest on top, all bars of a row alike
    figure.savefig(path, format="png")


def draw_panel(axes, workload, cases):
    def tick(value, _place):
        number, name = scaled(value, workload.unit)
        return f"{number:g} {name}"

    medians = [outcome.median for outcome in cases]
    colours = [ACCENT if outcome.engine.startswith(OWN) else MUTED for outcome in cases]
    axes.barh([outcome.engine for outcome in cases], medians, color=colours, height=0.72)
    axes.set_xscale("log")
    axes.set_xlim(min(medians) / 4, max(medians) * 12)  # room for the shortest bar and for labels
    for place, median in enumerate(medians):
        beside = {"xytext": (4, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(
            quantity(median, workload.unit), (median, place), color=INK, fontsize=8, **beside
        )
    axes.set_title(fill(heading(workload), 78), loc="left", fontsize=9, weight="bold", color=INK)
    axes.xaxis.set_major_locator(LogLocator(numticks=7))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(tick))
    axes.tick_params(colors=INK, labelsize=8, length=0)
    axes.grid(axis="x", color="#e2e8f0", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
