"""The schedules of a draw and of a select: other programs, the same bits."""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from cases import KEY, key_words
from jax import lax

from jdrop import _draw, _mask
from jdrop._stream import BITS, Rate
from jdrop._window import Start

# Words of a row on both sides of the limit; one column; rows that 32 does not divide.
COLUMNS = [1, _draw.SHORT_ROW - 1, _draw.SHORT_ROW]
SHAPES = [*((3 * BITS, n) for n in COLUMNS), (3, 2 * BITS - 1, 70), (BITS * 9 - 1,)]
# Pairs of digits: one, as many as a pass folds, one more, and those of 16 digits.
RATES = {0.5: 1, 3 / 16: _draw.PAIRS_A_PASS, 3 / 64: 3, 6554 / 2**16: 8}


def assert_draws(shapes, rates):
    """The words of each shape at each rate, and the select by them, are right.

    Some begin at another row than 0, or in the middle of a word.
    """
    parts = [(shape, i % 3 * 16) for i, shape in enumerate(shapes)]
    starts = [Start.of(offset, shape, (), None) for shape, offset in parts]

    @jax.jit
    def draw(key, rates):
        masks = [
            _mask.draw_mask(key, shape, start, rate)
            for rate in rates
            for (shape, _), start in zip(parts, starts, strict=True)
        ]
        return [(m.words, _mask.scale_kept(m, jnp.ones(m.shape))) for m in masks]

    expected = [(rate, *part) for rate in rates for part in parts]
    for (words, y), (rate, shape, offset) in zip(
        draw(KEY, rates), expected, strict=True
    ):
        arguments = (key_words(KEY), shape, rate.value, (), offset)
        np.testing.assert_array_equal(words, oracle.words(*arguments), str(shape))
        np.testing.assert_array_equal(y > 0, oracle.mask(*arguments), str(shape))


@pytest.mark.parametrize("rate", RATES)
def test_every_schedule_draws_the_same_words(rate):
    """Each limit of size and of digits is crossed."""
    known = Rate.of(rate)
    assert known.pairs == RATES[rate]
    assert_draws(SHAPES, [known])


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_schedules_of_other_platforms_draw_the_same_words(platform, monkeypatch):
    """Any machine can run their branches."""

    def branch(*operands, default, **branches):
        return branches.get(platform, default)(*operands)

    monkeypatch.setattr(lax, "platform_dependent", branch)
    traced = [Rate(jnp.float32(value), None) for value in (6554 / 2**16, 1)]
    assert_draws([(2, 2 * BITS, 8), (63, 3), (2, 5, 7, 3)], [Rate.of(0.1), *traced])
