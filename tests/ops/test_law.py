"""The law of each op, with tolerances computed from the variance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import RATES, realised

import jdrop

N = 1 << 21
SIGMAS = 5


@pytest.mark.parametrize("rate", RATES)
def test_each_element_is_kept_with_probability_keep(rate):
    mask = jdrop.sample_mask(jax.random.key(1), (N // 64, 64), rate)
    keep = 1 - realised(rate)
    assert float(mask.keep) == np.float32(keep)
    kept = np.asarray(mask.to_bool())
    sigma = np.sqrt(keep * (1 - keep) / N)
    assert abs(kept.mean() - keep) <= SIGMAS * sigma
    # Every lane of a word on its own: the digits of one lane say nothing of another.
    lanes = kept.reshape(-1, 32).mean(axis=0)
    assert np.all(np.abs(lanes - keep) <= SIGMAS * sigma * np.sqrt(32))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_neighbours_are_independent(rate):
    kept = jdrop.sample_mask(jax.random.key(2), (2048, 1024), rate).to_bool()
    centred = np.asarray(kept, np.float64) - (1 - realised(rate))
    variance = realised(rate) * (1 - realised(rate))
    for axis in (0, 1):
        for lag in (1, 2, 31, 32, 33):
            a = np.take(centred, np.arange(centred.shape[axis] - lag), axis)
            b = np.take(centred, np.arange(lag, centred.shape[axis]), axis)
            correlation = (a * b).mean() / variance
            assert abs(correlation) <= SIGMAS / np.sqrt(a.size), (axis, lag)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_keys_are_independent(rate):
    keys = jax.random.split(jax.random.key(3), 256)
    draw = jax.vmap(lambda key: jdrop.sample_mask(key, (64, 64), rate).to_bool())
    centred = np.asarray(draw(keys), np.float64).reshape(256, -1) - 1 + realised(rate)
    variance = realised(rate) * (1 - realised(rate))
    correlation = centred @ centred.T / variance / 4096
    pairs = correlation[np.triu_indices(256, 1)]
    # 32640 pairs: six sigmas keep the whole family below a chance of 1e-4.
    assert np.abs(pairs).max() <= 6 / np.sqrt(4096)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean(rate):
    x = jax.random.normal(jax.random.key(6), (N // 64, 64))
    y = np.asarray(jdrop.dropout(jax.random.key(7), x, rate), np.float64)
    p = realised(rate)
    sigma = np.sqrt((np.asarray(x, np.float64) ** 2).sum() * p / (1 - p)) / N
    assert abs(y.mean() - np.asarray(x, np.float64).mean()) <= SIGMAS * sigma


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.2, 0.5, 0.9])
def test_alpha_dropout_keeps_mean_and_variance(rate):
    x = jax.random.normal(jax.random.key(8), (N // 64, 64))
    y = np.asarray(jdrop.alpha_dropout(jax.random.key(9), x, rate), np.float64)
    assert abs(y.mean()) <= SIGMAS / np.sqrt(N)
    fourth_moment = ((y - y.mean()) ** 4).mean()
    assert abs(y.var() - 1) <= SIGMAS * np.sqrt((fourth_moment - 1) / N)


@pytest.mark.parametrize(
    ("rate", "a", "b"),
    # Klambauer et al. 2017: the affine map that restores mean 0 and variance 1.
    [
        (0.05, 0.9548444760050308, 0.08393557219381029),
        (0.1, 0.9212845161497114, 0.16197097005757025),
        (0.2, 0.8789035834435327, 0.30903996214409457),
        (0.5, 0.8864048946659315, 0.7791939305180318),
    ],
)
def test_alpha_dropout_constants(rate, a, b):
    x = jnp.stack([jnp.zeros(64), jnp.ones(64)])
    y = np.asarray(jdrop.alpha_dropout(jax.random.key(10), x, rate), np.float64)
    kept = np.asarray(jdrop.sample_mask(jax.random.key(10), (2, 64), rate).to_bool())
    # The rate moves by up to 2^-17, which moves neither constant by more.
    np.testing.assert_allclose(y[0][kept[0]], b, atol=4e-5)
    np.testing.assert_allclose(y[1][kept[1]], a + b, atol=4e-5)
    np.testing.assert_allclose(y[~kept], a * -1.7580993408473766 + b, atol=4e-5)
