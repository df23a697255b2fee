"""Training that is looked at: linen modules, and what is seen of them on the way."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from examples import loop
from examples.loop import Network, Tree
from examples.studies.learning import METRICS, Maker, Values
from jdrop import key_for

Split = tuple[loop.Batch, loop.Batch]
# Maps a state, the split and a key to what is seen, arrays by name.
Look = Callable[[loop.State, Split, jax.Array], dict[str, jax.Array]]


def network(model: nn.Module, shape: tuple[int, ...]) -> Network:
    """Makes a network of a module that is called with images and `training`.

    Args:
      model: Its fields, as rates, may be traced.
      shape: Of an image.

    Returns:
      The network; its stats are the averages of BatchNorm, if any.
    """

    def init(key: jax.Array) -> tuple[Tree, Tree]:
        variables = model.init(key, jnp.zeros((1, *shape)), training=False)
        return variables["params"], variables.get("batch_stats", {})

    def train(
        params: Tree, stats: Tree, images: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, Tree]:
        logits, updates = model.apply(
            {"params": params, "batch_stats": stats},
            images,
            training=True,
            rngs={"dropout": key},
            mutable="batch_stats",
        )
        return logits, updates.get("batch_stats", {})

    def predict(params: Tree, stats: Tree, images: jax.Array) -> jax.Array:
        variables = {"params": params, "batch_stats": stats}
        return model.apply(variables, images, training=False)

    return Network(init, train, predict)


def losses(state: loop.State, split: Split) -> dict[str, jax.Array]:
    """The metrics of training and test set by name."""
    values = [value for part in split for value in loop.evaluate(state, part)]
    return dict(zip(METRICS, values, strict=True))


def watch(
    make: Maker,
    setting: Mapping[str, Any],
    split: Split,
    seeds: jax.Array,
    look: Look,
    *,
    budgets: tuple[int, ...],
    batch_size: int = 32,
) -> Values:
    """Trains all seeds at once, and looks at the states after some numbers of steps.

    Args:
      make: Makes the network and the optimiser. Defined once: a new one is compiled.
      setting: Its arguments: numbers or arrays, with which nothing is compiled again.
      split: Training and test set.
      seeds: Of initial weights, order and masks: (seeds,), integers.
      look: What to see of a state. Defined once.
      budgets: The numbers of steps, multiples of the first that is not 0; 0 is the
        state before training.
      batch_size: Of a step.

    Returns:
      What was seen, arrays (seeds, budgets, ...), and "step".
    """
    setting = {name: jnp.float32(value) for name, value in setting.items()}
    values = _watch(make, setting, split, seeds, look, budgets, batch_size)
    return {**values, "step": np.asarray(budgets)}


@partial(jax.jit, static_argnames=("make", "look", "budgets", "batch_size"))
def _watch(
    make: Maker,
    setting: Mapping[str, jax.Array],
    split: Split,
    seeds: jax.Array,
    look: Look,
    budgets: tuple[int, ...],
    batch_size: int,
) -> dict[str, jax.Array]:
    network, optimizer = make(**setting)
    every = next(steps for steps in budgets if steps)

    def one(seed: jax.Array) -> dict[str, jax.Array]:
        key = jax.random.key(seed)
        training_key, look_key = key_for(key, "training"), key_for(key, "look")
        state = loop.create_state(network, optimizer, key_for(key, "weights"))

        def part(state: loop.State, _: None) -> tuple[loop.State, dict[str, jax.Array]]:
            state, _ = loop.train_steps(
                state, split[0], training_key, every, batch_size
            )
            return state, look(state, split, look_key)

        _, seen = lax.scan(part, state, length=budgets[-1] // every)
        chosen = [steps // every - 1 for steps in budgets if steps]
        seen = jax.tree.map(lambda array: array[np.array(chosen)], seen)
        if budgets[0]:
            return seen
        first = look(state, split, look_key)
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, seen)

    return jax.vmap(one)(seeds)
