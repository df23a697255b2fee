"""The stream: known answers, the rounding of rates, the layout of rows."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from cases import KEY_IMPLEMENTATIONS, RATES, realised

from jdrop import _stream
from jdrop._stream import Rate

# From Random123, tests/kat_vectors (github.com/DEShawResearch/random123, commit
# 9545ff6413f2): threefry2x32; rounds, counter, key, expected.
KNOWN_ANSWERS = """
13 00000000 00000000 00000000 00000000 9d1c5ec6 8bd50731
13 ffffffff ffffffff ffffffff ffffffff fd36d048 2d17272c
13 243f6a88 85a308d3 13198a2e 03707344 ba3e4725 f27d669e
20 00000000 00000000 00000000 00000000 6b200159 99ba4efe
20 ffffffff ffffffff ffffffff ffffffff 1cb996fc bb002be7
20 243f6a88 85a308d3 13198a2e 03707344 c4923a9c 483df7a0
32 00000000 00000000 00000000 00000000 cee3d47e a23dfd5c
32 ffffffff ffffffff ffffffff ffffffff 6e2fe0d0 b1b76f82
32 243f6a88 85a308d3 13198a2e 03707344 e2827716 c3c05cdf
"""


@pytest.mark.parametrize("line", KNOWN_ANSWERS.split("\n")[1:-1])
def test_threefry_known_answers(line):
    rounds, *words = line.split()
    x0, x1, k0, k1, *expected = (jnp.uint32(int(word, 16)) for word in words)
    assert list(_stream.threefry2x32(k0, k1, x0, x1, int(rounds))) == expected


def rates_of(rate):
    """The realised rate of a number, of a traced number, and of one under vmap."""
    numbers = np.full(2, rate, np.float32)
    traced = [jax.jit(Rate.of)(numbers[0]).value, *jax.vmap(Rate.of)(numbers).value]
    return [Rate.of(numbers[0]).value, *traced]


@pytest.mark.parametrize("rate", [*RATES, 0.0, 1.0, 0.003, 2**-8, 2**-24, 1e-7, 1e-12])
def test_realised_rate(rate):
    for got in rates_of(rate):
        assert got.dtype == np.float32 and got == realised(rate)
    got = float(got)
    if 2**-8 <= rate <= 1 - 2**-8:
        assert abs(got - rate) <= 2**-17
    elif 2**-24 <= rate <= 1 - 2**-24:
        nearest_end = min(rate, 1 - rate)
        assert abs(got - np.float32(rate)) <= 0.005 * nearest_end


@pytest.mark.parametrize("rate", [-1.0, -jnp.inf, 1.5, jnp.inf])
def test_realised_rate_is_clamped(rate):
    assert rates_of(rate) == [float(rate > 0)] * 4


def test_a_rate_that_is_no_number_stays_none():
    assert np.all(np.isnan(rates_of(jnp.nan)[1:]))


# Outer, rows, columns, and the words of a column.
LAYOUTS = {
    (): ((), (1,), 1, 1),
    (5,): ((), (5,), 1, 1),
    (0,): ((), (0,), 1, 0),
    (33, 70): ((), (33,), 70, 2),
    (64, 31, 5): ((), (64, 31), 5, 62),
    (3, 32, 5): ((3,), (32,), 5, 1),
    (3, 4, 33, 2): ((3, 4), (33,), 2, 2),
    (2, 9, 8, 4): ((2,), (9, 8), 4, 3),
    (2, 3, 2, 4): ((), (2, 3, 2), 4, 1),
    (2, 28, 28, 3): ((2,), (28, 28), 3, 25),
    (2, 40, 28, 3): ((2,), (40, 28), 3, 35),
    (2, 0, 5): ((), (2, 0), 5, 0),
}


@pytest.mark.parametrize(("shape", "expected"), LAYOUTS.items(), ids=str)
def test_layout(shape, expected):
    layout = _stream.Layout.of(shape)
    *outer_rows_columns, word_rows = expected
    assert dataclasses.astuple(layout) == tuple(outer_rows_columns)
    assert layout.words == (*layout.outer, word_rows, layout.columns)
    whole = (1000, *shape[1:])
    assert len(shape) < 2 or _stream.Layout.of(whole).resized(shape) == layout


@pytest.mark.parametrize(
    ("rate", "pairs"),
    [(0.0, 0), (1.0, 0), (0.5, 1), (0.25, 1), (0.125, 2), (0.1, 8), (2**-32, 16)]
    + [(2**-16, 8), (2**-17, 9), (1 - 2**-8, 4), (3 / 16, 2), (1 - 2**-24, 12)],
)
def test_only_the_digits_that_count_are_drawn(rate, pairs):
    assert (len(oracle.threshold(rate)[1]) + 1) // 2 == pairs
    assert Rate.of(rate).pairs == pairs
    traced = jax.jit(lambda rate: _stream.digit_pairs(_stream.threshold(rate)))
    assert traced(Rate.of(rate).value) == pairs
    assert jax.eval_shape(Rate.of, np.float32(rate)).pairs is None


def _seed(key):
    return tuple(int(word) for word in _stream.seed_words(key, _stream.WORDS_DOMAIN))


def test_seeds_differ_between_keys_lengths_and_domains():
    keys = [jax.random.key(0, impl=impl) for impl in KEY_IMPLEMENTATIONS[:-1]]
    keys += [jnp.zeros(1, jnp.uint32)]
    seeds = {_seed(key) for key in keys}
    assert len(seeds) == len(keys)
    other = _stream.seed_words(keys[0], _stream.KEY_DOMAIN)
    assert tuple(int(word) for word in other) not in seeds


def test_a_legacy_key_is_the_typed_key_of_its_words():
    assert _seed(jax.random.PRNGKey(3)) == _seed(jax.random.key(3))


def test_seed_is_no_block_that_jax_random_draws():
    key = jax.random.key(11)
    drawn = jax.random.key_data(jax.random.split(key, 1000))
    bits = jax.random.bits(key, (1000, 2))
    words = {tuple(pair) for pair in np.concatenate([drawn, bits]).tolist()}
    assert _seed(key) not in words
