"""The training step, an epoch as one compiled scan over steps, and evaluation."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import lax

from jdrop import key_for

Tree = Any
# Images evaluated at a time: bounds the memory of the activations.
EVALUATION_BATCH = 512


class Batch(NamedTuple):
    """Images (examples, height, width, channels), float32, and labels (examples,)."""

    images: jax.Array
    labels: jax.Array


class Metrics(NamedTuple):
    """Mean cross-entropy in nats, and the share of labels that are predicted."""

    loss: jax.Array
    accuracy: jax.Array


class Network(NamedTuple):
    """A Flax module as pure functions; `stats` are the averages of BatchNorm, if any.

    Attributes:
      init: key -> params, stats.
      train: params, stats, images, key of the masks -> logits, new stats.
      predict: params, stats, images -> logits, without dropout.
    """

    init: Callable[[jax.Array], tuple[Tree, Tree]]
    train: Callable[[Tree, Tree, jax.Array, jax.Array], tuple[jax.Array, Tree]]
    predict: Callable[[Tree, Tree, jax.Array], jax.Array]


class State(struct.PyTreeNode):
    """What training changes, and the functions that change it, which are static."""

    step: jax.Array
    params: Tree
    stats: Tree
    optimizer_state: optax.OptState
    network: Network = struct.field(pytree_node=False)
    optimizer: optax.GradientTransformation = struct.field(pytree_node=False)


def create_state(
    network: Network, optimizer: optax.GradientTransformation, key: jax.Array
) -> State:
    """Draws the initial parameters from a key, which is consumed."""
    params, stats = jax.jit(network.init)(key)
    step = jnp.zeros((), jnp.int32)
    return State(step, params, stats, optimizer.init(params), network, optimizer)


def measure(logits: jax.Array, labels: jax.Array) -> Metrics:
    """The metrics of a batch from its logits (examples, classes)."""
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    correct = (logits.argmax(-1) == labels).astype(loss.dtype)
    return Metrics(loss.mean(), correct.mean())


def train_step(state: State, batch: Batch, key: jax.Array) -> tuple[State, Metrics]:
    """One step of the optimiser, with dropout.

    The masks of step t come from `key_for(key, "dropout", t)`. So `key` is the same at
    every step, and a run that goes on from a state draws what it would have drawn.
    """
    dropout_key = key_for(key, "dropout", state.step)

    def loss(params: Tree) -> tuple[jax.Array, tuple[Metrics, Tree]]:
        logits, stats = state.network.train(
            params, state.stats, batch.images, dropout_key
        )
        metrics = measure(logits, batch.labels)
        return metrics.loss, (metrics, stats)

    grads, (metrics, stats) = jax.grad(loss, has_aux=True)(state.params)
    updates, optimizer_state = state.optimizer.update(
        grads, state.optimizer_state, state.params
    )
    state = state.replace(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        stats=stats,
        optimizer_state=optimizer_state,
    )
    return state, metrics


@partial(jax.jit, static_argnames=("steps", "batch_size"))
def train_steps(
    state: State, data: Batch, key: jax.Array, *, steps: int, batch_size: int
) -> tuple[State, Metrics]:
    """Takes steps as one `lax.scan`; returns the mean metrics of their batches."""
    order_key = key_for(key, "order")
    rows = batch_rows(order_key, state.step, steps, batch_size, len(data.labels))

    def step(state: State, rows: jax.Array) -> tuple[State, Metrics]:
        return train_step(state, Batch(data.images[rows], data.labels[rows]), key)

    state, metrics = lax.scan(step, state, rows)
    return state, jax.tree.map(jnp.mean, metrics)


def batch_rows(
    key: jax.Array, first: jax.Array, steps: int, batch_size: int, examples: int
) -> jax.Array:
    """Which examples steps `first`, `first` + 1, ... take: (steps, batch_size).

    Every epoch has an order of its own. What does not fill its last batch is left out
    of that epoch.
    """
    per_epoch = examples // batch_size
    # As many epochs as the steps can touch if they start at the end of one.
    epochs = first // per_epoch + jnp.arange((steps + per_epoch - 2) // per_epoch + 1)

    def batches(epoch: jax.Array) -> jax.Array:
        order = jax.random.permutation(key_for(key, epoch), examples)
        return order[: per_epoch * batch_size].reshape(per_epoch, batch_size)

    rows = lax.map(batches, epochs).reshape(-1, batch_size)
    return lax.dynamic_slice_in_dim(rows, first % per_epoch, steps)


@jax.jit
def evaluate(state: State, data: Batch) -> Metrics:
    """The mean metrics of all examples, without dropout."""

    def one(example: Batch) -> Metrics:
        image, label = example.images[None], example.labels[None]
        logits = state.network.predict(state.params, state.stats, image)
        return measure(logits, label)

    batch_size = min(EVALUATION_BATCH, len(data.labels))
    return jax.tree.map(jnp.mean, lax.map(one, data, batch_size=batch_size))


def fit(
    state: State,
    train: Batch,
    test: Batch,
    key: jax.Array,
    steps: int,
    every: int,
    batch_size: int,
) -> Iterator[tuple[State, dict[str, float]]]:
    """Trains up to a number of steps, and evaluates after every so many.

    Yields:
      The state, and its metrics by name: `batch_` with dropout, on the way; `train_`
      and `test_` after it; `seconds` of the steps, without compilation.
    """
    programs: dict[int, Any] = {}
    for first in range(int(state.step), steps, every):
        count = min(every, steps - first)
        if count not in programs:
            programs[count] = train_steps.lower(
                state, train, key, steps=count, batch_size=batch_size
            ).compile()
        started = time.perf_counter()
        state, batches = jax.block_until_ready(programs[count](state, train, key))
        seconds = time.perf_counter() - started
        parts = (batches, evaluate(state, train), evaluate(state, test))
        row: dict[str, float] = {"step": first + count}
        for part, metrics in zip(("batch", "train", "test"), parts, strict=True):
            for name, value in metrics._asdict().items():
                # Seven digits are all that float32 has.
                row[f"{part}_{name}"] = float(f"{value:.7g}")
        yield state, {**row, "seconds": round(seconds, 6)}


def make_optimizer(
    name: str,
    schedule: str,
    learning_rate: float,
    weight_decay: float,
    momentum: float,
    steps: int,
) -> optax.GradientTransformation:
    """AdamW, or SGD with momentum; its rate stays, or falls to 0 along half a cosine.

    Weights decay; biases and the scales of BatchNorm don't.
    """
    rate = learning_rate
    if schedule == "cosine":
        rate = optax.cosine_decay_schedule(learning_rate, steps)
    mask = partial(jax.tree.map, lambda array: array.ndim > 1)
    if name == "adamw":
        return optax.adamw(rate, weight_decay=weight_decay, mask=mask)
    decay = optax.add_decayed_weights(weight_decay, mask=mask)
    return optax.chain(decay, optax.sgd(rate, momentum=momentum))


def convolve(
    x: jax.Array, kernel: jax.Array, strides: Any, padding: Any, **options: Any
) -> jax.Array:
    """A 3x3 convolution of stride 1 that is quick inside a scan on a CPU.

    XLA runs the gradient of its own convolution 8 times slower inside a `lax.scan` than
    outside on a CPU (jax 0.10.2), and a matrix product as quickly in both places.
    """
    if jax.default_backend() != "cpu":
        return lax.conv_general_dilated(x, kernel, strides, padding, **options)
    if padding == "SAME":
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1] - 2, x.shape[2] - 2
    shifted = [x[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    # (height, width, 9 channels) times (9 channels, features).
    return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])
