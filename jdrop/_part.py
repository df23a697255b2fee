"""A part of a mask, drawn and applied by a kernel: on one device, or on each its own.

A device's part of an array is a window of it, which begins at a place of its own. So
what draws a window draws a device's part too, with a kernel or without.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec

from jdrop import _kernel, _select
from jdrop._stream import BITS, Layout, Rate
from jdrop._window import Start, draw_part, row_places


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a mask, as far as it is known when a program is traced.

    Attributes:
      within: The shape of the whole mask.
      is_aligned: Whether its first row is known to be the first of a word.
      pairs: How many digit pairs the rate has.
    """

    within: tuple[int, ...]
    is_aligned: bool
    pairs: int

    def layouts(self, shape: tuple[int, ...]) -> tuple[Layout, Layout]:
        """That of the whole, and its own if it has this shape."""
        whole = Layout.of(self.within)
        return whole, whole.resized(shape)


def takes(kernel: str, part: Part, x: Any) -> bool:
    """Whether a kernel takes a part of the shape of x."""
    whole, layout = part.layouts(x.shape)
    return part.is_aligned and _kernel.takes(kernel, layout, whole, x)


def fuse(
    kernel: str,
    part: Part,
    drawn: jax.Array,
    index: jax.Array,
    scalars: jax.Array,
    columns: jax.Array,
    x: jax.Array,
) -> jax.Array:
    """With the kernel, if it takes the part; of a part of any size and place."""
    places = list(index)
    if not takes(kernel, part, x):
        start = Start(tuple(places), part.is_aligned, part.within)
        rate = Rate(drawn[2].astype(jnp.float32) * np.float32(2**-32), part.pairs)
        words, layout = draw_part(drawn[:2], x.shape, start, rate)
        return _select.affine(layout, x.shape, words, x, *scalars)
    whole, layout = part.layouts(x.shape)
    lead, after = len(whole.outer), len(whole.outer) + len(whole.rows)
    row, _ = row_places(places[lead:after], whole.steps)
    first = jnp.stack([*places[:lead], jnp.uint32(row), places[after]])
    return _kernel.affine(
        kernel,
        layout,
        whole.words,
        part.pairs,
        drawn,
        first,
        scalars,
        columns,
        x,
    )


@functools.partial(custom_partitioning, static_argnums=(0, 1))
def fuse_in_parts(kernel: str, part: Part, *operands: jax.Array) -> jax.Array:
    return fuse(kernel, part, *operands)


def _partition(
    kernel: str, part: Part, mesh: Any, arguments: Sequence[Any], result: Any
) -> tuple[Any, Callable[..., jax.Array], Any, tuple[Any, ...]]:
    """Each device computes its part of the whole, from a place of its own."""
    placed = arguments[-1].sharding
    spec = [*placed.spec, *[None] * (len(result.shape) - len(placed.spec))]

    def local(drawn: jax.Array, index: jax.Array, *others: jax.Array) -> jax.Array:
        x = others[-1]
        whole, _ = part.layouts(x.shape)
        lead, is_aligned, places = len(whole.outer), part.is_aligned, list(index)
        for axis, names in enumerate(spec):
            if names is None or names == ():
                continue
            number = lax.axis_index(names).astype(jnp.uint32)
            places[axis] = places[axis] + number * np.uint32(x.shape[axis])
            if lead <= axis < lead + len(whole.rows):
                step = x.shape[axis] * whole.steps[axis - lead]
                is_aligned = is_aligned and step % BITS == 0
        here = dataclasses.replace(part, is_aligned=is_aligned)
        return fuse(kernel, here, drawn, jnp.stack(places), *others)

    everywhere = NamedSharding(mesh, PartitionSpec())
    return mesh, local, placed, (*[everywhere] * 4, placed)


def _rule(kernel: str, part: Part, mesh: Any, values: Any, results: Any) -> str:
    """As Shardy has it: x and the result lie alike, whatever the others do."""
    axes = " ".join(f"a{i}" for i in range(len(part.within)))
    return f"drawn, index, scalars, one columns, {axes} -> {axes}"


fuse_in_parts.def_partition(
    _partition,
    infer_sharding_from_operands=lambda kernel, part, mesh, given, result: (
        given[-1].sharding
    ),
    sharding_rule=_rule,
)
