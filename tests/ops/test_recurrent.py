"""Over time: locked masks, fresh ones, zoneout, and what each leaves of a state."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jdrop

KEY = jax.random.key(0)
STEPS, UNITS, RATE = 20, 4096, 0.25


def survivors(drop):
    """The part of a state of ones that is still there after each of some steps.

    The network itself does nothing: the next state is the state.
    """

    def step(state, key):
        state = drop(key, state)
        return state, jnp.mean(state != 0)

    keys = jax.vmap(lambda i: jdrop.key_for(KEY, i))(jnp.arange(STEPS))
    return np.asarray(lax.scan(step, jnp.ones((UNITS,)), keys)[1])


def test_fresh_masks_empty_the_state_and_a_locked_one_does_not():
    """Why dropout was said not to be for recurrent networks, and when it is."""
    fresh = survivors(lambda key, h: jdrop.dropout(key, h, RATE))
    mask = jdrop.sample_mask(KEY, (UNITS,), RATE)
    locked = survivors(lambda key, h: jdrop.apply_mask(mask, h))
    zoned = survivors(lambda key, h: jdrop.zoneout(key, h, h, RATE))
    keep = 1 - RATE
    for steps, left in enumerate(fresh, start=1):
        expected = keep**steps
        assert abs(left - expected) <= 5 * np.sqrt(expected / UNITS), steps
    assert fresh[-1] < 0.01
    np.testing.assert_array_equal(locked, locked[0])
    assert abs(locked[0] - keep) <= 5 * np.sqrt(keep * RATE / UNITS)
    np.testing.assert_array_equal(zoned, 1)


def test_one_mask_passes_through_a_scan_in_one_bit_per_element():
    """Input and recurrent masks of Gal and Ghahramani: one of each for all steps."""
    x = jax.random.normal(jax.random.key(1), (STEPS, 8, 64))
    weights = jax.random.normal(jax.random.key(2), (2, 64, 64)) / 8
    input_key, state_key = jax.random.split(KEY)

    @jax.jit
    def run(weights):
        masks = (
            jdrop.sample_mask(input_key, (8, 64), RATE),
            jdrop.sample_mask(state_key, (8, 64), RATE),
        )

        def step(state, x):
            x = jdrop.apply_mask(masks[0], x)
            held = jdrop.apply_mask(masks[1], state)
            state = jnp.tanh(x @ weights[0] + held @ weights[1])
            return state, state

        return lax.scan(step, jnp.zeros((8, 64)), x)[1]

    kept = [
        np.asarray(jdrop.sample_mask(key, (8, 64), RATE).to_bool())
        for key in (input_key, state_key)
    ]
    state, states = np.zeros((8, 64)), []
    for inputs in np.asarray(x):
        state = np.tanh(
            np.where(kept[0], inputs / 0.75, 0) @ np.asarray(weights[0])
            + np.where(kept[1], state / 0.75, 0) @ np.asarray(weights[1])
        )
        states.append(state)
    np.testing.assert_allclose(run(weights), np.stack(states), atol=1e-4)
    assert np.all(np.isfinite(jax.grad(lambda w: run(w).sum())(weights)))


def test_zoneout_of_a_scan_in_training_and_its_expectation():
    x = jax.random.normal(jax.random.key(3), (STEPS, UNITS))

    def run(key, deterministic):
        def step(state, inputs):
            i, x = inputs
            new = 0.5 * state + x
            state = jdrop.zoneout(
                jdrop.key_for(key, i), new, state, RATE, deterministic=deterministic
            )
            return state, state

        return lax.scan(step, jnp.zeros(UNITS), (jnp.arange(STEPS), x))[1]

    # The network is linear, so that the expectation over masks is exact.
    keys = jax.random.split(KEY, 400)
    drawn = jax.jit(jax.vmap(lambda key: run(key, False)))(keys)
    error = np.asarray(drawn.mean(0) - run(KEY, True))
    sigma = np.asarray(drawn.std(0)) / np.sqrt(len(keys)) + 1e-6
    assert np.abs(error / sigma).max() < 6


def test_embedding_dropout_drops_whole_words():
    table = jnp.ones((1000, 16))
    dropped = jdrop.feature_dropout(KEY, table, 0.5, channel_axis=0, batch_axis=None)
    rows = np.asarray(dropped)
    assert set(np.unique(rows)) == {0, 2}
    assert np.all(rows == rows[:, :1])
    ids = jnp.array([3, 7, 3, 3])
    np.testing.assert_array_equal(dropped[ids][0], dropped[ids][2])
