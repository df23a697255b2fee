"""The family, an op a row: on which arrays it is measured, and what stands beside it.

Beside each op of jdrop's stands the same by hand, as one would write it in plain JAX.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

import jdrop
from benchmarks.contestants import FLOOR, JDROP, NOTHING

Shape = tuple[int, ...]
Function = Callable[..., Any]

BY_HAND, BLOCKS = "by hand", "no dropout in blocks"
IMAGES, HEADS = (64, 32, 32, 64), (4, 1024, 8, 64)
LARGE = (4096, 4096)
# The side of a block, as in the paper, and the class token of a vision transformer.
BLOCK, PREFIX = 7, 1
# Minus the product of SELU's two constants.
SATURATION = -1.7580993408473766


def _alone(make: Callable[[Shape], Any], shape: Shape) -> tuple[Any, ...]:
    return (make(shape),)


@dataclasses.dataclass(frozen=True)
class Member:
    """One op, as it is timed and compiled.

    Attributes:
      shape: Shape of what is dropped from.
      own: The op of jdrop; `own(key, *arrays, rate)`, as all contestants are called.
      by_hand: The same in plain JAX.
      arrays: What it takes: `arrays(make, shape)`, where `make` makes one of a shape.
      reference: What comes first and all others are compared with, by its name.
      others: More contestants.
    """

    shape: Shape
    own: Function
    by_hand: Function
    _: dataclasses.KW_ONLY
    arrays: Callable[[Callable[[Shape], Any], Shape], tuple[Any, ...]] = _alone
    reference: tuple[str, Function] = (
        FLOOR,
        lambda key, x, *others: jax.tree.map(lambda leaf: leaf * 1.25, x),
    )
    others: dict[str, Function] = dataclasses.field(default_factory=dict)

    @property
    def contestants(self) -> dict[str, Function]:
        """All of them by name."""
        own = {JDROP: self.own, BY_HAND: self.by_hand}
        return dict([self.reference]) | own | self.others


def _kept(key: jax.Array, x: jax.Array, rate: float, shared: Any = ()) -> jax.Array:
    sizes = [1 if axis in shared else n for axis, n in enumerate(x.shape)]
    return jax.random.bernoulli(key, 1 - rate, sizes)


def _dropout(*shared: int) -> Function:
    """Dropout with axes along which all elements share a bit."""

    def dropout(key: jax.Array, x: jax.Array, rate: float) -> jax.Array:
        return jnp.where(_kept(key, x, rate, shared), x / (1 - rate), 0)

    return dropout


def _alpha(*shared: int) -> Function:
    """Alpha dropout, likewise."""

    def alpha_dropout(key: jax.Array, x: jax.Array, rate: float) -> jax.Array:
        a = ((1 - rate) * (1 + rate * SATURATION**2)) ** -0.5
        b = -a * rate * SATURATION
        return a * jnp.where(_kept(key, x, rate, shared), x, SATURATION) + b

    return alpha_dropout


def _block(key: jax.Array, x: jax.Array, rate: float) -> jax.Array:
    batch, height, width, channels = x.shape
    rows, columns = height - BLOCK + 1, width - BLOCK + 1
    gamma = rate / BLOCK**2 * height * width / (rows * columns)
    seeds = jax.random.bernoulli(key, gamma, (batch, rows, columns, channels))
    reach, edges = (1, BLOCK, BLOCK, 1), (BLOCK - 1, BLOCK - 1)
    padding = ((0, 0), edges, edges, (0, 0))
    kept = ~lax.reduce_window(seeds, False, lax.max, reach, (1,) * 4, padding)
    return jnp.where(kept, x * (kept.size / kept.sum()).astype(x.dtype), 0)


def _concrete(key: jax.Array, x: jax.Array, rate: float) -> jax.Array:
    u = jax.random.uniform(key, x.shape, minval=1e-7)
    z = jax.nn.sigmoid((math.log(rate / (1 - rate)) + jax.scipy.special.logit(u)) / 0.1)
    return x * (1 - z) / (1 - rate)


def _tokens(key: jax.Array, x: jax.Array, rate: float) -> tuple[jax.Array, jax.Array]:
    batch, tokens = x.shape[0], x.shape[1] - PREFIX
    order = jnp.argsort(jax.random.uniform(key, (batch, tokens)), axis=1)
    drawn = jnp.sort(order[:, : round((1 - rate) * tokens)], axis=1) + PREFIX
    indices = jnp.pad(drawn, ((0, 0), (PREFIX, 0)))
    return jnp.take_along_axis(x, indices[..., None], axis=1), indices


def _weights(key: jax.Array, params: Any, rate: float) -> Any:
    keys = jax.random.split(key, len(params))
    return {
        name: layer | {"kernel": _dropout()(own, layer["kernel"], rate)}
        for own, (name, layer) in zip(keys, params.items(), strict=True)
    }


def _attention(drop: Function | None) -> Function:
    """Attention with all its weights at once, and a dropout of them."""

    def attention(key: jax.Array, q: Any, k: Any, v: Any, rate: float) -> jax.Array:
        scores = jnp.einsum("btnh,bsnh->bnts", q, k) * q.shape[-1] ** -0.5
        weights = jax.nn.softmax(scores)
        dropped = drop(key, weights, rate) if drop else weights
        return jnp.einsum("bnts,bsnh->btnh", dropped, v)

    return attention


def _two_layers(make: Callable[[Shape], Any], shape: Shape) -> tuple[Any, ...]:
    layers, *kernel = shape
    return (
        {
            f"Dense_{i}": {"kernel": make((*kernel,)), "bias": make((kernel[-1],))}
            for i in range(layers)
        },
    )


def _times(count: int) -> Callable[..., tuple[Any, ...]]:
    return lambda make, shape: tuple(make(shape) for _ in range(count))


_without: Any = {"arrays": _times(3), "reference": (NOTHING, _attention(None))}

MEMBERS = {
    "alpha_dropout": Member(LARGE, jdrop.alpha_dropout, _alpha()),
    "feature_dropout": Member(IMAGES, jdrop.feature_dropout, _dropout(1, 2)),
    "feature_alpha_dropout": Member(IMAGES, jdrop.feature_alpha_dropout, _alpha(1, 2)),
    "drop_path": Member(IMAGES, jdrop.drop_path, _dropout(1, 2, 3)),
    "drop_block": Member(IMAGES, jdrop.drop_block, _block),
    "gaussian_dropout": Member(
        LARGE,
        jdrop.gaussian_dropout,
        lambda key, x, rate: (
            x * (1 + (rate / (1 - rate)) ** 0.5 * jax.random.normal(key, x.shape))
        ),
    ),
    "gaussian_noise": Member(
        LARGE,
        jdrop.gaussian_noise,
        lambda key, x, stddev: x + stddev * jax.random.normal(key, x.shape),
    ),
    "concrete_dropout": Member(LARGE, jdrop.concrete_dropout, _concrete),
    "token_dropout": Member(
        (64, 197, 768),
        lambda key, x, rate: jdrop.token_dropout(key, x, rate, prefix_tokens=PREFIX),
        _tokens,
    ),
    "drop_connect": Member(
        (2, 2048, 2048), jdrop.drop_connect, _weights, arrays=_two_layers
    ),
    "zoneout": Member(
        LARGE,
        jdrop.zoneout,
        lambda key, x, before, rate: jnp.where(_kept(key, x, rate), x, before),
        arrays=_times(2),
    ),
    "attention_dropout": Member((8, 12, 512, 512), jdrop.attention_dropout, _dropout()),
    "plain_attention": Member(
        HEADS, _attention(jdrop.attention_dropout), _attention(_dropout()), **_without
    ),
    "blockwise_attention": Member(
        HEADS,
        jdrop.blockwise_attention,
        _attention(_dropout()),
        others={
            BLOCKS: lambda key, q, k, v, rate: jdrop.blockwise_attention(
                key, q, k, v, 0
            )
        },
        **_without,
    ),
}
"""By the name of the op; "plain_attention" has `attention_dropout` inside."""
