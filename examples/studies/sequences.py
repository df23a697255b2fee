"""Which dropout for a recurrent network, and which for a transformer?

    python -m examples.studies.sequences

takes some 7 minutes on 2 CPU cores. Both read 200 digits row by row, as sequences of 8
rows of 8 pixels. The recurrent network is an LSTM that predicts from its last hidden
state. Dropout acts on that one alone, or at each of the 8 steps on the hidden states
that the gates read: with a fresh mask each time (plain), or with one mask for all steps
(locked: Gal and Ghahramani, 2016, https://arxiv.org/abs/1512.05287), and in both ways
on the cells too, which carry the memory. Zoneout (Krueger et al., 2016,
https://arxiv.org/abs/1606.01305) lets cells keep what they held, and as in the paper a
tenth as many hidden states. The transformer has two blocks, with dropout of attention
weights (Vaswani et al., 2017, https://arxiv.org/abs/1706.03762), drop path on all four
branches (Huang et al., 2016, https://arxiv.org/abs/1603.09382), or both.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pandas as pd
from jax.custom_batching import sequential_vmap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from examples import loop
from examples.studies import study
from examples.studies.learning import Maker, learn, network
from examples.studies.study import Cell, Options, Values, mean_and_error
from jdrop.linen import AttentionDropout, Dropout, DropPath, Zoneout

TRAIN_SIZE, LEARNING_RATE, BUDGETS = 200, 1e-3, (300, 3000)
UNITS, FEATURES, BLOCKS, HEADS = 64, 32, 2, 4
SETTINGS = {
    "train_size": TRAIN_SIZE,
    "learning_rate": LEARNING_RATE,
    "budgets": BUDGETS,
    "sizes": (UNITS, FEATURES, BLOCKS, HEADS),
}
# Where dropout acts on the LSTM.
KINDS = (
    "last state",
    "plain",
    "plain, cells too",
    "locked",
    "locked, cells too",
    "zoneout",
)
LSTM_RATES, TRANSFORMER_RATES = (0.25, 0.5), (0.1, 0.3)
State = tuple[jax.Array, jax.Array]


def orthogonal(key: jax.Array, shape: Sequence[int], dtype: Any) -> jax.Array:
    """Flax's own first weights of the gates, of one seed after the other.

    A QR decomposition of a batch waits, in a thread of XLA's pool on a CPU, for others
    of that pool. Those of several gates at once wait for ever (jaxlib 0.10.2).
    """
    draw = nn.initializers.orthogonal()
    return sequential_vmap(lambda key: draw(key, shape, dtype))(key)


class Step(nn.Module):
    """One step of an LSTM, with dropout of the state."""

    kind: str
    rate: float | jax.Array
    training: bool

    @nn.compact
    def __call__(self, state: State, row: jax.Array) -> tuple[State, None]:
        """Computes cells and hidden states after a row of pixels."""
        rest = not self.training
        cells, hidden = state
        if self.kind.startswith(("plain", "locked")):
            hidden = Dropout(self.rate, deterministic=rest)(hidden)
        if self.kind.endswith("cells too"):
            cells = Dropout(self.rate, deterministic=rest)(cells)
        lstm = nn.OptimizedLSTMCell(UNITS, recurrent_kernel_init=orthogonal)
        new, _ = lstm((cells, hidden), row)
        if self.kind == "zoneout":
            cells = Zoneout(self.rate, deterministic=rest)(new[0], cells)
            hidden = Zoneout(self.rate / 10, deterministic=rest)(new[1], hidden)
            new = cells, hidden
        return new, None


class Recurrent(nn.Module):
    """An LSTM over the rows of an image, and logits of its last hidden state."""

    kind: str
    rate: float | jax.Array

    @nn.compact
    def __call__(self, x: jax.Array, training: bool) -> jax.Array:
        """Computes the logits of a batch of images."""
        steps = nn.scan(
            Step,
            variable_broadcast="params",
            # With the same key at each step, the mask is the same.
            split_rngs={"params": False, "dropout": not self.kind.startswith("locked")},
            in_axes=1,
        )
        zeros = jnp.zeros((len(x), UNITS))
        (_, hidden), _ = steps(self.kind, self.rate, training)(
            (zeros, zeros), x[..., 0]
        )
        if self.kind == "last state":
            hidden = Dropout(self.rate, deterministic=not training)(hidden)
        return nn.Dense(10)(hidden)


class Transformer(nn.Module):
    """Blocks of attention and two dense layers over the rows of an image."""

    attention_rate: float | jax.Array
    path_rate: float | jax.Array

    @nn.compact
    def __call__(self, x: jax.Array, training: bool) -> jax.Array:
        """Computes the logits of a batch of images."""
        place = self.param("place", nn.initializers.normal(0.02), (8, FEATURES))
        x = nn.Dense(FEATURES)(x[..., 0]) + place[None]
        for _ in range(BLOCKS):
            for branch in (self.attend, self.think):
                y = branch(nn.LayerNorm()(x), training)
                x = x + DropPath(self.path_rate, deterministic=not training)(y)
        return nn.Dense(10)(nn.LayerNorm()(x).mean(1))

    def attend(self, x: jax.Array, training: bool) -> jax.Array:
        """Multi-head attention with dropout of its weights."""
        heads = (3, HEADS, FEATURES // HEADS)
        q, k, v = jnp.moveaxis(nn.DenseGeneral(heads)(x), 2, 0)
        scores = jnp.einsum("bqhf,bkhf->bhqk", q, k) * q.shape[-1] ** -0.5
        drop = AttentionDropout(self.attention_rate, deterministic=not training)
        y = jnp.einsum("bhqk,bkhf->bqhf", drop(jax.nn.softmax(scores)), v)
        return nn.DenseGeneral(FEATURES, axis=(-2, -1))(y)

    def think(self, x: jax.Array, training: bool) -> jax.Array:
        """Two dense layers."""
        return nn.Dense(FEATURES)(nn.gelu(nn.Dense(4 * FEATURES)(x)))


@cache
def recurrent(kind: str) -> Maker:
    """What makes the LSTM with a kind of dropout, given the rate."""

    def make(rate: jax.Array) -> tuple[loop.Network, optax.GradientTransformation]:
        model = Recurrent(kind, rate)
        return network(model), optax.adam(LEARNING_RATE)

    return make


def transformer(
    attention_rate: jax.Array, path_rate: jax.Array
) -> tuple[loop.Network, optax.GradientTransformation]:
    """The transformer, given the rates, and what trains it."""
    model = Transformer(attention_rate, path_rate)
    return network(model), optax.adam(LEARNING_RATE)


def cells(options: Options) -> Iterator[Cell]:
    """Each network without dropout, and with each kind at each rate."""
    split = study.digits(TRAIN_SIZE)
    every, steps = (2, 4) if options.quick else BUDGETS

    def cell(
        name: str, kind: str, rate: float, make: Maker, setting: Mapping[str, float]
    ) -> Cell:
        def measure(seeds: jax.Array) -> Values:
            values = learn(make, setting, split, seeds, steps=steps, every=every)
            return {label: array[..., [0, -1]] for label, array in values.items()}

        return Cell({"network": name, "dropout": kind, "rate": rate}, measure)

    yield cell("LSTM", "none", 0.0, recurrent(KINDS[0]), {"rate": 0.0})
    for kind in KINDS[::5] if options.quick else KINDS:
        for rate in LSTM_RATES:
            yield cell("LSTM", kind, rate, recurrent(kind), {"rate": rate})
    shares = {"none": (0, 0), "attention": (1, 0), "drop path": (0, 1), "both": (1, 1)}
    for kind, (attention, path) in shares.items():
        for rate in TRANSFORMER_RATES if kind != "none" else (0.0,):
            setting = {"attention_rate": attention * rate, "path_rate": path * rate}
            yield cell("transformer", kind, rate, transformer, setting)


def show(rows: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """A row a cell: loss and accuracy at both budgets, and the training loss."""
    first, last = sorted(rows.step.unique())
    table = []
    for labels, own in rows.groupby(["network", "dropout", "rate"], sort=False):
        early, late = own[own.step == first], own[own.step == last]
        table.append(
            {
                "network": labels[0],
                "dropout": labels[1],
                "rate": f"{labels[2]:g}",
                f"test loss, {first} steps": mean_and_error(early.test_loss, digits=3),
                f"test loss, {last} steps": mean_and_error(late.test_loss, digits=3),
                f"accuracy (%), {first}": mean_and_error(early.test_accuracy, 100),
                f"accuracy (%), {last}": mean_and_error(late.test_accuracy, 100),
                f"training loss, {last}": mean_and_error(late.train_loss, digits=4),
            }
        )
    return pd.DataFrame(table), _figure(rows)


def _figure(rows: pd.DataFrame) -> Figure:
    """The test loss of each cell at both budgets, a network on each side."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    sides = figure.subplots(1, 2)
    names = (f"LSTM of {UNITS} units", f"transformer of {BLOCKS} blocks")
    groups = rows.groupby("network", sort=False)
    for axes, title, (_, own) in zip(sides, names, groups, strict=True):
        labels = own.drop_duplicates("cell")
        heights = range(len(labels))
        for i, (step, part) in enumerate(own.groupby("step")):
            loss = part.groupby("cell", sort=False).test_loss
            axes.errorbar(
                loss.mean(),
                heights,
                xerr=loss.sem(),
                fmt="os"[i],
                color=study.COLORS[i],
                label=f"{step} steps",
            )
        texts = labels.dropout + labels.rate.map(" {:g}".format)
        axes.set_yticks(heights, texts.str.replace("none 0", "none"))
        axes.invert_yaxis()
        axes.set(title=title, xlabel="test loss (nats)", xscale="log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 4, 6, 8)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    handles = axes.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


if __name__ == "__main__":
    sys.exit(study.main("sequences", cells, show, settings=SETTINGS, seeds=5))
