"""The packed words of every kind of key, by the oracle, in one program a transform."""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from cases import KEY_IMPLEMENTATIONS, RATE, SHAPE, WORDS_IN_KEY, X, key_words, make_key
from transforms import TRANSFORMS

import jdrop

KEYS = {kind: make_key(kind, range(3, 3 + n)) for kind, n in WORDS_IN_KEY.items()}


def draw(keys, x, first=0, rate=RATE):
    return {
        kind: jdrop.sample_mask(key, x.shape, rate, offset=first).words
        for kind, key in keys.items()
    }


# tests/ops/test_places.py takes one key through the others.
@pytest.mark.parametrize(
    "transform",
    ["eager", "jit", pytest.param("vmap over keys", marks=pytest.mark.slow), "export"],
)
def test_every_kind_of_key(transform):
    for kind, words in TRANSFORMS[transform](draw, KEYS, X).items():
        assert words.dtype == jnp.uint32
        expected = oracle.words(key_words(KEYS[kind]), SHAPE, RATE)
        np.testing.assert_array_equal(words, expected, kind)


@pytest.mark.parametrize("implementation", KEY_IMPLEMENTATIONS)
def test_legacy_key_of_the_default_implementation(implementation):
    with jax.default_prng_impl(implementation):
        legacy, typed = jax.random.PRNGKey(3), jax.random.key(3)
        assert key_words(typed) == legacy.tolist()
        expected = oracle.words(legacy.tolist(), SHAPE, RATE)
        for words in draw({"legacy": legacy, "typed": typed}, X).values():
            np.testing.assert_array_equal(words, expected)
