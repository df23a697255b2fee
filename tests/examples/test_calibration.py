"""What scores probabilities: numbers by hand, and forecasts that are true."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from examples.calibration import score

scored = jax.jit(score, static_argnames="bins")


def test_scores_are_those_by_hand() -> None:
    # Two forecasts of 0.9, one right; 0.6, right; 0.5, wrong; two that are sure, one
    # right: a sure error costs the log of the smallest normal number, 87.3 nats.
    p = [[0.9, 0.1], [0.1, 0.9], [0.4, 0.6], [0.5, 0.5], [0.0, 1.0], [0.0, 1.0]]
    seen = scored(jnp.array(p), jnp.array([0, 0, 1, 1, 0, 1]), bins=5)
    assert seen.accuracy == 0.5
    likely = np.array([0.9, 0.1, 0.6, 0.5, 2.0**-126, 1.0])
    assert float(seen.loss) == pytest.approx(-np.log(likely).mean(), rel=1e-6)
    entropies = [-sum(q * np.log(q) for q in row if q) for row in p]
    assert float(seen.entropy) == pytest.approx(np.mean(entropies), rel=1e-6)
    np.testing.assert_array_equal(seen.bins.examples, [0, 0, 2, 0, 4])
    np.testing.assert_allclose(seen.bins.confidence, [0, 0, 0.55, 0, 0.95], rtol=1e-6)
    np.testing.assert_array_equal(seen.bins.accuracy, [0, 0, 0.5, 0, 0.5])
    error = (2 * 0.05 + 4 * 0.45) / 6
    assert float(seen.calibration_error) == pytest.approx(error, rel=1e-6)


def test_a_forecast_that_is_true_is_calibrated_and_one_that_boasts_is_not() -> None:
    random = np.random.RandomState(0)
    logits = 2 * random.randn(20_000, 10)
    labels = jnp.asarray((logits + random.gumbel(size=logits.shape)).argmax(axis=-1))
    weights = (np.exp(c * logits) for c in (1, 3))
    forecasts = (jnp.float32(w / w.sum(axis=-1, keepdims=True)) for w in weights)
    true, boast = (scored(forecast, labels) for forecast in forecasts)
    # The gap of a bin of n examples is at most 0.5 / sqrt(n) on average, and a sum of
    # n / 20,000 times that over 15 bins at most 0.5 * sqrt(15 / 20,000).
    assert true.calibration_error < 0.5 * np.sqrt(15 / 20_000) < 0.015
    assert boast.calibration_error > 0.1
    # A true forecast loses its entropy on average, within 4 standard errors of about
    # 1 / sqrt(20,000); and its loss is the least there is.
    assert abs(true.loss - true.entropy) < 0.03
    assert true.loss < boast.loss
