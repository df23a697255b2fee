"""What a run shows and writes: table, bar, summary, files, curves."""

import io
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from examples.data import BadInput

FILES = ("metrics.jsonl", "config.json", "summary.json", "params.npz", "curves.png")
PARTS = ("train", "validation", "test")
RESULTS = tuple(f"{part}_{name}" for part in PARTS for name in ("loss", "accuracy"))
# Lines that stand in for the bar where standard error is not a terminal.
PLAIN_LINES = 10
# The folder of `examples.checkpoint`.
CHECKPOINTS = "checkpoints"
Row = dict[str, float]


def flatten(params: Any) -> dict[str, Any]:
    """Names each array by its layer and itself, as in `hidden_0_kernel`."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    name = jax.tree_util.keystr
    return {name(path, simple=True, separator="_"): array for path, array in leaves}


def print_layers(dropout: Mapping[str, str], params: Any) -> None:
    """Prints a table of layers, each with its parameters and the dropout after it."""
    table = Table("layer", "kernel", box=None, padding=(0, 3, 0, 0))
    table.add_column("parameters", justify="right")
    table.add_column("dropout after")
    arrays = flatten(params)
    for layer, words in dropout.items():
        own = [a for name, a in arrays.items() if name.startswith(f"{layer}_")]
        kernel = [" x ".join(map(str, a.shape)) for a in own if a.ndim > 1] or [""]
        count = f"{sum(a.size for a in own):,}" if own else ""
        table.add_row(layer, *kernel, count, words)
    total = sum(array.size for array in arrays.values())
    table.add_row("total", "", f"{total:,}", style="bold")
    Console().print(table)


@contextmanager
def progress(steps: int, *, quiet: bool) -> Iterator[Callable[[Row], None]]:
    """Shows steps on standard error: a bar on a terminal, else a few lines."""
    console = Console(stderr=True, quiet=quiet)
    bar = Progress(
        TextColumn("step {task.completed}/{task.total}"),
        BarColumn(bar_width=None),
        TextColumn("{task.description}"),
        TimeRemainingColumn(compact=True),
        console=console,
        expand=True,
        disable=not console.is_terminal,
    )
    shown = 0

    def show(row: Row) -> None:
        nonlocal shown
        step, words = int(row["step"]), []
        for part in PARTS[:2]:
            if f"{part}_loss" in row:
                loss, accuracy = row[f"{part}_loss"], 100 * row[f"{part}_accuracy"]
                words.append(f"{part} loss {loss:.4f} accuracy {accuracy:.1f} %")
        bar.update(task, completed=step, description=words[-1])
        if bar.disable and step * PLAIN_LINES // steps > shown:
            shown = step * PLAIN_LINES // steps
            console.print(f"step {step}/{steps}", *words, soft_wrap=True)

    with bar:
        task = bar.add_task("compiling", total=steps)
        yield show


def claim(
    directory: Path | None, name: str, configuration: bytes, *, overwrite: bool
) -> Path:
    """Makes a directory (None: a new one under `runs`) for the files of this run.

    It then holds `config.json`, and a `metrics.jsonl` that is empty.

    Raises:
      BadInput: If it holds those of another run and may not overwrite them, or cannot
        be written to.
    """
    stem = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    fresh = (
        Path("runs", stem + suffix) for suffix in ("", *map("-{}".format, range(2, 99)))
    )
    out = directory or next(path for path in fresh if not path.exists())
    try:
        # Checkpoints take no other names.
        str(out).encode()
        out.mkdir(parents=True, exist_ok=True)
        held = [name for name in (*FILES, CHECKPOINTS) if (out / name).exists()]
        if held and not overwrite:
            raise BadInput(
                f"--out {out} already holds a run ({', '.join(held)}): name another "
                "directory, or add --overwrite to replace it"
            )
        vacate(out)
        # "x" fails rather than share the file with a run that starts just now.
        (out / FILES[0]).open("x").close()
        if problem := write(out / FILES[1], configuration):
            raise BadInput(f"{problem}: name another --out")
    # A lone surrogate in the name cannot be encoded.
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "reason", error)
        raise BadInput(
            f"--out {out} cannot be written to ({reason}): name a directory of yours"
        ) from error
    return out


def vacate(directory: Path) -> None:
    """Removes the files of a run, and no others."""
    for name in FILES:
        (directory / name).unlink(missing_ok=True)
    shutil.rmtree(directory / CHECKPOINTS, ignore_errors=True)


def publish(
    out: Path,
    summary: Mapping[str, Any],
    weights: bytes,
    curves: Callable[[], bytes],
    *,
    quiet: bool,
) -> list[str]:
    """Writes and prints what came of a run; returns what went wrong."""
    # The results first: a picture takes longer, and may fail.
    problems = [
        write(out / "summary.json", to_json(summary)),
        say(summary, quiet=quiet),
        write(out / "params.npz", weights),
        write(out / "curves.png", curves()),
    ]
    return [problem for problem in problems if problem]


def write(path: Path, content: bytes, *, append: bool = False) -> str:
    """Appends to a file, or writes all of it or nothing; returns what went wrong."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if append:
            with path.open("ab") as file:
                file.write(content)
            return ""
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        return f"{path} could not be written: {error.strerror}"
    finally:
        temporary.unlink(missing_ok=True)
    return ""


