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
