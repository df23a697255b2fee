"""Time, temporary memory and words against the number of elements, 1e4 to 1e9."""

from collections.abc import Iterator

import jax

import jdrop
from benchmarks.costs.contestants import FLOOR, JDROP, SHORT_LIST, gather
from benchmarks.costs.machine import free_bytes
from benchmarks.costs.operations import floor, normal
from benchmarks.costs.plan import COLUMNS
from benchmarks.costs.program import temporary_bytes
from benchmarks.costs.regimes import Record, Settings
from benchmarks.costs.timing import compete, jitted

RATE = 0.1
# Float32: x, y and a second y while the first is being freed; for the peers also the
# random words, the uniforms and the mask.
OWN_BYTES, PEER_BYTES = 12, 24
# The peers are followed as far as they do not take most of the benchmark's time.
PEER_LIMIT = 10**8


def run(settings: Settings) -> Iterator[Record]:
    """Times the forward pass at growing sizes.

    Args:
      settings: Thoroughness and sizes.

    Yields:
      A contest for each size, with the words and the temporary bytes of jdrop; a note
      where a size does not fit into memory.
    """
    for exponent in range(4, 8 if settings.quick else 10):
        elements = settings.rows(10**exponent // COLUMNS) * COLUMNS
        if free_bytes() and elements * OWN_BYTES > free_bytes():
            yield {"kind": "left out", "what": f"growth {elements}", "why": "memory"}
            continue
        yield _contest(elements, settings)


def _contest(elements: int, settings: Settings) -> Record:
    shape = (elements // COLUMNS, COLUMNS)
    x, key = normal(shape, "float32"), jax.random.key(1)
    entries = [jitted(FLOOR, floor(RATE), key, x)]
    with_peers = elements <= PEER_LIMIT and not (
        free_bytes() and elements * PEER_BYTES > free_bytes()
    )
    for peer in gather(settings.without):
        if peer.name == JDROP or (with_peers and peer.name in SHORT_LIST):
            drop = peer.drop
            entries.append(
                jitted(peer.name, lambda k, x, d=drop: d(k, x, RATE, ()), peer.key, x)
            )

    # Large sizes take seconds, and vary less than the ratio they are read for.
    rounds = settings.rounds if elements <= PEER_LIMIT else 3
    return {
        "kind": "growth",
        "case": f"{elements:.0e}",
        "regime": settings.regime,
        "shape": list(shape),
        "dtype": "float32",
        "rate": RATE,
        "elements": elements,
        "reference": FLOOR,
        "rounds": rounds,
        "results": compete(entries, FLOOR, rounds, settings.sample_seconds),
    } | footprint(shape)


def footprint(shape: tuple[int, ...]) -> dict[str, int]:
    """The packed words of a mask, and what the compiled dropout allocates beside y.

    Args:
      shape: Shape of x.

    Returns:
      `words` and `temporary_bytes`.
    """
    key, x = jax.random.key(1), jax.ShapeDtypeStruct(shape, "float32")
    mask = jax.eval_shape(lambda k: jdrop.sample_mask(k, shape, RATE), key)
    program = jax.jit(lambda k, x: jdrop.dropout(k, x, RATE)).lower(key, x).compile()
    return {"words": mask.words.size, "temporary_bytes": temporary_bytes(program)}
