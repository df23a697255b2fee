"""What does alpha dropout do for twenty layers of 100 units?

    python -m examples.studies.depth

takes some 6 minutes on 2 CPU cores. Networks of 20 hidden layers learn 200 digits for
500 epochs. One is met in tutorials: ReLU units, Xavier weights, alpha dropout behind
the first layer only. The others are what the papers have: He's weights for ReLU (He et
al., 2015, https://arxiv.org/abs/1502.01852), and SELU with LeCun's weights and alpha
dropout behind each layer, which keeps mean 0 and variance 1 where dropout does not
(Klambauer et al., 2017, Self-normalizing neural networks,
https://arxiv.org/abs/1706.02515). Mean and variance of the activations are those that
training sees, dropout included.
"""

import sys
from collections.abc import Callable, Iterator
from functools import cache

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pandas as pd
from matplotlib.figure import Figure

from examples import loop
from examples.studies import study
from examples.studies.learning import Maker
from examples.studies.study import Cell, Options, mean_and_error
from examples.studies.watch import Split, losses, network, watch
from jdrop.linen import AlphaDropout, Dropout

DEPTH, WIDTH, TRAIN_SIZE, BATCH_SIZE, LEARNING_RATE = 20, 100, 200, 32, 1e-3
EPOCHS = 0, 50, 500
# Where the activations are looked at, counted from 1.
LAYERS = 1, 5, 10, 15, 20
SETTINGS = {
    "train_size": TRAIN_SIZE,
    "batch_size": BATCH_SIZE,
    "learning_rate": LEARNING_RATE,
    "epochs": EPOCHS,
}
# By name: the activation, and the law of the initial weights.
NETWORKS: dict[
    str, tuple[Callable[[jax.Array], jax.Array], nn.initializers.Initializer]
]
NETWORKS = {
    "ReLU, Xavier": (nn.relu, nn.initializers.xavier_uniform()),
    "ReLU, He": (nn.relu, nn.initializers.he_normal()),
    "SELU, LeCun": (nn.selu, nn.initializers.lecun_normal()),
}
# By name: the module, and the rates behind the first layer and behind the others.
DROPOUTS = {
    "none": (AlphaDropout, 0.0, 0.0),
    "alpha, first layer": (AlphaDropout, 0.2, 0.0),
    "alpha, all layers": (AlphaDropout, 0.05, 0.05),
    "plain, all layers": (Dropout, 0.05, 0.05),
}


