"""What `learn` looks at: any state, the first one too, and the losses by default."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from examples import loop
from examples.studies.learning import digits, learn, network, trained
from jdrop import key_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("standard_promotion", "quick_compilation"),
]


class Linear(nn.Module):
    """Logits of pixels."""

    @nn.compact
    def __call__(self, x: jax.Array, training: bool) -> jax.Array:
        return nn.Dense(10)(x.reshape(len(x), -1))


def make(rate: jax.Array) -> tuple[loop.Network, optax.GradientTransformation]:
    return network(Linear()), optax.sgd(rate)


def look(state: loop.State, split: loop.Batch, key: jax.Array) -> dict[str, jax.Array]:
    return {"kernel": state.params["Dense_0"]["kernel"]}


def test_an_evaluation_looks_at_the_state_of_its_step():
    split, seeds = digits(64), jnp.arange(2)
    setting, budget = {"rate": 0.1}, {"steps": 4, "every": 2}
    values = learn(make, setting, split, seeds, **budget, look=look, start=True)
    kernels = values["kernel"]
    assert values["step"].tolist() == [0, 2, 4]
    params, _ = trained(make, setting, split, seeds, steps=4)
    np.testing.assert_allclose(
        kernels[:, 2], params["Dense_0"]["kernel"], rtol=1e-5, atol=1e-7
    )
    method = loop.Method(*make(0.1))
    for seed in range(2):
        key = key_for(jax.random.key(seed), "weights")
        first = loop.create_state(method, key).params["Dense_0"]["kernel"]
        np.testing.assert_allclose(kernels[seed, 0], first, rtol=1e-5, atol=1e-7)
    assert learn(make, setting, split, seeds, **budget)["test_loss"].shape == (2, 2)
