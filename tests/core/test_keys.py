"""Keys by name: stable, distinct, of the kind they came from."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY_IMPLEMENTATIONS

import jdrop

KEY = jax.random.key(0)


def words(key):
    return np.asarray(jax.random.key_data(key)).tolist()


PINNED = {
    "encoder": [1097769358, 3149737087],
    "encoder/7": [2913808888, 1946361239],
    "last": [3210383384, 1478477838],
}


def test_pinned():
    # Any change here changes every mask that is drawn from a named key.
    assert words(jdrop.key_for(KEY, "encoder")) == PINNED["encoder"]
    assert words(jdrop.key_for(KEY, "encoder", 7)) == PINNED["encoder/7"]
    assert words(jdrop.key_for(KEY, 2**32 - 1)) == PINNED["last"]


@pytest.mark.parametrize("implementation", KEY_IMPLEMENTATIONS)
def test_kind_stays(implementation):
    key = jax.random.key(0, impl=implementation)
    derived = jdrop.key_for(key, "layer", 3)
    assert derived.dtype == key.dtype
    assert derived.shape == ()
    assert words(derived) != words(key)
    jax.random.bits(derived)


def test_legacy_key():
    derived = jdrop.key_for(jax.random.PRNGKey(0), "layer")
    assert derived.dtype == jnp.uint32
    assert derived.tolist() == words(jdrop.key_for(KEY, "layer"))


def test_paths_are_distinct():
    parts = ["a", "b", "ab", "", 0, 1, "0", "1"]
    paths = [(p,) for p in parts] + list(itertools.product(parts, parts))
    assert len({tuple(words(jdrop.key_for(KEY, *path))) for path in paths}) == len(
        paths
    )


def test_traced_integers_are_the_concrete_ones():
    traced = jax.jit(lambda step: jdrop.key_for(KEY, "layer", step))
    for step in (0, 17, 2**31 - 1):
        assert words(traced(step)) == words(jdrop.key_for(KEY, "layer", step))
    steps = jnp.arange(3, dtype=jnp.uint8)
    mapped = jax.vmap(lambda step: jdrop.key_for(KEY, step))(steps)
    assert words(mapped) == [words(jdrop.key_for(KEY, i)) for i in range(3)]


def test_a_key_is_not_consumed():
    with jax.debug_key_reuse(True):
        key = jax.random.key(1)
        first = jdrop.key_for(key, "a")
        second = jdrop.key_for(key, "b")
        jdrop.dropout(first, jnp.ones(3), 0.5)
        jdrop.dropout(second, jnp.ones(3), 0.5)


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ((), ValueError, "at least one; got none"),
        ((-1,), ValueError, "got -1"),
        ((2**32,), ValueError, "got 4294967296"),
        ((10**400,), ValueError, r"got 10{36}\.\.\.\. Use its name"),
        (("a\ud800",), ValueError, r"UTF-8; got 'a\\ud800'.*Take out"),
        ((1.5,), TypeError, "got float 1.5"),
        ((None,), TypeError, "got NoneType None"),
        ((True,), TypeError, "got bool True"),
        ((jnp.arange(2),), TypeError, r"got an array of dtype int32 and shape \(2,\)"),
    ],
)
def test_bad_paths(path, error, message):
    with pytest.raises(error, match=message):
        jdrop.key_for(KEY, *path)
