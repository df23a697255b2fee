"""Which rate, in which layer, and at which learning rate?

    python -m examples.studies.rates

trains a network of 64-256-256-10 units on 500 digits with hidden rates of 0 to 0.9, and
with dropout of the input, of the hidden layers and of the logits apart; at six
learning rates with and without dropout; and a small convolutional network with dropout
of channels, of its dense layers, and of both. Eleven minutes of processor time.

It checks the advice of Srivastava et al. 2014: 0.5 for hidden units, 0.2 for the input
(section 7.3 and appendix A.4), learning rates 10 to 100 times as high (A.2), less
dropout in convolutions (section 6.1.2). https://jmlr.org/papers/v15/srivastava14a.html
"""

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from examples import loop
from examples.models_linen import CNN, MLP
from examples.studies import study
from examples.studies.study import COLORS, Cell, Options, Values, mean_and_error
from jdrop.linen import Dropout

TRAIN_SIZE = 500
LEARNING_RATE, MOMENTUM = 1e-3, 0.9  # Of Adam; of SGD, where the rate is varied.
RATES = tuple(i / 10 for i in range(10))
INPUT_RATES, LOGIT_RATES = (0.1, 0.2, 0.3, 0.5), (0.1, 0.2, 0.5)
SGD_RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
CHANNEL_RATES = (0.0, 0.1, 0.2, 0.3, 0.5)
# Each run is looked at early and late.
MLP_STEPS, CNN_STEPS = (1000, 6000), (250, 1000)
SETTINGS = {
    "train_size": TRAIN_SIZE,
    "learning_rate": LEARNING_RATE,
    "momentum": MOMENTUM,
    "steps": (MLP_STEPS, CNN_STEPS),
}


class Net(nn.Module):
    """The network of the trainer, with dropout of the logits besides."""

    input_rate: Any
    hidden_rate: Any
    logit_rate: Any

    @nn.compact
    def __call__(self, x: jax.Array, training: bool) -> jax.Array:
        """Computes the logits of a batch of images."""
        hidden = 2 * (self.hidden_rate,)
        x = MLP(10, rates=hidden, input_rate=self.input_rate)(x, training)
        return Dropout(self.logit_rate, deterministic=not training)(x)


Made = tuple[loop.Network, optax.GradientTransformation]


def adam(input: jax.Array, hidden: jax.Array, logits: jax.Array) -> Made:
    """Makes the dense network of its rates, and Adam."""
    return study.network(Net(input, hidden, logits)), optax.adam(LEARNING_RATE)


def sgd(hidden: jax.Array, rate: jax.Array) -> Made:
    """Makes the dense network of its hidden rate, and SGD of a learning rate."""
    return study.network(Net(0.0, hidden, 0.0)), optax.sgd(rate, MOMENTUM)


def conv(channels: Any, dense: Any) -> Made:
    """Makes the convolutional network of its rates, and Adam."""
    model = CNN(10, rates=2 * (dense,), channel_rates=3 * (channels,))
    return study.network(model), optax.adam(LEARNING_RATE)


class Sweep(NamedTuple):
    """An argument of what makes the network, varied beside others that stay."""

    name: str
    make: study.Maker
    argument: str
    values: Sequence[float]
    others: dict[str, float]


NONE = {"input": 0.0, "hidden": 0.0, "logits": 0.0}
HALF = {**NONE, "hidden": 0.5}
SWEEPS = [
    Sweep("hidden", adam, "hidden", RATES, NONE),
    Sweep("input", adam, "input", INPUT_RATES, NONE),
    Sweep("input, hidden 0.5", adam, "input", INPUT_RATES, HALF),
    Sweep("logits", adam, "logits", LOGIT_RATES, NONE),
    Sweep("learning rate, hidden 0", sgd, "rate", SGD_RATES, {"hidden": 0.0}),
    Sweep("learning rate, hidden 0.5", sgd, "rate", SGD_RATES, {"hidden": 0.5}),
    Sweep("channels, dense 0", conv, "channels", CHANNEL_RATES, {"dense": 0.0}),
    Sweep("channels, dense 0.5", conv, "channels", CHANNEL_RATES, {"dense": 0.5}),
]


def cells(options: Options) -> Iterator[Cell]:
    """Every value of every sweep."""
    for sweep in SWEEPS:
        steps = CNN_STEPS if sweep.make is conv else MLP_STEPS
        for value in sweep.values:
            yield Cell(
                {"varied": sweep.name, "value": value},
                partial(
                    measure,
                    sweep.make,
                    {**sweep.others, sweep.argument: value},
                    (2, 4) if options.quick else steps,
                ),
            )


def measure(
    make: study.Maker,
    setting: dict[str, float],
    steps: tuple[int, int],
    seeds: jax.Array,
) -> Values:
    """What is seen early and late."""
    early, late = steps
    split = study.digits(TRAIN_SIZE)
    values = study.learn(make, setting, split, seeds, steps=late, every=early)
    return {name: value[..., [0, -1]] for name, value in values.items()}


