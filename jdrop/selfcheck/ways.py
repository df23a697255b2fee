"""The ways in which a machine can draw the golden vectors.

Nearly all of their time goes to compilation. So every mask is drawn compiled once, in
as few programs as can be, and for each other way a few vectors are enough.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jdrop.selfcheck.vectors import Golden, KeyVector, MaskVector

QUICK = ("jit", "float32 input", "key_for")
"""The commonest ways."""

# Vectors, each with the words that were drawn for it.
Drawn = Iterable[tuple[Any, Any]]
Function = Callable[..., Any]
Masks = Sequence[MaskVector]


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to draw: its name, what it draws, how, and why not where it is skipped."""

    name: str
    vectors: Sequence[Any]
    draw: Callable[[Any], Drawn]
    skip: str | None = None


def all_ways(golden: Golden) -> list[Way]:
    """All ways, the plainest first, and those that do not apply here among them."""
    # An array with an offset and with bits to spare in its words, one with shared bits,
    # a part that begins inside a word, and an array that is large enough to be drawn in
    # a single pass.
    image, shared, window, large = (
        [vector for vector in golden.masks if vector.name == name]
        for name in (
            "image, last offset",
            "shared pixels",
            "uneven window",
            "large, 0.1",
        )
    )
    ends = [v for v in golden.masks if v.name in ("rate 0", "rate 1")]
    kinds = [v for v in golden.masks if v.name == f"{v.impl} key"]
    count = Counter(map(_program, golden.masks))
    alike = [v for v in golden.masks if count[_program(v)] > 1]
    others = [v for v in golden.masks if v not in kinds and v not in alike]
    # These differ in nothing but the key.
    keys = [v for v in alike if v.rate == 0.1 and v.shape == (60, 10) and not v.offset]
    numbered = [vector for vector in golden.keys if vector.name == "rbg by name"]
    drop = MaskVector.drop
    x64_off = None if jnp.result_type(float) == np.float64 else "jax_enable_x64 is off"
    ways = [
        Way("eager", ends + image + large, partial(_one_by_one, MaskVector.draw)),
        Way("jit", kinds, partial(_in_one_program, MaskVector.draw)),
        Way("jit, constant key", others, _constant_key),
        Way("jit, traced rate", alike, _traced_rate),
        Way("vmap over keys", keys, partial(_mapped, _vmap)),
        Way("scan over keys", keys, partial(_mapped, lax.map)),
        Way("gradient under remat", large, partial(_dropped, _gradient, "float32")),
        Way("float32 input", shared + large, partial(_dropped, drop, "float32")),
        Way("bfloat16 input", large, partial(_dropped, drop, "bfloat16")),
        Way("float16 input", window, partial(_dropped, drop, "float16")),
        Way("float64 input", image, partial(_dropped, drop, "float64"), x64_off),
        Way("key_for", golden.keys, partial(_one_by_one, KeyVector.derive)),
        Way("key_for, traced integer", numbered, _key_for_traced),
        *_device_ways(image, large),
    ]
    return [way for way in ways if way.vectors]


def _device_ways(each: Masks, split: Masks) -> Iterator[Way]:
    devices = jax.local_devices()
    skip = "one device" if len(devices) == 1 else None
    for device in devices:
        name = f"on {device.platform}:{device.id}"
        yield Way(name, each, partial(_on_device, device), skip)
    if any(size % len(devices) for vector in split for size in vector.shape):
        skip = f"{len(devices)} devices do not divide the array"
    for kind in (AxisType.Auto, AxisType.Explicit):
        name = f"sharded, {kind.name.lower()} axes"
        yield Way(name, split, partial(_sharded, kind), skip)
    yield Way("shard_map with offset", split, _shard_map, skip)


def _one_by_one(function: Function, vectors: Sequence[Any]) -> Drawn:
    for vector in vectors:
        yield vector, function(vector, vector.make_key())


def _in_one_program(
    function: Function, vectors: Sequence[Any], *arguments: Any
) -> Drawn:
    """Calls the function for all vectors, with a key and what is given, in one jit."""

    @jax.jit
    def program(*columns: Any) -> list[Any]:
        return [function(*row) for row in zip(vectors, *columns, strict=True)]

    keys = [vector.make_key() for vector in vectors]
    return zip(vectors, program(keys, *arguments), strict=True)