class Layer(nn.Module):
    """Dense units, dropout, and the mean and variance of what comes out."""

    activation: Callable[[jax.Array], jax.Array]
    kernel_init: nn.initializers.Initializer
    dropout: Callable[..., nn.Module]
    rate: float | jax.Array
    training: bool

    @nn.compact
    def __call__(self, x: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        """Computes the activations of a batch, and their two moments."""
        x = self.activation(nn.Dense(WIDTH, kernel_init=self.kernel_init)(x))
        x = self.dropout(self.rate, deterministic=not self.training)(x)
        return x, jnp.stack([x.mean(), x.var()])


class Deep(nn.Module):
    """Hidden layers, the first one with a rate of its own, and logits."""

    activation: Callable[[jax.Array], jax.Array]
    kernel_init: nn.initializers.Initializer
    dropout: Callable[..., nn.Module]
    first_rate: float | jax.Array
    rate: float | jax.Array

    @nn.compact
    def __call__(self, x: jax.Array, training: bool) -> jax.Array:
        """Computes the logits of a batch of images, and notes moments in training."""
        kind = self.activation, self.kernel_init, self.dropout
        # A scan is compiled as a single layer, and each layer has a key of its own.
        layers = nn.scan(
            Layer,
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            length=DEPTH - 1,
        )
        x, first = Layer(*kind, self.first_rate, training)(x.reshape(len(x), -1), None)
        x, others = layers(*kind, self.rate, training)(x, None)
        moments = jnp.concatenate([first[None], others])
        # Among the averages of BatchNorm, which the loop carries along.
        self.sow("batch_stats", "moments", moments, lambda _, new: new, lambda: None)
        return nn.Dense(10)(x)


@cache
def maker(name: str, dropout: Callable[..., nn.Module]) -> Maker:
    """What makes a network with a kind of dropout, given the rates."""

    def make(
        first_rate: jax.Array, rate: jax.Array
    ) -> tuple[loop.Network, optax.GradientTransformation]:
        model = Deep(*NETWORKS[name], dropout, first_rate, rate)
        return network(model, (8, 8, 1)), optax.adam(LEARNING_RATE)

    return make


def look(state: loop.State, split: Split, key: jax.Array) -> dict[str, jax.Array]:
    """Losses, and the moments of the activations on the training set with dropout."""
    images = split[0].images
    _, moments = state.network.train(state.params, state.stats, images, key)
    seen = losses(state, split)
    for layer in LAYERS:
        mean, variance = moments["moments"][layer - 1]
        seen |= {f"mean_{layer}": mean, f"variance_{layer}": variance}
    return seen


def cells(options: Options) -> Iterator[Cell]:
    """Each network without dropout and as in tutorials, and SELU with more."""
    split = study.digits(TRAIN_SIZE)
    budgets = (0, 2, 4)
    if not options.quick:
        budgets = tuple(TRAIN_SIZE // BATCH_SIZE * epochs for epochs in EPOCHS)

    def cell(name: str, kind: str) -> Cell:
        module, first_rate, rate = DROPOUTS[kind]
        setting = {"first_rate": first_rate, "rate": rate}

        def measure(seeds: jax.Array) -> study.Values:
            make = maker(name, module)
            return watch(make, setting, split, seeds, look, budgets=budgets)

        return Cell({"network": name, "dropout": kind}, measure)

    for name in NETWORKS:
        for kind in DROPOUTS if name == "SELU, LeCun" else [*DROPOUTS][:2]:
            yield cell(name, kind)


def show(rows: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """A row a cell: variance of the last layer at the start, then loss and accuracy."""
    start, early, late = sorted(rows.step.unique())
    table = []
    for (name, kind), own in rows.groupby(["network", "dropout"], sort=False):
        at = {step: own[own.step == step] for step in (start, early, late)}
        table.append(
            {
                "network": name,
                "dropout": kind,
                "variance of layer 20": f"{at[start].variance_20.mean():.1e}",
                "loss, 50 epochs": mean_and_error(at[early].test_loss, digits=3),
                "loss, 500": mean_and_error(at[late].test_loss, digits=3),
                "accuracy (%), 50": mean_and_error(at[early].test_accuracy, 100),
                "accuracy (%), 500": mean_and_error(at[late].test_accuracy, 100),
            }
        )
    return pd.DataFrame(table), _figure(rows, (start, early, late))


def _figure(rows: pd.DataFrame, steps: tuple[int, int, int]) -> Figure:
    """Mean and variance at the start by layer, and the test loss by epochs."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    means, variances, loss = figure.subplots(1, 3)
    start, early, late = steps
    for i, (_, own) in enumerate(rows.groupby("cell", sort=False)):
        name, kind = own.network.iloc[0], own.dropout.iloc[0]
        # The network has a line style, so that the colours are told apart.
        style = {
            "color": study.COLORS[i % 7],
            "linestyle": "-" if name == "SELU, LeCun" else "--",
            "marker": "os^Dv"[i % 5],
            "capsize": 2,
        }
        at_start = own[own.step == start]
        for axes, moment in ((means, "mean"), (variances, "variance")):
            columns = at_start[[f"{moment}_{layer}" for layer in LAYERS]]
            axes.errorbar(LAYERS, columns.mean(), columns.sem(), **style)
        later = own[own.step != start].groupby("step").test_loss
        # Apart by a little, so that no error bar hides another.
        places = [x + 0.03 * (i - 4) for x in (0, 1)]
        label = f"{name}; {kind}"
        loss.errorbar(places, later.mean(), later.sem(), **style, label=label)
    means.set(title="Mean before training", xlabel="hidden layer", ylabel="mean")
    variances.set(title="Variance before training", xlabel="hidden layer")
    variances.set(yscale="log", ylabel="variance")
    loss.set(title="Test loss", xlabel="epochs", yscale="log", ylabel="nats")
    loss.set_xticks((0, 1), ("50", "500"))
    loss.yaxis.set_major_formatter("{x:g}")
    loss.yaxis.set_minor_formatter("{x:g}")
    for axes in (means, variances, loss):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


if __name__ == "__main__":
    sys.exit(study.main("depth", cells, show, settings=SETTINGS))
