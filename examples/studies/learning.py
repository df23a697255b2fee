"""Training of all seeds at once, in one compiled program, with digits to train on."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from examples import data, loop
from examples.loop import Network
from examples.models_linen import as_network
from jdrop import key_for

# Held out of the 1797 digits, so that 1400 are left for training.
TEST_SIZE = 397
METRICS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")

Values = Mapping[str, Any]
Split = tuple[loop.Batch, loop.Batch]
# What makes a network and an optimiser of settings, which may be traced.
Maker = Callable[..., tuple[Network, optax.GradientTransformation]]
# What measures a state, given training and test set and a key: arrays by name.
Look = Callable[[loop.State, Split, jax.Array], dict[str, jax.Array]]


def digits(train_size: int) -> Split:
    """Training and test digits, in JAX; a smaller training set is part of a larger."""
    train, test = data.digits(train_size, TEST_SIZE)
    return loop.Batch(*map(jnp.asarray, train)), loop.Batch(*map(jnp.asarray, test))


def network(model: nn.Module, shape: tuple[int, ...] = (8, 8, 1)) -> Network:
    """A module as functions of the loop; its images are digits, if nothing is said."""
    return as_network(model, shape)


def losses(state: loop.State, split: Split, _: jax.Array) -> dict[str, jax.Array]:
    """`METRICS` of a state, without dropout."""
    values = [value for part in split for value in loop.evaluate(state, part)]
    return dict(zip(METRICS, values, strict=True))


def learn(
    make: Maker,
    setting: Mapping[str, Any],
    split: Split,
    seeds: jax.Array,
    *,
    steps: int,
    every: int,
    batch_size: int = 32,
    look: Look = losses,
    start: bool = False,
) -> Values:
    """Trains all seeds at once, and evaluates training and test set every so often.

    Args:
      make: Makes the network and the optimiser. Defined once: a new one is compiled.
      setting: Its arguments: numbers or arrays, with which nothing is compiled again.
      split: Training and test set.
      seeds: Of initial weights, order and masks: (seeds,), integers.
      steps: Of training.
      every: Steps between evaluations; divides `steps`.
      batch_size: Of a step.
      look: What an evaluation measures. Defined once, as `make`.
      start: Whether there is an evaluation before the first step too.

    Returns:
      What was measured, by default `METRICS`: each (seeds, evaluations); and "step".
    """
    setting = {name: jnp.float32(value) for name, value in setting.items()}
    budget = steps, every, batch_size
    _, values = _learn(make, setting, split, seeds, *budget, look, start)
    return {**values, "step": np.arange(0 if start else every, steps + 1, every)}


def trained(
    make: Maker,
    setting: Mapping[str, Any],
    split: Split,
    seeds: jax.Array,
    *,
    steps: int,
    batch_size: int = 32,
) -> tuple[loop.Tree, loop.Tree]:
    """The parameters and the averages of BatchNorm after training, one for each seed.

    The arguments are those of `learn`; the arrays have the seeds as first axis.
    """
    setting = {name: jnp.float32(value) for name, value in setting.items()}
    budget = steps, steps, batch_size
    return _learn(make, setting, split, seeds, *budget, losses, False)[0]


@partial(
    jax.jit, static_argnames=("make", "steps", "every", "batch_size", "look", "start")
)
def _learn(
    make: Maker,
    setting: Mapping[str, jax.Array],
    split: Split,
    seeds: jax.Array,
    steps: int,
    every: int,
    batch_size: int,
    look: Look,
    start: bool,
) -> Any:
    method = loop.Method(*make(**setting))

    def one(seed: jax.Array) -> Any:
        key = jax.random.key(seed)
        state = loop.create_state(method, key_for(key, "weights"))
        training_key, look_key = key_for(key, "training"), key_for(key, "look")
        first = [look(state, split, look_key)] if start else []

        def part(state: loop.State, _: None) -> tuple[loop.State, dict[str, jax.Array]]:
            state, _ = loop.train_steps(
                state, split[0], training_key, every, batch_size
            )
            return state, look(state, split, look_key)

        state, values = lax.scan(part, state, length=steps // every)
        for seen in first:
            values = {n: jnp.concatenate([seen[n][None], values[n]]) for n in values}
        return (state.params, state.stats), values

    return jax.vmap(one)(seeds)
