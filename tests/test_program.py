"""The compiled program, counted: what is kept, what is drawn, what is traced."""

import re

import jax
import jax.numpy as jnp
import pytest
from cases import CASES

import jdrop
from jdrop._stream import words_shape

KEY = jax.random.key(0)
SHAPES = [(64, 512), (64, 100), (16, 28, 28, 3), (1000,)]


def arrays(tree):
    """The leaves that are not scalars."""
    return [leaf for leaf in jax.tree.leaves(tree) if getattr(leaf, "ndim", 0)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_packed_words_are_the_only_residual(case, shape, dtype):
    x = jnp.ones(shape, dtype)

    def static(x):
        return case.op(KEY, x, 0.3)

    def traced(x, rate, deterministic):
        return case.op(KEY, x, rate, deterministic=deterministic)

    for f, args in [
        (static, (x,)),
        (jax.jit(static), (x,)),
        (jax.jit(traced), (x, 0.3, False)),
    ]:
        _, pullback = jax.vjp(f, *args)
        kept = [(leaf.shape, leaf.dtype) for leaf in arrays(pullback)]
        assert kept == [(words_shape(shape), jnp.uint32)]


def test_remat_of_a_block_keeps_nothing_of_its_inside():
    """The case of jax #17982: with remat, a block keeps its input and nothing more."""
    x = jnp.ones((64, 512))

    @jax.checkpoint
    def block(x):
        return jnp.sin(jdrop.dropout(KEY, jnp.sin(x), 0.1))

    _, pullback = jax.vjp(jax.jit(block), x)
    assert [leaf.shape for leaf in arrays(pullback)] == [x.shape]


def compiled(f, *args):
    return jax.jit(f).lower(*args).compile()


def kept_bytes(f, shape):
    """What the forward pass of a jitted function hands to its backward pass."""
    _, pullback = jax.vjp(jax.jit(f), jnp.ones(shape))
    return sum(leaf.nbytes for leaf in jax.tree.leaves(pullback))


@pytest.mark.parametrize("size", [2**12, 2**14, 2**16])
def test_memory_is_one_bit_per_element(size):
    scalar = 4
    assert (
        kept_bytes(lambda x: jdrop.dropout(KEY, x, 0.1), (size // 64, 64))
        == size // 8 + scalar
    )


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_the_draw_is_materialised(rate):
    """Only the loop that draws holds rounds; the pass over x holds none."""
    program = compiled(
        lambda key, x: jdrop.dropout(key, x, rate), KEY, jnp.ones((256, 512))
    )
    text = program.as_text()
    rounds = [line for line in text.splitlines() if re.search(r"xor\(", line)]
    assert rounds
    assert all("[256,512]" not in line for line in rounds)
    assert re.search(r" while\(", text)


def test_temporary_memory_is_that_of_the_words():
    shape = (1024, 1024)
    program = compiled(lambda key, x: jdrop.dropout(key, x, 0.1), KEY, jnp.ones(shape))
    words = 4 * 1024 * 1024 // 32
    assert program.memory_analysis().temp_size_in_bytes <= 4 * words


def test_one_trace_serves_every_number_of_as_many_digit_pairs():
    from jdrop import _op

    def traces(*rates):
        before = _op._draw_and_apply._cache_size()
        for rate in rates:
            for offset in (0, 3):
                jdrop.dropout(KEY, jnp.ones((7, 11)), rate, offset=offset)
        return _op._draw_and_apply._cache_size() - before

    assert traces(0.1, 0.2, 0.9, jnp.float32(0.3)) <= 2
    assert traces(0.4, 0.7, 1 / 3) == 0
    assert traces(0.5, 0.25, 0.75) == 1
