"""What the terminal shows: the table of layers, the progress bar, the summary."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from examples.architecture import Architecture, Layer, Tree
from examples.loop import Epoch

# Lines that stand in for the bar where standard error is not a terminal.
PLAIN_LINES = 10

Show = Callable[[int, Epoch], None]


def count(params: Tree) -> int:
    """Counts the parameters of a network or of a layer."""
    return sum(array.size for array in jax.tree.leaves(params))


def layer_table(architecture: Architecture, params: Tree) -> Table:
    """Lists the layers in the order of the computation, and the rates of dropout.

    Args:
      architecture: What the network is made of.
      params: The parameters, by layer and by name.

    Returns:
      A table to print.
    """
    table = Table(box=None, padding=(0, 3, 0, 0))
    table.add_column("layer")
    table.add_column("kernel")
    table.add_column("parameters", justify="right")
    table.add_column("dropout after")
    spec = architecture
    unit_dropout = "alpha dropout" if spec.alpha else "dropout"
    for layers, kind in (
        (spec.convolutions, "channel dropout"),
        ((spec.flat,), "dropout"),
        (spec.hidden, unit_dropout),
        ((Layer("logits"),), ""),
    ):
        for layer in layers:
            weights = params.get(layer.name, {})
            kernels = [w.shape for w in jax.tree.leaves(weights) if w.ndim > 1]
            table.add_row(
                layer.name,
                " x ".join(map(str, kernels[0])) if kernels else "",
                f"{count(weights):,}" if weights else "",
                f"{kind} {layer.rate:g}" if layer.rate else "",
            )
    table.add_row("total", "", f"{count(params):,}", style="bold")
    return table


@contextmanager
def progress(epochs: int, *, quiet: bool) -> Iterator[Show]:
    """Shows the epochs on standard error: a bar on a terminal, else a few lines.

    Args:
      epochs: Number of epochs.
      quiet: Whether to show nothing.

    Yields:
      The function to call after each epoch.
    """
    console = Console(stderr=True)
    if quiet:
        yield lambda number, epoch: None
    elif console.is_terminal:
        columns = (
            TextColumn("epoch {task.completed}/{task.total}"),
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            TimeRemainingColumn(compact=True),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("compiling", total=epochs)
            yield lambda number, epoch: bar.update(
                task, completed=number, description=_line(epoch)
            )
    else:
        every = max(1, epochs // PLAIN_LINES)

        def show(number: int, epoch: Epoch) -> None:
            if number % every == 0 or number == epochs:
                console.print(
                    f"epoch {number}/{epochs}  {_line(epoch)}", soft_wrap=True
                )

        yield show


def _line(epoch: Epoch) -> str:
    train, test = epoch.train, epoch.test
    return (
        f"train loss {train.loss:.4f} accuracy {100 * train.accuracy:5.1f} %  "
        f"test loss {test.loss:.4f} accuracy {100 * test.accuracy:5.1f} %"
    )


def summary_in_words(summary: dict[str, Any]) -> str:
    """Says what a run came to.

    Args:
      summary: The results, by name.

    Returns:
      A few lines.
    """
    s = summary
    return (
        f"{s['model']} ({s['flax']}) on {s['dataset']}: {s['epochs']} epochs, "
        f"{s['steps']:,} steps of {s['batch_size']}, on {s['train_size']:,} examples.\n"
        f"Test accuracy {100 * s['test_accuracy']:.2f} % of {s['test_size']:,}, loss "
        f"{s['test_loss']:.4f}; training accuracy {100 * s['train_accuracy']:.2f} %, "
        f"loss {s['train_loss']:.4f}.\n"
        f"{s['seconds']:.1f} s in all, {s['step_seconds']:.1f} s of them in steps: "
        f"{s['examples_per_second']:,} examples per second.\n"
        f"In {s['out']}: metrics.jsonl, curves.png, summary.json."
    )
