"""Work, counted exactly: blocks of the generator, fused draws, traces.

A change that makes dropout dearer fails here on any machine, however busy it is.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES
from jax import lax

import jdrop
from benchmarks.costs.counting import blocks, count
from benchmarks.costs.program import fused_draws, text_of
from jdrop._stream import LANES, threefry2x32, words_shape

KEY = jax.random.key(0)
SHAPE = (16, 512)
# A pair of digits a block. Digits below the rate's last 1 are not drawn: 0.1 is
# rounded to 6554 / 2^16, whose last 1 is digit 15, and 3/16 ends at digit 4.
PAIRS = {0.5: 1, 0.25: 1, 0.75: 1, 3 / 16: 2, 0.1: 8, 1 / 3: 8}
by_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def words(shape):
    return math.prod(words_shape(shape))


@by_case
@pytest.mark.parametrize(("rate", "pairs"), PAIRS.items())
def test_a_block_is_two_digits_of_32_elements(case, rate, pairs):
    x = jnp.ones(SHAPE)
    drawn = blocks(lambda key, x: case.op(key, x, rate), KEY, x)
    assert drawn == pairs * x.size / LANES


@pytest.mark.parametrize("shape", [(16, 100), (8, 9, 8, 4)])
def test_a_ragged_row_costs_its_last_word_whole(shape):
    x = jnp.ones(shape)
    drawn = blocks(lambda key, x: jdrop.dropout(key, x, 0.5), KEY, x)
    assert drawn == words(shape)


def test_a_shared_mask_is_drawn_once_for_all():
    x = jnp.ones((4, 6, 6, 64))
    drawn = blocks(
        lambda key, x: jdrop.dropout(key, x, 0.5, broadcast_dims=(1, 2)), KEY, x
    )
    assert drawn == words((4, 1, 1, 64))


def test_jax_random_spends_a_block_on_every_element():
    """What the figures above are to be read beside."""
    assert blocks(lambda key: jax.random.bernoulli(key, 0.9, SHAPE), KEY) == 16 * 512


@by_case
def test_the_backward_pass_draws_nothing(case):
    x = jnp.ones(SHAPE)

    def forward(x):
        return case.op(KEY, x, 0.1).sum()

    assert blocks(jax.value_and_grad(forward), x) == blocks(forward, x)


@by_case
def test_a_checkpoint_draws_once_more(case):
    x = jnp.ones(SHAPE)

    def forward(x):
        return case.op(KEY, x, 0.1).sum()

    assert blocks(jax.grad(jax.checkpoint(forward)), x) == 2 * blocks(forward, x)


@by_case
def test_vmap_over_keys_draws_for_each(case):
    keys, x = jax.random.split(KEY, 3), jnp.ones(SHAPE)
    drawn = blocks(jax.vmap(lambda key: case.op(key, x, 0.1)), keys)
    # Scalars are not counted, but three seeds are an array: at most two blocks each.
    seeds = drawn - 3 * blocks(lambda key: case.op(key, x, 0.1), KEY)
    assert 0 <= seeds <= 3 * 2


@pytest.mark.parametrize("rate", [0.1, 0.5])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@by_case
def test_no_computation_both_draws_and_applies(case, dtype, rate):
    x = jnp.ones((256, 512), dtype)

    def square(key, x):
        y, pullback = jax.vjp(lambda x: case.op(key, x, rate), x)
        return y, pullback(y)

    for f in (lambda key, x: case.op(key, x, rate), square):
        text = text_of(jax.jit(f).lower(KEY, x).compile())
        assert fused_draws(text, x.size) == []


def test_a_draw_without_a_loop_would_be_fused():
    """The test above can fail: this is what XLA does with rounds in a straight line."""

    def fused(x):
        word = lax.broadcasted_iota(jnp.uint32, (256, 16), 1)
        drawn, _ = threefry2x32(jnp.uint32(1), jnp.uint32(2), word, word)
        lane = lax.broadcasted_iota(jnp.uint32, (1, 1, LANES), 2)
        kept = (drawn[..., None] >> lane) & np.uint32(1)
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


def test_the_counter_counts_loops_as_often_as_they_run():
    x = jnp.ones(5, jnp.uint32)

    def step(i, x):
        return x ^ np.uint32(3)

    counted = {
        "for": lambda x: lax.fori_loop(0, 7, step, x),
        "while": lambda x: lax.while_loop(lambda x: x[0] < 0, lambda x: x ^ x, x),
        "dynamic": lambda x: lax.fori_loop(0, x.sum().astype(jnp.int32), step, x),
        "scan": lambda x: lax.scan(lambda c, _: (step(0, c), c), x, length=4)[0],
        "jit": jax.jit(lambda x: step(0, step(0, x))),
        "checkpoint": jax.checkpoint(lambda x: step(0, x)),
    }
    xors = {name: count(f, x)["xor", "uint32"] for name, f in counted.items()}
    expected = {"for": 7, "while": 0, "dynamic": 5, "scan": 4, "jit": 2}
    assert xors == {n: 5 * k for n, k in (expected | {"checkpoint": 1}).items()}
