"""Token dropout: a transformer that is trained on a part of its tokens."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jdrop._arguments import (
    Key,
    as_array,
    as_count,
    as_deterministic,
    as_rate,
    is_traced,
)
from jdrop._calls import checked_call
from jdrop._keys import consume
from jdrop._noise import draw_noise
from jdrop._sharding import placed_like
from jdrop._stream import Rate
from jdrop._window import Start

# The modules check it too, when they are made.
as_prefix_tokens = functools.partial(as_count, "prefix_tokens", least=0)


@checked_call
def token_dropout(
    key: Key,
    x: ArrayLike,
    rate: ArrayLike,
    *,
    prefix_tokens: int = 0,
    deterministic: bool = False,
    offset: ArrayLike = 0,
) -> tuple[jax.Array, jax.Array]:
    """Removes the same number of tokens, at random, from each example.

    kept[i] = x[i, indices[i]], where indices[i] are the first `prefix_tokens`, and of
    the n others those with the k greatest of n independent uniform numbers, in order;
    k = max(1, round((1 - rate) * n)).

    The sequence gets shorter, and a step cheaper. Nothing is scaled: attention and
    pooling take means over the tokens there are. Add the positions before, or gather
    them by the indices:
    `jnp.take_along_axis(positions, indices[..., None], axis=1)`.

    With one key, the tokens kept at a higher rate are among those kept at a lower one.
    A mesh of explicit axes must not cut the axis of the tokens.

    Args:
      key: As in `dropout`. It is asked for only where tokens are removed.
      x: Array of shape (batch, tokens, ...) and of any dtype.
      rate: Share of the tokens to remove, one real number in [0, 1]. It decides the
        shape of the result, so it is known when a program is traced.
      prefix_tokens: How many tokens at the beginning are always kept, and are not
        counted: class and register tokens.
      deterministic: True keeps all tokens. A bool, known likewise.
      offset: As in `dropout`.

    Returns:
      The tokens that are kept, of shape (batch, prefix_tokens + k, ...), and their
      indices along the axis of the tokens, int32 of shape (batch, prefix_tokens + k),
      which increase. Where no token is removed, x itself and all indices. At least one
      token beside the prefix is kept, at rate 1 too.

    Raises:
      ValueError: As in `dropout`, or if x has no axis of tokens, or fewer tokens than
        the prefix.
      TypeError: As in `dropout`, whatever the dtype of x; or if the rate or
        `deterministic` is traced.

    References:
      Liu, Matsoukas, Strand, Azizpour and Smith, 2022. PatchDropout: economizing vision
      transformers using patch dropout. https://arxiv.org/abs/2208.07220

    Examples:
      >>> import jax, jax.numpy as jnp, jdrop
      >>> images = jax.random.normal(jax.random.key(0), (8, 32, 32, 3))
      >>> patches = images.reshape(8, 4, 8, 4, 8, 3).swapaxes(2, 3).reshape(8, 16, -1)
      >>> tokens = jnp.pad(patches, ((0, 0), (1, 0), (0, 0)))  # a class token
      >>> kept, indices = jdrop.token_dropout(
      ...     jax.random.key(1), tokens, 0.75, prefix_tokens=1
      ... )
      >>> print(kept.shape, indices[0])
      (8, 5, 192) [ 0  5  6 10 16]
    """
    x = as_array("token_dropout", x)
    prefix = as_prefix_tokens(prefix_tokens)
    p, is_at_rest = _known(rate, deterministic)
    if x.ndim < 2 or x.shape[1] < prefix:
        raise ValueError(
            "token_dropout takes the key first, then x of shape (batch, tokens, ...) "
            f"with {prefix} prefix tokens or more; got x of shape {x.shape}. Give one "
            "example a batch axis, x[None], or count fewer tokens as prefix."
        )
    batch, tokens = x.shape[:2]
    others = tokens - prefix
    count = max(1, round((1 - p) * others))
    start = Start.of(offset, (batch, others), (), None)
    if is_at_rest or count >= others:
        return x, lax.broadcasted_iota(jnp.int32, (batch, tokens), 1)
    key = consume(key() if callable(key) else key)
    return _keep(prefix, count, x, key, start)


def _known(rate: Any, deterministic: Any) -> tuple[float, bool]:
    """The rate and the mode; raises if they are traced."""
    is_at_rest = as_deterministic(deterministic)
    p = as_rate(0 if rate is None and is_at_rest is True else rate)
    for name, value in (("rate", p), ("deterministic", is_at_rest)):
        if is_traced(value):
            raise TypeError(
                "token_dropout decides by rate and deterministic how many tokens its "
                f"result has, so both are known when it is traced; got a traced {name}."
                f" Pass a Python value, by jax.jit's static_argnames=({name!r},); each "
                "other number of tokens is a program of its own."
            )
    return float(p), bool(is_at_rest)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _keep(
    prefix: int, count: int, x: jax.Array, key: jax.Array, start: Start
) -> tuple[jax.Array, jax.Array]:
    """`token_dropout` after its checks, as one program."""
    batch, tokens = x.shape[:2]
    shape = (batch, tokens - prefix)
    # They have no rate, and are too few to be worth cutting on a mesh.
    u = draw_noise(key, shape, start, Rate.of(0)).symmetric(jnp.zeros(shape))
    # Of equal numbers the first counts as greater: the same order everywhere.
    best = jnp.argsort(u, axis=1, descending=True, stable=True)[:, :count]
    drawn = jnp.sort(best.astype(jnp.int32), axis=1) + np.int32(prefix)
    first = lax.broadcasted_iota(jnp.int32, (batch, prefix), 1)
    indices = jnp.concatenate([first, drawn], axis=1)
    along = placed_like(x, lax.expand_dims(indices, range(2, x.ndim)))
    kept = jnp.take_along_axis(x, along, axis=1, mode="promise_in_bounds")
    return kept, lax.squeeze(along, range(2, x.ndim))
