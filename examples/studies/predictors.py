"""Four ways to predict the class of a digit, and what is said of them."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.scipy.special import entr

import jdrop
from examples.calibration import Bins, score
from examples.loop import Network
from examples.models_linen import MLP
from examples.studies import study
from examples.studies.learning import network
from jdrop import key_for

PREDICTORS = ("no dropout", "dropout", "Monte-Carlo", "ensemble")
INPUT_RATE, HIDDEN_RATE, LEARNING_RATE = 0.2, 0.5, 1e-3
TRAIN_SIZE, MEMBERS, BINS = 500, 5, 10


def make(on: Any) -> tuple[Network, optax.GradientTransformation]:
    """The MLP of the trainer; without dropout if `on` is 0."""
    rates = (on * HIDDEN_RATE, on * HIDDEN_RATE)
    model = MLP(classes=10, rates=rates, input_rate=on * INPUT_RATE)
    return network(model), optax.adam(LEARNING_RATE)


@functools.cache
def networks(on: bool, steps: int, seeds: int) -> Any:
    """Trained parameters: of five networks for each seed, or of one with dropout."""
    split = study.digits(TRAIN_SIZE)
    members = jnp.arange(seeds * MEMBERS).reshape(seeds, MEMBERS).T
    trained = [
        study.trained(make, {"on": on}, split, member, steps=steps)[0]
        for member in (members[:1] if on else members)
    ]
    return jax.tree.map(lambda *parts: jnp.stack(parts, axis=1), *trained)


def sample(key: jax.Array, params: Any, images: jax.Array) -> jax.Array:
    """The logits of a random sub-network for each image."""
    return make(1)[0].sample(params, {}, images, key, None)


def predict(
    seed: jax.Array, params: Any, images: jax.Array, way: str, samples: int
) -> jax.Array:
    """Probabilities of the classes: (examples, classes)."""
    first = jax.tree.map(lambda p: p[0], params)
    if way == "Monte-Carlo":
        key, inputs = key_for(jax.random.key(seed), "samples"), (first, images)
        return jdrop.mc_predict(
            sample, key, samples, *inputs, outputs="logits", chunk_size=10
        ).mean
    if way == "ensemble":
        logits = jax.vmap(make(0)[0].predict, (0, None, None))(params, {}, images)
        return jax.nn.softmax(logits).mean(axis=0)
    return jax.nn.softmax(make(0)[0].predict(first, {}, images))


def told_apart(own: jax.Array, other: jax.Array) -> jax.Array:
    """How often one of the others is larger: the area under the ROC curve."""
    own, other = own[None], other[:, None]
    return (other > own).mean() + (other == own).mean() / 2


@functools.partial(jax.jit, static_argnames=("way", "samples"))
def scores(
    seeds: jax.Array,
    params: Any,
    images: jax.Array,
    labels: jax.Array,
    way: str,
    samples: int,
) -> tuple[study.Values, Bins]:
    """What is said of images (shifts, examples, ...), of which the first are no others.

    Returns:
      The scores, each (seeds, shifts), and the bins, each (seeds, shifts, bins).
    """

    def one(arguments: tuple[jax.Array, Any]) -> tuple[study.Values, Bins]:
        of_images = functools.partial(predict, *arguments, way=way, samples=samples)
        probabilities = lax.map(of_images, images)
        seen = jax.vmap(lambda p: score(p, labels, bins=BINS))(probabilities)
        entropy = entr(probabilities).sum(axis=-1)
        detection = jax.vmap(told_apart, (None, 0))(entropy[0], entropy)
        return {**seen._asdict(), "detection": detection}, seen.bins

    return lax.map(one, (seeds, params))
