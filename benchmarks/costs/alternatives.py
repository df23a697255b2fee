"""Why jdrop draws and applies as it does: the other ways, timed beside its own."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

import jdrop
from benchmarks.costs import applies, draws
from benchmarks.costs.contestants import FLOOR, keys
from benchmarks.costs.operations import floor, normal
from benchmarks.costs.plan import RATES, SHAPES
from benchmarks.costs.regimes import Record, Settings
from benchmarks.costs.timing import Entry, compete, jitted
from jdrop._stream import LANES

NAMES = ("large", "cache", "small")


def run(settings: Settings) -> Iterator[Record]:
    """Times the ways to draw, alone and within a dropout, and the ways to apply.

    Args:
      settings: Thoroughness and sizes.

    Yields:
      Contests against `x * c`.
    """
    names = NAMES[1:2] if settings.quick else NAMES
    for name in names:
        for rate in (RATES[0], RATES[-1]):
            yield _contest("draws", name, "float32", rate, settings)
            yield _contest("drops", name, "float32", rate, settings)
        for dtype in ("float32", "bfloat16"):
            yield _contest("applies", name, dtype, RATES[0], settings)


def _contest(
    kind: str, name: str, dtype: str, rate: float, settings: Settings
) -> Record:
    rows, columns = SHAPES[name]
    x = normal((settings.rows(rows), columns), dtype)
    entries = {"draws": _draws, "drops": _drops, "applies": _applies}[kind](x, rate)
    record: Record = {
        "kind": kind,
        "case": name,
        "regime": settings.regime,
        "shape": list(x.shape),
        "dtype": dtype,
        "rate": rate,
        "reference": FLOOR,
        "rounds": settings.rounds,
        "results": compete(entries, FLOOR, settings.rounds, settings.sample_seconds),
    }
    if kind == "draws":
        record["realised"] = {
            way: draws.realised(rate, draws.WAYS[way].digits) for way in draws.WAYS
        }
    return record


def _draws(x: jax.Array, rate: float) -> list[Entry]:
    key, shape = keys()["threefry2x32"], _words_shape(x)
    entries = [jitted(FLOOR, floor(rate), key, x)]
    for name, way in draws.WAYS.items():
        entries.append(jitted(name, lambda k, w=way: w.draw(k, shape, rate), key))
    return entries


def _drops(x: jax.Array, rate: float) -> list[Entry]:
    key, shape = keys()["threefry2x32"], _words_shape(x)
    apply = next(iter(applies.APPLIES.values()))
    scale = np.float32(1 / (1 - rate))

    def dropping(way: draws.Way) -> Any:
        return lambda k, x: apply(way.draw(k, shape, rate), x, scale)

    entries = [jitted(FLOOR, floor(rate), key, x)]
    for name, way in draws.WAYS.items():
        entries.append(jitted(name, dropping(way), key, x))
    return entries


def _applies(x: jax.Array, rate: float) -> list[Entry]:
    key = keys()["threefry2x32"]
    words = jdrop.sample_mask(key, x.shape, rate).words
    scale = np.float32(1 / (1 - rate))
    entries = [jitted(FLOOR, floor(rate), key, x)]
    for name, apply in applies.APPLIES.items():
        entries.append(jitted(name, lambda w, x, f=apply: f(w, x, scale), words, x))
    return entries


def _words_shape(x: jax.Array) -> draws.Shape:
    rows, columns = x.shape
    return rows, columns // LANES
