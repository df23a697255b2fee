"""The frame of a study: cells, each kept when it is done; then a table and a figure.

A cell is one setting, measured for all seeds at once. Its rows are kept in
`docs/studies/NAME/rows.csv`, so a study that was ended goes on where it was.
"""

import dataclasses
import json
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import tyro
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from examples import command, report
from examples.config import WHOLE
from examples.data import BadInput
from examples.studies import page
from examples.studies.learning import METRICS as METRICS
from examples.studies.learning import TEST_SIZE as TEST_SIZE
from examples.studies.learning import Maker as Maker
from examples.studies.learning import Values as Values
from examples.studies.learning import digits as digits
from examples.studies.learning import learn as learn
from examples.studies.learning import network as network
from examples.studies.learning import trained as trained
from examples.studies.page import FILES as FILES
from examples.studies.page import PAGE as PAGE

REMEDY = "name another folder with --out"
# Okabe and Ito's colours: told apart with any colour vision.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


@dataclasses.dataclass(frozen=True)
class Options:
    """Answer a question about dropout: a table, a figure, and the rows behind them.

    Ended early, it keeps the settings that are done, and the same command goes on.
    """

    seeds: Annotated[int, WHOLE] = 10  # Trained at once; the error is over them.
    out: Path | None = None  # In place of docs/studies/NAME.
    fresh: bool = False  # Start over, in place of going on.
    # A few steps and two seeds, to see that all of it works: the figures mean nothing.
    # Goes to runs/studies/NAME.
    quick: bool = False
    quiet: bool = False  # Print nothing.


class Cell(NamedTuple):
    """One setting: what tells it apart, and what measures it.

    `measure` maps seeds, an array, to metrics by name, each of shape (seeds,) or
    (seeds, evaluations); "step", of shape (evaluations,), numbers the evaluations.
    """

    labels: Mapping[str, str | int | float]
    measure: Callable[[jax.Array], Values]

    @property
    def name(self) -> str:
        """Its labels as text."""
        return " ".join(f"{label} {value}" for label, value in self.labels.items())


def main(
    name: str,
    cells: Callable[[Options], Iterable[Cell]],
    show: Callable[[pd.DataFrame], tuple[pd.DataFrame, Figure]],
    argv: Sequence[str] | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    **defaults: Any,
) -> int:
    """Runs a study from its command line; returns the exit status.

    Args:
      name: Of its file, and of its section on the page.
      cells: Lists the cells.
      show: Makes a table and a figure of the rows of all cells: labels, "seed",
        "step" if there are several evaluations, and what was measured.
      argv: The command line; None is that of the process.
      settings: What all cells share, as the number of steps: kept with the rows, which
        other settings don't add to.
      **defaults: Of the options, where a study has others.
    """
    argv = sys.argv[1:] if argv is None else argv
    module = f"examples.studies.{name}"

    def work(interrupts: command.Interrupts) -> None:
        markers = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)
        options = tyro.cli(
            Options,
            prog=f"python -m {module}",
            args=argv,
            default=Options(**defaults),
            config=markers,
        )
        if options.quick:
            options = dataclasses.replace(options, seeds=2)
            # What runs for a few steps is compiled in a third of the time.
            jax.config.update("jax_disable_most_optimizations", True)
        command.use_compilation_cache()
        home = PAGE.with_suffix("") / name
        folder = options.out or (Path("runs/studies", name) if options.quick else home)
        # What a quick one finds is nothing for the page.
        due = folder == home and not options.quick
        if due and not PAGE.exists():
            raise BadInput(
                f"{PAGE} is not here: go to the root of a clone, or {REMEDY}"
            )
        about = command.provenance(module, argv)
        own = {"seeds": options.seeds, "quick": options.quick, **(settings or {})}
        _claim(folder, about | own, ("stream", "backend", *own), fresh=options.fresh)
        try:
            rows = _measured([*cells(options)], options, folder, interrupts)
        except command.Stopped as stop:
            message, status = stop.args
            message += f"; what is done is in {folder}, and the same command goes on"
            raise command.Stopped(message, status) from None
        table, figure = show(rows)
        text = table.to_markdown(index=False)
        problems = page.written(folder, text, figure)
        problems += page.put(name, text) if due else []
        problems += [] if options.quiet else page.printed(folder, text)
        if problems:
            raise command.Stopped("; ".join(problems), 1)

    return command.run(module, work)


