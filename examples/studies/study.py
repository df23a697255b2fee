"""The frame of a study: cells, each kept when it is done; then a table and a figure.

A cell is one setting, measured for all seeds at once. Its rows are kept in
`docs/studies/NAME/rows.csv`, so a study that was ended goes on where it was.
"""

import contextlib
import dataclasses
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import tyro
from jax import lax
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from examples import command, data, loop, report
from examples.config import WHOLE
from examples.data import BadInput
from jdrop import key_for

PAGE = Path("docs", "studies.md")
# Held out of the 1797 digits, so that 1400 are left for training.
TEST_SIZE = 397
METRICS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
# Okabe and Ito's colours: told apart with any colour vision.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

Values = Mapping[str, Any]


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
    **defaults: Any,
) -> int:
    """Runs a study from its command line; returns the exit status.

    Args:
      name: Of its file, and of its section on the page.
      cells: Lists the cells.
      show: Makes a table and a figure of the rows of all cells: labels, "seed",
        "step" if there are several evaluations, and what was measured.
      argv: The command line; None is that of the process.
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
        folder = _claim(name, options, command.provenance(module, argv))
        try:
            rows = _measured(list(cells(options)), options, folder / "rows.csv")
        except command.Stopped as stop:
            message, status = stop.args
            raise command.Stopped(
                f"{message}; what is done is kept in {folder}, and the same command "
                "goes on",
                status,
            ) from None
        table, figure = show(rows)
        _publish(name, options, folder, table.to_markdown(index=False), figure)

    return command.run(module, work)


def _claim(name: str, options: Options, about: dict[str, Any]) -> Path:
    """Makes the folder of a study; raises if it holds rows made in another way."""
    root = Path("runs", "studies") if options.quick else PAGE.with_suffix("")
    folder = options.out or root / name
    if options.fresh and folder.exists():
        shutil.rmtree(folder)
    about["seeds"], about["quick"] = options.seeds, options.quick
    path = folder / "config.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists():
            known = json.loads(path.read_text())
            for fact in ("seeds", "quick", "stream"):
                if known[fact] != about[fact]:
                    raise BadInput(
                        f"{folder} holds rows with {fact} {known[fact]}; got "
                        f"{about[fact]}. Add --fresh to start over, or name another "
                        "--out"
                    )
        if problem := report.write(path, (json.dumps(about, indent=1) + "\n").encode()):
            raise BadInput(problem)
    except OSError as error:
        raise BadInput(f"{folder} cannot be written to: {error.strerror}") from error
    return folder


def _measured(cells: list[Cell], options: Options, path: Path) -> pd.DataFrame:
    """The rows of all cells: those that the file has, and the others measured."""
    parts = [pd.read_csv(path)] if path.exists() else []
    done = set(parts[0].cell) if parts else set()
    console = Console(stderr=True, quiet=options.quiet)
    bar = Progress(
        TextColumn("{task.completed}/{task.total}"),
        BarColumn(bar_width=20),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.description}"),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=len(cells))
        for i, cell in enumerate(cells):
            bar.update(task, completed=i, description=cell.name[:40])
            if cell.name in done:
                continue
            if bar.disable:
                console.print(f"{i + 1}/{len(cells)} {cell.name}", soft_wrap=True)
            parts.append(_rows(cell, cell.measure(jnp.arange(options.seeds))))
            text = pd.concat(parts).to_csv(index=False, float_format="%.5g")
            if problem := report.write(path, text.encode()):
                raise command.Stopped(problem, 1)
        bar.update(task, completed=len(cells), description="")
    # Read again, so that a study that went on shows what one in a single run does.
    rows = pd.read_csv(path)
    return rows[rows.cell.isin([cell.name for cell in cells])]


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
    """Prints the table, and writes it and the figure; to the page too if it is due."""
    if not options.quiet:
        print(table, f"\nIn {folder}: rows.csv, table.md, figure.png, config.json.")
    figure.savefig(folder / "figure.png", dpi=110)
    problems = [report.write(folder / "table.md", f"{table}\n".encode())]
    if folder == PAGE.with_suffix("") / name:
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        text = re.sub(pattern, rf"\1\n{table}\n\n\2", PAGE.read_text(), flags=re.DOTALL)
        problems.append(report.write(PAGE, text.encode()))
    if any(problems):
        raise command.Stopped("; ".join(filter(None, problems)), 1)


def mean_and_error(values: pd.Series, scale: float = 1, digits: int = 1) -> str:
    """A mean over seeds and its standard error, as text."""
    mean, error = scale * values.mean(), scale * values.sem()
    return f"{mean:.{digits}f} ± {error:.{digits}f}"


# What makes a network and an optimiser of settings, which may be traced.
Maker = Callable[..., tuple[loop.Network, optax.GradientTransformation]]


def digits(train_size: int) -> tuple[loop.Batch, loop.Batch]:
    """Training and test digits, in JAX; a smaller training set is part of a larger."""
    train, test = data.digits(train_size, TEST_SIZE)
    return loop.Batch(*map(jnp.asarray, train)), loop.Batch(*map(jnp.asarray, test))


def learn(
    make: Maker,
    setting: Mapping[str, Any],
    split: tuple[loop.Batch, loop.Batch],
    seeds: jax.Array,
    *,
    steps: int,
    every: int,
    batch_size: int = 32,
) -> Values:
    """Trains all seeds at once, and evaluates training and test set every so often.

    Args:
      make: Makes the network and the optimiser. Defined once: a new one is compiled.
      setting: Its arguments: numbers or arrays, with which nothing is compiled again.
      split: Training and test set.
      seeds: Of initial weights, order and masks: (seeds,), integers.
      steps: Of training.
      every: Steps between evaluations; divides `steps`.
      batch_size: Of a step.

    Returns:
      `METRICS`, each (seeds, evaluations), and "step".
    """
    setting = {name: jnp.float32(value) for name, value in setting.items()}
    _, values = _learn(make, setting, split, seeds, steps, every, batch_size)
    return {**values, "step": np.arange(every, steps + 1, every)}


def trained(
    make: Maker,
    setting: Mapping[str, Any],
    split: tuple[loop.Batch, loop.Batch],
    seeds: jax.Array,
    *,
    steps: int,
    batch_size: int = 32,
) -> tuple[loop.Tree, loop.Tree]:
    """The parameters and the averages of BatchNorm after training, one for each seed.

    The arguments are those of `learn`; the arrays have the seeds as first axis.
    """
    setting = {name: jnp.float32(value) for name, value in setting.items()}
    return _learn(make, setting, split, seeds, steps, steps, batch_size)[0]


@partial(jax.jit, static_argnames=("make", "steps", "every", "batch_size"))
def _learn(
    make: Maker,
    setting: Mapping[str, jax.Array],
    split: tuple[loop.Batch, loop.Batch],
    seeds: jax.Array,
    steps: int,
    every: int,
    batch_size: int,
) -> Any:
    train, test = split
    method = loop.Method(*make(**setting))

    def one(seed: jax.Array) -> Any:
        key = jax.random.key(seed)
        state = loop.create_state(method, key_for(key, "weights"))
        training_key = key_for(key, "training")

        def part(state: loop.State, _: None) -> tuple[loop.State, dict[str, jax.Array]]:
            state, _ = loop.train_steps(state, train, training_key, every, batch_size)
            metrics = *loop.evaluate(state, train), *loop.evaluate(state, test)
            return state, dict(zip(METRICS, metrics, strict=True))

        state, values = lax.scan(part, state, length=steps // every)
        return (state.params, state.stats), values

    return jax.vmap(one)(seeds)
