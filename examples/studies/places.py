"""Does dropout go before or after BatchNorm; and units, channels or blocks?

    python -m examples.studies.places

takes some 8 minutes on 2 CPU cores. A network of three convolutions learns 200 digits,
with dropout at one of three places: between convolution and BatchNorm; after the ReLU
that follows BatchNorm, so that the next BatchNorm sees it through a convolution; or
once, behind the last BatchNorm. What is dropped are units, whole channels, or blocks of
3 x 3 positions.

It checks the explanation of Li, Chen, Hu and Yang, 2019 (Understanding the disharmony
between dropout and batch normalization by variance shift,
https://arxiv.org/abs/1801.05134): BatchNorm learns the variance that dropout makes, and
divides by it in evaluation, where there is none. So each network is evaluated twice,
with the averages that BatchNorm learnt, and with averages estimated anew without
dropout. Blocks are those of Ghiasi, Lin and Le, 2018
(https://arxiv.org/abs/1810.12890).
"""

import sys
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from examples import loop
from examples.loop import Tree, convolve
from examples.studies import study
from examples.studies.learning import Maker, Split, learn, losses, network
from examples.studies.study import Cell, Options, Values, mean_and_error
from jdrop.linen import DropBlock, Dropout, FeatureDropout

TRAIN_SIZE, LEARNING_RATE, BUDGETS = 200, 1e-3, (250, 1500)
RATES = 0.2, 0.5
WIDTHS = 16, 32, 32
KINDS = {"units": Dropout, "channels": FeatureDropout, "blocks": DropBlock}
SETTINGS = {
    "train_size": TRAIN_SIZE,
    "learning_rate": LEARNING_RATE,
    "budgets": BUDGETS,
    "widths": WIDTHS,
}
PLACES = "before BatchNorm", "after ReLU", "behind the last"


class ConvNet(nn.Module):
    """Convolution, BatchNorm, ReLU three times, and the mean over the positions."""

    place: str
    kind: str
    rate: float | jax.Array
    # Of BatchNorm's averages; 0 keeps those of the last batch alone.
    momentum: float = 0.9

    @nn.compact
    def __call__(self, x: jax.Array, training: bool) -> jax.Array:
        """Computes the logits of a batch of images."""
        size = {"block_size": 3} if self.kind == "blocks" else {}
        drop = partial(KINDS[self.kind], self.rate, deterministic=not training, **size)
        for i, width in enumerate(WIDTHS):
            x = nn.Conv(width, (3, 3), conv_general_dilated=convolve)(x)
            if self.place == "before BatchNorm":
                x = drop()(x)
            self.sow("seen", f"variance_{i}", x.var((0, 1, 2)))
            x = nn.BatchNorm(not training, momentum=self.momentum)(x)
            x = nn.relu(x)
            if self.place == "after ReLU":
                x = drop()(x)
            if i == 0:
                x = nn.max_pool(x, (2, 2), (2, 2))
        x = x.mean((1, 2))
        if self.place == "behind the last":
            x = drop()(x)
        return nn.Dense(10)(x)


@cache
def maker(place: str, kind: str) -> Maker:
    """What makes the network of a place and a kind, given the rate."""

    def make(rate: jax.Array) -> tuple[loop.Network, optax.GradientTransformation]:
        model = ConvNet(place, kind, rate)
        return network(model), optax.adam(LEARNING_RATE)

    return make


def estimated_anew(params: Tree, stats: Tree, images: jax.Array) -> Tree:
    """The averages of BatchNorm over images that pass without dropout."""
    model = ConvNet(PLACES[0], "units", 0.0, momentum=0.0)
    variables = {"params": params, "batch_stats": stats}
    _, updates = model.apply(variables, images, training=True, mutable="batch_stats")
    return updates["batch_stats"]


def variance_shift(params: Tree, stats: Tree, images: jax.Array) -> jax.Array:
    """The variance that each BatchNorm has learnt, over that of what it gets now.

    Returns:
      One ratio a BatchNorm, the median over its channels.
    """
    model = ConvNet(PLACES[0], "units", 0.0)
    variables = {"params": params, "batch_stats": stats}
    _, sown = model.apply(variables, images, training=False, mutable="seen")
    ratios = [
        jnp.median(stats[f"BatchNorm_{i}"]["var"] / sown["seen"][f"variance_{i}"][0])
        for i in range(len(WIDTHS))
    ]
    return jnp.stack(ratios)


