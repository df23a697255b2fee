"""What each network is made of, told once for linen, nnx and the table of layers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

import jdrop

Tree = dict[str, Any]


class Layer(NamedTuple):
    """One layer: the name of its weights and of its dropout key, its width and rate."""

    name: str
    width: int = 0
    rate: float = 0.0


@dataclass(frozen=True)
class Architecture:
    """Convolutions, then flat features, hidden layers and logits.

    Attributes:
      hidden: Dense layers, each followed by the activation and by dropout.
      classes: Width of the last layer.
      flat: The input of the first dense layer: it has a rate, and no weights.
      convolutions: 3x3 convolutions, each followed by ReLU, 2x2 max-pooling and
        dropout of whole channels.
      activation: "relu" or "selu", after each hidden layer.
      kernel_init: "lecun_normal" or "xavier_uniform", of the hidden layers.
      alpha: Whether dense layers have alpha dropout in place of dropout.
      batch_norm: Whether each convolution has BatchNorm before it.
    """

    hidden: tuple[Layer, ...]
    classes: int
    flat: Layer
    convolutions: tuple[Layer, ...] = ()
    activation: str = "relu"
    kernel_init: str = "lecun_normal"
    alpha: bool = False
    batch_norm: bool = False


class Network(NamedTuple):
    """A network as two pure functions, whichever library its modules are of.

    Attributes:
      init: From a key to the parameters, by layer and by name, and the running
        averages of BatchNorm (empty without it).
      apply: From parameters, averages, images and the key of a step to the logits and
        the new averages. Without a key it evaluates: nothing drops, and the averages
        stay as they are.
    """

    init: Callable[[jax.Array], tuple[Tree, Tree]]
    apply: Callable[[Tree, Tree, jax.Array, jax.Array | None], tuple[jax.Array, Tree]]


def layer_key(step_key: jax.Array | None, name: str) -> jax.Array | None:
    """Makes the dropout key of a layer by its name, so that no layer shifts another's.

    Args:
      step_key: The key of the training step, or None in evaluation.
      name: The layer's name.

    Returns:
      A key, or None in evaluation.
    """
    return None if step_key is None else jdrop.key_for(step_key, name)


def mlp(classes: int, rate: float, input_rate: float) -> Architecture:
    """Two hidden layers of 256 units, each followed by dropout; dropout of the input.

    Args:
      classes: Width of the last layer.
      rate: Rate after each hidden layer, in [0, 1].
      input_rate: Rate of the pixels, in [0, 1].

    Returns:
      The architecture.
    """
    hidden = tuple(Layer(f"hidden_{i}", 256, rate) for i in range(2))
    return Architecture(hidden, classes, flat=Layer("input", rate=input_rate))


def alpha_mlp(classes: int, rate: float, variant: str) -> Architecture:
    """Twenty hidden layers of 100 units: self-normalising, or its ReLU variant.

    "selu" has SELU, LeCun normal weights and alpha dropout after each layer; "relu" has
    ReLU, Xavier uniform weights and alpha dropout after the first layer only.

    Args:
      classes: Width of the last layer.
      rate: Rate of the alpha dropout, in [0, 1].
      variant: "selu" or "relu".

    Returns:
      The architecture.
    """
    relu = variant == "relu"
    rates = [rate] + 19 * [0.0 if relu else rate]
    return Architecture(
        tuple(Layer(f"hidden_{i}", 100, r) for i, r in enumerate(rates)),
        classes,
        flat=Layer("input"),
        activation=variant,
        kernel_init="xavier_uniform" if relu else "lecun_normal",
        alpha=True,
    )


def cnn(
    classes: int, rate: float, channel_rate: float, batch_norm: bool
) -> Architecture:
    """Three 3x3 convolutions with max-pooling, then a hidden layer of 512 units.

    Args:
      classes: Width of the last layer.
      rate: Rate before and after the hidden layer, in [0, 1].
      channel_rate: Rate of whole channels after each convolution, in [0, 1].
      batch_norm: Whether each convolution has BatchNorm before it.

    Returns:
      The architecture.
    """
    convolutions = tuple(
        Layer(f"conv_{i}", width, channel_rate) for i, width in enumerate((32, 64, 128))
    )
    return Architecture(
        (Layer("hidden_0", 512, rate),),
        classes,
        flat=Layer("flat", rate=rate),
        convolutions=convolutions,
        batch_norm=batch_norm,
    )
