"""The other ways to draw and to apply that the benchmark times do what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jdrop
from benchmarks.costs import applies, draws

KEY = jax.random.key(0)


@pytest.mark.parametrize("rate", [0.1, 0.5])
@pytest.mark.parametrize("name", draws.WAYS)
def test_every_way_to_draw_drops_at_its_rate(name, rate):
    way, shape = draws.WAYS[name], (256, 1024)
    words = np.asarray(jax.jit(lambda key: way.draw(key, (256, 32), rate))(KEY))
    if "(jdrop" in name:
        expected = jdrop.sample_mask(KEY, shape, rate).words
        np.testing.assert_array_equal(words, expected)
    p, elements = draws.realised(rate, way.digits), 256 * 1024
    dropped = elements - np.bitwise_count(words).sum()
    assert abs(dropped - p * elements) < 5 * (p * (1 - p) * elements) ** 0.5


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", applies.APPLIES)
def test_every_way_to_apply_keeps_what_the_mask_keeps(name, dtype):
    mask = jdrop.sample_mask(KEY, (8, 1024), 0.25)
    x = jax.random.normal(KEY, mask.shape, dtype)
    got = jax.jit(applies.APPLIES[name])(mask.words, x, np.float32(4 / 3))
    kept = np.asarray(mask.to_bool())
    if name == "planes":
        kept = kept.reshape(8, 32, 32).swapaxes(1, 2).reshape(kept.shape)
    expected = jnp.where(kept, x.astype(jnp.float32) * np.float32(4 / 3), 0)
    np.testing.assert_array_equal(got, expected.astype(dtype))
