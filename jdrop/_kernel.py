"""One kernel that draws words in registers and uses each of them on its 32 rows.

Nothing of a mask is ever in memory: a backward pass draws the words again. `BLOCKS`
says on which platforms and for which arrays it is chosen; `docs/kernel.md` has the
evidence.
"""

import dataclasses
import functools
import math
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jdrop import _stream
from jdrop._draw import draw_tile
from jdrop._stream import BITS, Layout

VARIABLE = "JDROP_KERNEL"
"""The environment variable that turns kernels off or on; it is read once."""

_CHOICES = {
    # What was seen ahead: on a TPU compiled and not run, on a GPU neither.
    "": {"tpu": "tpu"},
    "off": {},
    "on": {"tpu": "tpu", "cuda": "cuda"},
    # By Pallas's interpreter, for tests: on a CPU, the kernel of a TPU. In shard_map it
    # needs check_vma=False.
    "interpret": {"cpu": "tpu"},
}


def chosen(asked: str) -> dict[str, str]:
    """The kernel of each platform that has one."""
    if asked not in _CHOICES:
        raise ValueError(
            f"{VARIABLE} is off, on, interpret, or not set; got {asked!r}. Unset it "
            "for the kernels that are known to be worth it."
        )
    return _CHOICES[asked]


ASKED = os.environ.get(VARIABLE, "")
KERNELS = chosen(ASKED)
"""The kernel that each platform has."""


@dataclasses.dataclass(frozen=True)
class Blocks:
    """What one program of the kernel works on, and the arrays that the kernel takes.

    Attributes:
      rows: At most so many rows, a multiple of 32.
      columns: At most so many columns.
      at_once: Rows of a word that are read before the first of them is written.
      multiple: The kernel takes arrays whose rows and columns are multiples of these.
      dtypes: And whose dtype is one of these.
    """

    rows: int
    columns: int
    at_once: int
    multiple: tuple[int, int]
    dtypes: tuple[str, ...]


# A TPU's registers hold 8 x 128 words, so 8 word rows share one; an array of other
# multiples would be copied into another layout, and back. A warp of a GPU owns 16 bytes
# a thread, and nothing masks what sticks out.
BLOCKS = {
    "tpu": Blocks(256, 1024, 32, (8, 128), ("float32", "bfloat16")),
    "cuda": Blocks(32, 512, 8, (32, 256), ("float32", "bfloat16", "float16")),
}

SUBLANES = 16
"""Rows of a tile of a TPU's memory, of 16-bit numbers; half as many of 32-bit ones."""


def takes(platform: str, layout: Layout, whole: Layout, x: jax.Array) -> bool:
    """Whether the kernel is worth it for a part of a mask, applied to x.

    Args:
      platform: "tpu" or "cuda".
      layout: That of the part.
      whole: That of the whole mask, in whose words the part begins at a first bit.
      x: What it is applied to, of the shape of the part.
    """
    blocks, rows = BLOCKS[platform], math.prod(layout.rows)
    sizes = rows, layout.columns
    return (
        x.dtype in blocks.dtypes
        # The rows of a word are neighbours in the part too.
        and layout.rows[1:] == whole.rows[1:]
        # They become one axis of a TPU's tiles without being moved.
        and (len(layout.rows) == 1 or layout.rows[-1] % SUBLANES == 0)
        and all(n and n % k == 0 for n, k in zip(sizes, blocks.multiple, strict=True))
    )


