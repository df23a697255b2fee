"""The optimiser, and what its schedules and its limits do."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from examples import optimizer

# optax's Adam divides by float ** int32, which strict promotion refuses.
pytestmark = pytest.mark.usefixtures("standard_promotion")


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_optimizers_decay_weights_and_not_biases(name: str, schedule: str) -> None:
    rate = optimizer.learning_rate_schedule(schedule, 0.1, 2)
    chain = optimizer.make_optimizer(name, rate, decay=0.5, momentum=0.9)
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    state, none = chain.init(params), jax.tree.map(jnp.zeros_like, params)
    for _ in range(3):
        updates, state = chain.update(none, state, params)
        params = optax.apply_updates(params, updates)
    # AdamW multiplies by 1 - 0.5 * rate. SGD adds 0.5 * w to a velocity v that falls to
    # 0.9 v, and subtracts rate * v. The cosine has the rates 0.1, 0.05 and 0.
    rates = [0.1, 0.05, 0] if schedule == "cosine" else 3 * [0.1]
    expected, velocity = {"adamw": 1.0, "sgd": 1.0}, 0.0
    for rate in rates:
        expected["adamw"] *= 1 - 0.5 * rate
        velocity = 0.9 * velocity + 0.5 * expected["sgd"]
        expected["sgd"] -= rate * velocity
    np.testing.assert_allclose(params["kernel"], expected[name], rtol=1e-6)
    np.testing.assert_array_equal(params["bias"], 1.0)


def test_the_norm_of_the_gradient_is_limited() -> None:
    chain = optimizer.make_optimizer("sgd", 1.0, momentum=0.0, clip_norm=0.5)
    params = {"kernel": jnp.zeros((1, 2)), "bias": jnp.zeros(1)}
    grads = {"kernel": jnp.array([[3.0, 0.0]]), "bias": jnp.array([4.0])}
    updates, _ = chain.update(grads, chain.init(params), params)
    np.testing.assert_allclose(updates["kernel"], [[-0.3, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(updates["bias"], [-0.4], rtol=1e-6)


@pytest.mark.parametrize("shape", [(3, 2), (2, 2, 3, 2)])
def test_max_norm_shrinks_the_weights_that_come_into_a_unit(
    shape: tuple[int, ...],
) -> None:
    chain = optimizer.make_optimizer("sgd", 1.0, momentum=0.0, largest_norm=2.0)
    kernel = jax.random.normal(jax.random.key(0), shape)
    inputs = tuple(range(len(shape) - 1))
    # One unit comes to a norm of 6, one to 1.
    wanted = kernel / jnp.sqrt((kernel**2).sum(inputs)) * jnp.array([6.0, 1.0])
    params = {"kernel": jnp.zeros(shape), "bias": jnp.zeros(2)}
    grads = {"kernel": -wanted, "bias": jnp.array([-9.0, 0.0])}
    updates, _ = chain.update(grads, chain.init(params), params)
    norms = jnp.sqrt((updates["kernel"] ** 2).sum(inputs))
    np.testing.assert_allclose(norms, [2, 1], rtol=1e-5)
    np.testing.assert_allclose(updates["kernel"][..., 1], wanted[..., 1], rtol=1e-6)
    np.testing.assert_array_equal(updates["bias"], [9.0, 0.0])
    # A unit without weights stays one.
    still, _ = chain.update(
        jax.tree.map(jnp.zeros_like, params), chain.init(params), params
    )
    np.testing.assert_array_equal(still["kernel"], 0.0)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("constant", {0: 0.1, 5: 0.1, 100: 0.1}),
        ("cosine", {0: 0.1, 50: 0.05, 100: 0}),
        ("warmup_cosine", {0: 0, 5: 0.1, 100: 0}),
    ],
)
def test_learning_rates(name: str, values: dict[int, float]) -> None:
    schedule = optimizer.learning_rate_schedule(name, 0.1, 100)
    for step, value in values.items():
        assert schedule(step) == pytest.approx(value, abs=1e-7)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("early", {0: 1, 25: 0.5, 50: 0, 99: 0}),
        ("late", {0: 0, 49: 0, 50: 1, 99: 1}),
        ("curriculum", {0: 0, 10: 1 - np.exp(-1), 100: 1 - np.exp(-10)}),
    ],
)
def test_factors_of_the_dropout_rates(name: str, values: dict[int, float]) -> None:
    schedule = optimizer.rate_schedule(name, 100)
    assert schedule is not None
    for step, value in values.items():
        assert jax.jit(schedule)(step) == pytest.approx(value, abs=1e-6)
    assert optimizer.rate_schedule("constant", 100) is None
