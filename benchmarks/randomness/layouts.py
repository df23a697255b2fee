"""Masks at rate 0.5 as endless streams of raw random bits, for a public battery."""

import functools
import itertools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.randomness.controls import Draw
from benchmarks.randomness.packed import LANES, Words
from jdrop import _stream

CHUNK = 2**21
"""Words that are drawn at a time."""

RATE = 0.5


def along_row(draw: Draw, key: jax.Array, chunk: jax.Array) -> jax.Array:
    """Rows of 2^26 elements, one after the other, each from its first to its last."""
    return draw(key, (1, LANES * CHUNK), jnp.float32(RATE), chunk)


def across_rows(draw: Draw, key: jax.Array, chunk: jax.Array) -> jax.Array:
    """The first 32 elements of row 0, of row 1, of row 2, and so on."""
    return draw(key, (CHUNK, LANES), jnp.float32(RATE), chunk * np.uint32(CHUNK))


def across_keys(draw: Draw, key: jax.Array, chunk: jax.Array) -> jax.Array:
    """The first 32 elements under `fold_in(key, 0)`, `fold_in(key, 1)`, and so on."""
    fold_in = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
    return _first_words(draw, fold_in(key, _numbers(chunk)))


def across_seeds(draw: Draw, key: jax.Array, chunk: jax.Array) -> jax.Array:
    """The first 32 elements under keys whose last word counts up, as of seeds."""
    _, constant = jax.random.key_data(key)
    numbers = _numbers(chunk)
    data = jnp.stack([jnp.full_like(numbers, constant), numbers], axis=-1)
    return _first_words(draw, jax.random.wrap_key_data(data))


def across_lanes(draw: Draw, key: jax.Array, chunk: jax.Array) -> jax.Array:
    """Lane 0 of 2^21 words of a row, then lane 1 of the same words, and so on."""
    words = along_row(draw, key, chunk).reshape(-1, LANES)
    place = np.arange(LANES, dtype=np.uint32)

    def pack_lane(lane: jax.Array) -> jax.Array:
        bits = (words >> lane) & np.uint32(1)
        return (bits << place[None]).sum(axis=-1, dtype=jnp.uint32)

    return jax.lax.map(pack_lane, place)


def across_digits(draw: Draw, key: jax.Array, chunk: jax.Array) -> jax.Array:
    """All 32 digits of the first word of a row, then of its second, and so on.

    The law of a rate folds these digits into one word. No mask shows them one by one,
    so they come from the cipher that the library draws with.
    """
    del draw
    seed = _stream.seed_words(key, _stream.WORDS_DOMAIN)
    counter = jnp.arange(CHUNK // 2, dtype=jnp.uint32)
    return jnp.stack(_stream.threefry2x32(*seed, chunk, counter), axis=-1)


Layout = Callable[[Draw, jax.Array, jax.Array], jax.Array]

LAYOUTS: dict[str, Layout] = {
    "row": along_row,
    "rows": across_rows,
    "keys": across_keys,
    "seeds": across_seeds,
    "lanes": across_lanes,
    "digits": across_digits,
}
"""A chunk of words from a draw, a key and the number of the chunk, by name."""


def stream(layout: str, draw: Draw, seed: int) -> Iterator[Words]:
    """Endless chunks of random words.

    Args:
      layout: A name in `LAYOUTS`.
      draw: What draws the masks.
      seed: Seed of the key. After 2^32 words, all that some layouts have under one
        key, the next seed follows.

    Yields:
      Arrays of uint32 words, 2^21 at a time.
    """
    make = _compiled(layout, draw)
    for number in itertools.count():
        key = jax.random.key(seed + number // (2**32 // CHUNK))
        chunk = np.uint32(number % (2**32 // CHUNK))
        yield np.asarray(make(key, chunk)).ravel()


@functools.cache
def _compiled(layout: str, draw: Draw) -> Callable[..., jax.Array]:
    return jax.jit(functools.partial(LAYOUTS[layout], draw))


def _numbers(chunk: jax.Array) -> jax.Array:
    """The numbers of the words of a chunk."""
    return chunk * np.uint32(CHUNK) + jnp.arange(CHUNK, dtype=jnp.uint32)


def _first_words(draw: Draw, keys: jax.Array) -> jax.Array:
    def first(key: jax.Array) -> jax.Array:
        return draw(key, (1, LANES), jnp.float32(RATE), jnp.uint32(0))

    return jax.vmap(first)(keys)
