"""The packed mask: the one draw and the one select of the library."""

import dataclasses
import functools
import json
import math
from collections.abc import Sequence

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jdrop import _arguments, _axes, _fused, _select
from jdrop._calls import checked_call
from jdrop._fused import Source
from jdrop._jet import is_in_jet
from jdrop._keys import consume
from jdrop._select import real_dtype
from jdrop._sharding import sharded_like
from jdrop._stream import Layout, Rate, mask_seed
from jdrop._unpack import unpack
from jdrop._window import Start, draw_part, shared


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("words", "rate"),
    meta_fields=("shape", "layout"),
)
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Mask:
    """A dropout mask of one bit per element; a 1 bit is a kept element.

    A pytree: it passes through `jax.jit`, `jax.vmap`, `jax.lax.scan` and checkpoints.
    Two masks are equal if they keep the same places at the same rate.

    Attributes:
      words: The packed bits, uint32, of shape (outer..., ceil(rows / 32), columns): 32
        neighbouring rows share a word in each column.
      rate: The realised probability of dropping, a float32 scalar: the requested rate
        rounded to a fraction that the digits of the stream can express.
      shape: Shape of the mask; an axis of size 1 is shared along that axis of x.
      layout: Which of its axes are outer, rows and columns.
      source: What the words were drawn from, where they were drawn in the same program.
    """

    words: jax.Array
    rate: jax.Array
    shape: tuple[int, ...]
    layout: Layout
    source: Source | None = dataclasses.field(default=None, init=False)

    @property
    def keep(self) -> jax.Array:
        """The realised probability of keeping, 1 - rate, a float32 scalar."""
        return np.float32(1) - self.rate

    def to_bool(self) -> jax.Array:
        """The mask unpacked to one bool per element, True where it is kept."""
        _arguments.check_mask(self, self.layout.words)
        return unpack(self.words, self.layout).reshape(self.shape)

    def __eq__(self, other: object) -> bool:
        """Compares concrete masks; surplus bits play no part."""
        if not isinstance(other, Mask):
            return NotImplemented
        return (
            self.shape == other.shape
            and bool(self.rate == other.rate)
            and np.array_equal(self.to_bool(), other.to_bool())
        )

    def __invert__(self) -> "Mask":
        """The complementary mask: `~mask` keeps what `mask` drops, at rate 1 - rate.

        (~mask)[i] = not mask[i], so that mask + ~mask = 1.

        A mask keeps where U >= p. Its antithetic partner at the same rate p keeps where
        1 - U > p, the same law for the mirrored uniform:

            sample_mask(key, shape, p) and ~sample_mask(key, shape, 1 - p)

        At rate 0.5 these are `mask` and `~mask`. The mean over such a pair of a
        function that is monotone in every element of the mask has less variance than
        that over two independent masks (Hammersley and Morton, 1956). The key is used
        twice on purpose: under `jax_debug_key_reuse`, use `jax.random.clone(key)` once.

        The rate of `~mask` is exact where that of `mask` is at least 2^-8. A smaller
        one has up to 32 digits, and 1 - rate is rounded to float32, by at most 2^-25:
        for a rate of 1e-4 that is 0.03 % of the probability with which `~mask` keeps.

        Returns:
          A mask of the same shape and layout.

        Examples:
          >>> import jax, jax.numpy as jnp, jdrop
          >>> mask = jdrop.sample_mask(jax.random.key(0), (1000,), 0.25)
          >>> bool(jnp.all(mask.to_bool() ^ (~mask).to_bool()))
          True
          >>> ~mask
          Mask(shape=(1000,), rate=0.75, packed in 128 bytes)
        """
        return Mask(~self.words, self.keep, self.shape, self.layout)

    def __repr__(self) -> str:
        """Says what the mask is, without reading its bits."""
        if not isinstance(self.rate, jax.Array):
            rate = "unknown"
        elif _arguments.is_traced(self.rate):
            rate = "traced"
        else:
            rate = np.array2string(np.asarray(self.rate))
        size = 4 * math.prod(self.layout.words)
        return f"Mask(shape={self.shape}, rate={rate}, packed in {size} bytes)"


