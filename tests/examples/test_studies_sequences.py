"""One mask for all steps, or one for each: which of them the recurrent network has."""

import jax
import jax.numpy as jnp
import pytest

from examples.studies.learning import network
from examples.studies.sequences import UNITS, Recurrent, Transformer

pytestmark = pytest.mark.slow


def units_never_read(kind: str) -> int:
    """Units of the state whose weights no step of one image has a gradient for."""
    net = network(Recurrent(kind, 0.5))
    image = jax.random.normal(jax.random.key(0), (1, 8, 8, 1))
    params, stats = net.init(jax.random.key(1))

    def total(params: dict) -> jax.Array:
        return net.train(params, stats, image, jax.random.key(2))[0].sum()

    grads = jax.grad(total)(params)["ScanStep_0"]["OptimizedLSTMCell_0"]
    return int(jnp.all(grads["hi"]["kernel"] == 0, axis=1).sum())


def test_a_locked_mask_drops_the_same_units_at_each_step():
    # Binomial(64, 1/2), 5 standard deviations of 4 to either side.
    assert UNITS / 2 - 20 < units_never_read("locked") < UNITS / 2 + 20


def test_a_plain_mask_drops_others_at_each_step():
    # A unit is dropped at all of 7 steps with probability 1/128.
    assert units_never_read("plain") < 5


def test_zoneout_and_the_last_state_leave_the_state_whole():
    assert units_never_read("zoneout") == units_never_read("last state") == 0


def test_drop_path_at_rate_1_leaves_only_the_embedding():
    net = network(Transformer(0.0, 1.0))
    images = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))
    params, stats = net.init(jax.random.key(1))

    def total(params: dict) -> jax.Array:
        return net.train(params, stats, images, jax.random.key(2))[0].sum()

    grads = jax.grad(total)(params)
    used = {
        layer
        for layer, own in grads.items()
        if any(bool(jnp.any(grad != 0)) for grad in jax.tree.leaves(own))
    }
    # The first dense layer, the places, the last normalisation and the logits.
    assert used == {"Dense_0", "place", "LayerNorm_4", "Dense_5"}