def _claim(
    folder: Path, about: Mapping[str, Any], facts: Iterable[str], *, fresh: bool
) -> None:
    """Makes a folder, and writes what its rows are made with.

    Raises:
      BadInput: If it belongs to another program, has rows about which the facts are
        others, or is no place to write.
    """
    config, rows = folder / "config.json", folder / "rows.csv"
    text = json.dumps(about, indent=1) + "\n"
    wanted = json.loads(text)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        known = json.loads(config.read_text()) if config.exists() else {}
        # Of "python -m examples.studies.NAME --options".
        program = known.get("command", "").split()[:3]
        if config.exists() and program != wanted["command"].split()[:3]:
            raise BadInput(f"{folder} holds the run of another program: {REMEDY}")
        for name in FILES if fresh else ():
            (folder / name).unlink(missing_ok=True)
        if not rows.exists():
            if problem := report.write(config, text.encode()):
                raise BadInput(f"{problem}: {REMEDY}")
            return
    # What is no JSON is a ValueError.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or f"config.json: {error}"
        raise BadInput(f"{folder} cannot be used ({reason}): {REMEDY}") from error
    for fact in facts:
        if known.get(fact) != wanted[fact]:
            raise BadInput(
                f"{folder} has rows with {fact} {known.get(fact)}; got {wanted[fact]}: "
                f"{REMEDY}, or add --fresh to start over"
            )


def _measured(
    cells: Sequence[Cell],
    options: Options,
    folder: Path,
    interrupts: command.Interrupts,
) -> pd.DataFrame:
    """The rows of all cells: those that are kept, and the others measured."""
    path = folder / "rows.csv"
    parts = [pd.read_csv(path)] if path.exists() else []
    done = set(parts[0].cell) if parts else set()
    left = [cell for cell in cells if cell.name not in done]
    with _progress(len(left), options) as show:
        for i, cell in enumerate(left):
            show(i, cell.name)
            with interrupts.held_back("ends after this setting, which is kept"):
                parts.append(_rows(cell, cell.measure(jnp.arange(options.seeds))))
            text = pd.concat(parts).to_csv(index=False, float_format="%.5g")
            if problem := report.write(path, text.encode()):
                raise command.Stopped(problem, 1)
            if number := interrupts.noted:
                name = signal.Signals(number).name
                raise command.Stopped(f"interrupted by {name}", 128 + number)
    # Read again, so that a study that went on shows what one in a single run does.
    rows = pd.read_csv(path)
    return rows[rows.cell.isin([cell.name for cell in cells])]


@contextmanager
def _progress(total: int, options: Options) -> Iterator[Callable[[int, str], None]]:
    """Shows the cell at work on standard error: in a bar on a terminal, else a line."""
    console = Console(stderr=True, quiet=options.quiet, highlight=False)
    bar = Progress(
        TextColumn("{task.completed}/{task.total}"),
        BarColumn(bar_width=20),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.description}", markup=False),
        console=console,
        disable=not console.is_terminal,
        # The time left is that of the cells so far, however long one takes.
        speed_estimate_period=float("inf"),
    )

    def show(i: int, name: str) -> None:
        bar.update(task, completed=i, description=name[:40], refresh=True)
        if bar.disable:
            console.print(f"{i + 1}/{total} {name}", soft_wrap=True, markup=False)

    with bar:
        task = bar.add_task("", total=total)
        yield show
        bar.update(task, completed=total, description="")


def _rows(cell: Cell, values: Values) -> pd.DataFrame:
    """One row a seed, or a seed and an evaluation."""
    arrays = {name: np.asarray(value) for name, value in values.items()}
    steps = arrays.pop("step", None)
    seeds = len(next(iter(arrays.values())))
    index: dict[str, Any] = {"seed": np.arange(seeds)}
    if steps is not None:
        index = {
            "seed": np.repeat(np.arange(seeds), len(steps)),
            "step": np.tile(steps, seeds),
        }
    columns = {name: array.reshape(-1) for name, array in arrays.items()}
    return pd.DataFrame({"cell": cell.name, **cell.labels, **index, **columns})


def mean_and_error(values: pd.Series, scale: float = 1, digits: int = 1) -> str:
    """A mean over seeds and its standard error, as text."""
    mean, error = scale * values.mean(), scale * values.sem()
    return f"{mean:.{digits}f} ± {error:.{digits}f}"
