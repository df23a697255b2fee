"""The networks as Flax linen modules, with jdrop's dropout."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from examples.architecture import Architecture, Layer, Network, Tree, layer_key
from examples.convolution import convolution
from jdrop.linen import AlphaDropout, Dropout


class ConvBlock(nn.Module):
    """BatchNorm if asked for, 3x3 convolution, ReLU, max-pooling, channel dropout."""

    layer: Layer
    batch_norm: bool

    @nn.compact
    def __call__(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps images to smaller images; without a key, deterministic."""
        deterministic = key is None
        if self.batch_norm:
            x = nn.BatchNorm(deterministic, momentum=0.9, name="norm")(x)
        conv = nn.Conv(
            self.layer.width,
            (3, 3),
            conv_general_dilated=convolution(),
            name="conv",
        )
        x = nn.relu(conv(x))
        # "SAME" keeps the last row and column of an odd size.
        x = nn.max_pool(x, (2, 2), (2, 2), padding="SAME")
        # One bit a channel: all pixels share it.
        dropout = Dropout(self.layer.rate, broadcast_dims=(1, 2))
        return dropout(x, deterministic, rng=layer_key(key, self.layer.name))


class DenseBlock(nn.Module):
    """Dense layer, activation and dropout."""

    layer: Layer
    architecture: Architecture

    @nn.compact
    def __call__(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps features to features; without a key, deterministic."""
        kernel_init = getattr(nn.initializers, self.architecture.kernel_init)()
        x = nn.Dense(self.layer.width, kernel_init=kernel_init, name="dense")(x)
        x = getattr(nn, self.architecture.activation)(x)
        dropout = (AlphaDropout if self.architecture.alpha else Dropout)(
            self.layer.rate
        )
        return dropout(x, key is None, rng=layer_key(key, self.layer.name))


class Model(nn.Module):
    """The network of an architecture: a key trains it, None evaluates it."""

    architecture: Architecture

    @nn.compact
    def __call__(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
        """Computes the logits of a batch of images."""
        spec = self.architecture
        for layer in spec.convolutions:
            x = ConvBlock(layer, spec.batch_norm, name=layer.name)(x, key)
        x = x.reshape(x.shape[0], -1)
        dropout = Dropout(spec.flat.rate)
        x = dropout(x, key is None, rng=layer_key(key, spec.flat.name))
        for layer in spec.hidden:
            x = DenseBlock(layer, spec, name=layer.name)(x, key)
        return nn.Dense(spec.classes, name="logits")(x)


def network(architecture: Architecture, shape: tuple[int, ...]) -> Network:
    """Wraps the module as the two pure functions that the loop calls.

    Args:
      architecture: What the network is made of.
      shape: Shape of an image (height, width, channels).

    Returns:
      The functions `init` and `apply`.
    """
    model = Model(architecture)

    def init(key: jax.Array) -> tuple[Tree, Tree]:
        variables = model.init(key, jnp.zeros((1, *shape)), None)
        return variables["params"], variables.get("batch_stats", {})

    def apply(
        params: Tree, stats: Tree, x: jax.Array, key: jax.Array | None
    ) -> tuple[jax.Array, Tree]:
        variables = {"params": params, "batch_stats": stats}
        logits, updates = model.apply(variables, x, key, mutable=["batch_stats"])
        return logits, updates.get("batch_stats", {})

    return Network(init, apply)
