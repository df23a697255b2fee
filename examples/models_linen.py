"""The networks as Flax linen modules, with jdrop's dropout."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from examples.loop import Network, Tree, convolve
from jdrop.linen import AlphaDropout, Dropout

Rates = tuple[float, ...]


class MLP(nn.Module):
    """Dropout of the input; hidden layers of ReLU units, each followed by dropout."""

    classes: int
    rates: Rates = (0.5, 0.5)
    input_rate: float = 0.2

    @nn.compact
    def __call__(self, x: jax.Array, training: bool) -> jax.Array:
        """Computes the logits of a batch of images."""
        x = x.reshape(len(x), -1)
        x = Dropout(self.input_rate, deterministic=not training)(x)
        for i, rate in enumerate(self.rates):
            x = nn.relu(nn.Dense(256, name=f"hidden_{i}")(x))
            x = Dropout(rate, deterministic=not training)(x)
        return nn.Dense(self.classes, name="logits")(x)


class SelfNormalizingMLP(nn.Module):
    """Layers of SELU units, which alpha dropout keeps at mean 0 and variance 1."""

    classes: int
    rates: Rates = 20 * (0.05,)
    activation: Callable[[jax.Array], jax.Array] = nn.selu
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array, training: bool) -> jax.Array:
        """Computes the logits of a batch of images."""
        x = x.reshape(len(x), -1)
        for i, rate in enumerate(self.rates):
            hidden = nn.Dense(100, kernel_init=self.kernel_init, name=f"hidden_{i}")
            x = self.activation(hidden(x))
            x = AlphaDropout(rate, deterministic=not training)(x)
        return nn.Dense(self.classes, name="logits")(x)


class CNN(nn.Module):
    """3x3 convolutions with dropout of whole channels, then a hidden layer."""

    classes: int
    rates: Rates = (0.25, 0.25)
    channel_rates: Rates = (0.0, 0.0, 0.0)
    padding: str = "SAME"
    norm: str = "none"

    @nn.compact
    def __call__(self, x: jax.Array, training: bool) -> jax.Array:
        """Computes the logits of a batch of images."""
        for i, rate in enumerate(self.channel_rates):
            norm = nn.BatchNorm(not training, momentum=0.9, name=f"norm_{i}")
            conv = nn.Conv(
                features=32 * 2**i,
                kernel_size=(3, 3),
                padding=self.padding,
                conv_general_dilated=convolve,
                name=f"conv_{i}",
            )
            x = conv(norm(x) if self.norm == "before" else x)
            x = nn.relu(norm(x) if self.norm == "after" else x)
            x = nn.max_pool(x, (2, 2), (2, 2), padding=self.padding)
            # One bit a channel: all pixels share it.
            x = Dropout(rate, broadcast_dims=(1, 2), deterministic=not training)(x)
        x = x.reshape(len(x), -1)
        x = Dropout(self.rates[0], deterministic=not training)(x)
        x = nn.relu(nn.Dense(512, name="hidden_0")(x))
        x = Dropout(self.rates[1], deterministic=not training)(x)
        return nn.Dense(self.classes, name="logits")(x)


def network(name: str, shape: tuple[int, ...], **fields: Any) -> Network:
    """Makes a module for images of a shape, as the pure functions of the loop."""
    model = globals()[name](**fields)

    def init(key: jax.Array) -> tuple[Tree, Tree]:
        variables = model.init(key, jnp.zeros((1, *shape)), training=False)
        return variables["params"], variables.get("batch_stats", {})

    def train(
        params: Tree, stats: Tree, images: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, Tree]:
        logits, updates = model.apply(
            {"params": params, "batch_stats": stats},
            images,
            training=True,
            rngs={"dropout": key},
            mutable="batch_stats",
        )
        return logits, updates.get("batch_stats", {})

    def predict(params: Tree, stats: Tree, images: jax.Array) -> jax.Array:
        variables = {"params": params, "batch_stats": stats}
        return model.apply(variables, images, training=False)

    return Network(init, train, predict)
