"""Time against the rate and the dtype, and against the size."""

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.costs.contestants import FLOOR, JDROP
from benchmarks.costs.palette import COLOURS, NAMES, label, legend
from benchmarks.costs.regimes import Record


def rates(records: list[Record]) -> Figure:
    """Ratio to x * c by rate, a panel for each dtype."""
    records = [r for r in records if r["kind"] == "forward" and r["regime"] != "fresh"]
    cases = [record["case"] for record in records]
    case = "large" if "large" in cases else cases[-1]
    records = [record for record in records if record["case"] == case]
    dtypes = list(dict.fromkeys(record["dtype"] for record in records))
    figure, panels = plt.subplots(
        1, len(dtypes), figsize=(3.4 * len(dtypes) + 1, 4), sharey=True, squeeze=False
    )
    for axes, dtype in zip(panels[0], dtypes, strict=True):
        own = [record for record in records if record["dtype"] == dtype]
        _lines(axes, own, "rate", "ratio")
        shape = "x".join(map(str, own[0]["shape"]))
        axes.set(title=f"{dtype} {shape}", xlabel="rate")
        rates = sorted({record["rate"] for record in own})
        axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
        axes.set_xlim(rates[0] - 0.05, rates[-1] + 0.05)
        _logarithmic(axes)
    panels[0][0].set_ylabel("time of a forward pass / time of x * c")
    legend(figure, panels[0][0])
    return figure


def sizes(records: list[Record]) -> Figure:
    """Ratio to x * c, and time per element, by number of elements."""
    records = [record for record in records if record["kind"] == "growth"]
    figure, (ratio, time) = plt.subplots(1, 2, figsize=(9, 4))
    _lines(ratio, records, "elements", "ratio")
    _logarithmic(ratio)
    ratio.set(title="Ratio to x * c", xlabel="elements", xscale="log")
    _lines(time, records, "elements", "seconds", with_floor=True)
    time.set(title="Nanoseconds an element", xlabel="elements", xscale="log")
    _logarithmic(time)
    legend(figure, time)
    return figure


def _lines(
    axes: Axes, records: list[Record], x: str, y: str, with_floor: bool = False
) -> None:
    """A line for each contestant, with a band from quartile to quartile."""
    for name in [FLOOR, *NAMES] if with_floor else NAMES:
        own = [record for record in records if name in record["results"]]
        if not own:
            continue
        own.sort(key=lambda record: float(record[x]))
        scale = [1e9 / r["elements"] if y == "seconds" else 1.0 for r in own]
        rows: list[Any] = [r["results"][name][y] for r in own]
        low, middle, high = (
            [row[i] * s for row, s in zip(rows, scale, strict=True)] for i in range(3)
        )
        places = [record[x] for record in own]
        width = 2.6 if name == JDROP else 1.6
        colour = COLOURS[name]
        axes.plot(places, middle, "o-", color=colour, label=label(name), lw=width)
        axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
    if y == "ratio":
        axes.axhline(1, color=COLOURS[FLOOR], linestyle="--", label=FLOOR)


def _logarithmic(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
