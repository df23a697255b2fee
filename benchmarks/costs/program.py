"""What a compiled program says of itself: collectives, words drawn, fused draws.

XLA's optimised HLO is text: computations, each a block of instructions that name the
type of their result. These functions read that text, on a CPU and on a GPU alike.
"""

import math
import re
from collections import Counter

from jax.stages import Compiled

COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "all-to-all",
    "collective-broadcast",
    "collective-permute",
    "reduce-scatter",
)
_COLLECTIVE = re.compile(rf"= .*? ({'|'.join(COLLECTIVES)})(?:-start)?\(")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*\{$", re.MULTILINE)
_RESULT = re.compile(r"= \w+\[([\d,]+)\]")
# Each round of threefry ends in one exclusive or of counter words.
_ROUND = re.compile(r"= u32\[([\d,]+)\]\S* xor\(")


def text_of(program: Compiled) -> str:
    """The optimised HLO of a compiled program.

    Args:
      program: What `jax.jit(...).lower(...).compile()` returns.

    Returns:
      The text; "" where the backend gives none.
    """
    return program.as_text() or ""


def temporary_bytes(program: Compiled) -> int:
    """Memory that a compiled program allocates beside its arguments and results.

    Args:
      program: What `jax.jit(...).lower(...).compile()` returns.

    Returns:
      Bytes; 0 where the backend does not say.
    """
    analysis = program.memory_analysis()
    return int(analysis.temp_size_in_bytes) if analysis else 0


def collectives(text: str) -> dict[str, int]:
    """Counts the operations that move data between devices.

    Args:
      text: Optimised HLO.

    Returns:
      The number of each kind that occurs.
    """
    return dict(Counter(_COLLECTIVE.findall(text)))


def words_drawn(text: str) -> int:
    """The size of the largest array of uint32 that rounds of threefry fill.

    Args:
      text: Optimised HLO; of a partitioned program, so that it is one device's part.

    Returns:
      Words, or 0 where there are no rounds over arrays.
    """
    return max((_size(dims) for dims in _ROUND.findall(text)), default=0)


def fused_draws(text: str, elements: int) -> list[str]:
    """Finds the computations in which the draw is fused into a pass over the elements.

    There, every element would draw its word anew. Materialised words are drawn in
    computations of their own, in which nothing is as large as x.

    Args:
      text: Optimised HLO.
      elements: Number of elements of x, more than there are words.

    Returns:
      The names of such computations, best none.
    """
    return [
        name
        for name, body in computations(text).items()
        if words_drawn(body)
        and max(map(_size, _RESULT.findall(body)), default=0) >= elements
    ]


def computations(text: str) -> dict[str, str]:
    """Splits optimised HLO into its computations.

    Args:
      text: Optimised HLO.

    Returns:
      The lines of each computation, by its name.
    """
    heads = list(_COMPUTATION.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return {
        head[1]: text[head.end() : end] for head, end in zip(heads, ends, strict=True)
    }


def _size(dims: str) -> int:
    return math.prod(int(n) for n in dims.split(","))
