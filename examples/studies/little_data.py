"""Does dropout beat weight decay on little data, in which measure, and when?

    python -m examples.studies.little_data

trains a network of 64-256-256-10 units on 100 to 1400 digits: alone, with weight decay
(a sweep), dropout, dropout with input dropout, gaussian dropout, and with units of SELU
alone and with alpha dropout. Twelve minutes of processor time.

It checks what Srivastava et al. 2014 report of MNIST: dropout beats other
regularisers (table 9), and gains the most on data neither tiny nor large (figure 10).
https://jmlr.org/papers/v15/srivastava14a.html
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from examples import loop
from examples.studies import study
from examples.studies.study import COLORS, Cell, Options, Values, mean_and_error
from jdrop.linen import AlphaDropout, Dropout, GaussianDropout

SIZES = (100, 200, 500, 1400)
SHOWN = (100, 200, 1400)  # In the table; the figure has all.
DECAYS = (0.1, 0.3, 1.0, 3.0, 10.0)  # Of AdamW; the best one is not the last.
RATE, INPUT_RATE = 0.5, 0.2  # As in the paper.
ALPHA_RATE = 0.1  # Klambauer et al. 2017 take 0.05 and 0.1.
LEARNING_RATE = 1e-3
# One run is looked at early and late; its lowest loss is sought between.
STEPS = EARLY, LATE = 1000, 6000
EVERY = 250
SETTINGS = {
    "rates": (RATE, INPUT_RATE, ALPHA_RATE),
    "learning_rate": LEARNING_RATE,
    "steps": STEPS,
}
METRICS = ("train_loss", "test_loss", "test_accuracy")
DECAY = f"weight decay, best of {len(DECAYS)}"
METHODS = {
    "none": COLORS[6],
    DECAY: COLORS[4],
    "dropout": COLORS[0],
    "dropout, input too": COLORS[1],
    "gaussian dropout": COLORS[2],
    "SELU": COLORS[3],
    "SELU, alpha dropout": COLORS[5],
}


class Net(nn.Module):
    """Two hidden layers, each followed by a kind of dropout."""

    rate: Any
    input_rate: Any
    drop: Callable[..., Any] = Dropout
    activation: Callable[[jax.Array], jax.Array] = nn.relu

    @nn.compact
    def __call__(self, x: jax.Array, training: bool) -> jax.Array:
        """Computes the logits of a batch of images."""
        x = x.reshape(len(x), -1)
        x = Dropout(self.input_rate, deterministic=not training)(x)
        for _ in range(2):
            x = self.activation(nn.Dense(256)(x))
            x = self.drop(self.rate, deterministic=not training)(x)
        return nn.Dense(10)(x)


def make(
    rate: jax.Array, input_rate: jax.Array, decay: jax.Array, **fields: Any
) -> tuple[loop.Network, optax.GradientTransformation]:
    """Makes a network and AdamW, whose decay spares the biases."""
    mask = partial(jax.tree.map, lambda array: array.ndim > 1)
    optimizer = optax.adamw(LEARNING_RATE, weight_decay=decay, mask=mask)
    return study.network(Net(rate, input_rate, **fields)), optimizer


RELU = partial(make)
GAUSSIAN = partial(make, drop=GaussianDropout)
SELU = partial(make, drop=AlphaDropout, activation=nn.selu)


def cells(options: Options) -> Iterator[Cell]:
    """Every method with every number of training images."""
    settings: list[tuple[str, study.Maker, float, float, float]] = [
        ("none", RELU, 0, 0, 0),
        *((f"weight decay {decay:g}", RELU, 0, 0, decay) for decay in DECAYS),
        ("dropout", RELU, RATE, 0, 0),
        ("dropout, input too", RELU, RATE, INPUT_RATE, 0),
        ("gaussian dropout", GAUSSIAN, RATE, 0, 0),
        ("SELU", SELU, 0, 0, 0),
        ("SELU, alpha dropout", SELU, ALPHA_RATE, 0, 0),
    ]
    divisor = 250 if options.quick else 1
    for size in SIZES[1:2] if options.quick else SIZES:
        for method, maker, rate, input_rate, decay in settings:
            setting = {"rate": rate, "input_rate": input_rate, "decay": decay}
            yield Cell(
                {"method": method, "images": size},
                partial(measure, maker, setting, size, divisor),
            )


def measure(
    maker: study.Maker,
    setting: dict[str, float],
    size: int,
    divisor: int,
    seeds: jax.Array,
) -> Values:
    """What is seen early and late, and the lowest test loss so far."""
    steps, every = LATE // divisor, EVERY // divisor
    values = study.learn(
        maker, setting, study.digits(size), seeds, steps=steps, every=every
    )
    lowest = np.minimum.accumulate(values["test_loss"], axis=1)
    seen = [EARLY // EVERY - 1, -1]
    kept = {name: values[name][:, seen] for name in METRICS}
    # Numbered as if it were not a quick one.
    return {**kept, "lowest_loss": lowest[:, seen], "step": np.array([EARLY, LATE])}


def chosen(rows: pd.DataFrame, method: str, metric: str) -> pd.Series:
    """A metric over the seeds; of the sweep with the decay that is best by it."""
    if method != DECAY:
        return rows[rows.method == method][metric]
    sweep = rows[rows.method.str.startswith("weight decay")]
    means = sweep.groupby("method")[metric].mean()
    best = means.idxmax() if metric.endswith("accuracy") else means.idxmin()
    return sweep[sweep.method == best][metric]


def show(rows: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """A table for some sizes; a figure for all, as compared with no regularisation."""
    loss = partial(mean_and_error, digits=3)
    percent = partial(mean_and_error, scale=100)
    table = []
    for size in sorted({*SHOWN} & {*rows.images}):
        early, late = (rows[(rows.images == size) & (rows.step == s)] for s in STEPS)
        table += [
            {
                "images": size,
                "method": method,
                f"test loss at {EARLY}": loss(chosen(early, method, "test_loss")),
                f"at {LATE}": loss(chosen(late, method, "test_loss")),
                "lowest": loss(chosen(late, method, "lowest_loss")),
                f"accuracy (%) at {EARLY}": percent(
                    chosen(early, method, "test_accuracy")
                ),
                f"accuracy (%) at {LATE}": percent(
                    chosen(late, method, "test_accuracy")
                ),
            }
            for method in METHODS
        ]
    figure = Figure(figsize=(10, 8), layout="constrained")
    for axes, step in zip(figure.subplots(2, 2).T, STEPS, strict=True):
        for ax, metric in zip(axes, ("test_loss", "test_accuracy"), strict=True):
            draw(ax, rows[rows.step == step], metric)
            ax.set_title(f"after {step} steps of 32 images")
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return pd.DataFrame(table), figure


def draw(ax: Axes, rows: pd.DataFrame, metric: str) -> None:
    """Draws a metric over the number of images, with its standard error.

    A loss is divided by that of no regularisation, which is taken from an accuracy,
    seed by seed.
    """
    accuracy, sizes = metric.endswith("accuracy"), sorted(set(rows.images))
    for method, color in METHODS.items():
        values = []
        for size in sizes:
            part = rows[rows.images == size]
            value, none = (
                chosen(part, m, metric).reset_index(drop=True) for m in (method, "none")
            )
            values.append(100 * (value - none) if accuracy else value / none.mean())
        ax.errorbar(
            sizes,
            [value.mean() for value in values],
            [value.sem() for value in values],
            color=color,
            label=method,
            marker="o",
            markersize=4,
            capsize=2,
        )
    ax.set_xscale("log")
    ax.set_xticks(sizes, sizes)
    ax.set_xticks([], minor=True)
    ax.grid(alpha=0.25)
    if accuracy:
        ax.set(xlabel="training images", ylabel="test accuracy gained (points)")
        return
    ax.set(xlabel="training images", ylabel="test loss / that without dropout or decay")
    ax.set_yscale("log")
    ax.set_yticks(
        [0.6, 0.8, 1, 1.5, 2, 3, 4], ["0.6", "0.8", "1", "1.5", "2", "3", "4"]
    )
    ax.set_yticks([], minor=True)


if __name__ == "__main__":
    sys.exit(study.main("little_data", cells, show, settings=SETTINGS, seeds=8))
