"""The training step, an epoch as one compiled scan over steps, and evaluation."""

import hashlib
import time
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import lax

from examples.architecture import Network, Tree
from jdrop import key_for

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


class Epoch(NamedTuple):
    """What an epoch came to; `batches` with dropout, on the way, the rest after it."""

    batches: Metrics
    train: Metrics
    test: Metrics
    seconds: float


class State(struct.PyTreeNode):
    """What training changes: a pytree, with the functions that change it.

    Attributes:
      step: Number of steps taken, int32.
      params: The parameters, by layer and by name.
      stats: Running averages of BatchNorm; empty without it.
      optimizer_state: What the optimiser keeps between steps.
      network: The pure functions of the network; static.
      optimizer: The optimiser; static.
    """

    step: jax.Array
    params: Tree
    stats: Tree
    optimizer_state: optax.OptState
    network: Network = struct.field(pytree_node=False)
    optimizer: optax.GradientTransformation = struct.field(pytree_node=False)


def create_state(
    network: Network, optimizer: optax.GradientTransformation, key: jax.Array
) -> State:
    """Draws the initial parameters.

    Args:
      network: The pure functions of the network.
      optimizer: The optimiser.
      key: Consumed by the initial weights.

    Returns:
      The state before the first step.
    """
    params, stats = jax.jit(network.init)(key)
    step = jnp.zeros((), jnp.int32)
    return State(step, params, stats, optimizer.init(params), network, optimizer)


def measure(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cross-entropy of each example, and whether its label is predicted.

    Args:
      logits: Array (examples, classes).
      labels: Class indices (examples,).

    Returns:
      Loss in nats and 0 or 1, each a float array (examples,).
    """
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return loss, (logits.argmax(-1) == labels).astype(loss.dtype)


def train_step(state: State, batch: Batch, key: jax.Array) -> tuple[State, Metrics]:
    """One step of the optimiser, with dropout.

    Args:
      state: The state before the step, number t.
      batch: The examples of the step.
      key: The key of the run; step t uses `fold_in(key, t)`, so it is the same key at
        every step, and a resumed run draws the masks of the uninterrupted one.

    Returns:
      The state after the step, and the metrics of the batch, with dropout.
    """
    step_key = jax.random.fold_in(key, state.step)

    def mean_loss(params: Tree) -> tuple[jax.Array, tuple[jax.Array, Tree]]:
        logits, stats = state.network.apply(params, state.stats, batch.images, step_key)
        loss, correct = measure(logits, batch.labels)
        return loss.mean(), (correct.mean(), stats)

    value_and_grad = jax.value_and_grad(mean_loss, has_aux=True)
    (loss, (accuracy, stats)), grads = value_and_grad(state.params)
    updates, optimizer_state = state.optimizer.update(
        grads, state.optimizer_state, state.params
    )
    state = state.replace(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        stats=stats,
        optimizer_state=optimizer_state,
    )
    return state, Metrics(loss, accuracy)


@partial(jax.jit, static_argnames="batch_size")
def train_epoch(
    state: State,
    data: Batch,
    key: jax.Array,
    order_key: jax.Array,
    *,
    batch_size: int,
) -> tuple[State, Metrics]:
    """One epoch: every example at most once, in a fresh order, as one `lax.scan`.

    What does not fill a last batch is left out of this epoch; the order differs from
    epoch to epoch, so the left out examples do too.

    Args:
      state: The state before the epoch.
      data: The training set, on the device.
      key: The key of the run, for dropout.
      order_key: The key of this epoch's order; consumed.
      batch_size: Examples a step, at most as many as there are.

    Returns:
      The state after the epoch, and the mean metrics of its batches, with dropout.
    """
    examples = len(data.labels)
    steps = examples // batch_size
    order = jax.random.permutation(order_key, examples)
    order = order[: steps * batch_size].reshape(steps, batch_size)

    def step(state: State, rows: jax.Array) -> tuple[State, Metrics]:
        return train_step(state, Batch(data.images[rows], data.labels[rows]), key)

    state, metrics = lax.scan(step, state, order)
    return state, Metrics(metrics.loss.mean(), metrics.accuracy.mean())


@jax.jit
def evaluate(state: State, data: Batch) -> Metrics:
    """Loss and accuracy over all examples, deterministic.

    Args:
      state: The state to evaluate; its BatchNorm averages stay as they are.
      data: The examples, on the device.

    Returns:
      The mean metrics.
    """

    def one(example: Batch) -> tuple[jax.Array, jax.Array]:
        logits, _ = state.network.apply(
            state.params, state.stats, example.images[None], None
        )
        loss, correct = measure(logits, example.labels[None])
        return loss[0], correct[0]

    batch_size = min(EVALUATION_BATCH, len(data.labels))
    loss, correct = lax.map(one, data, batch_size=batch_size)
    return Metrics(loss.mean(), correct.mean())


def fit(
    state: State,
    train: Batch,
    test: Batch,
    *,
    epochs: int,
    batch_size: int,
    key: jax.Array,
) -> Iterator[tuple[State, Epoch]]:
    """Trains, and evaluates after each epoch.

    Args:
      state: The state before the first step.
      train: The training set, on the device.
      test: The test set, on the device.
      epochs: Number of epochs.
      batch_size: Examples a step.
      key: The key of the run, for the orders and for dropout.

    Yields:
      The state after each epoch, and its metrics; `seconds` are those of the steps,
      without compilation and evaluation.
    """
    dropout_key = key_for(key, "dropout")
    first = (state, train, dropout_key, key_for(key, "order", 0))
    run_epoch = train_epoch.lower(*first, batch_size=batch_size).compile()
    for epoch in range(epochs):
        started = time.perf_counter()
        order_key = key_for(key, "order", epoch)
        state, batches = jax.block_until_ready(
            run_epoch(state, train, dropout_key, order_key)
        )
        seconds = time.perf_counter() - started
        results = (batches, evaluate(state, train), evaluate(state, test))
        on_the_way, on_train, on_test = jax.device_get(results)
        yield state, Epoch(on_the_way, on_train, on_test, seconds)


def params_sha256(params: Tree) -> str:
    """Hashes names, dtypes, shapes and values of the parameters.

    Args:
      params: The parameters, by layer and by name.

    Returns:
      The hexadecimal SHA-256; equal only if every bit is.
    """
    digest = hashlib.sha256()
    for path, array in jax.tree_util.tree_leaves_with_path(jax.device_get(params)):
        name = jax.tree_util.keystr(path)
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
