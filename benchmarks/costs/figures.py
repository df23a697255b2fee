"""The figures of a run: ratio by rate and dtype, by size, memory, training steps."""

from collections.abc import Iterator

from matplotlib.figure import Figure

from benchmarks.costs.bar_figures import memory, steps
from benchmarks.costs.line_figures import rates, sizes
from benchmarks.costs.regimes import Record

# By the end of a file's name: the kind of record that the figure needs, and how to draw
# it from the records of a run.
FIGURES = {
    "rates": ("forward", rates),
    "sizes": ("growth", sizes),
    "memory": ("residual", memory),
    "steps": ("train", steps),
}


def figures(run: Record) -> Iterator[tuple[str, Figure]]:
    """Draws what a run has the records for.

    Args:
      run: What `benchmarks.speed` wrote.

    Yields:
      A name for the file, and the figure.
    """
    for name, (kind, draw) in FIGURES.items():
        if any(record["kind"] == kind for record in run["records"]):
            figure = draw(run["records"])
            figure.supxlabel(_source(run), fontsize=8, color="#777777")
            yield name, figure


def _source(run: Record) -> str:
    hardware, versions = run["hardware"], run["versions"]
    device = hardware["device"]
    if hardware["backend"] == "cpu":
        device = f"{hardware['processor']}, {hardware['cores']} cores"
    return f"{device}, jax {versions['jax']}, {run['date']}"
