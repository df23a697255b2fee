"""Rates that move: schedules of optax, a rate that is learned, ladders over depth."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import DROPOUT, assert_equation, each

import jdrop

KEY = jax.random.key(4, impl="rbg")
X = jax.random.normal(jax.random.key(1), (8, 3, 20)) + 3
STEPS = 8
SCHEDULES = {
    "linear": optax.linear_schedule(0.0, 1.0, STEPS),
    "cosine": optax.cosine_decay_schedule(1.0, STEPS),
    # Early and late dropout (Liu et al. 2023), and curriculum (Morerio et al. 2017).
    "early": optax.piecewise_constant_schedule(0.5, {4: 0.0}),
    "late": optax.join_schedules([lambda step: 0.0, lambda step: 0.5], [4]),
    "curriculum": lambda step: 0.5 * (1 - jnp.exp(-1.0 * step)),
}


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("schedule", SCHEDULES)
@each((DROPOUT,))
def test_a_schedule_is_one_trace_and_exact_at_its_ends(case, schedule):
    rates, traces = SCHEDULES[schedule], []

    @jax.jit
    def step(number):
        traces.append(number)
        return rates(number), case(KEY, X, rates(number))

    for number in range(STEPS + 1):
        rate, y = step(number)
        if rate == 0:
            np.testing.assert_array_equal(y, X)
        elif rate == 1:
            np.testing.assert_array_equal(y, jnp.zeros_like(X))
        else:
            assert_equation(case, y, X, float(rate))
    assert len(traces) == 1


def test_the_ladder_of_drop_path():
    rates = jdrop.drop_path_rates(4, 0.3)
    np.testing.assert_allclose(rates, [0, 0.1, 0.2, 0.3], rtol=1e-6)
    assert rates.dtype == np.float32
    np.testing.assert_allclose(jdrop.drop_path_rates(1, 0.3), [0.3], rtol=1e-6)
    traced = jax.jit(lambda rate: jdrop.drop_path_rates(4, rate))(0.3)
    np.testing.assert_array_equal(traced, rates)
    for depth, error in ((0, ValueError), (2.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match=r"depth is (1 or more|a static integer); got"):
            jdrop.drop_path_rates(depth, 0.3)
    with pytest.raises(ValueError, match=r"in \[0, 1\]; got 1.5"):
        jdrop.drop_path_rates(4, 1.5)


def test_mode_of_drop_path():
    with pytest.raises(ValueError, match="mode is 'sample' or 'batch'; got 'row'"):
        jdrop.drop_path(KEY, X, 0.5, mode="row")


def test_axes_of_features_are_checked():
    for axes, message in (
        (
            {"channel_axis": 3},
            "channel_axis must be an axis .* got 3. Axes run",
        ),
        ({"batch_axis": -4}, "batch_axis must be an axis .* got -4"),
        ({"channel_axis": 0}, "channel_axis and batch_axis must be different"),
    ):
        with pytest.raises(ValueError, match=message):
            jdrop.feature_dropout(KEY, X, 0.5, **axes)
    with pytest.raises(TypeError, match="channel_axis is one axis .* got tuple.* -1"):
        jdrop.feature_dropout(KEY, X, 0.5, channel_axis=(1, 2))


def test_numbers_that_are_no_rate_are_checked():
    with pytest.raises(
        ValueError, match=r"stddev is one real number in \[0, inf\); got -1"
    ):
        jdrop.gaussian_noise(KEY, X, -1.0)
    with pytest.raises(ValueError, match=r"variance is .* in \[1e-30, inf\); got inf"):
        jdrop.alpha_dropout(KEY, X, 0.5, variance=np.inf)
    with pytest.raises(TypeError, match=r"mean is .* in \(-inf, inf\); got str 'a'"):
        jdrop.alpha_dropout(KEY, X, 0.5, mean="a")
    with pytest.raises(ValueError, match="temperature is .* got 0"):
        jdrop.concrete_dropout(KEY, X, 0.5, temperature=0)
    scales = {"weight_scale": 1e-4, "dropout_scale": 1e-3}
    with pytest.raises(ValueError, match=r"squared_norm is .* of shape \(3, 2\). Use"):
        jdrop.concrete_regulariser(0.5, jnp.ones((3, 2)), 3, **scales)
    with pytest.raises(ValueError, match=r"features is .* \[0, inf\); got -3"):
        jdrop.concrete_regulariser(0.5, 1.0, -3, **scales)


def test_the_derivative_by_a_rate_that_is_learned():
    uniform = jax.random.normal(KEY, X.shape)

    def loss(rate):
        return jnp.mean(uniform * jdrop.concrete_dropout(KEY, X, rate) ** 2)

    step = 1e-2
    for rate in (0.2, 0.6):
        slope = (loss(rate + step) - loss(rate - step)) / (2 * step)
        np.testing.assert_allclose(jax.jit(jax.grad(loss))(rate), slope, rtol=0.1)


def test_the_regulariser_of_a_learned_rate():
    scales = {"weight_scale": 1e-3, "dropout_scale": 2e-2}
    rate, norm, features = 0.2, 30.0, 50
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    expected = 1e-3 * norm / (1 - rate) - 2e-2 * features * entropy
    got = jdrop.concrete_regulariser(rate, norm, features, **scales)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    # Without weights the entropy is all, and has its greatest value at 1/2.
    slope = jax.grad(
        lambda rate: jdrop.concrete_regulariser(rate, 0.0, features, **scales)
    )
    assert abs(slope(0.5)) < 1e-6 and slope(0.4) < 0 < slope(0.6)
    assert jdrop.concrete_regulariser(0.0, 1.0, features, **scales) == np.float32(1e-3)


@pytest.mark.usefixtures("standard_promotion")
def test_a_rate_is_learned():
    """Features that are noise are dropped more than those that carry the signal."""
    signal = jax.random.normal(jax.random.key(2), (512, 4))
    noise = jax.random.normal(jax.random.key(3), (512, 4))
    target = signal.sum(1)

    def loss(params, key):
        keys = jax.random.split(key)
        kept = [
            jdrop.concrete_dropout(keys[i], x, jax.nn.sigmoid(params["logits"][i]))
            for i, x in enumerate((signal, noise))
        ]
        guess = jnp.concatenate(kept, axis=1) @ params["weights"]
        penalty = sum(
            jdrop.concrete_regulariser(
                jax.nn.sigmoid(params["logits"][i]),
                (params["weights"][4 * i : 4 * i + 4] ** 2).sum(),
                4,
                weight_scale=1e-3,
                dropout_scale=1e-1,
            )
            for i in range(2)
        )
        return jnp.mean((guess - target) ** 2) + penalty

    optimizer = optax.adam(3e-2)
    params = {"logits": jnp.full(2, -1.0), "weights": jnp.full(8, 0.5)}

    @jax.jit
    def train(params):
        def step(carry, number):
            params, state = carry
            slope = jax.grad(loss)(params, jdrop.key_for(KEY, number))
            updates, state = optimizer.update(slope, state)
            return (optax.apply_updates(params, updates), state), None

        start = (params, optimizer.init(params))
        return jax.lax.scan(step, start, jnp.arange(600))[0][0]

    rates = jax.nn.sigmoid(train(params)["logits"])
    assert rates[0] < 0.1 and rates[1] > 0.4
