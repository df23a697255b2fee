"""Memory, and what dropout adds to a training step."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from benchmarks.costs.contestants import NOTHING
from benchmarks.costs.palette import COLOURS, NAMES, label, legend
from benchmarks.costs.regimes import Record


def memory(records: list[Record]) -> Figure:
    """Bytes kept per element, and the peak of a step with and without checkpoint."""
    residual = next(record for record in records if record["kind"] == "residual")
    peaks = [record for record in records if record["kind"] == "peak"]
    count = 1 + len(peaks)
    figure, panels = plt.subplots(1, count, figsize=(4.6 * count, 3.8), squeeze=False)
    axes = panels[0][0]
    results = residual["results"]
    kept = {n: results[n]["bytes_per_element"] for n in reversed(NAMES) if n in results}
    bars = axes.barh([label(n) for n in kept], list(kept.values()))
    for bar, name in zip(bars, kept, strict=True):
        bar.set_color(COLOURS[name])
    axes.bar_label(bars, fmt="%.3g", padding=3)
    axes.set(
        title=f"Kept for the backward pass, {residual['dtype']}",
        xlabel="bytes an element",
    )
    axes.margins(x=0.12)
    axes.grid(axis="y", visible=False)
    for panel, record in zip(panels[0][1:], peaks, strict=True):
        _peaks(panel, record)
    return figure


def _peaks(axes: Axes, record: Record) -> None:
    results = record["results"]
    names = [n for n in reversed([NOTHING, *NAMES]) if n in results]
    for shift, field, alpha in ((0.2, "plain", 1.0), (-0.2, "checkpoint", 0.45)):
        bars = axes.barh(
            [i + shift for i in range(len(names))],
            [results[n][field] / 2**20 for n in names],
            height=0.38,
            alpha=alpha,
            color=[COLOURS[n] for n in names],
        )
        axes.bar_label(bars, fmt="%.0f", padding=3, fontsize=8)
    axes.set_yticks(range(len(names)), [label(n) for n in names])
    axes.set(
        title="Temporary memory of a step\n(pale: with jax.checkpoint)",
        xlabel=f"MiB; {record['case']}, {record['tokens']} tokens",
    )
    axes.margins(x=0.12)
    axes.grid(axis="y", visible=False)


def steps(records: list[Record]) -> Figure:
    """What dropout adds to a training step, by network, a panel for each rate."""
    records = [record for record in records if record["kind"] == "train"]
    rates = sorted({record["rate"] for record in records})
    figure, panels = plt.subplots(
        1, len(rates), figsize=(4.5 * len(rates) + 1, 4.6), sharey=True, squeeze=False
    )
    for axes, rate in zip(panels[0], rates, strict=True):
        own = [record for record in records if record["rate"] == rate][::-1]
        present = [n for n in NAMES if any(n in r["results"] for r in own)]
        height = 0.8 / len(present)
        for i, name in enumerate(present):
            _bars(axes, own, name, (len(present) / 2 - i - 0.5) * height, height)
        axes.set_yticks(range(len(own)), [r["case"].replace(", ", "\n") for r in own])
        axes.axvline(0, color="#333333", linewidth=1)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set(title=f"rate {rate:g}", xlabel="added to the step without dropout")
        axes.grid(axis="y", visible=False)
    legend(figure, panels[0][0])
    return figure


def _bars(
    axes: Axes, records: list[Record], name: str, shift: float, height: float
) -> None:
    """One contestant's bars with whiskers from quartile to quartile."""
    points = [(i, r["results"].get(name)) for i, r in enumerate(records)]
    quartiles = [(i + shift, *result["ratio"]) for i, result in points if result]
    axes.barh(
        [y for y, *_ in quartiles],
        [middle - 1 for _, _, middle, _ in quartiles],
        height=height * 0.9,
        xerr=[
            [middle - low for _, low, middle, _ in quartiles],
            [high - middle for _, _, middle, high in quartiles],
        ],
        error_kw={"elinewidth": 0.8, "ecolor": "#333333"},
        color=COLOURS[name],
        label=label(name),
    )
