"""The schedules of a draw: other programs, the same words."""

import itertools

import jax
import numpy as np
import oracle
import pytest
from cases import KEY, key_words

from jdrop import _draw
from jdrop._stream import LANES, Rate

FEW = _draw.FEW_WORDS
# Rows and words of a row on both sides of each limit.
ROWS = [1, _draw.FEW_ROWS - 1, _draw.FEW_ROWS]
WORDS = [_draw.SHORT_ROW - 1, _draw.SHORT_ROW, FEW // _draw.FEW_ROWS, FEW]
SHAPES = [
    *((rows, LANES * words) for rows, words in itertools.product(ROWS, WORDS)),
    (FEW - 1, LANES),
    (FEW, LANES),
    (FEW // 4, 4, 3),
    (FEW * LANES,),
]
# Pairs of digits: none, one, as many as are written out, and one more.
RATES = {0.5: 1, 6554 / 2**16: _draw.WRITTEN_OUT, 2**-17: _draw.WRITTEN_OUT + 1}


@pytest.mark.parametrize("rate", RATES)
def test_every_schedule_draws_the_same_words(rate):
    """Each limit of size and of digits is crossed."""
    known = Rate.of(rate)
    assert known.pairs == RATES[rate]
    offsets = [3 if len(shape) > 1 else 0 for shape in SHAPES]

    @jax.jit
    def draw(key, rate):
        return [
            _draw.draw_words(key, shape, rate, np.uint32(offset))
            for shape, offset in zip(SHAPES, offsets, strict=True)
        ]

    drawn = draw(KEY, known)
    for shape, offset, words in zip(SHAPES, offsets, drawn, strict=True):
        expected = oracle.words(key_words(KEY), shape, rate, offset=offset)
        np.testing.assert_array_equal(words, expected, str(shape))
