"""The price of dropout where it is paid: training steps with it and without it.

The networks are plain functions and the optimiser is plain gradient descent, so that
every contestant drops in the very same step and nothing pads the step it is compared
with. Images and labels are random: the time of a step does not depend on them.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.costs.contestants import NOTHING, SHORT_LIST, gather
from benchmarks.costs.regimes import Record, Settings
from benchmarks.costs.timing import compete, jitted

Weights = list[dict[str, jax.Array]]
Drop = Callable[[jax.Array, jax.Array], jax.Array]

CLASSES = 10
LEARNING_RATE = 0.1
# By name: batch, shape of an image, widths; an image with channels is convolved.
NETWORKS = {
    "MLP 784-512-512-10, batch 128": (128, (784,), (512, 512)),
    "MLP 784-256-256-10, batch 256": (256, (784,), (256, 256)),
    "MLP 784-100-100-10, batch 128": (128, (784,), (100, 100)),
    "CNN 32-64-128, batch 64": (64, (32, 32, 3), (32, 64, 128)),
}


def run(settings: Settings) -> Iterator[Record]:
    """Times a step of each network at two rates, without dropout and with each.

    Args:
      settings: Thoroughness and sizes.

    Yields:
      A contest for each network and rate.
    """
    for name in list(NETWORKS)[1:2] if settings.quick else NETWORKS:
        for rate in (0.1,) if settings.quick else (0.1, 0.5):
            yield _contest(name, rate, settings)


def _contest(network: str, rate: float, settings: Settings) -> Record:
    batch, image, widths = NETWORKS[network]
    batch = settings.rows(batch)
    key, data_key = jax.random.split(jax.random.key(0))
    weights = init(key, image, widths)
    images = jax.random.normal(data_key, (batch, *image))
    labels = jax.random.randint(data_key, (batch,), 0, CLASSES)
    step = functools.partial(train_step, forward=mlp if len(image) == 1 else cnn)
    entries = [jitted(NOTHING, step, weights, images, labels, key)]
    for peer in gather(settings.without):
        default_key = peer.name.endswith("threefry2x32") and not settings.quick
        if default_key or peer.name in SHORT_LIST:
            drop = functools.partial(peer.drop, rate=rate, dims=())
            on = functools.partial(step, drop=drop)
            entries.append(jitted(peer.name, on, weights, images, labels, peer.key))
    # A step is compared with itself plus a few percent: more rounds than elsewhere.
    rounds = 2 * settings.rounds
    return {
        "kind": "train",
        "case": network,
        "regime": settings.regime,
        "shape": list(images.shape),
        "dtype": "float32",
        "rate": rate,
        "reference": NOTHING,
        "rounds": rounds,
        "results": compete(entries, NOTHING, rounds, settings.sample_seconds),
    }


def train_step(
    weights: Weights,
    images: jax.Array,
    labels: jax.Array,
    key: jax.Array,
    *,
    forward: Callable[..., jax.Array],
    drop: Drop | None = None,
) -> tuple[Weights, jax.Array]:
    """One step of gradient descent on the mean cross-entropy.

    Args:
      weights: The weights before the step.
      images: Batch of images.
      labels: Class indices.
      key: The key of the step; each layer folds its number into it.
      forward: The network.
      drop: Drops units, given a key and an array; None drops nothing.

    Returns:
      The weights after the step, and the loss.
    """

    def loss(weights: Weights) -> jax.Array:
        logits = forward(weights, images, functools.partial(_layer, key, drop))
        picked = jnp.take_along_axis(logits, labels[:, None], axis=-1)
        return jnp.mean(jax.nn.logsumexp(logits, axis=-1, keepdims=True) - picked)

    value, slope = jax.value_and_grad(loss)(weights)
    descended = jax.tree.map(lambda w, g: w - LEARNING_RATE * g, weights, slope)
    return descended, value


def mlp(weights: Weights, x: jax.Array, drop: Callable[..., jax.Array]) -> jax.Array:
    """Dense layers with ReLU, each but the last followed by dropout."""
    *hidden, last = weights
    for i, layer in enumerate(hidden):
        x = drop(i, jax.nn.relu(x @ layer["w"] + layer["b"]))
    return x @ last["w"] + last["b"]


def cnn(weights: Weights, x: jax.Array, drop: Callable[..., jax.Array]) -> jax.Array:
    """3x3 convolutions, each followed by ReLU, 2x2 max-pooling and dropout of units."""
    *convolutions, last = weights
    for i, layer in enumerate(convolutions):
        x = lax.conv_general_dilated(
            x, layer["w"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = jax.nn.relu(x + layer["b"])
        examples, height, width, channels = x.shape
        x = x.reshape(examples, height // 2, 2, width // 2, 2, channels).max((2, 4))
        x = drop(i, x)
    return x.reshape(len(x), -1) @ last["w"] + last["b"]


def init(key: jax.Array, image: tuple[int, ...], widths: tuple[int, ...]) -> Weights:
    """Random weights of the layers of a network.

    Args:
      key: Consumed.
      image: Shape of an image: flat, or (height, width, channels).
      widths: Widths of the layers before the last.

    Returns:
      A list of layers.
    """
    *size, features = image
    weights: Weights = []
    for width in widths:
        kernel = (3, 3, features, width) if size else (features, width)
        weights.append(_weights(jax.random.fold_in(key, len(weights)), kernel))
        features = width
    for side in size:
        features *= side // 2 ** len(widths)
    last = _weights(jax.random.fold_in(key, len(weights)), (features, CLASSES))
    return [*weights, last]


def _layer(key: jax.Array, drop: Drop | None, index: int, x: Any) -> Any:
    return x if drop is None else drop(jax.random.fold_in(key, index), x)


def _weights(key: jax.Array, shape: tuple[int, ...]) -> dict[str, jax.Array]:
    fan_in = jnp.prod(jnp.asarray(shape[:-1]))
    kernel = jax.random.normal(key, shape) * jnp.sqrt(2 / fan_in)
    return {"w": kernel, "b": jnp.zeros(shape[-1])}
