"""The law of each op, with tolerances computed from the variance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
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


def test_alpha_dropout_keeps_any_mean_and_variance():
    mean, variance = 0.5, 2.0
    x = mean + variance**0.5 * jax.random.normal(jax.random.key(8), (N // 64, 64))
    options = {"mean": mean, "variance": variance}
    y = np.asarray(jdrop.alpha_dropout(jax.random.key(9), x, 0.3, **options), float)
    assert abs(y.mean() - mean) <= SIGMAS * np.sqrt(variance / N)
    fourth_moment = ((y - y.mean()) ** 4).mean()
    sigma = np.sqrt((fourth_moment - variance**2) / N)
    assert abs(y.var() - variance) <= SIGMAS * sigma


def moments_after(layers, activation, drop, width=256, rows=512):
    """Mean and variance of a normal input after so many layers."""

    @jax.jit
    def run(x):
        def layer(x, number):
            key = jdrop.key_for(jax.random.key(11), number)
            weight_key, key = jdrop.key_for(key, "weights"), jdrop.key_for(key, "drop")
            # LeCun normal.
            weights = jax.random.normal(weight_key, (width, width)) / width**0.5
            return drop(key, activation(x @ weights)), None

        return jax.lax.scan(layer, x, jnp.arange(layers))[0]

    y = run(jax.random.normal(jax.random.key(12), (rows, width)))
    print(y.mean(), y.var())
    return float(y.mean()), float(y.var())


def test_64_layers_of_selu_keep_their_moments_by_alpha_dropout_alone():
    def alpha(key, x):
        return jdrop.alpha_dropout(key, x, 0.05)

    def plain(key, x):
        return jdrop.dropout(key, x, 0.05)

    mean, variance = moments_after(64, jax.nn.selu, alpha)
    # The map of SELU pulls the moments of finite layers back, to within this.
    assert abs(mean) < 0.1 and abs(variance - 1) < 0.1
    _, variance = moments_after(64, jax.nn.selu, plain)
    assert variance > 1.2
    _, variance = moments_after(64, jax.nn.relu, alpha)
    assert variance < 0.5


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_gaussian_dropout_has_the_moments_of_dropout(rate):
    y = jdrop.gaussian_dropout(jax.random.key(13), jnp.ones((N // 64, 64)), rate)
    y, p = np.asarray(y, np.float64), realised(rate)
    variance = p / (1 - p)
    assert abs(y.mean() - 1) <= SIGMAS * np.sqrt(variance / N)
    # The fourth moment of a normal number is three.
    assert abs(y.var() - variance) <= SIGMAS * variance * np.sqrt(2 / N)


def test_gaussian_noise_is_normal():
    x = jax.random.normal(jax.random.key(14), (N // 64, 64))
    noise = jdrop.gaussian_noise(jax.random.key(15), x, 0.1) - x
    sorted_noise = np.sort(np.asarray(noise, np.float64).ravel() / 0.1)
    steps = np.arange(N + 1) / N
    cumulative = scipy.special.ndtr(sorted_noise)
    distance = np.abs([steps[1:] - cumulative, cumulative - steps[:-1]]).max()
    # Kolmogorov: the chance of more is 2 exp(-2 * 2.2^2), one in eight thousand.
    assert distance <= 2.2 / np.sqrt(N)


def test_neighbours_share_no_noise():
    """Two of them are made of one block."""
    shape = (2048, 1024)
    noise = jdrop.gaussian_noise(jax.random.key(16), jnp.zeros(shape), 1.0)
    noise = np.asarray(noise, np.float64)
    for axis in (0, 1):
        for lag in (1, 2, 31, 32):
            a = np.take(noise, np.arange(shape[axis] - lag), axis)
            b = np.take(noise, np.arange(lag, shape[axis]), axis)
            assert abs((a * b).mean()) <= SIGMAS / np.sqrt(a.size), (axis, lag)


def test_the_original_form_has_the_same_mean_and_both_forms_halve_it():
    """The original scales at evaluation; who scales at both times halves the signal."""
    x = jnp.full((N // 64, 64), 3.0)
    mask = jdrop.sample_mask(jax.random.key(17), x.shape, 0.5)
    inverted = {"training": jdrop.apply_mask(mask, x), "evaluation": x}
    original = {
        "training": jdrop.apply_mask(mask, x) * mask.keep,
        "evaluation": x * mask.keep,
    }
    np.testing.assert_array_equal(
        original["training"], jnp.where(mask.to_bool(), x, jnp.zeros_like(x))
    )
    tolerance = SIGMAS * 3 * 2 * np.sqrt(0.25 / N)
    for form in (inverted, original):
        assert abs(form["training"].mean() - form["evaluation"].mean()) <= tolerance
    both = {"training": inverted["training"], "evaluation": original["evaluation"]}
    halved = both["evaluation"].mean() / both["training"].mean()
    assert abs(halved - 0.5) <= tolerance


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_zoneout_keeps_the_state_at_its_rate(rate):
    new, old = jnp.ones((N // 64, 64)), jnp.zeros((N // 64, 64))
    y = jdrop.zoneout(jax.random.key(18), new, old, rate)
    rest = jdrop.zoneout(None, new, old, rate, deterministic=True)
    p = realised(rate)
    np.testing.assert_allclose(rest, 1 - p, rtol=1e-6)
    assert abs(y.mean() - (1 - p)) <= SIGMAS * np.sqrt(p * (1 - p) / N)


def test_concrete_dropout_nears_dropout_as_it_cools():
    x = jnp.ones((N // 64, 64))
    y = jdrop.concrete_dropout(jax.random.key(19), x, 0.3, temperature=1e-3)
    y = np.asarray(y, np.float64)
    ends = (y < 1e-3) | (abs(y - 1 / 0.7) < 1e-3)
    # Between the ends lies a logit in +-7 of thousandths: 0.014 p q of the elements.
    assert ends.mean() > 0.99
    assert abs((y > 0.7).mean() - 0.7) <= SIGMAS * np.sqrt(0.21 / N)
