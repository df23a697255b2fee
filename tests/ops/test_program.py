"""The compiled program, counted: what is kept, what is drawn, what is traced."""

import math
import re

import jax
import jax.numpy as jnp
import oracle
import pytest
from cases import KEY, LAWS, each, each_mask
from jax import lax

import jdrop
from jdrop import _op


def residuals(f, *args):
    """Shapes and types of the arrays that the forward pass hands to the backward."""
    pullback = jax.eval_shape(lambda *args: jax.vjp(f, *args)[1], *args)
    return [(y.shape, str(y.dtype)) for y in jax.tree.leaves(pullback) if y.ndim]


slow = pytest.mark.slow

# Whole words, a word and a bit, rows of several axes, few columns, one column, none.
SHAPES = [(64, 512), (33, 100), (16, 28, 28, 3), (320, 10), (3200, 1), (1000,)]


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [(SHAPES[0], jnp.float32), (SHAPES[1], jnp.bfloat16)]
    + [pytest.param(shape, jnp.float32, marks=slow) for shape in SHAPES[1:]],
)
@each_mask
def test_packed_words_are_the_only_residual(case, shape, dtype):
    x = jax.ShapeDtypeStruct(shape, dtype)
    words = (oracle.words([0], shape, 0.5).shape, "uint32")

    def f(x, rate=0.3, deterministic=False):
        return case(KEY, x, rate, deterministic=deterministic)

    assert residuals(f, x) == [words]
    assert residuals(jax.jit(f), x) == [words]
    assert residuals(jax.jit(f), x, 0.3, False) == [words]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@each([case for case in LAWS if case.noise in ("normal", "logistic")])
def test_of_noise_no_more_than_its_seed_is_kept(case, dtype):
    x = jax.ShapeDtypeStruct((64, 512), dtype)
    seed = [] if case.op is jdrop.gaussian_noise else [((2,), "uint32")]

    def f(x, deterministic=False):
        return case(KEY, x, 0.3, deterministic=deterministic)

    assert residuals(f, x) == seed
    assert residuals(jax.jit(f), x) == seed
    assert residuals(jax.jit(f), x, False) == seed


@pytest.mark.parametrize(
    ("shape", "bits"),
    [((64, 64), 1), ((4096, 1), 1), ((1024, 10), 1), ((8, 28, 28, 4), 25 / 24.5)],
)
def test_memory_is_one_bit_per_element(shape, bits):
    f = jax.jit(lambda x: jdrop.dropout(KEY, x, 0.1))
    _, pullback = jax.vjp(f, jnp.ones(shape))
    scalar = 4
    kept = sum(leaf.nbytes for leaf in jax.tree.leaves(pullback))
    assert kept == bits * math.prod(shape) / 8 + scalar


LAYERS, BATCH, WIDTH = 12, 256, 256
HIDDEN = 4 * WIDTH


def temporaries(rate, remat, scan):
    """Bytes beside arguments and results of the gradient of 12 residual blocks."""

    def block(x, weights, key):
        up, down = weights
        hidden = jax.nn.gelu(x @ up)
        return x + (jdrop.dropout(key, hidden, rate) if rate else hidden) @ down

    block = jax.checkpoint(block) if remat else block

    def loss(weights, x):
        keys = jax.random.split(jax.random.key(0), LAYERS)
        if scan:
            x, _ = lax.scan(lambda x, wk: (block(x, *wk), None), x, (weights, keys))
        else:
            for i in range(LAYERS):
                x = block(x, [w[i] for w in weights], keys[i])
        return (x**2).sum()

    weights = [
        jnp.ones((LAYERS, WIDTH, HIDDEN)),
        jnp.ones((LAYERS, HIDDEN, WIDTH)),
    ]
    step = jax.jit(jax.grad(loss)).lower(weights, jnp.ones((BATCH, WIDTH)))
    return step.compile().memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize(
    ("remat", "scan"),
    [
        pytest.param(False, False, id="plain-unrolled"),
        pytest.param(False, True, id="plain-scan", marks=slow),
        pytest.param(True, False, id="remat-unrolled", marks=slow),
        pytest.param(True, True, id="remat-scan", marks=slow),
    ],
)
def test_a_training_step_keeps_one_bit_per_element(remat, scan):
    """Of all blocks together; in a scan XLA holds one more output of one block."""
    without = temporaries(0, remat, scan)
    bits = LAYERS * BATCH * HIDDEN // 8
    one_output = 4 * BATCH * HIDDEN if scan else 0
    for rate in (0.1, 0.5):
        more = temporaries(rate, remat, scan) - without
        assert more <= 1.05 * bits + one_output


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

    # One without an offset, and one with any.
    assert traces(0.1, 0.2, 0.9, jnp.float32(0.3)) <= 2
    assert traces(0.4, 0.7, 1 / 3) == 0
    assert traces(0.5, 0.25, 0.75) == 2