def _constant_key(vectors: Masks) -> Drawn:
    program = jax.jit(lambda: [vector.draw(vector.make_key()) for vector in vectors])
    return zip(vectors, program(), strict=True)


def _traced_rate(vectors: Masks) -> Drawn:
    programs: dict[Any, Any] = {}
    for vector in vectors:
        draw = programs.setdefault(_program(vector), jax.jit(vector.draw))
        rate, offset = jnp.float32(vector.rate), jax.tree.map(jnp.uint32, vector.offset)
        yield vector, draw(vector.make_key(), rate=rate, offset=offset)


def _program(vector: MaskVector) -> tuple[Any, ...]:
    """What decides the program, where key, rate and offset are traced."""
    return vector.impl, vector.shape, vector.broadcast_dims, vector.within


def _mapped(over: Function, vectors: Masks) -> Drawn:
    """Maps one draw over the keys of vectors that have all else in common."""
    words = np.array([vector.key for vector in vectors], np.uint32)
    keys = jax.random.wrap_key_data(jnp.asarray(words), impl=vectors[0].impl)
    return zip(vectors, jax.jit(partial(over, vectors[0].draw))(keys), strict=True)


def _vmap(draw: Function, keys: jax.Array) -> jax.Array:
    return jax.vmap(draw)(keys)


def _gradient(vector: MaskVector, key: jax.Array, x: jax.Array) -> jax.Array:
    """The gradient of a sum, which is not 0 where the recomputed mask keeps."""
    return jax.grad(jax.checkpoint(lambda x: vector.drop(key, x).sum()))(x)


def _dropped(
    function: Function, dtype: str, vectors: Masks, *placements: NamedSharding
) -> Drawn:
    """Packs where the function of a key and an array of ones is not 0."""
    places = placements or [None] * len(vectors)
    placed = zip(vectors, places, strict=True)
    ones = [jnp.ones(v.shape, dtype, device=place) for v, place in placed]
    for vector, y in _in_one_program(function, vectors, ones):
        for words in vector.pack(np.asarray(y) != 0):
            yield vector, words


def _key_for_traced(vectors: Sequence[KeyVector]) -> Drawn:
    paths = [[part for part in v.path if isinstance(part, int)] for v in vectors]
    numbers = [[jnp.uint32(number) for number in path] for path in paths]
    return _in_one_program(KeyVector.derive, vectors, numbers)


def _on_device(device: jax.Device, vectors: Masks) -> Drawn:
    for vector in vectors:
        words = vector.draw(jax.device_put(vector.make_key(), device))
        if words.devices() != {device}:
            raise RuntimeError(f"{vector.name} was drawn on {words.devices()}")
        yield vector, words


def _mesh(kind: AxisType) -> Mesh:
    return Mesh(np.array(jax.local_devices()), ("devices",), axis_types=(kind,))


def _sharded(kind: AxisType, vectors: Masks) -> Drawn:
    """An array cut along either axis is dropped where the whole is."""
    specs = (P("devices", None), P(None, "devices"))
    cuts = [NamedSharding(_mesh(kind), spec) for spec in specs]
    twice = [vector for vector in vectors for _ in cuts]
    return _dropped(MaskVector.drop, "float32", twice, *cuts * len(vectors))


def _shard_map(vectors: Masks) -> Drawn:
    """Every device draws its rows of the whole by their offset."""
    mesh = _mesh(AxisType.Auto)

    def drop(vector: MaskVector, key: jax.Array, x: jax.Array) -> jax.Array:
        return vector.drop(key, x, offset=lax.axis_index("devices") * x.shape[0])

    def mapped(vector: MaskVector, key: jax.Array, x: jax.Array) -> jax.Array:
        rows = P("devices")
        return jax.shard_map(
            partial(drop, vector), mesh=mesh, in_specs=(P(), rows), out_specs=rows
        )(key, x)

    return _dropped(mapped, "float32", vectors)
