"""The networks as Flax linen modules, with jdrop's dropout."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from examples.loop import Network, Tree, convolve
from jdrop.linen import AlphaDropout, Dropout

Rates = tuple[float, ...]
# What layers compute in; parameters are float32. None: float32 too.
Dtype = jnp.dtype | None
Offset = jax.Array | None


class MLP(nn.Module):
    """Dropout of the input; hidden layers of ReLU units, each followed by dropout."""

    classes: int
    units: tuple[int, ...] = (256, 256)
    rates: Rates = (0.5, 0.5)
    input_rate: float = 0.2
    dtype: Dtype = None

    @nn.compact
    def __call__(
        self, x: jax.Array, training: bool, offset: Offset = None
    ) -> jax.Array:
        """Computes the logits of images, a batch or its part from `offset` on."""
        x = x.reshape(len(x), -1)
        x = Dropout(self.input_rate, deterministic=not training)(x, offset=offset)
        for i, (units, rate) in enumerate(zip(self.units, self.rates, strict=True)):
            x = nn.relu(nn.Dense(units, dtype=self.dtype, name=f"hidden_{i}")(x))
            x = Dropout(rate, deterministic=not training)(x, offset=offset)
        return nn.Dense(self.classes, dtype=self.dtype, name="logits")(x)


class SelfNormalizingMLP(nn.Module):
    """Layers of SELU units, which alpha dropout keeps at mean 0 and variance 1."""

    classes: int
    rates: Rates = 20 * (0.05,)
    activation: Callable[[jax.Array], jax.Array] = nn.selu
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dtype: Dtype = None

    @nn.compact
    def __call__(
        self, x: jax.Array, training: bool, offset: Offset = None
    ) -> jax.Array:
        """Computes the logits of images, a batch or its part from `offset` on."""
        dense = partial(nn.Dense, kernel_init=self.kernel_init, dtype=self.dtype)
        x = x.reshape(len(x), -1)
        for i, rate in enumerate(self.rates):
            x = self.activation(dense(100, name=f"hidden_{i}")(x))
            x = AlphaDropout(rate, deterministic=not training)(x, offset=offset)
        return dense(self.classes, name="logits")(x)


class CNN(nn.Module):
    """3x3 convolutions with dropout of whole channels, then a hidden layer."""

    classes: int
    rates: Rates = (0.25, 0.25)
    channel_rates: Rates = (0.0, 0.0, 0.0)
    padding: str = "SAME"
    norm: str = "none"
    # Whether BatchNorm uses its averages in training too.
    frozen: bool = False
    dtype: Dtype = None

    @nn.compact
    def __call__(
        self, x: jax.Array, training: bool, offset: Offset = None
    ) -> jax.Array:
        """Computes the logits of images, a batch or its part from `offset` on."""
        dtype, rest = self.dtype, not training
        for i, rate in enumerate(self.channel_rates):
            norm = nn.BatchNorm(
                rest or self.frozen, momentum=0.9, dtype=dtype, name=f"norm_{i}"
            )
            conv = nn.Conv(
                features=32 * 2**i,
                kernel_size=(3, 3),
                padding=self.padding,
                dtype=dtype,
                conv_general_dilated=convolve,
                name=f"conv_{i}",
            )
            x = conv(norm(x) if self.norm == "before" else x)
            x = nn.relu(norm(x) if self.norm == "after" else x)
            x = nn.max_pool(x, (2, 2), (2, 2), padding=self.padding)
            # One bit a channel: all pixels share it.
            channels = Dropout(rate, broadcast_dims=(1, 2), deterministic=rest)
            x = channels(x, offset=offset)
        x = x.reshape(len(x), -1)
        x = Dropout(self.rates[0], deterministic=rest)(x, offset=offset)
        x = nn.relu(nn.Dense(512, dtype=dtype, name="hidden_0")(x))
        x = Dropout(self.rates[1], deterministic=rest)(x, offset=offset)
        return nn.Dense(self.classes, dtype=dtype, name="logits")(x)


def network(name: str, shape: tuple[int, ...], **fields: Any) -> Network:
    """Makes a module for images of a shape, as the pure functions of the loop."""
    return as_network(globals()[name](**fields), shape)


def as_network(model: nn.Module, shape: tuple[int, ...]) -> Network:
    """A module that is called with images and `training`, as functions of the loop.

    It takes an `offset` if one is to be given, and has a field `frozen` if there is
    BatchNorm in it. Its rates, which may be traced, are fields so named.
    """

    def init(key: jax.Array) -> tuple[Tree, Tree]:
        variables = model.init(key, jnp.zeros((1, *shape)), training=False)
        return variables["params"], variables.get("batch_stats", {})

    def scaled(scale: jax.Array | None) -> nn.Module:
        if scale is None:
            return model
        # A rate of 0 stays one, which draws nothing.
        return model.clone(
            **{
                name: jax.tree.map(lambda rate: rate and scale * rate, rates)
                for name, rates in vars(model).items()
                if name.endswith(("rate", "rates"))
            }
        )

    def dropping(
        model: nn.Module,
        params: Tree,
        stats: Tree,
        images: jax.Array,
        key: jax.Array,
        offset: Offset,
        **options: Any,
    ) -> Any:
        if offset is not None:
            options["offset"] = offset
        variables, rngs = {"params": params, "batch_stats": stats}, {"dropout": key}
        return model.apply(variables, images, training=True, rngs=rngs, **options)

    def train(
        params: Tree,
        stats: Tree,
        images: jax.Array,
        key: jax.Array,
        offset: Offset = None,
        scale: jax.Array | None = None,
    ) -> tuple[jax.Array, Tree]:
        given = params, stats, images, key, offset
        logits, updates = dropping(scaled(scale), *given, mutable="batch_stats")
        return logits, updates.get("batch_stats", {})

    def predict(params: Tree, stats: Tree, images: jax.Array) -> Any:
        variables = {"params": params, "batch_stats": stats}
        return model.apply(variables, images, training=False)

    def sample(
        params: Tree, stats: Tree, images: jax.Array, key: jax.Array, offset: Offset
    ) -> jax.Array:
        resting = model.clone(frozen=True) if hasattr(model, "frozen") else model
        return dropping(resting, params, stats, images, key, offset)

    return Network(init, train, predict, sample)
