"""How good class probabilities are, and how well they know it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import entr


class Bins(NamedTuple):
    """Examples by confidence, each (bins,): bin b of n has it in (b / n, (b + 1) / n].

    The means of confidence and accuracy are 0 in a bin without examples.
    """

    confidence: jax.Array
    accuracy: jax.Array
    examples: jax.Array


class Score(NamedTuple):
    """Means over the examples: scalars, and the bins of a reliability diagram.

    `loss` is the negative log likelihood and `entropy` that of the prediction, both in
    nats; `calibration_error` is the expected calibration error.
    """

    accuracy: jax.Array
    loss: jax.Array
    calibration_error: jax.Array
    entropy: jax.Array
    bins: Bins


def score(probabilities: jax.Array, labels: jax.Array, *, bins: int = 15) -> Score:
    """Scores probabilities (examples, classes) by integer labels (examples,).

    The confidence of an example is its largest probability, and the expected
    calibration error the mean over the examples of |accuracy - confidence| of their bin
    (Guo et al. 2017, https://arxiv.org/abs/1706.04599, which has 15 bins).
    """
    # A probability that underflowed to 0 counts as the smallest normal number.
    likely = jnp.maximum(probabilities, jnp.finfo(probabilities.dtype).tiny)
    loss = -jnp.take_along_axis(jnp.log(likely), labels[:, None], axis=-1)
    confidence = probabilities.max(axis=-1)
    correct = (probabilities.argmax(axis=-1) == labels).astype(confidence.dtype)
    index = jnp.clip(jnp.ceil(confidence * bins) - 1, 0, bins - 1).astype(jnp.int32)

    def total(values: jax.Array) -> jax.Array:
        return jax.ops.segment_sum(values, index, num_segments=bins)

    examples = total(jnp.ones_like(confidence))
    in_bin = jnp.maximum(examples, 1)
    seen = Bins(total(confidence) / in_bin, total(correct) / in_bin, examples)
    gap = jnp.abs(seen.accuracy - seen.confidence)
    error = (examples * gap).sum() / len(labels)
    entropy = entr(probabilities).sum(axis=-1).mean()
    return Score(correct.mean(), loss.mean(), error, entropy, seen)