def block_of(platform: str, layout: Layout) -> tuple[int, int]:
    """Rows and columns that a program of the kernel works on."""
    blocks, columns = BLOCKS[platform], layout.columns
    height = min(blocks.rows, -(-math.prod(layout.rows) // BITS) * BITS)
    if platform == "tpu":
        return height, min(blocks.columns, columns)
    # Nothing masks what would stick out.
    return height, math.gcd(blocks.columns, columns)


def column_numbers(platform: str, x: jax.Array) -> np.ndarray:
    """0, 1, 2 and on, which the kernel loads.

    Not an iota in the kernel: a GPU's threads hold what is loaded as they hold x, and
    what is computed from it, so that no word is passed between them.
    """
    unsigned = np.uint16 if x.dtype.itemsize == 2 and platform == "cuda" else np.uint32
    return np.arange(BLOCKS[platform].columns, dtype=unsigned)[None]


def affine(
    platform: str,
    layout: Layout,
    whole: tuple[int, ...],
    pairs: int,
    drawn: jax.Array,
    first: jax.Array,
    scalars: jax.Array,
    columns: jax.Array,
    x: jax.Array,
) -> jax.Array:
    """Computes scale * x + shift where a bit is 1, `dropped` elsewhere.

    Args:
      platform: "tpu" or "cuda".
      layout: That of a part of a mask.
      whole: The shape of the words of the whole mask.
      pairs: How many digit pairs the rate has.
      drawn: Two words of seed, and the threshold of the rate.
      first: Along each axis of the words the index of the first one: uint32.
      scalars: The scale, the dropped value and, if there is one, the shift: float32.
      columns: What `column_numbers` returns.
      x: Array of the shape of the part.

    Returns:
      An array like x.
    """
    from jax.experimental import pallas as pl

    sizes = math.prod(layout.outer), math.prod(layout.rows), layout.columns
    height, width = block_of(platform, layout)
    is_interpreted = ASKED == "interpret"
    small, options = _options(platform, width * x.dtype.itemsize)
    line = pl.BlockSpec((1, width), lambda o, r, c: (0, 0))
    block = pl.BlockSpec((None, height, width), lambda o, r, c: (o, r, c))
    blocked = x.reshape(sizes)
    y = pl.pallas_call(
        functools.partial(_body, layout.outer, whole, pairs, BLOCKS[platform].at_once),
        grid=(sizes[0], pl.cdiv(sizes[1], height), pl.cdiv(sizes[2], width)),
        in_specs=[small, small, small, line, block],
        out_specs=block,
        # Inside shard_map it has to say how it varies, which is as x does.
        out_shape=jax.eval_shape(lambda x: x, blocked),
        interpret=is_interpreted,
        name="jdrop",
        **({} if is_interpreted else options),
    )(drawn, first, scalars, columns, blocked)
    result: jax.Array = y.reshape(x.shape)
    return result


def _options(platform: str, width: int) -> tuple[Any, dict[str, Any]]:
    """Where a platform keeps a few numbers, and how it runs the kernel.

    Args:
      platform: "tpu" or "cuda".
      width: Bytes of a row of a block.
    """
    from jax.experimental import pallas as pl

    if platform == "tpu":
        from jax.experimental.pallas import tpu

        parameters = tpu.CompilerParams(dimension_semantics=("parallel",) * 3)
        return pl.BlockSpec(memory_space=tpu.SMEM), {"compiler_params": parameters}
    from jax.experimental.pallas import triton

    # 32 threads of a warp, 16 bytes each.
    warps = triton.CompilerParams(num_warps=max(1, width // 512), num_stages=1)
    return pl.BlockSpec(), {"compiler_params": warps}


def _body(
    outer: tuple[int, ...],
    whole: tuple[int, ...],
    pairs: int,
    at_once: int,
    drawn: Any,
    first: Any,
    scalars: Any,
    columns: Any,
    x: Any,
    y: Any,
) -> None:
    """What a program does; the arguments from `drawn` on are references to memory."""
    from jax.experimental import pallas as pl

    height, width = x.shape
    index = _unravelled(pl.program_id(0), outer)
    words = height // BITS, width
    row = (pl.program_id(1) * words[0]).astype(jnp.uint32)
    index.append(row + lax.broadcasted_iota(jnp.uint32, words, 0))
    column = (pl.program_id(2) * width).astype(jnp.uint32)
    index.append(column + jnp.broadcast_to(columns[...].astype(jnp.uint32), words))
    firsts = [first[axis] for axis in range(len(index))]
    counter, other = _stream.counters(index, firsts, whole)
    kept = draw_tile(drawn[2], (drawn[0], drawn[1]), pairs, counter, other)
    scale, dropped, *shift = (scalars[i] for i in range(scalars.shape[0]))
    bit = np.uint32(1) << lax.broadcasted_iota(jnp.uint32, (at_once, 1), 0)
    for start in range(0, height, at_once):
        word = kept if words[0] == 1 else kept[start // BITS : start // BITS + 1]
        is_kept = word & (bit << np.uint32(start % BITS)) != 0
        rows = pl.ds(start, at_once)
        value = x[rows, :].astype(jnp.float32) * scale
        value = value + shift[0] if shift else value
        y[rows, :] = jnp.where(is_kept, value, dropped).astype(y.dtype)


def _unravelled(number: jax.Array, sizes: tuple[int, ...]) -> list[jax.Array]:
    """The indices along axes of the element of a number in C order, in uint32."""
    index = []
    for axis, size in enumerate(sizes):
        step = math.prod(sizes[axis + 1 :])
        along = lax.div(number, np.int32(step))
        along = lax.rem(along, np.int32(size)) if axis else along
        index.append(along.astype(jnp.uint32))
    return index
