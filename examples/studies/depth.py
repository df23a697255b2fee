"""What does alpha dropout do for twenty layers of 100 units?

    python -m examples.studies.depth

takes some 8 minutes on 2 CPU cores. Networks of 20 hidden layers learn 200 digits for
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
from matplotlib.ticker import LogLocator, NullLocator

from examples import loop
from examples.studies import study
from examples.studies.learning import Maker, Split, learn, losses, network
from examples.studies.study import Cell, Options, Values, mean_and_error
from jdrop.linen import AlphaDropout, Dropout

DEPTH, WIDTH, TRAIN_SIZE, BATCH_SIZE, LEARNING_RATE = 20, 100, 200, 32, 1e-3
EPOCHS = 50, 500
STEPS = [TRAIN_SIZE // BATCH_SIZE * epochs for epochs in EPOCHS]
# Where the activations are looked at, counted from 1.
LAYERS = 1, 5, 10, 15, 20
SETTINGS = {
    "train_size": TRAIN_SIZE,
    "batch_size": BATCH_SIZE,
    "learning_rate": LEARNING_RATE,
    "epochs": (0, *EPOCHS),
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
# By name: the module, the rates behind the first layer and behind the others, and
# whether the learning rate falls to 0 along half a cosine.
DROPOUTS = {
    "none": (AlphaDropout, 0.0, 0.0, False),
    "alpha, first layer": (AlphaDropout, 0.2, 0.0, False),
    "alpha, all layers": (AlphaDropout, 0.05, 0.05, False),
    "plain, all layers": (Dropout, 0.05, 0.05, False),
    "none; cosine": (AlphaDropout, 0.0, 0.0, True),
    "alpha, all layers; cosine": (AlphaDropout, 0.05, 0.05, True),
}
# A network has its line, and a kind of dropout its colour.
LINES = {"ReLU, Xavier": ":", "ReLU, He": "--", "SELU, LeCun": "-"}
COLORS = dict(zip(DROPOUTS, [study.COLORS[i] for i in (6, 1, 0, 2, 4, 3)], strict=True))


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
    """What makes a network with a kind of dropout, given the rates and a schedule."""

    def make(
        first_rate: jax.Array, rate: jax.Array, falls: jax.Array
    ) -> tuple[loop.Network, optax.GradientTransformation]:
        model = Deep(*NETWORKS[name], dropout, first_rate, rate)
        cosine = optax.cosine_decay_schedule(1.0, STEPS[1])

        def learning_rate(step: jax.Array) -> jax.Array:
            return LEARNING_RATE * jnp.where(falls, cosine(step), 1.0)

        return network(model), optax.adam(learning_rate)

    return make


def look(state: loop.State, split: Split, key: jax.Array) -> dict[str, jax.Array]:
    """Losses, and the moments of the activations on the training set with dropout."""
    images = split[0].images
    _, moments = state.method.network.train(state.params, state.stats, images, key)
    seen = losses(state, split, key)
    for layer in LAYERS:
        mean, variance = moments["moments"][layer - 1]
        seen |= {f"mean_{layer}": mean, f"variance_{layer}": variance}
    return seen


def cells(options: Options) -> Iterator[Cell]:
    """Each network without dropout and as in tutorials, and SELU with more."""
    split = study.digits(TRAIN_SIZE)
    # Of the evaluations, the first two and the last are kept.
    every, steps = (2, 4) if options.quick else STEPS

    def cell(name: str, kind: str) -> Cell:
        module, first_rate, rate, falls = DROPOUTS[kind]
        setting = {"first_rate": first_rate, "rate": rate, "falls": falls}

        def measure(seeds: jax.Array) -> Values:
            values = learn(
                maker(name, module),
                setting,
                split,
                seeds,
                steps=steps,
                every=every,
                look=look,
                start=True,
            )
            return {label: array[..., [0, 1, -1]] for label, array in values.items()}

        return Cell({"network": name, "dropout": kind}, measure)

    for name in [*NETWORKS][-1:] if options.quick else NETWORKS:
        for kind in DROPOUTS if name == "SELU, LeCun" else [*DROPOUTS][:2]:
            yield cell(name, kind)


def show(rows: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """A row a cell: variance of the last layer, then loss and accuracy."""
    start, early, late = sorted(rows.step.unique())
    table = []
    for (name, kind), own in rows.groupby(["network", "dropout"], sort=False):
        at = {step: own[own.step == step] for step in (start, early, late)}
        variances = [f"{at[step].variance_20.mean():.2g}" for step in (start, late)]
        table.append(
            {
                "network": name,
                "dropout": kind,
                "variance of layer 20, start and end": " and ".join(variances),
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
    count = rows.cell.nunique()
    groups = rows.groupby(["network", "dropout"], sort=False)
    for i, ((name, kind), own) in enumerate(groups):
        style = {
            "color": COLORS[kind],
            "linestyle": LINES[name],
            "marker": "osD"[[*LINES].index(name)],
            "markersize": 5,
        }
        at_start = own[own.step == start]
        for axes, moment in ((means, "mean"), (variances, "variance")):
            columns = at_start[[f"{moment}_{layer}" for layer in LAYERS]]
            axes.errorbar(LAYERS, columns.mean(), columns.sem(), **style)
        later = own[own.step != start].groupby("step").test_loss
        # Apart by a little, so that no error bar hides another.
        places = [x + 0.03 * (i - count / 2) for x in (0, 1)]
        label = f"{name}; {kind}"
        loss.errorbar(places, later.mean(), later.sem(), **style, label=label)
    means.set(title="Mean before training", xlabel="hidden layer", ylabel="mean")
    variances.set(title="Variance before training", xlabel="hidden layer")
    variances.set(yscale="log", ylabel="variance")
    loss.set(title="Test loss", xlabel="epochs", yscale="log", ylabel="nats")
    loss.set_xticks((0, 1), ("50", "500"))
    loss.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    loss.yaxis.set_major_formatter("{x:g}")
    loss.yaxis.set_minor_locator(NullLocator())
    for axes in (means, variances, loss):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


if __name__ == "__main__":
    sys.exit(study.main("depth", cells, show, settings=SETTINGS))
