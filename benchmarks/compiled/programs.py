"""The programs that are compiled, and the contestants in them."""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import (
    Mesh,
    NamedSharding,
    PartitionSpec,
    Sharding,
    SingleDeviceSharding,
)

import jdrop
from benchmarks.contestants import FLAX, FLOOR, JDROP, NOTHING, gather
from benchmarks.family import BY_HAND, MEMBERS

Shape = tuple[int, ...]
Drop = Callable[..., Any]
"""Called with a key, an array or more, and a rate."""

RBG, BITS = "flax.linen, rbg", "uint8 bits, rbg"
LEADERS = (JDROP, FLAX, RBG, BITS)
KERNEL, MAPPED = "jdrop kernel, threefry2x32", "jdrop kernel in shard_map, threefry2x32"
"""jdrop where its kernel is asked for; the second, where each device has its part."""
DTYPES = ("float32", "bfloat16")
LARGE: tuple[Shape, ...] = ((4096, 4096), (8, 2048, 1024))
OTHERS: tuple[Shape, ...] = (
    (16, 512, 768),
    (8, 16, 1024, 1024),
    (16, 197, 768),
    (64, 784, 32),
    (64, 28, 28, 32),
    (4096, 4001),
    (8, 4096),
)
HIDDEN: Shape = (8192, 4096)
SCORES: Shape = (8, 16, 1024, 1024)
WIDTH, HEAD = 1024, 64
"""Features on both sides of the MLP's hidden layer, and of a head of attention."""

CUTS: tuple[tuple[str, Shape, PartitionSpec], ...] = (
    ("rows cut", (4096, 4096), PartitionSpec("a")),
    ("columns cut", (4096, 4096), PartitionSpec(None, "a")),
    ("rows cut", (104, 1024), PartitionSpec("a")),
    ("batch cut", (8, 2048, 1024), PartitionSpec("a")),
    ("sequence cut", (8, 2048, 1024), PartitionSpec(None, "a")),
    ("sequence cut", (8, 200, 1024), PartitionSpec(None, "a")),
)


class Program(NamedTuple):
    """One program: what is computed, on what, and by whom.

    Attributes:
      case: What is computed.
      shape: Shape of the array that is dropped from.
      dtype: Name of its dtype.
      contestant: A library and its kind of key, or what the others are compared with.
      rate: Probability of dropping; NaN where nothing is dropped.
      cut: How that array lies on four devices.
    """

    case: str
    shape: Shape
    dtype: str
    contestant: str
    rate: float = math.nan
    cut: PartitionSpec | None = None


def programs() -> Iterator[Program]:
    """Those of dropout, the same for all chips."""
    for dtype in DTYPES:
        for shape in LARGE:
            yield from _contest("forward", shape, dtype, LEADERS, (0.1, 0.5))
            yield from _contest("pullback", shape, dtype, LEADERS)
        yield from _contest("gradient", LARGE[0], dtype, LEADERS)
        for library in ("flax.nnx", "equinox", "haiku"):
            for kind in ("threefry2x32", "rbg"):
                name = f"{library}, {kind}"
                yield Program("forward", LARGE[0], dtype, name, 0.1)
    for shape in OTHERS:
        yield from _contest("forward", shape, "float32", (JDROP, FLAX, BITS))
        yield Program("forward", shape, "float32", JDROP, 0.5)
        yield from _contest("forward", shape, "bfloat16", (JDROP,), (0.5,))
    for case, shape in {"MLP": HIDDEN, "attention": SCORES}.items():
        for kind in (case, f"{case} pullback"):
            yield from _contest(kind, shape, "bfloat16", (JDROP, FLAX, BITS))
            yield Program(kind, shape, "bfloat16", JDROP, 0.5)
    for case, shape, cut in CUTS:
        for name in (JDROP, FLAX, RBG):
            yield Program(case, shape, "float32", name, 0.5, cut)


def family_programs() -> Iterator[Program]:
    """The ops of the family, each beside what it is compared with, and by hand."""
    for name, op in MEMBERS.items():
        yield Program(name, op.shape, "float32", op.reference[0])
        for contestant in (JDROP, BY_HAND):
            yield Program(name, op.shape, "float32", contestant, 0.1)


def kernel_programs() -> Iterator[Program]:
    """Those of jdrop again, and a cut inside `shard_map`.

    Without attention, uneven rows or columns, which the kernel does not take, and a
    second rate of what compiles for a minute.
    """
    for program in programs():
        case, shape, _, name, rate, _ = program
        if name != JDROP or case.startswith("attention"):
            continue
        if shape[-2] % 8 or shape[-1] % 128:
            continue
        if case == "MLP pullback" and rate == 0.5:
            continue
        yield program._replace(contestant=KERNEL)
        if case == "batch cut":
            yield program._replace(contestant=MAPPED)


