"""The packed words whatever JAX is told: precision, generator, checks, devices."""

import functools
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from cases import KEY_IMPLEMENTATIONS, SHAPE
from jax import lax

import jdrop

ROOT = Path(__file__).parents[2]
RATES = (1e-7, 1e-4, 0.1, 0.25, 1 / 3, 0.5, 1 - 1e-4)
WORDS = [3, 2**32 - 5, 7, 2**31]


def make_key(words=WORDS):
    return jax.random.wrap_key_data(jnp.array(words, jnp.uint32), impl="rbg")


def bools(rate=0.1, offset=0):
    return jdrop.sample_mask(make_key(), SHAPE, rate, offset=offset).to_bool()


SETTINGS = {
    "64 bits": lambda: jax.enable_x64(True),
    "32 bits": lambda: jax.enable_x64(False),
    "threefry, partitionable": lambda: jax.threefry_partitionable(True),
    "threefry, not partitionable": lambda: jax.threefry_partitionable(False),
    "key reuse": lambda: jax.debug_key_reuse(True),
    "NaNs": lambda: jax.debug_nans(True),
    "infinities": lambda: jax.debug_infs(True),
    "leaks": lambda: jax.checking_leaks(),
    "checks": lambda: jax.enable_checks(True),
    "loose promotion": lambda: jax.numpy_dtype_promotion("standard"),
    "another device": lambda: jax.default_device(jax.devices()[5]),
    **{
        implementation: functools.partial(jax.default_prng_impl, implementation)
        for implementation in KEY_IMPLEMENTATIONS
    },
}


def use(key, rate=0.1):
    """An op and its derivative, which is not 0 where a place is kept."""
    x = jnp.ones(SHAPE)
    return jax.value_and_grad(lambda x: jdrop.dropout(key, x, rate).sum())(x)[1]


# One of two that say the same, and those that change nothing about numbers.
SELDOM = (
    "32 bits",
    "threefry, partitionable",
    "infinities",
    "checks",
    "loose promotion",
)


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in SELDOM else [])
        for name in SETTINGS
    ],
)
def test_setting(setting):
    """The mask, eagerly and from traced numbers, and an op with its derivative."""
    expected = oracle.mask(WORDS, SHAPE, 0.1, offset=6)
    with SETTINGS[setting]():
        np.testing.assert_array_equal(bools(0.1, 6), expected)
        np.testing.assert_array_equal(jax.jit(bools)(0.1, 6), expected)
        for rate in (0.1, 1.0):
            kept = oracle.mask(WORDS, SHAPE, rate)
            np.testing.assert_array_equal(use(make_key(), rate) > 0, kept)


USES = {
    "mask": lambda key: jdrop.sample_mask(key, SHAPE, 0.1),
    "op": use,
    "jit": jax.jit(use),
}


@pytest.mark.parametrize(
    ("implementation", "first"),
    [("rbg", first) for first in USES] + [(impl, "op") for impl in KEY_IMPLEMENTATIONS],
)
def test_a_second_use_of_a_key_raises(implementation, first):
    with jax.debug_key_reuse(True):
        key = jax.random.key(0, impl=implementation)
        USES[first](key)
        for again in USES.values():
            with pytest.raises(jax.errors.KeyReuseError):
                again(key)


def test_one_key_for_several_steps_raises():
    """Parts of one batch share a key on purpose, and say so to JAX with a clone."""

    def parts(key, as_is):
        return lax.map(lambda first: part(as_is(key), first), jnp.arange(SHAPE[0]))

    def part(key, first):
        return jdrop.sample_mask(key, (1, *SHAPE[1:]), 0.1, offset=first).to_bool()

    with jax.debug_key_reuse(True):
        got = parts(make_key(), jax.random.clone).reshape(SHAPE)
        np.testing.assert_array_equal(got, bools())
        with pytest.raises(jax.errors.KeyReuseError):
            parts(make_key(), lambda key: key)


def test_rates_that_the_compiler_knows():
    """As constants of the program, which the compiler folds, unlike traced numbers."""
    folded = jax.jit(lambda: [bools(rate) for rate in RATES])()
    for got, rate in zip(folded, RATES, strict=True):
        np.testing.assert_array_equal(got, oracle.mask(WORDS, SHAPE, rate))


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.int16, jnp.uint32])
def test_offset_of_any_integer_type(dtype):
    """A traced one is taken modulo 2^32, as in section 3."""
    draw = jax.jit(bools)
    expected = oracle.mask(WORDS, SHAPE, 0.1, offset=100)
    np.testing.assert_array_equal(draw(0.1, np.array(100, dtype)), expected)
    last = np.array(-3).astype(dtype)
    expected = draw(0.1, np.uint32(int(last) % 2**32))
    np.testing.assert_array_equal(draw(0.1, last), expected)


START_UP = {
    "JAX_ENABLE_X64": "1",
    "JAX_THREEFRY_PARTITIONABLE": "0",
    "JAX_DEFAULT_PRNG_IMPL": "unsafe_rbg",
    "JAX_DEBUG_KEY_REUSE": "1",
    "JAX_DEBUG_NANS": "1",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_NUM_CPU_DEVICES": "5",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_cpu_enable_fast_math=true",
}
PROGRAM = """
import jax, jdrop, numpy as np, oracle
from cases import KEY_IMPLEMENTATIONS, RATE, SHAPE, key_words

assert jax.device_count() == 5 and jax.config.jax_enable_x64
assert jax.random.PRNGKey(0).shape == (4,)
def draw(keys):
    return [jdrop.sample_mask(key, SHAPE, RATE).words for key in keys]
for program in (draw, jax.jit(draw)):
    keys = [jax.random.key(11, impl=kind) for kind in KEY_IMPLEMENTATIONS]
    for key, words in zip(keys, program(keys), strict=True):
        np.testing.assert_array_equal(words, oracle.words(key_words(key), SHAPE, RATE))
print("same")
"""


def test_flags_at_start_up():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", **START_UP},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout == "same\n", done.stderr
