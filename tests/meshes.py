"""The table of meshes and placements, and what is read off a compiled program."""

import re
from math import prod

import jax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

AUTO, EXPLICIT = AxisType.Auto, AxisType.Explicit
KINDS = {
    "auto": (AUTO, AUTO),
    "explicit": (EXPLICIT, EXPLICIT),
    "auto and explicit": (AUTO, EXPLICIT),
    "explicit and auto": (EXPLICIT, AUTO),
}

# Of an array of three dimensions, whose rows are cut into whole words by four devices.
SHAPE = (8, 128, 32)
PLACEMENTS = [
    ((1,), P("a")),
    ((2,), P("a")),
    ((4,), P(None, "a")),
    ((8,), P("a")),
    ((8,), P(None, None, "a")),
    ((1, 8), P(None, "a", "b")),
    ((2, 2), P("b", "a")),
    ((4, 2), P("a")),
    ((4, 2), P("a", "b")),
    ((4, 2), P("b", None, "a")),
    ((2, 4), P(None, None, ("a", "b"))),
    ((2, 4), P(("a", "b"))),
]

COLLECTIVE = re.compile(
    r"all-gather|all-reduce|all-to-all|collective-permute|collective-broadcast"
    r"|reduce-scatter|ragged-all-to-all"
)


def make_mesh(sizes, kind):
    """A mesh over the first devices, with axes "a" and "b" of some kinds."""
    n = len(sizes)
    return jax.make_mesh(sizes, ("a", "b")[:n], axis_types=KINDS[kind][:n])


def place(x, mesh, spec):
    """x on the devices of a mesh."""
    return jax.device_put(x, NamedSharding(mesh, spec))


def collectives(program):
    """The names of the operations by which devices of a compiled program speak."""
    return set(COLLECTIVE.findall(program.as_text()))


def words_drawn(program):
    """The most words that a round of the cipher computes on one device."""
    drawn = re.findall(r"u32\[([\d,]+)\][^=\n]* xor\(", program.as_text())
    return max(prod(int(n) for n in dims.split(",")) for dims in drawn)
