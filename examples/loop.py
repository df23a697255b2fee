"""The training step, many steps as one compiled scan, evaluation, the optimiser."""

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

    `init` maps a key to params and stats, `train` params, stats, images and a key to
    logits and new stats, `predict` params, stats and images to logits.
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
    return Metrics(loss.mean(), (logits.argmax(-1) == labels).astype(loss.dtype).mean())


def train_step(state: State, batch: Batch, key: jax.Array) -> tuple[State, Metrics]:
    """One step of the optimiser, with dropout.

    The masks of step t come from `key_for(key, "dropout", t)`: `key` is the same at
    every step, and a run that goes on from a state draws what it would have drawn.
    """
    mask_key = key_for(key, "dropout", state.step)

    def loss(params: Tree) -> tuple[jax.Array, tuple[Metrics, Tree]]:
        logits, stats = state.network.train(params, state.stats, batch.images, mask_key)
        metrics = measure(logits, batch.labels)
        return metrics.loss, (metrics, stats)

    grads, (metrics, stats) = jax.grad(loss, has_aux=True)(state.params)
    updates, optimizer_state = state.optimizer.update(
        grads, state.optimizer_state, state.params
    )
    params = optax.apply_updates(state.params, updates)
    state = state.replace(
        step=state.step + 1,
        params=params,
        stats=stats,
        optimizer_state=optimizer_state,
    )
    return state, metrics


@partial(jax.jit, static_argnames=("steps", "batch_size"))
def train_steps(
    state: State, data: Batch, key: jax.Array, steps: int, batch_size: int
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

    Each epoch has an order of its own, and leaves out what does not fill a last batch.
    """
    per_epoch = examples // batch_size
    # As many epochs as the steps touch if the first is the last one of its epoch.
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
        return measure(state.network.predict(state.params, state.stats, image), label)

    batch_size = min(EVALUATION_BATCH, len(data.labels))
    return jax.tree.map(jnp.mean, lax.map(one, data, batch_size=batch_size))


def fit(
    state: State, train: Batch, test: Batch, key: jax.Array, *budget: int
) -> Iterator[tuple[State, dict[str, float]]]:
    """Trains, and evaluates every so often; the budget: steps, every, batch size.

    Yields:
      The state, and its metrics by name: `batch_` with dropout, on the way, `train_`
      and `test_` after it, and `seconds` of the steps, without compilation.
    """
    steps, every, batch_size = budget
    programs: dict[int, Any] = {}
    for first in range(int(state.step), steps, every):
        count = min(every, steps - first)
        if count not in programs:
            lowered = train_steps.lower(state, train, key, count, batch_size)
            programs[count] = lowered.compile()
        started = time.perf_counter()
        state, batches = jax.block_until_ready(programs[count](state, train, key))
        seconds = round(time.perf_counter() - started, 6)
        parts = {"batch": batches, "train": evaluate(state, train)}
        parts["test"] = evaluate(state, test)
        # Seven digits are all that float32 has.
        row = {
            f"{part}_{name}": float(f"{value:.7g}")
            for part, metrics in parts.items()
            for name, value in metrics._asdict().items()
        }
        yield state, {"step": first + count, **row, "seconds": seconds}


def make_optimizer(
    name: str, schedule: str, rate: float, decay: float, momentum: float, steps: int
) -> optax.GradientTransformation:
    """AdamW, or SGD with momentum, at a rate that stays or falls to 0 along a cosine.

    Weights decay; biases and the scales of BatchNorm don't.
    """
    if schedule == "cosine":
        rate = optax.cosine_decay_schedule(rate, steps)
    mask = partial(jax.tree.map, lambda array: array.ndim > 1)
    if name == "adamw":
        return optax.adamw(rate, weight_decay=decay, mask=mask)
    decayed = optax.add_decayed_weights(decay, mask=mask)
    return optax.chain(decayed, optax.sgd(rate, momentum=momentum))


def convolve(
    x: jax.Array, kernel: jax.Array, strides: Any, padding: Any, **options: Any
) -> jax.Array:
    """A 3x3 convolution of stride 1 that is quick inside a scan on a CPU.

    There XLA runs the gradient of its own convolution 8 times slower than outside a
    scan (jax 0.10.2), and a matrix product as quickly.
    """
    if jax.default_backend() != "cpu":
        return lax.conv_general_dilated(x, kernel, strides, padding, **options)
    if padding == "SAME":
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows, columns = x.shape[1] - 2, x.shape[2] - 2
    shifted = [x[:, i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
    return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])
