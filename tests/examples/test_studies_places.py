"""What BatchNorm has learnt with dropout, and what it gets without."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from examples.studies import places
from examples.studies.places import ConvNet

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("standard_promotion")]


@pytest.fixture(scope="module")
def images() -> Iterator[jax.Array]:
    yield jax.random.normal(jax.random.key(0), (32, 8, 8, 1))


def learnt(place: str, rate: float, images: jax.Array) -> tuple[dict, dict]:
    """Parameters, and BatchNorm's averages of one batch that passed with dropout."""
    model = ConvNet(place, "units", rate, momentum=0.0)
    key, rngs = jax.random.key(1), {"dropout": jax.random.key(2)}
    variables = model.init(key, images, training=False)
    _, updates = model.apply(
        variables, images, training=True, rngs=rngs, mutable="batch_stats"
    )
    return variables["params"], updates["batch_stats"]


def test_the_shift_in_front_of_batch_norm_is_what_theory_says(
    images: jax.Array,
) -> None:
    # 1 + rate / keep * (1 + mean^2 / variance): Li et al. 2019, with inverse scaling.
    params, stats = learnt("before BatchNorm", 0.5, images)
    shift = places.variance_shift(params, stats, images)
    clean = places.estimated_anew(params, stats, images)["BatchNorm_0"]
    expected = np.median(1 + (1 + clean["mean"] ** 2 / clean["var"]))
    np.testing.assert_allclose(shift[0], expected, rtol=0.05)
    assert expected > 2


def test_there_is_no_shift_where_batch_norm_sees_no_dropout(images: jax.Array) -> None:
    for place, rate in (("behind the last", 0.5), ("after ReLU", 0.0)):
        params, stats = learnt(place, rate, images)
        shift = places.variance_shift(params, stats, images)
        np.testing.assert_allclose(shift, jnp.ones(3), rtol=1e-4)
        anew = places.estimated_anew(params, stats, images)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
            anew,
            stats,
        )
