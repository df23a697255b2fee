"""Over devices: words drawn on each, and what moves between them, by the program.

The devices are virtual, parts of one CPU, so nothing is timed here. XLA partitions the
program as for real ones, and what it partitioned is read off.
"""

import math
from collections.abc import Iterator

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from benchmarks.costs.contestants import FLAX, JDROP, Contestant, gather
from benchmarks.costs.program import collectives, temporary_bytes, text_of, words_drawn
from benchmarks.costs.regimes import Record, Settings

# Sequences by features: 2^30 elements, as in one layer of a large language model. It
# is never allocated.
SHAPE = (16384, 65536)
DTYPE = "bfloat16"
RATE = 0.1
# By devices: the shape of the mesh. jaxlib's CPU client has hundreds, not thousands.
MESHES = {1: (1, 1), 2: (2, 1), 4: (2, 2), 8: (4, 2), 512: (32, 16)}
PAPER_DEVICES, PAPER_MESH = 4096, (256, 16)
PLACEMENTS = {
    "rows": P(("a", "b")),
    "columns": P(None, ("a", "b")),
    "both": P("a", "b"),
}


def run(settings: Settings) -> Iterator[Record]:
    """Compiles a dropout for each mesh that there are devices for.

    Args:
      settings: Libraries to leave out.

    Yields:
      A record for each mesh and placement of x, and what the same law, words over
      devices, comes to for 4096.
    """
    peers = [p for p in gather(settings.without) if p.name in (JDROP, FLAX)]
    for devices, mesh in MESHES.items():
        if devices > len(jax.devices()) or (settings.quick and devices not in (1, 8)):
            continue
        for placement in ["both"] if settings.quick else PLACEMENTS:
            results = {p.name: partitioned(p, mesh, placement) for p in peers}
            yield _record(devices, mesh, placement, results)
    words = math.prod(SHAPE) // 32
    paper = {"words": words // PAPER_DEVICES, "collectives": {}}
    yield _record(PAPER_DEVICES, PAPER_MESH, "both", {JDROP: paper}) | {"paper": True}


def partitioned(peer: Contestant, sizes: tuple[int, int], placement: str) -> Record:
    """Compiles a dropout of a sharded x, and reads one device's part of the program.

    Args:
      peer: Whose dropout.
      sizes: Shape of the mesh.
      placement: A key of `PLACEMENTS`.

    Returns:
      Words of random numbers drawn on a device, collectives by kind, and temporary
      bytes on a device.
    """
    grid = np.asarray(jax.devices()[: math.prod(sizes)]).reshape(sizes)
    mesh = Mesh(grid, ("a", "b"), axis_types=(AxisType.Auto,) * 2)
    sharding = NamedSharding(mesh, PLACEMENTS[placement])
    x = jax.ShapeDtypeStruct(SHAPE, DTYPE, sharding=sharding)
    key = jax.device_put(peer.key, NamedSharding(mesh, P()))
    dropout = jax.jit(lambda key, x: peer.drop(key, x, RATE, ()))
    program = dropout.lower(key, x).compile()
    text = text_of(program)
    return {
        "words": words_drawn(text),
        "collectives": collectives(text),
        "temporary_bytes": temporary_bytes(program),
    }


def _record(
    devices: int, mesh: tuple[int, int], placement: str, results: Record
) -> Record:
    return {
        "kind": "scaling",
        "devices": devices,
        "mesh": list(mesh),
        "placement": placement,
        "shape": list(SHAPE),
        "dtype": DTYPE,
        "results": results,
    }
