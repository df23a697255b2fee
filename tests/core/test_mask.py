"""The packed mask as an object: a pytree that can be held, shared and read."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jdrop

KEY = jax.random.key(0)


@pytest.mark.parametrize("shape", [(), (5,), (3, 33), (2, 3, 4, 5)])
def test_to_bool_is_what_apply_keeps(shape):
    mask = jdrop.sample_mask(KEY, shape, 0.4)
    kept = mask.to_bool()
    assert kept.shape == shape
    assert kept.dtype == bool
    y = jdrop.apply_mask(mask, jnp.ones(shape))
    np.testing.assert_array_equal(y != 0, kept)


def test_is_a_pytree_of_words_and_rate():
    mask = jdrop.sample_mask(KEY, (4, 40), 0.1)
    leaves, tree = jax.tree.flatten(mask)
    assert [(leaf.shape, str(leaf.dtype)) for leaf in leaves] == [
        ((1, 40), "uint32"),
        ((), "float32"),
    ]
    again = jax.tree.unflatten(tree, leaves)
    np.testing.assert_array_equal(again.to_bool(), mask.to_bool())
    passed = jax.jit(lambda mask: mask)(mask)
    np.testing.assert_array_equal(passed.words, mask.words)
    assert passed.shape == mask.shape


def test_keep_is_the_realised_probability():
    mask = jdrop.sample_mask(KEY, (4, 40), 0.1)
    assert float(mask.rate) == 6554 / 65536
    assert float(mask.keep) == np.float32(1) - np.float32(6554 / 65536)


def test_equal_masks_keep_the_same_places_at_the_same_rate():
    mask = jdrop.sample_mask(KEY, (5, 40), 0.5)
    surplus = mask.words ^ np.uint32(1 << 31)
    assert mask == dataclasses.replace(mask, words=surplus)
    assert mask == jdrop.sample_mask(KEY, (5, 40), 0.5)
    different = [
        dataclasses.replace(mask, words=mask.words ^ np.uint32(1)),
        dataclasses.replace(mask, rate=jnp.float32(0.25)),
        jdrop.sample_mask(KEY, (4, 40), 0.5),
        mask.to_bool(),
    ]
    assert all(mask != other for other in different)


def test_repr_says_what_it_is():
    mask = jdrop.sample_mask(KEY, (4, 40), 0.25)
    assert repr(mask) == "Mask(shape=(4, 40), rate=0.25, packed in 160 bytes)"
    seen = []
    jax.jit(lambda mask: seen.append(repr(mask)))(mask)
    assert seen == ["Mask(shape=(4, 40), rate=traced, packed in 160 bytes)"]
    assert "rate=unknown" in repr(jax.tree.map(lambda leaf: None, mask))


def test_one_mask_for_several_arrays():
    mask = jdrop.sample_mask(KEY, (4, 40), 0.5)
    one = jdrop.apply_mask(mask, jnp.ones((4, 40)))
    two = jdrop.apply_mask(mask, jnp.full((4, 40), 2, jnp.bfloat16))
    np.testing.assert_array_equal(two.astype(jnp.float32), 2 * one)


def test_a_mask_with_axes_of_one_is_shared():
    mask = jdrop.sample_mask(KEY, (4, 9, 40), 0.5, broadcast_dims=(1,))
    assert mask.shape == (4, 1, 40)
    y = np.asarray(jdrop.apply_mask(mask, jnp.ones((4, 9, 40))))
    assert np.all(y == y[:, :1])
    np.testing.assert_array_equal(
        mask.words, jdrop.sample_mask(KEY, (4, 1, 40), 0.5).words
    )


def test_masks_of_a_batch_of_keys():
    keys = jax.random.split(KEY, 3)
    masks = jax.vmap(lambda key: jdrop.sample_mask(key, (4, 40), 0.5))(keys)
    y = jax.vmap(jdrop.apply_mask, in_axes=(0, None))(masks, jnp.ones((4, 40)))
    for i, key in enumerate(keys):
        np.testing.assert_array_equal(y[i], jdrop.dropout(key, jnp.ones((4, 40)), 0.5))


def test_a_mask_is_applied_in_taylor_mode():
    jet = pytest.importorskip("jax.experimental.jet").jet
    mask, x = jdrop.sample_mask(KEY, (32, 40), 0.5), jnp.ones((32, 40))
    y, (slope,) = jet(lambda x: jdrop.apply_mask(mask, x), (x,), ((x,),))
    np.testing.assert_array_equal(y, jnp.where(mask.to_bool(), 2.0, 0.0))
    np.testing.assert_array_equal(slope, y)


@pytest.mark.parametrize("shape", [(5,), (3, 33), (2, 3, 4, 5)])
def test_the_complement_keeps_the_others(shape):
    mask = jdrop.sample_mask(KEY, shape, 0.3)
    np.testing.assert_array_equal((~mask).to_bool(), ~mask.to_bool())
    assert float((~mask).rate) == 1 - float(mask.rate)
    np.testing.assert_array_equal((~~mask).words, mask.words)
    y = jax.jit(lambda mask: jdrop.apply_mask(~mask, jnp.ones(shape)))(mask)
    expected = np.where(mask.to_bool(), 0, 1 / np.asarray(mask.rate))
    np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_the_complement_at_both_ends():
    x = jnp.ones((4, 40))
    none, every = (jdrop.sample_mask(KEY, x.shape, rate) for rate in (1.0, 0.0))
    np.testing.assert_array_equal(jdrop.apply_mask(~none, x), x)
    np.testing.assert_array_equal(jdrop.apply_mask(~every, x), 0 * x)


def antithetic(key, shape, rate):
    """Two masks of a rate, the second of the mirrored uniforms."""
    mirrored = ~jdrop.sample_mask(key, shape, 1 - rate)
    return jdrop.sample_mask(key, shape, rate), mirrored


@pytest.mark.parametrize("rate", [0.5, 0.3, 1 / 3, 0.9])
def test_an_antithetic_pair_has_one_rate(rate):
    size = 2**17
    one, other = antithetic(KEY, (size,), rate)
    assert float(other.rate) == float(one.rate)
    p = float(one.rate)
    # As many standard deviations as nobody will see.
    tolerance = 5 * (p * (1 - p) / size) ** 0.5
    kept = [np.asarray(mask.to_bool()) for mask in (one, other)]
    for bits in kept:
        assert abs(bits.mean() - (1 - p)) < tolerance
    # One is dropped where U < p, the other where U >= 1 - p.
    both = kept[0] == kept[1]
    assert abs(both.mean() - abs(1 - 2 * p)) < 2 * tolerance
    assert len(np.unique(kept[0][both])) <= 1


@pytest.mark.parametrize(("rate", "gain"), [(0.5, 30), (0.25, 1.4)])
def test_antithetic_pairs_have_less_variance(rate, gain):
    """E[f] for a monotone f = exp(w . m): both variances are known in closed form.

    E[f(m) f(m')] is the product over elements of E[exp(w (m + m'))]. Of an antithetic
    pair none is dropped in both, and each is dropped in one with probability p.
    """
    pairs, p = 2**12, rate
    w = np.linspace(0.02, 0.08, 40)
    weights = w.astype(np.float32)
    keys = jax.random.split(KEY, (2, pairs))

    @jax.jit
    @jax.vmap
    def f_of_pair(key, other):
        masks = antithetic(key, w.shape, rate)
        masks += (jdrop.sample_mask(other, w.shape, rate),)
        return jnp.stack(
            [jnp.exp(jnp.where(mask.to_bool(), weights, 0).sum()) for mask in masks]
        )

    one, mirrored, independent = np.asarray(f_of_pair(*keys), np.float64).T
    mean = np.prod(p + (1 - p) * np.exp(w))
    square = np.prod(p + (1 - p) * np.exp(2 * w))
    product = np.prod((1 - 2 * p) * np.exp(2 * w) + 2 * p * np.exp(w))
    expected = {
        "independent": (square - mean**2) / 2,
        "antithetic": (square - mean**2) / 2 + (product - mean**2) / 2,
    }
    assert expected["independent"] > gain * expected["antithetic"]
    for name, other in (("independent", independent), ("antithetic", mirrored)):
        estimates = (one + other) / 2
        assert abs(estimates.mean() - mean) < 5 * (expected[name] / pairs) ** 0.5
        # The fourth moment is measured: it is what a variance's own rests on.
        spread = ((estimates - mean) ** 2).std() / pairs**0.5
        assert abs(((estimates - mean) ** 2).mean() - expected[name]) < 5 * spread
