"""The optimiser, and schedules of the learning rate and of the dropout rates."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

# The share of the steps in which a warm-up rises, and that in which an early or a late
# dropout ends or begins.
WARM_UP, SWITCH = 0.05, 0.5


def make_optimizer(
    name: str,
    rate: optax.ScalarOrSchedule,
    *,
    decay: float = 0.0,
    momentum: float = 0.9,
    clip_norm: float | None = None,
    largest_norm: float | None = None,
) -> optax.GradientTransformation:
    """AdamW, or SGD with momentum.

    Args:
      name: "adamw" or "sgd".
      rate: The learning rate, or its schedule.
      decay: Weight decay. Weights decay; biases and the scales of BatchNorm don't.
      momentum: Of SGD.
      clip_norm: The largest norm of the gradient; None for any.
      largest_norm: That of the weights that come into a unit; None for any.
    """
    mask = partial(jax.tree.map, lambda array: array.ndim > 1)
    steps = [] if clip_norm is None else [optax.clip_by_global_norm(clip_norm)]
    if name == "adamw":
        steps.append(optax.adamw(rate, weight_decay=decay, mask=mask))
    else:
        decayed = optax.add_decayed_weights(decay, mask=mask)
        steps += [decayed, optax.sgd(rate, momentum=momentum)]
    if largest_norm is not None:
        steps.append(max_norm(largest_norm))
    return optax.chain(*steps)


def max_norm(largest: float) -> optax.GradientTransformation:
    """Shrinks the weights that come into a unit to a norm, if theirs is larger.

    It comes last in a chain, where updates are what is added to the parameters. The
    units are the last axis of a weight; biases stay. Srivastava et al. 2014, section
    5.1, https://jmlr.org/papers/v15/srivastava14a.html
    """

    def shrunk(update: jax.Array, weight: jax.Array) -> jax.Array:
        if weight.ndim < 2:
            return update
        moved = weight + update
        axes = tuple(range(moved.ndim - 1))
        norm = jnp.sqrt(jnp.sum(moved**2, axes, keepdims=True))
        # A norm of 0 stays: the factor is 1 there.
        factor = jnp.where(norm > largest, largest / norm, 1)
        return factor * moved - weight

    def update(updates: Any, params: Any) -> Any:
        return jax.tree.map(shrunk, updates, params)

    return optax.stateless(update)


def learning_rate_schedule(name: str, rate: float, steps: int) -> optax.Schedule:
    """Constant, or along half a cosine to 0; "warmup_cosine" rises from 0 before."""
    if name == "constant":
        return optax.constant_schedule(rate)
    warm_up = round(WARM_UP * steps) if name == "warmup_cosine" else 0
    if not warm_up:
        return optax.cosine_decay_schedule(rate, steps)
    return optax.warmup_cosine_decay_schedule(0.0, rate, warm_up, steps)


def rate_schedule(name: str, steps: int) -> optax.Schedule | None:
    """The factor of every dropout rate at a step; None for "constant".

    "early" falls from 1 to 0 in the first half, for a network that underfits, and
    "late" begins with the second half, for one that overfits (Liu et al. 2023,
    https://arxiv.org/abs/2303.01500). "curriculum" is 1 - exp(-10 step / steps)
    (Morerio et al. 2017, https://arxiv.org/abs/1703.06229).
    """
    switch = round(SWITCH * steps)
    if name == "constant":
        return None
    if name == "early":
        return optax.linear_schedule(1.0, 0.0, switch)
    if name == "late":
        before, after = map(optax.constant_schedule, (0.0, 1.0))
        return optax.join_schedules([before, after], [switch])
    falling = optax.exponential_decay(1.0, steps, math.exp(-10))
    return lambda step: 1 - falling(step)
