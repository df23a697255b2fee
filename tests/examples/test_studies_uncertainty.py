"""The maths of the study of uncertainty: shifted images, and what tells them apart."""

import jax.numpy as jnp
import numpy as np
import pytest

from examples.studies.predictors import told_apart
from examples.studies.uncertainty import SHIFTS, shifted

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_images_are_shifted() -> None:
    images = np.random.RandomState(0).randn(4, 8, 8, 1).astype(np.float32)
    seen = dict(zip(SHIFTS, np.asarray(shifted(jnp.asarray(images))), strict=True))
    np.testing.assert_array_equal(seen["as they are"], images)
    turned = np.rot90(images, axes=(1, 2))
    np.testing.assert_allclose(seen["rotated by 90"], turned, atol=1e-5)
    # The corners see the ground.
    assert np.allclose(seen["rotated by 45"][:, 0, 0], images.min(), atol=1e-5)
    pixels = [np.sort(x.reshape(4, -1)) for x in (seen["shuffled"], images)]
    np.testing.assert_array_equal(*pixels)
    assert not np.array_equal(seen["shuffled"], images)
    # Of 256 numbers the deviation is off by 1 / sqrt(512), 4.4 %, of itself.
    noise = seen["noised by 1"] - images
    assert abs(noise.std() - 1) < 4 * 0.044


def test_larger_numbers_are_told_apart() -> None:
    own, other = jnp.array([1.0, 2.0, 3.0]), jnp.array([2.0, 4.0])
    # Of six pairs four and the half of one are larger.
    assert told_apart(own, other) == (1 + 0.5 + 3) / 6
    assert told_apart(own, own) == 0.5
