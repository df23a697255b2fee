"""The price of dropout where it is paid: training steps with it and without it.

The networks are plain functions and the optimiser is plain gradient descent, so that
every contestant drops in the very same step and nothing pads the step it is compared
with. Images and labels are random: the time of a step does not depend on them.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.contestants import KEYS, NOTHING, SHORT_LIST, gather
from benchmarks.table import Row, Settings, quartile_rows
from benchmarks.timing import compete, jitted

Weights = list[dict[str, jax.Array]]
Drop = Callable[[jax.Array, jax.Array], jax.Array]
# Of the number of a layer and its output.
LayerDrop = Callable[[int, jax.Array], jax.Array]

CLASSES = 10
LEARNING_RATE = 0.1
RATES = (0.1, 0.5)
# By name: batch, shape of an image, widths; an image with channels is convolved.
NETWORKS = {
    "MLP 784-512-512-10, batch 128": (128, (784,), (512, 512)),
    "MLP 784-256-256-10, batch 256": (256, (784,), (256, 256)),
    "MLP 784-100-100-10, batch 128": (128, (784,), (100, 100)),
    "CNN 32-64-128, batch 64": (64, (32, 32, 3), (32, 64, 128)),
}


def run(settings: Settings) -> Iterator[Row]:
    """Times a step of each network at two rates, without dropout and with each."""
    for name in list(NETWORKS)[1:2] if settings.quick else NETWORKS:
        for rate in RATES[:1] if settings.quick else RATES:
            yield from contest(name, rate, settings)


def contest(network: str, rate: float, settings: Settings) -> Iterator[Row]:
    """Times the step of one network: a key of `NETWORKS`."""
    batch, image, widths = NETWORKS[network]
    key, data_key = jax.random.split(jax.random.key(0))
    weights = init(key, image, widths)
    images = jax.random.normal(data_key, (batch, *image))
    labels = jax.random.randint(data_key, (batch,), 0, CLASSES)
    step = functools.partial(train_step, forward=mlp if len(image) == 1 else cnn)
    entries = [jitted(NOTHING, step, weights, images, labels, key)]
    for peer in gather():
        if peer.name in SHORT_LIST or (
            peer.name.endswith(KEYS[0]) and not settings.quick
        ):
            on = functools.partial(step, drop=functools.partial(peer.drop, rate=rate))
            entries.append(jitted(peer.name, on, weights, images, labels, peer.key))
    # A step is compared with itself plus a few percent: more rounds than elsewhere.
    rounds, turn_seconds = settings.pace
    results = compete(entries, NOTHING, 2 * rounds, turn_seconds)
    about = {"case": network, "dtype": "float32", "rate": rate}
    return quartile_rows(results, NOTHING, shape=images.shape, **about)


def train_step(
    weights: Weights,
    images: jax.Array,
    labels: jax.Array,
    key: jax.Array,
    *,
    forward: Callable[[Weights, jax.Array, LayerDrop], jax.Array],
    drop: Drop | None = None,
) -> tuple[Weights, jax.Array]:
    """One step of gradient descent on the mean cross-entropy; returns also the loss.

    Each layer folds its number into the key; `drop` None drops nothing.
    """

    def layer_drop(index: int, x: jax.Array) -> jax.Array:
        return x if drop is None else drop(jax.random.fold_in(key, index), x)

    def loss(weights: Weights) -> jax.Array:
        logits = jax.nn.log_softmax(forward(weights, images, layer_drop))
        return -jnp.mean(jnp.take_along_axis(logits, labels[:, None], axis=-1))

    value, slope = jax.value_and_grad(loss)(weights)
    return jax.tree.map(lambda w, g: w - LEARNING_RATE * g, weights, slope), value


def mlp(weights: Weights, x: jax.Array, drop: LayerDrop) -> jax.Array:
    """Dense layers with ReLU, each but the last followed by dropout."""
    *hidden, last = weights
    for i, layer in enumerate(hidden):
        x = drop(i, jax.nn.relu(x @ layer["w"] + layer["b"]))
    return x @ last["w"] + last["b"]


def cnn(weights: Weights, x: jax.Array, drop: LayerDrop) -> jax.Array:
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
    """Random weights of the layers before the last, of some widths, and of the last.

    An image is flat, or (height, width, channels).
    """
    *size, features = image
    kernels: list[tuple[int, ...]] = []
    for width in widths:
        kernels.append((3, 3, features, width) if size else (features, width))
        features = width
    pooled = math.prod(side // 2 ** len(widths) for side in size)
    kernels.append((pooled * features, CLASSES))
    keys = jax.random.split(key, len(kernels))
    return [_layer(k, shape) for k, shape in zip(keys, kernels, strict=True)]


def _layer(key: jax.Array, shape: tuple[int, ...]) -> dict[str, Any]:
    scale = math.sqrt(2 / math.prod(shape[:-1]))
    return {"w": scale * jax.random.normal(key, shape), "b": jnp.zeros(shape[-1])}
