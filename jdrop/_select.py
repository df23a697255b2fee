"""The one select, and the choice between two arrays, of packed words."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jdrop._jet import checkpoint
from jdrop._stream import Layout
from jdrop._unpack import over_bits


def affine(
    layout: Layout,
    shape: tuple[int, ...],
    words: jax.Array,
    x: jax.Array,
    *scalars: jax.Array,
) -> jax.Array:
    """Computes scale * x + shift where a bit is 1, `dropped` elsewhere.

    It is computed in at least float32 and rounded once, to the dtype of x: a scale
    rounded to bfloat16 would be off by up to 0.4 %, and every output with it.

    The checkpoint leaves the packed words, and scalars, as all that a backward pass
    holds; it unpacks them again (test_packed_words_are_the_only_residual). A custom
    derivative would close forward mode.

    Args:
      layout: Of the words.
      shape: Shape of the mask, which broadcasts to that of x.
      words: The packed words.
      x: Array.
      *scalars: The scale, the dropped value and, if there is one, the shift.

    Returns:
      An array like x.
    """

    @checkpoint
    def pick(words: jax.Array, x: jax.Array, *scalars: jax.Array) -> jax.Array:
        def law(bits: jax.Array, x: jax.Array) -> jax.Array:
            wide = widened(x)
            # full_like carries the weak type of x, which a scalar's own would replace.
            scale, dropped, *shift = (lax.full_like(wide, value) for value in scalars)
            kept = wide * scale + shift[0] if shift else wide * scale
            # Rounded before they are selected: a cotangent is then selected before it
            # is widened, which a TPU's compiler would do in a pass of its own.
            if kept.dtype != x.dtype:
                kept, dropped = kept.astype(x.dtype), dropped.astype(x.dtype)
            return jnp.where(bits, kept, dropped)

        return over_bits(law, words, layout, shape, x)

    return pick(words, x, *scalars)


def either(
    layout: Layout,
    shape: tuple[int, ...],
    words: jax.Array,
    rate: jax.Array,
    x: jax.Array,
    other: jax.Array,
) -> jax.Array:
    """Selects between two arrays: x where a bit is 1, the other elsewhere.

    The packed words, and the rate, are all that a backward pass holds.
    """

    @checkpoint
    def pick(words: jax.Array, rate: jax.Array, *arrays: jax.Array) -> jax.Array:
        y = over_bits(jnp.where, words, layout, shape, *arrays)
        # Nothing is scaled, so that a rate of NaN would go unseen.
        return lax.select_n(jnp.isnan(rate), y, lax.full_like(y, jnp.nan))

    return pick(words, rate, x, other)


def widened(x: jax.Array) -> jax.Array:
    """Returns x in the precision of a law: its own, but at least float32."""
    return x if jnp.finfo(x.dtype).bits >= 32 else x.astype(jnp.float32)


def real_dtype(x: jax.Array) -> np.dtype:
    """The dtype of the real scalars of a law: of the precision of `widened(x)`."""
    info = jnp.finfo(x.dtype)
    return info.dtype if info.bits >= 32 else np.dtype(np.float32)
