"""The compiled dropout and its exact work: is the draw materialised, how much is it?"""

import math
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp

import jdrop
from benchmarks.costs.contestants import FLAX, JDROP, Drop, gather
from benchmarks.costs.counting import blocks, integer_operations
from benchmarks.costs.plan import DTYPES, RATES, SHAPES
from benchmarks.costs.program import collectives, fused_draws, text_of
from benchmarks.costs.regimes import Record, Settings

# The counts are exact at any size; this one runs primitive by primitive.
COUNTED_SHAPE = (64, 512)


def run(settings: Settings) -> Iterator[Record]:
    """Compiles jdrop's dropout for the backend at hand, and counts its work.

    Args:
      settings: Sizes, and a folder for the programs.

    Yields:
      A record of kind "program" for each dtype and rate, and one of kind "work" for
      each rate and contestant.
    """
    first, *rest = SHAPES["large"]
    rates = (0.1, 0.5) if settings.quick else RATES
    for dtype in DTYPES[: 1 if settings.quick else 3]:
        for rate in rates:
            yield _program((settings.rows(first), *rest), dtype, rate, settings.dump)
    for rate in rates:
        for peer in gather(settings.without):
            if peer.name in (JDROP, FLAX):
                yield _work(peer.name, peer.drop, peer.key, rate)


def _program(shape: tuple[int, ...], dtype: str, rate: float, dump: str) -> Record:
    x = jax.ShapeDtypeStruct(shape, dtype)
    dropout = jax.jit(lambda key, x: jdrop.dropout(key, x, rate))
    text = text_of(dropout.lower(jax.random.key(0), x).compile())
    if dump:
        folder = Path(dump)
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{jax.default_backend()}-{dtype}-{rate}.hlo.txt"
        (folder / name).write_text(text)
    return {
        "kind": "program",
        "shape": list(shape),
        "dtype": dtype,
        "rate": rate,
        "loops": text.count(" while("),
        "fusions": text.count(" fusion("),
        "collectives": collectives(text),
        "fused_draws": fused_draws(text, math.prod(shape)),
    }


def _work(name: str, drop: Drop, key: jax.Array, rate: float) -> Record:
    x = jnp.ones(COUNTED_SHAPE)

    def dropout(key: jax.Array, x: jax.Array) -> jax.Array:
        return drop(key, x, rate, ())

    record = {
        "kind": "work",
        "contestant": name,
        "rate": rate,
        "blocks_per_element": blocks(dropout, key, x) / x.size,
    }
    if name == JDROP:
        # The others' are out of sight, inside a primitive of jax.random.
        work = integer_operations(dropout, key, x)
        record["integer_operations_per_element"] = work / x.size
    return record