def say(s: Mapping[str, Any], *, quiet: bool) -> str:
    """Prints the summary, last as JSON; returns what went wrong."""
    words = (
        f"{s['model']} ({s['flax']}) on {s['dataset']}: {s['steps']:,} steps of "
        f"{s['batch_size']}, on {s['train_size']:,} examples.\n"
        f"Test accuracy {100 * s['test_accuracy']:.2f} % of {s['test_size']:,}, loss "
        f"{s['test_loss']:.4f}; training accuracy {100 * s['train_accuracy']:.2f} %, "
        f"loss {s['train_loss']:.4f}.\n"
        f"{s['seconds']:.1f} s in all, {s['step_seconds']:.1f} s of them in steps: "
        f"{s['examples_per_second']:,} examples per second.\n"
        f"In {s['out']}: {', '.join(FILES)}.\n"
    )
    try:
        print("" if quiet else words, to_json(s).decode(), sep="", end="", flush=True)
    except OSError as error:
        return f"standard output could not be written to: {error.strerror}"
    return ""


def to_json(values: Mapping[str, Any]) -> bytes:
    """One line of strict JSON: a number that is not finite becomes null."""
    finite = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }
    return (json.dumps(finite, allow_nan=False) + "\n").encode()


def weights(params: Any) -> bytes:
    """The parameters by name, as the content of a NumPy file; the same in every run."""
    file = io.BytesIO()
    np.savez(file, **flatten(jax.device_get(params)))
    return file.getvalue()


def curves(history: Sequence[Row], title: str) -> bytes:
    """Draws loss and accuracy over the steps, of training and validation, as PNG."""
    figure = Figure(figsize=(10, 4.2), dpi=150, layout="constrained")
    figure.suptitle(title, fontsize=12)
    steps = [row["step"] for row in history]
    # A dot, or the curve of a single evaluation would not be seen.
    style = {"marker": "o" if len(history) == 1 else None, "lw": 1.8}
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        scale, unit = (100, "%") if name == "accuracy" else (1, "nats")
        # Okabe and Ito's blue and vermilion: told apart with any colour vision.
        for part, color in (("train", "#0072B2"), ("validation", "#D55E00")):
            if f"{part}_{name}" not in history[0]:
                continue
            values = [scale * row[f"{part}_{name}"] for row in history]
            label = f"{part}, {values[-1]:.4g} at the end"
            axes.plot(steps, values, color=color, label=label, **style)
        axes.set_title(f"{name}, evaluated without dropout", fontsize=10)
        axes.set(xlabel="step", ylabel=f"{name} ({unit})")
        axes.set_yscale("log" if name == "loss" else "linear")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
