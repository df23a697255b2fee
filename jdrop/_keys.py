"""Keys: consumed once, or derived by name for a layer, a step, a micro-batch."""

import hashlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jdrop._arguments import as_key, as_path
from jdrop._calls import checked_call
from jdrop._stream import KEY_DOMAIN, seed_words, threefry2x32

# ASCII "int": marks an integer, so that it is not mistaken for the hash of a string.
_INTEGER = 0x696E7400


def consume(key: object) -> jax.Array:
    """Returns a key that is to be drawn from, and has it counted as used.

    Reading the words of a key does not count for `jax_debug_key_reuse`; sampling from
    it does.
    """
    checked = as_key(key)
    # JAX tracks typed keys only, and takes a legacy key for one of the default kind.
    # The options of jax.config are added to it at run time.
    is_tracked = jax.config.jax_debug_key_reuse  # type: ignore[attr-defined]
    if not (is_tracked and _is_typed(checked)):
        return checked
    jax.random.bits(checked, ())
    return jax.random.clone(checked)


@checked_call
def key_for(key: jax.Array, *path: str | ArrayLike) -> jax.Array:
    """Derives a key from a key and a path of names and numbers.

    Each part of the path is absorbed in turn, a string by its SHA-256 hash and an
    integer by its value. The result depends on nothing else: not on how many keys were
    derived before, not on the other layers of a model, not on Python's own hash. So
    adding a layer does not shift the masks of the others, and the mask of a step can
    be had again without the steps before it.

    Args:
      key: One `jax.random` key of any implementation, or a legacy uint32 key. It is
        not consumed; derive from it as often as the paths differ.
      *path: Strings, and integers in [0, 2^32), concrete or traced: a layer's name, a
        step, a micro-batch. At least one.

    Returns:
      A key of the kind of `key`.

    Raises:
      ValueError: If the path is empty, an integer is out of range, or a batch of keys
        is given.
      TypeError: If a part is neither a string nor an integer, or `key` is not a key.

    References:
      The hash is SHA-256 (FIPS 180-4, 2015), https://doi.org/10.6028/NIST.FIPS.180-4

    Examples:
      >>> import jax, jdrop
      >>> key = jax.random.key(0)
      >>> encoder = jdrop.key_for(key, "encoder", "dropout_0", 17)
      >>> decoder = jdrop.key_for(key, "decoder", "dropout_0", 17)
      >>> bool(encoder == decoder)
      False
    """
    return _derive(as_key(key), [_block(part) for part in as_path(path)])


def _is_typed(key: jax.Array) -> bool:
    return jnp.issubdtype(key.dtype, jax.dtypes.prng_key)


def _block(part: bytes | ArrayLike) -> np.ndarray | tuple[ArrayLike, np.uint32]:
    """What a part of a path is absorbed as: 64 bits of a hash, or a number."""
    if isinstance(part, bytes):
        return np.frombuffer(hashlib.sha256(part).digest()[:8], ">u4").astype(np.uint32)
    return part, np.uint32(_INTEGER)


@jax.jit
def _derive(key: jax.Array, blocks: Sequence[Sequence[jax.Array]]) -> jax.Array:
    """`key_for` after its checks, as one program."""
    state = seed_words(key, KEY_DOMAIN)
    for first, second in blocks:
        state = threefry2x32(*state, first, second)
    if not _is_typed(key):
        return _key_words(state, key.size)
    count = jax.random.key_data(key).size
    return jax.random.wrap_key_data(
        _key_words(state, count), impl=jax.random.key_impl(key)
    )


def _key_words(state: tuple[jax.Array, jax.Array], count: int) -> jax.Array:
    """As many key words as are asked for, two from each block under the state."""
    blocks = jnp.arange((count + 1) // 2, dtype=jnp.uint32)
    first, second = threefry2x32(*state, blocks, jnp.uint32(count))
    return jnp.stack([first, second], axis=-1).reshape(-1)[:count]
