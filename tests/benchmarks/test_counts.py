"""Work, counted exactly: blocks of the generator, fused draws, traces.

A change that makes dropout dearer fails here on any machine, however busy it is.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import ALPHA, DROPOUT, each
from jax import lax

import jdrop
from benchmarks.counting import (
    ROUND,
    fused_draws,
    stream_bits,
    text_of,
    threefry_bits,
)
from jdrop._draw import PAIRS_A_PASS
from jdrop._stream import BITS, Layout, threefry2x32

# What is evidence and not the library is tested at leisure.
pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
SHAPE = (32, 512)
BLOCK = 64
# A pair of digits a block. Digits below the rate's last 1 are not drawn: 0.1 is
# rounded to 6554 / 2^16, whose last 1 is digit 15, and 3/16 ends at digit 4.
PAIRS = {0.5: 1, 0.25: 1, 3 / 16: 2, 0.1: 8, 1 / 3: 8}


def blocks(f, shape=SHAPE):
    """Blocks that a function of x draws."""
    x = jnp.ones(shape)
    return stream_bits(f, x) * x.size / BLOCK


def words(shape):
    return math.prod(Layout.of(shape).words)


@each((DROPOUT, ALPHA))
@pytest.mark.parametrize(("rate", "pairs"), PAIRS.items())
def test_a_block_is_two_digits_of_32_elements(case, rate, pairs):
    drawn = blocks(lambda x: case(KEY, x, rate))
    assert drawn == pairs * math.prod(SHAPE) / BITS


@pytest.mark.parametrize("shape", [(33, 100), (8, 9, 8, 4), (70,)])
def test_ragged_rows_cost_their_last_word_whole(shape):
    assert blocks(lambda x: jdrop.dropout(KEY, x, 0.5), shape) == words(shape)


def test_a_shared_mask_is_drawn_once_for_all():
    def drop(x):
        return jdrop.dropout(KEY, x, 0.5, broadcast_dims=(1, 2))

    assert blocks(drop, (4, 6, 6, 64)) == words((4, 1, 1, 64))


@pytest.mark.parametrize(("first_row", "word_rows"), [(32, 2), (33, 3)])
def test_a_window_draws_the_words_it_touches(first_row, word_rows):
    place = {"offset": (1, first_row, 100), "within": (8, 128, 512)}
    drawn = blocks(lambda x: jdrop.sample_mask(KEY, (4, 64, 32), 0.5, **place))
    assert drawn == 4 * word_rows * 32


def test_jax_random_spends_a_block_on_every_element():
    """What the figures above are to be read beside."""

    def drop(x):
        return jnp.where(jax.random.bernoulli(KEY, 0.9, x.shape), x, 0)

    assert threefry_bits(drop, jnp.ones(SHAPE)) == BLOCK


@each((DROPOUT,))
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_the_backward_pass_draws_nothing_and_a_checkpoint_draws_again(case, rate):
    def f(x):
        return (case(KEY, x, rate) ** 2).sum()

    def drawn(f):
        """Rounds that are written out in the compiled program."""
        x = jnp.ones((256, 512))
        return len(ROUND.findall(text_of(jax.jit(f).lower(x).compile())))

    once = drawn(f)
    assert once == 20 * min(PAIRS[rate], PAIRS_A_PASS)
    assert drawn(jax.value_and_grad(f)) == once
    assert drawn(jax.value_and_grad(jax.checkpoint(f))) == 2 * once


@each((DROPOUT, ALPHA))
def test_vmap_over_keys_draws_for_each(case):
    keys = jax.random.split(KEY, 3)
    drawn = blocks(lambda x: jax.vmap(lambda key: case(key, x, 0.5))(keys))
    # Scalars are not counted, but three seeds are an array: at most two blocks each.
    seeds = drawn - 3 * blocks(lambda x: case(KEY, x, 0.5))
    assert 0 <= seeds <= 3 * 2


@pytest.mark.parametrize("rate", [0.1, 0.5])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@each((DROPOUT, ALPHA))
def test_no_computation_both_draws_and_applies(case, dtype, rate):
    x = jnp.ones((256, 512), dtype)

    def forward_and_back(x):
        y, pullback = jax.vjp(lambda x: case(KEY, x, rate), x)
        return y, pullback(y)

    text = text_of(jax.jit(forward_and_back).lower(x).compile())
    assert fused_draws(text, x.size) == []


def test_a_draw_without_a_loop_would_be_fused():
    """The test above can fail: this is what XLA does with rounds in a straight line."""

    def fused(x):
        column = lax.broadcasted_iota(jnp.uint32, (8, 1, 512), 2)
        drawn, _ = threefry2x32(jnp.uint32(1), jnp.uint32(2), column, column)
        row = lax.broadcasted_iota(jnp.uint32, (1, BITS, 1), 1)
        kept = (drawn >> row) & np.uint32(1)
        return jnp.where(kept.reshape(x.shape) != 0, x, 0)

    x = jnp.ones((256, 512))
    assert fused_draws(text_of(jax.jit(fused).lower(x).compile()), x.size)


def test_a_schedule_of_rates_is_traced_once():
    traces = 0

    @jax.jit
    def f(key, x, rate, deterministic):
        nonlocal traces
        traces += 1
        return jdrop.dropout(key, x, rate, deterministic=deterministic)

    for step in range(4):
        rate = jnp.float32(step / 8)
        f(jax.random.fold_in(KEY, step), jnp.ones(SHAPE), rate, step == 3)
    assert traces == 1
