"""Every way to draw the golden vectors, as a list of checks."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jdrop._golden import Golden, KeyVector, MaskVector, Vector
from jdrop._mask import sample_mask
from jdrop._selfcheck import Check, Drawn

# A vector costs a compilation for each way to draw it. The first two checks draw all
# vectors; for the others these few, of every kind, keep the whole command to seconds.
FEW = ("rate 1/3", "rbg key", "image", "shared pixels", "large, 0.1")
ON_A_DEVICE = ("image", "large, 0.1")
ON_A_MESH = ("large, 0.1",)
NUMBERED = ("rbg by name", "by numbers")

AnyVector = TypeVar("AnyVector", bound=Vector)


def all_checks(golden: Golden) -> list[Check]:
    """The checks, the plainest first, and those that do not apply here among them."""
    masks = golden.masks
    few = _named(masks, FEW)
    rates = [vector for vector in masks if vector.name.startswith("rate ")]
    kinds = [vector for vector in masks if vector.name.endswith(" key")]
    kinds += [vector for vector in few if vector not in kinds]
    numbered = _named(golden.keys, NUMBERED)
    x64_off = None if jnp.result_type(float) == np.float64 else "jax_enable_x64 is off"
    dropout = partial(_seen, MaskVector.drop)
    return [
        Check("eager", masks, _eager),
        Check("jit", masks, _jit),
        Check("jit, traced rate", rates, _traced_rate),
        Check("vmap over keys", kinds, _vmap),
        Check("scan over keys", few, _scan),
        Check("gradient under remat", few, _remat),
        Check("float32 input", few, partial(dropout, jnp.float32)),
        Check("bfloat16 input", few, partial(dropout, jnp.bfloat16)),
        Check("float16 input", few, partial(dropout, jnp.float16)),
        Check("float64 input", few, partial(dropout, np.float64), x64_off),
        Check("key_for", golden.keys, _key_for),
        Check("key_for, traced integers", numbered, _key_for_traced),
        *_device_checks(_named(masks, ON_A_DEVICE)),
        *_mesh_checks(_named(masks, ON_A_MESH)),
    ]


def _named(vectors: Sequence[AnyVector], names: Sequence[str]) -> list[AnyVector]:
    return [vector for vector in vectors if vector.name in names]


def _device_checks(vectors: list[MaskVector]) -> Iterator[Check]:
    for device in jax.local_devices():
        name = f"on {device.platform}:{device.id}"
        yield Check(name, vectors, partial(_on_device, device))


def _mesh_checks(vectors: list[MaskVector]) -> Iterator[Check]:
    explicit = hasattr(jax.sharding, "AxisType")
    ways: list[tuple[str, bool, Any]] = [
        ("sharded, auto axes", True, partial(_sharded, "Auto")),
        ("sharded, explicit axes", explicit, partial(_sharded, "Explicit")),
        ("shard_map with offset", hasattr(jax, "shard_map"), _shard_map),
    ]
    count = len(jax.local_devices())
    is_uneven = any(size % count for vector in vectors for size in vector.shape)
    for name, exists, draw in ways:
        skip = None if exists else "not in this JAX"
        if count == 1:
            skip = "one device"
        elif is_uneven:
            skip = f"{count} devices do not divide the array"
        yield Check(name, vectors, draw, skip)


def _mesh(kind: str) -> Mesh:
    devices = np.array(jax.local_devices())
    if not hasattr(jax.sharding, "AxisType"):
        return Mesh(devices, ("devices",))
    axis_type = getattr(jax.sharding.AxisType, kind)
    return Mesh(devices, ("devices",), axis_types=(axis_type,))


def _eager(vectors: Sequence[MaskVector]) -> Drawn:
    for vector in vectors:
        yield vector, vector.draw(vector.make_key())


def _jit(vectors: Sequence[MaskVector]) -> Drawn:
    keys = [vector.make_key() for vector in vectors]
    return _in_one_program(MaskVector.draw, vectors, keys)


def _traced_rate(vectors: Sequence[MaskVector]) -> Drawn:
    keys = [vector.make_key() for vector in vectors]
    rates = [jnp.float32(vector.rate) for vector in vectors]
    return _in_one_program(MaskVector.draw, vectors, keys, rates)


def _vmap(vectors: Sequence[MaskVector]) -> Drawn:
    def draw(vector: MaskVector, keys: jax.Array) -> jax.Array:
        return jax.vmap(vector.draw)(keys)[1]

    return _in_one_program(draw, vectors, [vector.make_keys() for vector in vectors])


def _scan(vectors: Sequence[MaskVector]) -> Drawn:
    def draw(vector: MaskVector, keys: jax.Array) -> jax.Array:
        return lax.scan(lambda _, key: (None, vector.draw(key)), None, keys)[1][1]

    return _in_one_program(draw, vectors, [vector.make_keys() for vector in vectors])


def _remat(vectors: Sequence[MaskVector]) -> Drawn:
    """The gradient of a sum is nonzero where the recomputed mask keeps."""

    def gradient(vector: MaskVector, key: jax.Array, x: jax.Array) -> jax.Array:
        total = jax.checkpoint(lambda x: vector.drop(key, x).sum())
        return jax.grad(total)(x)

    return _seen(gradient, jnp.float32, vectors)


def _key_for(vectors: Sequence[KeyVector]) -> Drawn:
    for vector in vectors:
        yield vector, vector.derive(vector.make_key())


def _key_for_traced(vectors: Sequence[KeyVector]) -> Drawn:
    keys = [vector.make_key() for vector in vectors]
    numbers = [
        [jnp.uint32(part) for part in vector.path if isinstance(part, int)]
        for vector in vectors
    ]
    return _in_one_program(KeyVector.derive, vectors, keys, numbers)


def _on_device(device: jax.Device, vectors: Sequence[MaskVector]) -> Drawn:
    for vector in vectors:
        words = vector.draw(jax.device_put(vector.make_key(), device))
        if words.devices() != {device}:
            raise RuntimeError(f"{vector.name} was drawn on {words.devices()}")
        yield vector, words


def _sharded(kind: str, vectors: Sequence[MaskVector]) -> Drawn:
    """An array cut along each axis in turn is dropped where the whole is."""
    mesh = _mesh(kind)
    for vector in vectors:
        for axis in range(len(vector.shape)):
            spec = PartitionSpec(*[None] * axis, "devices")
            ones = np.ones(vector.shape, np.float32)
            x = jax.device_put(ones, NamedSharding(mesh, spec))
            y = vector.drop(vector.make_key(), x)
            for words in vector.pack(np.asarray(y) != 0):
                yield vector, words


def _shard_map(vectors: Sequence[MaskVector]) -> Drawn:
    """Every device draws its rows of the whole by their offset."""
    mesh = _mesh("Auto")

    def draw(vector: MaskVector, key: jax.Array) -> jax.Array:
        rows = vector.shape[0] // mesh.size
        first = lax.axis_index("devices") * rows
        shape = (rows, *vector.shape[1:])
        return sample_mask(key, shape, vector.rate, offset=first).words

    for vector in vectors:
        mapped = jax.shard_map(
            partial(draw, vector),
            mesh=mesh,
            in_specs=PartitionSpec(),
            out_specs=PartitionSpec("devices"),
        )
        yield vector, jax.jit(mapped)(vector.make_key())


def _seen(function: Any, dtype: Any, vectors: Sequence[MaskVector]) -> Drawn:
    """Packs where the function of a key and an array of ones is not 0."""
    keys = [vector.make_key() for vector in vectors]
    ones = [jnp.ones(vector.shape, dtype) for vector in vectors]
    for vector, y in _in_one_program(function, vectors, keys, ones):
        for words in vector.pack(np.asarray(y) != 0):
            yield vector, words


def _in_one_program(
    function: Any, vectors: Sequence[AnyVector], *columns: Any
) -> Iterable[tuple[AnyVector, Any]]:
    """Calls the function for all vectors in one compiled program."""

    @jax.jit
    def program(*columns: Any) -> list[Any]:
        return [function(*row) for row in zip(vectors, *columns, strict=True)]

    return zip(vectors, program(*columns), strict=True)