# What the table shows; the figure shows all.
SHOWN = {
    "hidden": (0.0, 0.5, 0.7, 0.9),
    "input": (0.2, 0.5),
    "input, hidden 0.5": (0.2, 0.5),
    "logits": (0.5,),
    "learning rate, hidden 0": (0.001, 0.01, 0.1),
    "learning rate, hidden 0.5": (0.001, 0.01, 0.1),
    "channels, dense 0": (0.0, 0.2, 0.5),
    "channels, dense 0.5": (0.0, 0.2, 0.5),
}


class Curve(NamedTuple):
    """A curve of the figure: what is drawn over what was varied."""

    varied: str
    label: str
    color: str
    part: str = "test"

    def draw(self, pair: Sequence[Axes], rows: pd.DataFrame, when: str) -> None:
        """Draws the loss, and the error in per cent, with their standard errors."""
        rows = rows[(rows.varied == self.varied) & (rows.when == when)]
        rows = rows.set_index("value")
        error = 100 * (1 - rows[f"{self.part}_accuracy"])
        for ax, values in zip(pair, (rows[f"{self.part}_loss"], error), strict=True):
            groups = values.groupby("value")
            ax.errorbar(
                groups.mean().index,
                groups.mean(),
                groups.sem(),
                color=self.color,
                linestyle="-" if when == "late" else "--",
                label=f"{self.label}, {when}",
                marker="o",
                markersize=4,
                capsize=2,
            )


# By the label of their axis.
PANELS = {
    "rate of the hidden layers": [
        Curve("hidden", "test", COLORS[0]),
        Curve("hidden", "training", COLORS[1], "train"),
    ],
    "rate of one kind of layer": [
        Curve("hidden", "hidden", COLORS[0]),
        Curve("input", "input", COLORS[1]),
        Curve("input, hidden 0.5", "input, hidden 0.5", COLORS[2]),
        Curve("logits", "logits", COLORS[3]),
    ],
    "learning rate of SGD": [
        Curve("learning rate, hidden 0", "no dropout", COLORS[0]),
        Curve("learning rate, hidden 0.5", "hidden 0.5", COLORS[1]),
    ],
    "rate of the channels": [
        Curve("channels, dense 0", "dense 0", COLORS[0]),
        Curve("channels, dense 0.5", "dense 0.5", COLORS[1]),
    ],
}


def show(rows: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """A table of some of the settings, and a figure of all."""
    last = rows.step == rows.groupby("cell").step.transform("max")
    rows["when"] = np.where(last, "late", "early")
    rows["gap"] = rows.test_loss - rows.train_loss
    table = [
        {"varied": varied, "value": value, **summary(rows, varied, value)}
        for varied, values in SHOWN.items()
        for value in values
    ]
    figure = Figure(figsize=(10, 14), layout="constrained")
    axes = figure.subplots(len(PANELS), 2)
    for pair, (label, curves) in zip(axes, PANELS.items(), strict=True):
        for curve in curves:
            for when in ("late",) if "kind" in label else ("early", "late"):
                curve.draw(pair, rows, when)
        for ax, words in zip(pair, ("loss (nats)", "error (%)"), strict=True):
            ax.set(xlabel=label, ylabel=words)
            ax.set_xscale("log" if "learning" in label else "linear")
            ax.grid(alpha=0.25)
            if "kind" in label:
                ax.margins(y=0.35)
            else:
                magnify(ax, lowest=0.02 if "loss" in words else 0.2)
        pair[0].legend(frameon=False)
    figure.suptitle(
        f"Test and training. Early: after {MLP_STEPS[0]} steps, with convolutions "
        f"{CNN_STEPS[0]}; late: after {MLP_STEPS[1]} and {CNN_STEPS[1]}"
    )
    return pd.DataFrame(table), figure


def magnify(ax: Axes, lowest: float) -> None:
    """Makes an axis logarithmic; nothing is seen of training losses below."""
    ax.set_yscale("log")
    low, high = max(ax.get_ylim()[0], lowest), ax.get_ylim()[1]
    ticks = [digit * 10.0**i for i in range(-3, 3) for digit in (1, 1.5, 2, 3, 5)]
    ticks = [tick for tick in ticks if low < tick < high]
    ax.set(ylim=(low, high), yticks=ticks, yticklabels=[f"{tick:g}" for tick in ticks])
    ax.set_yticks([], minor=True)


def summary(rows: pd.DataFrame, varied: str, value: float) -> dict[str, str]:
    """Loss and accuracy, early and late, for a value of what was varied."""
    rows = rows[(rows.varied == varied) & (rows.value == value)]
    early, late = rows[rows.when == "early"], rows[rows.when == "late"]
    return {
        "test loss early": mean_and_error(early.test_loss, digits=3),
        "late": mean_and_error(late.test_loss, digits=3),
        "gap to training, late": mean_and_error(late.gap, digits=3),
        "accuracy (%) early": mean_and_error(early.test_accuracy, 100),
        "accuracy (%) late": mean_and_error(late.test_accuracy, 100),
    }


if __name__ == "__main__":
    sys.exit(study.main("rates", cells, show, settings=SETTINGS, seeds=8))
