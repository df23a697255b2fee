"""What each op of the family does to one photograph.

Most ops get the photograph itself, as pixels, as a batch of twenty squares, or as
eighty patches; the others a matrix of weights, or the attention of the patches to each
other. The key is fixed, so the figure is the same everywhere.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

import jdrop
from examples.gallery.panels import Panel
from examples.gallery.photograph import ROWS, cut, joined, photograph

FEATURES = 48


def panels(pixels: int) -> Iterator[Panel]:
    """What each op makes of the photograph, first the photograph itself."""
    key, x = jax.random.key(0), photograph("china.jpg", pixels)
    side = pixels // ROWS
    squares, patches = cut(x, 2 * side), cut(x, side)
    mean, spread = x.mean(), x.std()

    def standard(x: jax.Array) -> jax.Array:
        return (x - mean) / spread

    yield Panel("the photograph", x)
    yield Panel("dropout, 0.3", jdrop.dropout(key, x, 0.3, broadcast_dims=(2,)))
    y = jdrop.alpha_dropout(key, standard(x), 0.3, broadcast_dims=(2,))
    yield Panel("alpha_dropout, 0.3", y * spread + mean)
    y = jdrop.feature_dropout(key, squares, 0.3)
    yield Panel("feature_dropout, 0.3", joined(y))
    y = jdrop.feature_alpha_dropout(key, standard(squares), 0.3)
    yield Panel("feature_alpha_dropout, 0.3", joined(y) * spread + mean)
    yield Panel("drop_path, 0.3", joined(jdrop.drop_path(key, squares, 0.3)))
    y = jdrop.drop_block(key, x[None], 0.3, block_size=side, per_channel=False)
    yield Panel("drop_block, 0.3", y[0])
    kept, indices = jdrop.token_dropout(key, patches[None], 0.5)
    yield Panel(
        "token_dropout, 0.5", joined(jnp.ones_like(patches).at[indices].set(kept))
    )
    y = jdrop.gaussian_dropout(key, x, 0.1)
    yield Panel("gaussian_dropout, 0.1", y)
    y = jdrop.gaussian_noise(key, x, 0.2)
    yield Panel("gaussian_noise, 0.2", y)
    y = jdrop.concrete_dropout(key, x, 0.3, temperature=2 / 3, broadcast_dims=(2,))
    yield Panel("concrete_dropout, 0.3", y)
    before = photograph("flower.jpg", pixels)
    y = jdrop.zoneout(key, x, before, 0.3, broadcast_dims=(2,))
    yield Panel("zoneout, 0.3", y)
    yield Panel("drop_connect, 0.3", weights(key), "RdBu")
    yield from attention(key, standard(patches).reshape(len(patches), -1))


def waves() -> jax.Array:
    """A matrix of weights, of cosines of growing frequency."""
    place, wave = np.arange(FEATURES)[:, None] + 0.5, np.arange(FEATURES)
    return jnp.asarray(np.cos(np.pi / FEATURES * place * wave) / 2, jnp.float32)


def weights(key: jax.Array) -> jax.Array:
    """A kernel, and below it its bias, which is kept."""
    params = {"kernel": waves(), "bias": jnp.linspace(-1, 1, FEATURES)}
    dropped = jdrop.drop_connect(key, params, 0.3)
    bias = jnp.tile(dropped["bias"], (3, 1))
    return jnp.concatenate([dropped["kernel"], jnp.zeros((2, FEATURES)), bias])


def attention(key: jax.Array, tokens: jax.Array) -> Iterator[Panel]:
    """Which patch looks at which, as a part of the most that a patch looks at any.

    By blocks it is causal; with an identity as values the outputs are the weights.
    """
    heads, places = tokens[:, None], jnp.eye(len(tokens))[:, None]
    scale = 1 / tokens.shape[1]
    attended = jax.nn.softmax(scale * tokens @ tokens.T)
    y = jdrop.attention_dropout(key, attended[None], 0.3)
    yield Panel("attention_dropout, 0.3", y[0] / y[0].max(1, keepdims=True), "YlOrRd")
    y = jdrop.blockwise_attention(
        key, heads, heads, places, 0.3, scale=scale, is_causal=True, block_size=16
    )
    y = y[:, 0] / jnp.maximum(y[:, 0].max(1, keepdims=True), 1e-6)
    yield Panel("blockwise_attention, 0.3", y, "YlOrRd")
