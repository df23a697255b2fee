"""The maths of the study of theory: masks that mirror each other, ridge regression."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from examples.studies import subnetworks
from examples.studies.theory import expect, regress

pytestmark = pytest.mark.usefixtures("standard_promotion", "quick_compilation")


def test_mirrored_sub_networks_of_a_linear_network_have_its_mean(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subnetworks, "RATES", (0.5, 0.0, 0.0))
    # Where nothing is negative, ReLU changes nothing.
    random, widths = np.random.RandomState(0), (40, 5, 4, 3)
    params = {
        name: {"kernel": random.rand(n, m), "bias": random.rand(m)}
        for name, n, m in zip(
            ("hidden_0", "hidden_1", "logits"), widths[:-1], widths[1:], strict=True
        )
    }
    images = random.rand(2, 5, 8, 1)
    arrays = jax.tree.map(jnp.float32, (params, images))
    run = jax.jit(subnetworks.sub_network, static_argnames="mirrored")
    one, other = (run(*arrays, jax.random.key(1), mirrored=m) for m in (False, True))
    x = images.reshape(2, 40)
    for layer in params.values():
        x = x @ layer["kernel"] + layer["bias"]
    assert abs(one - x).max() > 0.1
    np.testing.assert_allclose((one + other) / 2, x, rtol=1e-5)


@pytest.mark.slow
def test_dropout_finds_the_ridge_with_weights_and_not_the_even_one() -> None:
    run = jax.jit(partial(regress, op="dropout 0.5", draws=(300,)))
    distances = run(jnp.int32(0))
    assert distances["predicted"] < 0.08 < 0.2 < distances["other"]


@pytest.mark.slow
def test_the_mean_of_dropout_nears_x_as_theory_says() -> None:
    # Var[x'] is x^2 at rate 0.5, so 1 / sqrt(n) of x is left after n draws. Its square
    # is a mean that 4096 / 3 normal errors of one size would have: 4 standard errors.
    (error,) = jax.jit(partial(expect, op="dropout 0.5", draws=(100,)))(0)["error"]
    assert abs(error - 0.1) < 0.1 * 4 * (3 / 4096 / 2) ** 0.5
