"""The training step, many steps as one compiled scan, evaluation."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

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

    `init` maps a key to params and stats; `train` params, stats, images, a key, the
    index of the first image in its batch and a factor of every rate, each of the two or
    None, to logits and new stats; `predict` params, stats and images to logits;
    `sample` does so with a key and an index, with dropout, but BatchNorm at rest.
    """

    init: Callable[[jax.Array], tuple[Tree, Tree]]
    train: Callable[..., tuple[jax.Array, Tree]]
    predict: Callable[[Tree, Tree, jax.Array], jax.Array]
    sample: Callable[[Tree, Tree, jax.Array, jax.Array, Any], jax.Array]


class Method(NamedTuple):
    """How a step is taken.

    Attributes:
      network: What learns.
      optimizer: How it learns.
      rate_schedule: Maps the number of a step to a factor of every dropout rate.
      accumulate: Micro-batches that a batch is cut into, to save memory. Their masks
        are those of the whole batch.
      mesh: Devices over which a batch is spread, along the axis "data".
    """

    network: Network
    optimizer: optax.GradientTransformation
    rate_schedule: optax.Schedule | None = None
    accumulate: int = 1
    mesh: Mesh | None = None

    def spread(self, tree: Tree, *axes: str) -> Tree:
        """Places arrays on the mesh, if there is one: cut along axes, or whole."""
        if self.mesh is None:
            return tree
        return lax.with_sharding_constraint(tree, NamedSharding(self.mesh, P(*axes)))


class State(struct.PyTreeNode):
    """What training changes, and how, which is static."""

    step: jax.Array
    params: Tree
    stats: Tree
    optimizer_state: optax.OptState
    method: Method = struct.field(pytree_node=False)


@partial(jax.jit, static_argnames="method")
def create_state(method: Method, key: jax.Array) -> State:
    """Draws the initial parameters from a key, which is consumed."""
    params, stats = method.network.init(key)
    step = jnp.zeros((), jnp.int32)
    state = State(step, params, stats, method.optimizer.init(params), method)
    return method.spread(state)


def measure(logits: jax.Array, labels: jax.Array) -> Metrics:
    """The metrics of a batch from its logits (examples, classes)."""
    logits = logits.astype(jnp.float32)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return Metrics(loss.mean(), (logits.argmax(-1) == labels).astype(loss.dtype).mean())


def train_step(state: State, batch: Batch, key: jax.Array) -> tuple[State, Metrics]:
    """One step of the optimiser, with dropout.

    The masks of step t come from `key_for(key, "dropout", t)`: `key` is the same at
    every step, and a run that goes on from a state draws what it would have drawn.
    """
    how = state.method
    mask_key = key_for(key, "dropout", state.step)
    scale = how.rate_schedule and how.rate_schedule(state.step)

    def loss(
        params: Tree, stats: Tree, part: Batch, offset: jax.Array | None
    ) -> tuple[jax.Array, tuple[Tree, Metrics]]:
        images, labels = how.spread(part, "data")
        logits, stats = how.network.train(
            params, stats, images, mask_key, offset=offset, scale=scale
        )
        metrics = measure(logits, labels)
        return metrics.loss, (stats, metrics)

    gradient = jax.grad(loss, has_aux=True)
    if how.accumulate == 1:
        grads, (stats, metrics) = gradient(state.params, state.stats, batch, None)
    else:
        size = len(batch.labels) // how.accumulate
        offsets = size * jnp.arange(how.accumulate)

        def add(carry: Tree, offset: jax.Array) -> tuple[Tree, Metrics]:
            total, stats = carry
            part = jax.tree.map(
                lambda a: lax.dynamic_slice_in_dim(a, offset, size), batch
            )
            grads, (stats, metrics) = gradient(state.params, stats, part, offset)
            return (optax.tree.add(total, grads), stats), metrics

        start = optax.tree.zeros_like(state.params), state.stats
        (grads, stats), parts = lax.scan(add, start, offsets)
        grads = optax.tree.scale(1 / how.accumulate, grads)
        metrics = jax.tree.map(jnp.mean, parts)
    updates, optimizer_state = how.optimizer.update(
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
    return state.method.spread((state, jax.tree.map(jnp.mean, metrics)))


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
    how = state.method
    examples, devices = len(data.labels), how.mesh.size if how.mesh else 1
    parts = -(-examples // EVALUATION_BATCH)
    # Parts of one size, which the devices share; what fills up the last counts nothing.
    size = devices * -(-examples // (parts * devices))
    rows = jnp.arange(parts * size).reshape(parts, size)

    def total(rows: jax.Array) -> Metrics:
        images, labels = how.spread(jax.tree.map(lambda a: a[rows], data), "data")
        logits = how.network.predict(state.params, state.stats, images)
        return jax.tree.map(
            lambda values: jnp.where(rows < examples, values, 0).sum(),
            jax.vmap(measure)(logits, labels),
        )

    # An index beyond the last example takes the last one.
    totals = lax.map(total, rows)
    return how.spread(jax.tree.map(lambda values: values.sum() / examples, totals))


def fit(
    state: State,
    train: Batch,
    validation: Batch | None,
    key: jax.Array,
    *,
    steps: int,
    every: int,
    batch_size: int,
) -> Iterator[tuple[State, dict[str, float]]]:
    """Trains from a state on, and evaluates after every so many steps.

    Yields:
      The state, and its metrics by name: `batch_` with dropout, on the way, `train_`
      and `validation_` after it, and `seconds` of the steps, without compilation.
    """
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
        if validation:
            parts["validation"] = evaluate(state, validation)
        yield state, {"step": first + count, **as_row(parts), "seconds": seconds}


def as_row(parts: dict[str, Metrics]) -> dict[str, float]:
    """Metrics by name, as in `train_loss`; seven digits are all that float32 has."""
    return {
        f"{part}_{name}": float(f"{value:.7g}")
        for part, metrics in parts.items()
        for name, value in metrics._asdict().items()
    }


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
