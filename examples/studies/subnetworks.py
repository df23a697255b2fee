"""A network with dropout, its sub-networks, and what they predict on average."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

import jdrop
from examples import loop
from examples.models_linen import MLP
from examples.studies import study
from examples.studies.learning import network
from jdrop import key_for

# Of the input and of the two hidden layers.
RATES, LEARNING_RATE = (0.2, 0.5, 0.5), 1e-3


def make() -> tuple[loop.Network, optax.GradientTransformation]:
    """An MLP with dropout of the input and of the hidden layers."""
    model = MLP(classes=10, input_rate=RATES[0], rates=RATES[1:])
    return network(model), optax.adam(LEARNING_RATE)


def sub_network(
    params: Any, images: jax.Array, key: jax.Array, *, mirrored: bool = False
) -> jax.Array:
    """The logits of a sub-network for each image; the mirrored one has masks ~mask."""
    x = images.reshape(len(images), -1)
    for name, rate in zip(("hidden_0", "hidden_1", "logits"), RATES, strict=True):
        mask = jdrop.sample_mask(
            key_for(key, name), x.shape, 1 - rate if mirrored else rate
        )
        x = jdrop.apply_mask(~mask if mirrored else mask, x)
        x = x @ params[name]["kernel"] + params[name]["bias"][None]
        x = x if name == "logits" else jax.nn.relu(x)
    return x


@functools.partial(jax.jit, static_argnames="counts")
def averages(
    seed: jax.Array, params: Any, test: loop.Batch, counts: tuple[int, ...]
) -> study.Values:
    """Test loss and accuracy of the means of n sub-networks, for each n in `counts`.

    They are themselves means, over the groups of n among all that are drawn. The
    variance is that of the means of antithetic pairs beside that of independent ones.
    """
    predict = functools.partial(sub_network, params, test.images)
    measure = jax.vmap(lambda logits: loop.measure(logits, test.labels))

    def draw(antithetic: bool) -> jax.Array:
        def pair(i: jax.Array) -> jax.Array:
            one = key_for(jax.random.key(seed), "pair", i)
            other = one if antithetic else key_for(one, "other")
            logits = [predict(one), predict(other, mirrored=antithetic)]
            return jax.nn.log_softmax(jnp.stack(logits))

        pairs = lax.map(pair, jnp.arange(counts[-1] // 2))
        return pairs.reshape(-1, *pairs.shape[2:])

    scaled = make()[0].predict(params, {}, test.images)[None]
    independent, antithetic = draw(antithetic=False), draw(antithetic=True)

    def of(n: int) -> study.Values:
        shape = -1, n, *scaled.shape[1:]
        groups = independent.reshape(shape), antithetic.reshape(shape)
        mean, pairs = (jax.nn.logsumexp(group, axis=1) - jnp.log(n) for group in groups)
        # The softmax of the mean of logarithms is the geometric mean, normalised.
        ways = {"scaled": scaled, "mean": mean, "pairs": pairs}
        ways["geometric"] = groups[0].mean(axis=1)
        metrics = {way: measure(logits) for way, logits in ways.items()}
        spread = [jnp.exp(log_p).var(axis=0).mean() for log_p in (mean, pairs)]
        return {
            **{way: metric.loss.mean() for way, metric in metrics.items()},
            "scaled_accuracy": metrics["scaled"].accuracy.mean(),
            "mean_accuracy": metrics["mean"].accuracy.mean(),
            # Of a single group there is none: 0 / 0.
            "variance": spread[1] / spread[0],
        }

    return jax.tree.map(lambda *values: jnp.stack(values), *map(of, counts))
