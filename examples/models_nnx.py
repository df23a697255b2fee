"""The networks as Flax nnx modules, with jdrop's dropout."""

import jax
from flax import nnx

from examples.architecture import Architecture, Layer, Network, Tree, layer_key
from examples.convolution import convolution
from jdrop import key_for
from jdrop.nnx import AlphaDropout, Dropout


class ConvBlock(nnx.Module):
    """BatchNorm if asked for, 3x3 convolution, ReLU, max-pooling, channel dropout."""

    def __init__(self, layer: Layer, channels: int, batch_norm: bool, rngs: nnx.Rngs):
        """Makes the block for an input of some channels."""
        self.name = layer.name
        norm = nnx.BatchNorm(channels, momentum=0.9, rngs=rngs) if batch_norm else None
        self.norm = nnx.data(norm)
        self.conv = nnx.Conv(
            channels,
            layer.width,
            (3, 3),
            conv_general_dilated=convolution(),
            rngs=rngs,
        )
        # One bit a channel: all pixels share it.
        self.dropout = Dropout(layer.rate, broadcast_dims=(1, 2))

    def __call__(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps images to smaller images; without a key, deterministic."""
        deterministic = key is None
        if self.norm is not None:
            x = self.norm(x, use_running_average=deterministic)
        x = nnx.relu(self.conv(x))
        # "SAME" keeps the last row and column of an odd size.
        x = nnx.max_pool(x, (2, 2), (2, 2), padding="SAME")
        keys = layer_key(key, self.name)
        return self.dropout(x, deterministic=deterministic, rngs=keys)


class DenseBlock(nnx.Module):
    """Dense layer, activation and dropout."""

    def __init__(
        self, layer: Layer, features: int, architecture: Architecture, rngs: nnx.Rngs
    ):
        """Makes the block for an input of some features."""
        self.name = layer.name
        self.activation = getattr(nnx, architecture.activation)
        kernel_init = getattr(nnx.initializers, architecture.kernel_init)()
        self.dense = nnx.Linear(
            features, layer.width, kernel_init=kernel_init, rngs=rngs
        )
        self.dropout = (AlphaDropout if architecture.alpha else Dropout)(layer.rate)

    def __call__(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps features to features; without a key, deterministic."""
        x = self.activation(self.dense(x))
        keys = layer_key(key, self.name)
        return self.dropout(x, deterministic=key is None, rngs=keys)


class Model(nnx.Module):
    """The network of an architecture: a key trains it, None evaluates it."""

    def __init__(
        self, architecture: Architecture, shape: tuple[int, ...], key: jax.Array
    ):
        """Makes the layers for images of a shape (height, width, channels)."""
        self.architecture = architecture
        height, width, channels = shape
        for layer in architecture.convolutions:
            rngs = nnx.Rngs(key_for(key, layer.name))
            block = ConvBlock(layer, channels, architecture.batch_norm, rngs)
            setattr(self, layer.name, block)
            # Pooling rounds a size up.
            height, width, channels = -(-height // 2), -(-width // 2), layer.width
        self.dropout = Dropout(architecture.flat.rate)
        features = height * width * channels
        for layer in architecture.hidden:
            rngs = nnx.Rngs(key_for(key, layer.name))
            setattr(self, layer.name, DenseBlock(layer, features, architecture, rngs))
            features = layer.width
        rngs = nnx.Rngs(key_for(key, "logits"))
        self.logits = nnx.Linear(features, architecture.classes, rngs=rngs)

    def __call__(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
        """Computes the logits of a batch of images."""
        for layer in self.architecture.convolutions:
            x = getattr(self, layer.name)(x, key)
        x = x.reshape(x.shape[0], -1)
        keys = layer_key(key, self.architecture.flat.name)
        x = self.dropout(x, deterministic=key is None, rngs=keys)
        for layer in self.architecture.hidden:
            x = getattr(self, layer.name)(x, key)
        return self.logits(x)


def network(architecture: Architecture, shape: tuple[int, ...]) -> Network:
    """Splits the module into the two pure functions that the loop calls.

    Args:
      architecture: What the network is made of.
      shape: Shape of an image (height, width, channels).

    Returns:
      The functions `init` and `apply`.
    """

    def split(model: Model) -> tuple[Tree, Tree]:
        _, *states = nnx.split(model, nnx.Param, nnx.BatchStat)
        params, stats = map(nnx.to_pure_dict, states)
        return params, stats

    def init(key: jax.Array) -> tuple[Tree, Tree]:
        return split(Model(architecture, shape, key))

    abstract = nnx.eval_shape(lambda: Model(architecture, shape, jax.random.key(0)))
    graphdef = nnx.graphdef(abstract)

    def apply(
        params: Tree, stats: Tree, x: jax.Array, key: jax.Array | None
    ) -> tuple[jax.Array, Tree]:
        model = nnx.merge(graphdef, params, stats)
        logits = model(x, key)
        return logits, split(model)[1]

    return Network(init, apply)
