"""What an op takes away, seen: a picture a page, of a photograph or of numbers."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

import jdrop
from examples.gallery.family import waves
from examples.gallery.panels import Panel
from examples.gallery.photograph import COLUMNS, ROWS, channels, cut, joined

# Rows of panels, and the panels.
Picture = tuple[int, list[Panel]]


def dropout(key: jax.Array, x: jax.Array) -> Picture:
    """One key at four rates: what is dropped stays dropped, the rest gets brighter."""
    return 1, [
        Panel(f"rate {rate}", jdrop.dropout(key, x / 2, rate, broadcast_dims=(2,)))
        for rate in (0, 0.1, 0.5, 0.8)
    ]


def feature_dropout(key: jax.Array, x: jax.Array) -> Picture:
    """Three channels: units dropped, which neighbours make up for, and channels."""
    maps = channels(x)
    units = jdrop.dropout(key, maps, 0.5)
    whole = jdrop.feature_dropout(key, maps[None], 0.5)[0]
    named = {"channel": maps, "dropout": units, "feature_dropout": whole}
    return 3, [
        Panel(f"{name} {i}" if name == "channel" else name, y[..., i], "YlOrRd")
        for name, y in named.items()
        for i in range(3)
    ]


def drop_block(key: jax.Array, x: jax.Array) -> Picture:
    """The same share in units and in blocks, and how often each place is dropped."""
    side = x.shape[0] // ROWS

    def dropped(x: jax.Array, size: int) -> jax.Array:
        return jdrop.drop_block(key, x, 0.3, block_size=size, per_channel=False)

    ones = jnp.ones((4000, 4 * ROWS, 4 * COLUMNS, 1))
    share = (dropped(ones, side // 2) == 0).mean((0, 3))
    return 1, [
        Panel("block_size=1", dropped(x[None], 1)[0]),
        Panel(f"block_size={side // 2}", dropped(x[None], side // 2)[0]),
        Panel(f"block_size={side}", dropped(x[None], side)[0]),
        Panel(f"dropped: {share.min():.2f} to {share.max():.2f}", share, "viridis"),
    ]


def drop_path(key: jax.Array, x: jax.Array) -> Picture:
    """A batch of squares behind branches at four depths."""
    squares = cut(x, 2 * x.shape[0] // ROWS)
    every = enumerate(jdrop.drop_path_rates(4, 0.6))
    return 1, [
        Panel(
            f"block {depth}, rate {rate:.1f}",
            joined(jdrop.drop_path(jdrop.key_for(key, depth), squares, rate)),
        )
        for depth, rate in every
    ]


def drop_connect(key: jax.Array, x: jax.Array) -> Picture:
    """Weights as they are, of inputs that are dropped, and dropped one by one."""
    kernel = waves()
    rows = jdrop.dropout(key, kernel, 0.3, broadcast_dims=(1,))
    return 1, [
        Panel("weights", kernel, "RdBu"),
        Panel("dropout of the inputs", rows, "RdBu"),
        Panel("drop_connect", jdrop.drop_connect(key, kernel, 0.3), "RdBu"),
    ]


def token_dropout(key: jax.Array, x: jax.Array) -> Picture:
    """Patches that are kept, where they were, and the shorter sequence of them."""
    patches = cut(x, x.shape[0] // ROWS)
    kept, indices = jdrop.token_dropout(key, patches[None], 0.5)
    where = jnp.ones_like(patches).at[indices[0]].set(kept[0])
    return 1, [
        Panel(f"{len(patches)} patches", x),
        Panel(f"{kept.shape[1]} are kept", joined(where)),
        Panel("the sequence that is left", joined(kept[0], columns=COLUMNS)),
    ]


def attention_dropout(key: jax.Array, x: jax.Array) -> Picture:
    """Weights of two heads, and which of them share a bit."""
    ways: dict[str, tuple[str, ...]] = {
        "shared=()": (),
        "shared=('heads',)": ("heads",),
        "shared=('query',)": ("query",),
    }
    place = jnp.arange(32.0)
    scores = -(((place[:, None] - place[None]) / 12) ** 2)
    weights = jax.nn.softmax(jnp.stack([scores, 4 * scores]))[None]
    weights = weights / weights.max(axis=-1, keepdims=True)
    return 2, [
        Panel(f"head {head}, {way}", y[0, head], "YlOrRd")
        for head in range(2)
        for way, shared in ways.items()
        for y in [jdrop.attention_dropout(key, weights, 0.3, shared=shared)]
    ]


def recipes(key: jax.Array, x: jax.Array) -> Picture:
    """A mask, its complement, and the mean of what both make of the photograph."""
    mask = jdrop.sample_mask(key, (*x.shape[:2], 1), 0.5)
    one, other = jdrop.apply_mask(mask, x), jdrop.apply_mask(~mask, x)
    return 1, [
        Panel("mask", one),
        Panel("~mask", other),
        Panel("mean of both", (one + other) / 2),
    ]


PICTURES: dict[str, Callable[[jax.Array, jax.Array], Picture]] = {
    "dropout": dropout,
    "feature_dropout": feature_dropout,
    "drop_block": drop_block,
    "drop_path": drop_path,
    "drop_connect": drop_connect,
    "token_dropout": token_dropout,
    "attention_dropout": attention_dropout,
    "recipes": recipes,
}
