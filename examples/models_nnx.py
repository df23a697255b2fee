"""The networks as Flax nnx modules, with jdrop's dropout."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from examples.loop import Network, Tree, convolve
from jdrop.nnx import AlphaDropout, Dropout

Shape = tuple[int, ...]
Rates = tuple[float, ...]
# What layers compute in; parameters are float32. None: float32 too.
Dtype = jnp.dtype | None
Offset = jax.Array | None
LECUN_NORMAL = nnx.initializers.lecun_normal()


class MLP(nnx.Module):
    """Dropout of the input; hidden layers of ReLU units, each followed by dropout."""

    def __init__(
        self,
        shape: Shape,
        classes: int,
        rates: Rates,
        input_rate: float,
        rngs: nnx.Rngs,
        units: tuple[int, ...] = (256, 256),
        dtype: Dtype = None,
    ):
        """Makes the layers for images of a shape (height, width, channels)."""
        dense = partial(nnx.Linear, dtype=dtype, rngs=rngs)
        inputs = (math.prod(shape), *units[:-1])
        self.input_dropout = Dropout(input_rate)
        self.hidden = nnx.List(map(dense, inputs, units))
        self.dropout = nnx.List(Dropout(rate) for rate in rates)
        self.logits = dense(units[-1], classes)

    def __call__(
        self, x: jax.Array, rngs: nnx.Rngs | None = None, offset: Offset = None
    ) -> jax.Array:
        """Computes the logits of images, a batch or its part from `offset` on."""
        x = self.input_dropout(x.reshape(len(x), -1), rngs=rngs, offset=offset)
        for hidden, dropout in zip(self.hidden, self.dropout, strict=True):
            x = dropout(nnx.relu(hidden(x)), rngs=rngs, offset=offset)
        return self.logits(x)


class SelfNormalizingMLP(nnx.Module):
    """Layers of SELU units, which alpha dropout keeps at mean 0 and variance 1."""

    def __init__(
        self,
        shape: Shape,
        classes: int,
        rates: Rates,
        rngs: nnx.Rngs,
        activation: Callable[[jax.Array], jax.Array] = nnx.selu,
        kernel_init: nnx.Initializer = LECUN_NORMAL,
        dtype: Dtype = None,
    ):
        """Makes the layers for images of a shape (height, width, channels)."""
        dense = partial(nnx.Linear, kernel_init=kernel_init, dtype=dtype, rngs=rngs)
        inputs = [math.prod(shape)] + [100] * (len(rates) - 1)
        self.activation = activation
        self.hidden = nnx.List(dense(n, 100) for n in inputs)
        self.dropout = nnx.List(AlphaDropout(rate) for rate in rates)
        self.logits = dense(100, classes)

    def __call__(
        self, x: jax.Array, rngs: nnx.Rngs | None = None, offset: Offset = None
    ) -> jax.Array:
        """Computes the logits of images, a batch or its part from `offset` on."""
        x = x.reshape(x.shape[0], -1)
        for hidden, dropout in zip(self.hidden, self.dropout, strict=True):
            x = dropout(self.activation(hidden(x)), rngs=rngs, offset=offset)
        return self.logits(x)


class CNN(nnx.Module):
    """3x3 convolutions with dropout of whole channels, then a hidden layer."""

    def __init__(
        self,
        shape: Shape,
        classes: int,
        rates: Rates,
        channel_rates: Rates,
        rngs: nnx.Rngs,
        padding: str = "SAME",
        norm: str = "none",
        dtype: Dtype = None,
    ):
        """Makes the layers for images of a shape (height, width, channels)."""
        height, width, channels = shape
        inputs, outputs = (channels, 32, 64), (32, 64, 128)
        self.padding, self.place = padding, norm
        own: dict[str, Any] = {"dtype": dtype, "rngs": rngs}
        conv = partial(nnx.Conv, padding=padding, conv_general_dilated=convolve, **own)
        self.conv = nnx.List(map(conv, inputs, outputs, 3 * [(3, 3)]))
        normed = {"none": (), "before": inputs, "after": outputs}[norm]
        self.norm = nnx.List(nnx.BatchNorm(n, momentum=0.9, **own) for n in normed)
        # One bit a channel: all pixels share it.
        drop = partial(Dropout, broadcast_dims=(1, 2))
        self.channel_dropout = nnx.List(drop(rate) for rate in channel_rates)
        # What convolution and pooling leave of an image.
        border = 1 if padding == "SAME" else -2
        for _ in outputs:
            height, width = (height + border) // 2, (width + border) // 2
        self.dropout = nnx.List(Dropout(rate) for rate in rates)
        self.hidden = nnx.List([nnx.Linear(height * width * 128, 512, **own)])
        self.logits = nnx.Linear(512, classes, **own)

    def __call__(
        self, x: jax.Array, rngs: nnx.Rngs | None = None, offset: Offset = None
    ) -> jax.Array:
        """Computes the logits of images, a batch or its part from `offset` on."""
        for i, conv in enumerate(self.conv):
            x = conv(self.norm[i](x) if self.place == "before" else x)
            x = nnx.relu(self.norm[i](x) if self.place == "after" else x)
            x = nnx.max_pool(x, (2, 2), (2, 2), padding=self.padding)
            x = self.channel_dropout[i](x, rngs=rngs, offset=offset)
        x = self.dropout[0](x.reshape(len(x), -1), rngs=rngs, offset=offset)
        x = nnx.relu(self.hidden[0](x))
        x = self.dropout[1](x, rngs=rngs, offset=offset)
        return self.logits(x)


def network(name: str, shape: Shape, **options: Any) -> Network:
    """Makes a module for images of a shape, as the pure functions of the loop."""

    def split(model: nnx.Module) -> tuple[Tree, Tree]:
        _, *states = nnx.split(model, nnx.Param, nnx.BatchStat, ...)
        params, stats, *_ = map(nnx.to_pure_dict, states)
        return params, stats

    def make(key: jax.Array) -> nnx.Module:
        return globals()[name](shape, **options, rngs=nnx.Rngs(key))

    graphdef = nnx.graphdef(nnx.eval_shape(lambda: make(jax.random.key(0))))

    def train(
        params: Tree,
        stats: Tree,
        images: jax.Array,
        key: jax.Array,
        offset: Offset = None,
        scale: jax.Array | None = None,
    ) -> tuple[jax.Array, Tree]:
        model = nnx.merge(graphdef, params, stats)
        model.train()
        if scale is not None:
            for _, module in nnx.iter_graph(model):
                # A rate of 0 stays one, which draws nothing.
                if isinstance(module, Dropout | AlphaDropout) and module.rate:
                    module.rate = nnx.data(scale * module.rate)
        logits = model(images, rngs=nnx.Rngs(dropout=key), offset=offset)
        return logits, split(model)[1]

    def predict(params: Tree, stats: Tree, images: jax.Array) -> jax.Array:
        model = nnx.merge(graphdef, params, stats)
        model.eval()
        return model(images)

    def sample(
        params: Tree, stats: Tree, images: jax.Array, key: jax.Array, offset: Offset
    ) -> jax.Array:
        model = nnx.merge(graphdef, params, stats)
        model.train()
        # Of BatchNorm alone: it uses its averages.
        model.set_attributes(use_running_average=True, raise_if_not_found=False)
        return model(images, rngs=nnx.Rngs(dropout=key), offset=offset)

    return Network(lambda key: split(make(key)), train, predict, sample)
