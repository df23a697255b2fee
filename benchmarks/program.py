"""What compiled programs say of themselves, and the random bits they are made of.

XLA's optimised HLO is text: computations, each a block of instructions that name the
type of their result. It reads alike on a CPU and on a GPU.
"""

import math
import re
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax.stages import Compiled

import jdrop
from benchmarks.contestants import FLAX, JDROP, absent
from benchmarks.ops import DTYPES, LARGE, RATES
from benchmarks.peers import PEERS
from benchmarks.table import Row, Settings, row

# Random bits are counted primitive by primitive: the count is exact at any size.
COUNTED = (64, 512)

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*\{$", re.MULTILINE)
_RESULT = re.compile(r"= \w+\[([\d,]+)\]")
# Each round of threefry ends in one exclusive or of counter words.
ROUND = re.compile(r"= u32\[([\d,]+)\]\S* xor\(")


def run(settings: Settings) -> Iterator[Row]:
    """Compiles jdrop's dropout for the backend at hand, and counts its random bits."""
    rates = RATES[::2] if settings.quick else RATES
    for dtype in DTYPES[: 1 if settings.quick else 3]:
        for rate in rates:
            x = jax.ShapeDtypeStruct(LARGE, dtype)
            dropout = jax.jit(lambda key, x, rate=rate: jdrop.dropout(key, x, rate))
            text = text_of(dropout.lower(jax.random.key(0), x).compile())
            counts = {
                "loops": text.count(" while("),
                "fusions": text.count(" fusion("),
                "fused draws": len(fused_draws(text, math.prod(LARGE))),
            }
            about = {"case": "dropout", "dtype": dtype, "rate": rate}
            for metric, count in counts.items():
                yield row(JDROP, metric, count, "a program", LARGE, **about)
    for name in (JDROP, FLAX):
        library = name.partition(",")[0]
        if library not in absent():
            for rate in rates:
                bits = PEERS[library]().random_bits(jnp.ones(COUNTED), rate)
                about = {"case": "draw", "dtype": "float32", "rate": rate}
                yield row(name, "random bits", bits, "an element", COUNTED, **about)


def text_of(program: Compiled) -> str:
    """The optimised HLO of a compiled program; "" where the backend gives none."""
    return program.as_text() or ""


def temporary_bytes(program: Compiled) -> int:
    """Bytes that a program allocates beside arguments and results; 0 if unknown."""
    analysis = program.memory_analysis()
    return int(analysis.temp_size_in_bytes) if analysis else 0


def words_drawn(text: str) -> int:
    """Words of the largest array that rounds of threefry fill."""
    return max((_size(dims) for dims in ROUND.findall(text)), default=0)


def fused_draws(text: str, elements: int) -> list[str]:
    """Names of computations in which the draw is fused into a pass over the elements.

    There, every element would draw its word anew. Materialised words are drawn in
    computations of their own, in which nothing is as large as x.
    """
    heads = list(_COMPUTATION.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    bodies = [text[h.end() : end] for h, end in zip(heads, ends, strict=True)]
    return [
        head[1]
        for head, body in zip(heads, bodies, strict=True)
        if words_drawn(body)
        and max(map(_size, _RESULT.findall(body)), default=0) >= elements
    ]


def _size(dims: str) -> int:
    return math.prod(int(n) for n in dims.split(","))