def _contest(
    case: str,
    shape: Shape,
    dtype: str,
    names: Sequence[str],
    rates: Sequence[float] = (0.1,),
) -> Iterator[Program]:
    floor = NOTHING if case.startswith(("MLP", "attention")) else FLOOR
    yield Program(case, shape, dtype, floor)
    for rate in rates:
        yield from (Program(case, shape, dtype, name, rate) for name in names)


def drops() -> dict[tuple[str, str], Drop]:
    """What a contestant computes, by its name and that of an op, "" for dropout."""
    named = {c.name: c.drop for c in gather()}
    named |= {
        KERNEL: named[JDROP],
        MAPPED: _by_device,
        FLOOR: lambda key, x, rate: x * 1.25,
        NOTHING: lambda key, x, rate: x,
        BITS: _by_bits,
    }
    dropouts = {("", name): drop for name, drop in named.items()}
    return dropouts | {
        (op, name): function
        for op, member in MEMBERS.items()
        for name, function in member.contestants.items()
    }


PARTS = {
    "dropout": programs,
    "family": family_programs,
    "kernel": kernel_programs,
}
"""What may be compiled again by itself."""


def section(target: str, part: str) -> str:
    """What the rows of a chip and a part are called; those of dropout, as the chip."""
    return target if part == "dropout" else f"{target} {part}"


def _by_bits(key: jax.Array, x: jax.Array, rate: float) -> jax.Array:
    """The cheapest way of `jax.random`: a byte an element, the rate in 256ths."""
    keep = jax.random.bits(key, x.shape, jnp.uint8) >= np.uint8(round(256 * rate))
    return jnp.where(keep, x / (1 - rate), 0)


def _by_device(key: jax.Array, x: jax.Array, rate: float) -> jax.Array:
    """In `shard_map`: a device's part of the first axis, at its place in the whole."""
    place = jax.lax.axis_index("a") * x.shape[0]
    return jdrop.dropout(key, x, rate, offset=place)


def lowered(program: Program, drop: Drop, devices: Sequence[Any]) -> jax.stages.Lowered:
    """A program, traced and ready to be compiled for the first of the devices, or all.

    The key comes as its words, as in a train step.
    """
    case, shape, dtype, name, rate, cut = program
    kind = name.partition(", ")[2] or "threefry2x32"
    words = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0, impl=kind)))

    def function(words: jax.Array, *arrays: jax.Array) -> Any:
        key = jax.random.wrap_key_data(words, impl=kind)
        return _compute(case, lambda *given: drop(key, *given, rate), *arrays)

    everywhere: Sharding = SingleDeviceSharding(devices[0])
    here = everywhere
    if cut:
        mesh = Mesh(np.array(devices), ("a",))
        if name == MAPPED:
            function = jax.shard_map(
                function, mesh=mesh, in_specs=(PartitionSpec(), cut), out_specs=cut
            )
        everywhere, here = (NamedSharding(mesh, s) for s in (PartitionSpec(), cut))
    make = functools.partial(
        jax.ShapeDtypeStruct, dtype=jnp.dtype(dtype), sharding=here
    )
    key = jax.ShapeDtypeStruct(words.shape, words.dtype, sharding=everywhere)
    arrays = _inputs(case, shape, make)
    return jax.jit(function, out_shardings=here if cut else None).lower(key, *arrays)


def _inputs(case: str, shape: Shape, make: Callable[[Shape], Any]) -> Sequence[Any]:
    """The arrays that a case takes, last the cotangent of a pullback.

    It is read from memory, as the gradient of the layer above is.
    """
    if case in MEMBERS:
        return MEMBERS[case].arrays(make, shape)
    inputs, output = [shape], shape
    if case.startswith("MLP"):
        rows, hidden = shape
        inputs = [(rows, WIDTH), (WIDTH, hidden), (hidden, WIDTH)]
        output = (rows, WIDTH)
    elif case.startswith("attention"):
        output = (*shape[:-1], HEAD)
        inputs = [output] * 3
    return [*map(make, inputs), *([make(output)] if case.endswith("pullback") else [])]


def _compute(case: str, drop: Callable[..., Any], *arrays: Any) -> Any:
    """What a case computes of its arrays with a dropout."""

    def mlp(a: jax.Array, w: jax.Array, v: jax.Array) -> jax.Array:
        return drop(jax.nn.gelu(a @ w)) @ v

    def attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return drop(jax.nn.softmax(q @ k.mT / math.sqrt(HEAD))) @ v

    forward = {"MLP": mlp, "attention": attention}.get(case.split()[0], drop)
    if case.endswith("pullback"):
        y, pullback = jax.vjp(forward, *arrays[:-1])
        return y, pullback(arrays[-1])
    if case == "gradient":
        return jax.value_and_grad(lambda x: drop(x).sum())(*arrays)
    return forward(*arrays)