def look(state: loop.State, split: Split, key: jax.Array) -> dict[str, jax.Array]:
    """Losses with the averages that were learnt and with new ones; the shifts."""
    images = split[0].images
    shifts = variance_shift(state.params, state.stats, images)
    renewed = state.replace(stats=estimated_anew(state.params, state.stats, images))
    anew = loop.evaluate(renewed, split[1])
    shift = {f"shift_{i + 1}": shifts[i] for i in range(len(WIDTHS))}
    return {
        **losses(state, split, key),
        "test_loss_anew": anew.loss,
        "test_accuracy_anew": anew.accuracy,
        **shift,
    }


def cells(options: Options) -> Iterator[Cell]:
    """No dropout, and each kind at each place with each rate."""
    split = study.digits(TRAIN_SIZE)
    every, steps = (2, 4) if options.quick else BUDGETS

    def cell(labels: dict[str, Any], make: Maker) -> Cell:
        def measure(seeds: jax.Array) -> Values:
            rate = {"rate": labels["rate"]}
            values = learn(
                make, rate, split, seeds, steps=steps, every=every, look=look
            )
            return {name: array[..., [0, -1]] for name, array in values.items()}

        return Cell(labels, measure)

    none = {"place": "none", "kind": "-", "rate": 0.0}
    yield cell(none, maker(PLACES[2], "units"))
    for place in PLACES:
        kinds = [*KINDS] if place != PLACES[2] else ["units"]
        for kind in kinds[-1:] if options.quick else kinds:
            for rate in RATES:
                labels = {"place": place, "kind": kind, "rate": rate}
                yield cell(labels, maker(place, kind))


def show(rows: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """A row a cell: losses, with both averages, and the shift of each BatchNorm."""
    first, last = sorted(rows.step.unique())
    shifts = [f"shift_{i + 1}" for i in range(len(WIDTHS))]
    table = []
    for (place, kind, rate), own in rows.groupby(["place", "kind", "rate"], sort=False):
        early, late = own[own.step == first], own[own.step == last]
        table.append(
            {
                "place": place,
                "dropped": f"{kind} {rate:g}" if rate else "-",
                f"test loss, {first} steps": mean_and_error(early.test_loss, digits=3),
                f"test loss, {last} steps": mean_and_error(late.test_loss, digits=3),
                "with new averages": mean_and_error(late.test_loss_anew, digits=3),
                "accuracy (%)": mean_and_error(late.test_accuracy, 100),
                "with new averages (%)": mean_and_error(late.test_accuracy_anew, 100),
                "variance shifts": ", ".join(map("{:.1f}".format, late[shifts].mean())),
            }
        )
    return pd.DataFrame(table), _figure(rows[rows.step == last])


def _figure(rows: pd.DataFrame) -> Figure:
    """Left the losses of each cell with both averages, right the shifts."""
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    mean, error = (
        getattr(rows.groupby("cell", sort=False), how)(numeric_only=True)
        for how in ("mean", "sem")
    )
    heights = range(len(mean))
    for name, label, color, marker in (
        ("test_loss", "averages learnt with dropout", study.COLORS[1], "o"),
        ("test_loss_anew", "averages estimated anew", study.COLORS[0], "D"),
    ):
        left.errorbar(
            mean[name], heights, xerr=error[name], fmt=marker, color=color, label=label
        )
    for i, color in zip(range(len(WIDTHS)), study.COLORS[2:], strict=False):
        name, label = f"shift_{i + 1}", f"BatchNorm {i + 1}"
        right.errorbar(
            mean[name],
            heights,
            xerr=error[name],
            fmt="os^"[i],
            color=color,
            label=label,
        )
    names = rows.drop_duplicates("cell")
    texts = names.place + ", " + names.kind + names.rate.map(" {:g}".format)
    left.set_yticks(heights, texts.str.replace("none, - 0", "no dropout"))
    left.invert_yaxis()
    left.set(xscale="log", xlabel="test loss (nats)", title="Loss")
    right.set(xscale="log", xlabel="variance learnt / variance in evaluation")
    right.set_title("Variance shift")
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    return figure


if __name__ == "__main__":
    sys.exit(study.main("places", cells, show, settings=SETTINGS, seeds=5))
