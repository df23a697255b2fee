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
from cases import KEY_IMPLEMENTATIONS
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

import jdrop

ROOT = Path(__file__).parent.parent
SHAPE = (4, 3, 20)
RATES = (1e-7, 1e-4, 0.1, 0.25, 1 / 3, 0.5, 1 - 1e-4)
WORDS = [3, 2**32 - 5, 7, 2**31]

any_rate = st.floats(0, 1, width=32)


def make_key(words=WORDS):
    return jax.random.wrap_key_data(jnp.array(words, jnp.uint32), impl="rbg")


def words(rate=0.1, offset=0):
    return jdrop.sample_mask(make_key(), SHAPE, rate, offset=offset).words


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


@pytest.mark.parametrize("setting", SETTINGS)
def test_setting(setting):
    """The words, eagerly and from traced numbers, and an op with its derivative."""
    with SETTINGS[setting]():
        for rate in (0.1, 1.0):
            expected = oracle.words(WORDS, SHAPE, rate, offset=6)
            np.testing.assert_array_equal(words(rate, 6), expected)
            np.testing.assert_array_equal(jax.jit(words)(rate, 6), expected)
            loss = jax.value_and_grad(
                lambda x, rate=rate: jdrop.dropout(make_key(), x, rate).sum()
            )
            kept = oracle.mask(WORDS, SHAPE, rate)
            np.testing.assert_array_equal(loss(jnp.ones(SHAPE))[1] > 0, kept)


@pytest.mark.parametrize("implementation", KEY_IMPLEMENTATIONS)
def test_legacy_key_of_the_default_implementation(implementation):
    with jax.default_prng_impl(implementation):
        legacy = jax.random.PRNGKey(3)
        typed = jax.random.key(3)
        assert jax.random.key_data(typed).tolist() == legacy.tolist()
        for key in (legacy, typed):
            got = jdrop.sample_mask(key, SHAPE, 0.1).words
            np.testing.assert_array_equal(
                got, oracle.words(legacy.tolist(), SHAPE, 0.1)
            )


ONCE = {
    "eager": lambda key: jdrop.sample_mask(key, SHAPE, 0.1),
    "jit": jax.jit(lambda key: jdrop.sample_mask(key, SHAPE, 0.1)),
    "jit of grad": jax.jit(
        lambda key: jax.grad(lambda x: jdrop.dropout(key, x, 0.1).sum())(
            jnp.ones(SHAPE)
        )
    ),
}


@pytest.mark.parametrize("once", ONCE)
@pytest.mark.parametrize("implementation", KEY_IMPLEMENTATIONS)
def test_a_second_use_of_a_key_raises(implementation, once):
    with jax.debug_key_reuse(True):
        key = jax.random.key(0, impl=implementation)
        ONCE[once](key)
        with pytest.raises(jax.errors.KeyReuseError):
            jdrop.sample_mask(key, SHAPE, 0.1)


def test_one_key_for_several_steps_raises():
    """Parts of one batch share a key on purpose, and say so to JAX with a clone."""

    def parts(key, as_is):
        return lax.map(lambda first: part(as_is(key), first), jnp.arange(4))

    def part(key, first):
        return jdrop.sample_mask(key, (1, *SHAPE[1:]), 0.1, offset=first).words

    with jax.debug_key_reuse(True):
        got = parts(make_key(), jax.random.clone).reshape(words().shape)
        np.testing.assert_array_equal(got, words())
        with pytest.raises(jax.errors.KeyReuseError):
            parts(make_key(), lambda key: key)


@given(any_rate, any_rate)
def test_masks_are_nested_over_any_rates(one, other):
    draw = jax.jit(words)
    lower, higher = (np.asarray(draw(rate)) for rate in sorted([one, other]))
    assert not np.any(higher & ~lower)


def test_rates_that_the_compiler_knows():
    """As constants of the program, which the compiler folds, unlike traced numbers."""
    folded = jax.jit(lambda: [words(rate) for rate in RATES])()
    for got, rate in zip(folded, RATES, strict=True):
        np.testing.assert_array_equal(got, oracle.words(WORDS, SHAPE, rate))


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.int16, jnp.uint32])
def test_offset_of_any_integer_type(dtype):
    """A traced negative offset is congruent to it modulo 2^32, as in section 3.3."""
    first = np.array(-3).astype(dtype)
    expected = oracle.words(WORDS, SHAPE, 0.1, offset=int(first))
    np.testing.assert_array_equal(jax.jit(words)(0.1, first), expected)


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
import jax, numpy as np, oracle
from test_reproducible import ROW, ROWS, RATE, TRANSFORMS, key_words
from cases import KEY_IMPLEMENTATIONS

assert jax.device_count() == 5 and jax.config.jax_enable_x64
assert jax.random.PRNGKey(0).shape == (4,)
for kind in KEY_IMPLEMENTATIONS:
    for name in ("eager", "jit", "vmap over keys"):
        key = jax.random.key(11, impl=kind)
        expected = oracle.words(key_words(key), (ROWS, *ROW), RATE)
        np.testing.assert_array_equal(TRANSFORMS[name](key), expected)
print("same")
"""


def test_flags_at_start_up():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", **START_UP},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "same\n", done.stderr
