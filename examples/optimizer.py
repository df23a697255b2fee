"""The optimisers: AdamW, and SGD with momentum, along a cosine."""

import jax
import optax

from examples.architecture import Tree


def make_optimizer(
    name: str, *, learning_rate: float, weight_decay: float, momentum: float, steps: int
) -> optax.GradientTransformation:
    """Makes an optimiser whose learning rate falls to 0 along half a cosine.

    At step t of T the rate is learning_rate * (1 + cos(pi * t / T)) / 2. Weights decay,
    biases and the scales of BatchNorm don't.

    Args:
      name: "adamw" or "sgd".
      learning_rate: The rate of the first step, positive.
      weight_decay: The decay; for AdamW decoupled from the gradient, for SGD added to
        it. Both are multiplied by the learning rate.
      momentum: Momentum of SGD, in [0, 1); AdamW has its own.
      steps: Number of steps T.

    Returns:
      The optax transformation.

    References:
      Loshchilov and Hutter, 2019. Decoupled weight decay regularization.
      https://arxiv.org/abs/1711.05101
    """
    schedule = optax.cosine_decay_schedule(learning_rate, steps)
    if name == "adamw":
        return optax.adamw(schedule, weight_decay=weight_decay, mask=_kernels)
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=_kernels),
        optax.sgd(schedule, momentum=momentum),
    )


def _kernels(params: Tree) -> Tree:
    decays: Tree = jax.tree.map(lambda array: array.ndim > 1, params)
    return decays