def _to_bytes(meta: tuple[tuple[int, ...], Layout]) -> bytes:
    shape, layout = meta
    return json.dumps((shape, layout.outer, layout.rows, layout.columns)).encode()


def _of_bytes(data: bytes) -> tuple[tuple[int, ...], Layout]:
    shape, outer, rows, columns = json.loads(data)
    return tuple(shape), Layout(tuple(outer), tuple(rows), columns)


# So that an exported program may take and return masks.
jax.export.register_pytree_node_serialization(
    Mask,
    serialized_name="jdrop.Mask",
    serialize_auxdata=_to_bytes,
    deserialize_auxdata=_of_bytes,
)


@checked_call
def sample_mask(
    key: jax.Array,
    shape: Sequence[int],
    rate: ArrayLike,
    *,
    broadcast_dims: Sequence[int] = (),
    offset: ArrayLike | Sequence[ArrayLike] = 0,
    within: Sequence[int] | None = None,
) -> Mask:
    """Samples a packed mask in which each element is kept with probability 1 - rate.

    keep[i] = U[i] >= rate, with U[i] independent and uniform in [0, 1).

    The key and an element's position decide its U, whatever the rate, the dtype, the
    devices or the rest of the batch. So a higher rate drops all that a lower one
    drops, and a prefix of a batch gets a prefix of the mask.

    Args:
      key: One `jax.random` key of any implementation, or a legacy uint32 key. It is
        consumed: use it for nothing else.
      shape: Shape of the array that the mask is for.
      rate: Probability of dropping, one real number in [0, 1], concrete or traced. It
        is rounded to `Mask.rate`: by at most 2^-17 in [2^-8, 1 - 2^-8], and by at most
        0.5 % of itself down to 2^-24. A traced rate is clamped to [0, 1], and so is a
        concrete one that is off by rounding: by at most 2^-33.
      broadcast_dims: Axes along which all elements share a bit. The mask has size 1
        there: it is the mask of the shape with 1 in these places.
      offset: Index in the whole batch of the first row along axis 0, an integer,
        concrete or traced. A micro-batch or a shard that passes the number of rows
        before it gets its rows of the whole mask. It has no effect where axis 0 is in
        `broadcast_dims`, because then there is one row for all. With `within`, one such
        index for each axis.
      within: Shape of a larger array. The mask is then the part of the mask of that
        array that begins at `offset`, and only the words it touches are drawn.

    Returns:
      A `Mask` of one bit an element, and at most 31 surplus bits a column.

    Raises:
      ValueError: If a concrete rate is outside [0, 1] or NaN, if a batch of keys is
        given, if an axis is not of the shape, if an offset is negative, if a window
        does not fit, or if the stream has no counters for so many words.
      TypeError: If an argument is of the wrong kind.

    References:
      Salmon, Moraes, Dror and Shaw, 2011. Parallel random numbers: as easy as 1, 2, 3.
      https://doi.org/10.1145/2063384.2063405 is the generator; `docs/stream.md` says
      what is made of it.

    Examples:
      >>> import jax, jdrop
      >>> mask = jdrop.sample_mask(jax.random.key(0), (64, 1000), 0.25)
      >>> mask
      Mask(shape=(64, 1000), rate=0.25, packed in 8000 bytes)
      >>> print(mask.keep, mask.to_bool().dtype)
      0.75 bool
    """
    p = _arguments.as_rate(rate)
    shape = _axes.as_shape(shape)
    dims = _axes.as_axes(broadcast_dims, len(shape))
    start = Start.of(offset, shape, dims, within)
    return _sample(consume(key), shared(shape, dims), start, Rate.of(p))


