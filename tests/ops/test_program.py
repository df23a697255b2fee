"""The compiled program, counted: what is kept, what is drawn, what is traced."""

import re

import jax
import jax.numpy as jnp
import oracle
import pytest
from cases import KEY, each_case

import jdrop
from jdrop import _op


def residuals(f, *args):
    """Shapes and types of the arrays that the forward pass hands to the backward."""
    pullback = jax.eval_shape(lambda *args: jax.vjp(f, *args)[1], *args)
    return [(y.shape, str(y.dtype)) for y in jax.tree.leaves(pullback) if y.ndim]


# At least one word a row, a row and a bit, rows of several axes, no axis of rows.
SHAPES = [(64, 512), (64, 100), (16, 28, 28, 3), (1000,)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@each_case
def test_packed_words_are_the_only_residual(case, dtype, shape):
    x = jax.ShapeDtypeStruct(shape, dtype)
    words = (oracle.words([0], shape, 0.5).shape, "uint32")

    def f(x, rate=0.3, deterministic=False):
        return case.op(KEY, x, rate, deterministic=deterministic)

    assert residuals(f, x) == [words]
    assert residuals(jax.jit(f), x) == [words]
    assert residuals(jax.jit(f), x, 0.3, False) == [words]


def test_memory_is_one_bit_per_element():
    f = jax.jit(lambda x: jdrop.dropout(KEY, x, 0.1))
    for size in (2**12, 2**16):
        _, pullback = jax.vjp(f, jnp.ones((size // 64, 64)))
        scalar = 4
        kept = sum(leaf.nbytes for leaf in jax.tree.leaves(pullback))
        assert kept == size // 8 + scalar


def test_remat_of_a_block_keeps_nothing_of_its_inside():
    """The case of jax #17982: with remat, a block keeps its input and nothing more."""

    @jax.checkpoint
    def block(x):
        return jnp.sin(jdrop.dropout(KEY, jnp.sin(x), 0.1))

    assert residuals(jax.jit(block), jnp.ones((64, 512))) == [((64, 512), "float32")]


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_the_draw_is_materialised(rate):
    """Only the loop that draws holds rounds; the pass over x holds none."""
    shape = (1024, 1024)
    draw = jax.jit(lambda key, x: jdrop.dropout(key, x, rate))
    program = draw.lower(KEY, jnp.ones(shape)).compile()
    text = program.as_text()
    rounds = [line for line in text.splitlines() if re.search(r"xor\(", line)]
    assert rounds
    assert all("[1024,1024]" not in line for line in rounds)
    assert re.search(r" while\(", text)
    words = 4 * 1024 * 1024 // 32
    assert program.memory_analysis().temp_size_in_bytes <= 4 * words


def test_one_trace_serves_every_number_of_as_many_digit_pairs():
    def traces(*rates):
        before = _op._draw_and_apply._cache_size()
        for rate in rates:
            for offset in (0, 3):
                jdrop.dropout(KEY, jnp.ones((7, 11)), rate, offset=offset)
        return _op._draw_and_apply._cache_size() - before

    assert traces(0.1, 0.2, 0.9, jnp.float32(0.3)) <= 2
    assert traces(0.4, 0.7, 1 / 3) == 0
    assert traces(0.5, 0.25, 0.75) == 1
