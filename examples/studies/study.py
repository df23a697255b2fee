"""The frame of a study: cells, each kept when it is done; then a table and a figure.

A cell is one setting, measured for all seeds at once. Its rows are kept in
`docs/studies/NAME/rows.csv`, so a study that was ended goes on where it was.
"""

import dataclasses
import io
import json
import re
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
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from examples import command, report
from examples.config import WHOLE
from examples.data import BadInput
from examples.studies.learning import METRICS as METRICS
from examples.studies.learning import TEST_SIZE as TEST_SIZE
from examples.studies.learning import Maker as Maker
from examples.studies.learning import Values as Values
from examples.studies.learning import digits as digits
from examples.studies.learning import learn as learn
from examples.studies.learning import network as network
from examples.studies.learning import trained as trained

PAGE = Path("docs", "studies.md")
FILES = ("config.json", "rows.csv", "table.md", "figure.png")
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
        markers = (tyro.conf.FlagCreatePairsOff,)
        options = tyro.cli(
            Options,
            prog=f"python -m {module}",
            args=argv,
            default=Options(**defaults),
            config=markers,
        )
        if options.quick:
            options = dataclasses.replace(options, seeds=2)
        command.use_compilation_cache()
        folder = options.out or _home(name, options)
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
        _publish(name, options, folder, table.to_markdown(index=False), figure)

    return command.run(module, work)


def _home(name: str, options: Options) -> Path:
    """The folder of a study that was given no other."""
    root = Path("runs", "studies") if options.quick else PAGE.with_suffix("")
    return root / name


def _claim(
    folder: Path, about: Mapping[str, Any], facts: Iterable[str], *, fresh: bool
) -> None:
    """Makes a folder, and writes what its rows are made with.

    Raises:
      BadInput: If it has rows about which the facts are others, or is no place to
        write.
    """
    config, rows = folder / "config.json", folder / "rows.csv"
    text = json.dumps(about, indent=1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES if fresh else ():
            (folder / name).unlink(missing_ok=True)
        if not rows.exists():
            config.write_text(f"{text}\n")
        known = json.loads(config.read_text())
    # What is no JSON is a ValueError.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or f"config.json: {error}"
        raise BadInput(
            f"{folder} cannot be used ({reason}): name another --out, or add --fresh "
            "to start over"
        ) from error
    wanted = json.loads(text)
    for fact in facts:
        if known.get(fact) != wanted[fact]:
            raise BadInput(
                f"{folder} has rows with {fact} {known.get(fact)}; got {wanted[fact]}. "
                "Name another --out, or add --fresh to start over"
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


def _publish(
    name: str, options: Options, folder: Path, table: str, figure: Figure
) -> None:
    """Writes the table and the figure, on the page too if it is due; prints a table."""
    drawn, image = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    # 256 colours take a third of the space, and nothing is seen of it.
    Image.open(drawn).convert("RGB").quantize(256).save(image, "png", optimize=True)
    problems = [
        report.write(folder / "table.md", f"{table}\n".encode()),
        report.write(folder / "figure.png", image.getvalue()),
    ]
    if not options.quick and folder == _home(name, options):
        page, sections = re.subn(
            rf"(<!-- {name} -->\n).*?(<!-- end -->)",
            lambda match: f"{match[1]}\n{table}\n\n{match[2]}",
            PAGE.read_text(),
            flags=re.DOTALL,
        )
        problems.append(
            report.write(PAGE, page.encode())
            if sections
            else f"{PAGE} has no <!-- {name} --> and <!-- end --> to put the table in"
        )
    try:
        if not options.quiet:
            print(f"{table}\n\nIn {folder}: {', '.join(FILES)}.", flush=True)
    except OSError as error:
        problems.append(f"standard output could not be written to: {error.strerror}")
    if any(problems):
        raise command.Stopped("; ".join(filter(None, problems)), 1)


def mean_and_error(values: pd.Series, scale: float = 1, digits: int = 1) -> str:
    """A mean over seeds and its standard error, as text."""
    mean, error = scale * values.mean(), scale * values.sem()
    return f"{mean:.{digits}f} ± {error:.{digits}f}"