@checked_call
def apply_mask(mask: Mask, x: ArrayLike) -> jax.Array:
    """Scales what the mask keeps, so that the expectation stays, and zeros the rest.

    y = x / keep where the mask keeps, 0 elsewhere.

    `apply_mask(sample_mask(key, x.shape, rate), x)` is `dropout(key, x, rate)`. One
    mask applied to several arrays drops the same places in each.

    Args:
      mask: A mask of the shape of x, or with axes of size 1 that x shares.
      x: Array of a floating-point or complex dtype.

    Returns:
      An array of the shape and dtype of x. A dropped NaN or inf is 0, with gradient 0.

    Raises:
      ValueError: If the mask does not fit x, or is a batch of masks.
      TypeError: If x is of an integer or bool dtype, or `mask` is not a `Mask`.

    References:
      Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, 2014. Dropout: a
      simple way to prevent neural networks from overfitting. JMLR 15:1929.
      https://jmlr.org/papers/v15/srivastava14a.html

    Examples:
      >>> import jax, jax.numpy as jnp, jdrop
      >>> mask = jdrop.sample_mask(jax.random.key(0), (1000,), 0.5)
      >>> print(jnp.unique(jdrop.apply_mask(mask, jnp.ones(1000))))
      [0. 2.]
    """
    if not isinstance(mask, Mask) or isinstance(x, Mask):
        _arguments.refuse_masks(mask, x)
    x = _arguments.as_input("apply_mask", x, complex_ok=True)
    _arguments.check_mask(mask, mask.layout.words)
    _axes.check_fits(mask.shape, x.shape)
    apply = scale_kept if is_in_jet(mask, x) else _apply
    return apply(mask, x)


def draw_mask(
    key: jax.Array | None, shape: tuple[int, ...], start: Start, rate: Rate
) -> Mask:
    """The one draw: `sample_mask` after its checks, of the shape that is not shared."""
    seed = None if key is None else mask_seed(key)
    words, layout = draw_part(seed, shape, start, rate)
    mask = Mask(words, jnp.asarray(rate.value), shape, layout)
    if seed is not None:
        # What is made of its leaves elsewhere has none: its draw is not at hand there.
        object.__setattr__(mask, "source", Source(seed, start, rate))
    return mask


def scale_kept(mask: Mask, x: jax.Array) -> jax.Array:
    """`apply_mask` after its checks: x / keep where kept, 0 elsewhere."""
    keep = 1 - mask.rate.astype(real_dtype(x))
    # At rate 1 nothing is kept, and any finite scale will do: an infinite one makes a
    # NaN gradient, and checkify reports a division by zero even where it is unused.
    scale = 1 / jnp.where(keep == 0, jnp.ones_like(keep), keep)
    return select(mask, x, scale, None, jnp.zeros_like(keep))


def select(
    mask: Mask,
    x: jax.Array,
    scale: jax.Array,
    shift: jax.Array | None,
    dropped: jax.Array,
) -> jax.Array:
    """The one select: scale * x + shift where the mask keeps, `dropped` elsewhere."""
    scalars = (scale, dropped) if shift is None else (scale, dropped, shift)
    if mask.source is not None:
        if part := _fused.part_of(mask.source, mask.shape, x):
            return _fused.affine(part, mask.source, mask.words, x, *scalars)
    return _select.affine(mask.layout, mask.shape, mask.words, x, *scalars)


def choose(mask: Mask, x: jax.Array, other: jax.Array) -> jax.Array:
    """Selects between two arrays: x where the mask keeps, the other elsewhere."""
    return _select.either(mask.layout, mask.shape, mask.words, mask.rate, x, other)


@jax.jit
def _apply(mask: Mask, x: jax.Array) -> jax.Array:
    return sharded_like(x, scale_kept)(mask, x)


_sample = jax.jit(draw_mask, static_argnames="shape")
