"""The libraries that compute with JAX: most are functions of a key."""

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import jdrop
from benchmarks import counting
from benchmarks.peers.base import NotOffered, Peer, noise_shape, only


class JaxPeer(Peer):
    """What all of them have: keys, tracing, and gradients by `jax.grad`."""

    def array(self, x: Any) -> jax.Array:
        """An array of JAX: NumPy's own promote bfloat16 by a Python number."""
        return jnp.asarray(x)

    def key(self, seed: int) -> Any:
        """A key of JAX's default implementation."""
        return self.jax_key(seed)

    def jax_key(self, seed: int, implementation: str = "threefry2x32") -> jax.Array:
        """A key of the implementation that is asked for."""
        return jax.random.key(seed, impl=implementation)

    def compile(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """By `jax.jit`."""
        return jax.jit(function)

    def slope(self, function: Callable[[Any], Any], at: Any) -> Any:
        """By `jax.grad`."""
        return jax.grad(lambda at: function(at).sum())(at)

    def transformable(self, key: Any, rate: float) -> Callable[[Any], Any]:
        """Dropout with its key and rate bound."""
        return lambda x: self.drop(key, x, rate)

    def closed_over(self) -> Callable[[Any], Any]:
        """Dropout with a key that was made outside."""
        return self.transformable(self.key(0), 0.5)

    def residual_bits(self, x: Any, rate: float) -> dict[str, float]:
        """What `jax.vjp` holds, eagerly and across a jit boundary."""
        drop = self.transformable(self.key(0), rate)
        return {
            "eager": counting.residual_bits(drop, x),
            "jit": counting.residual_bits(jax.jit(drop), x),
        }

    def random_bits(self, x: Any, rate: float) -> float:
        """What the `random_bits` of the traced function computes."""
        return counting.threefry_bits(self.transformable(self.key(0), rate), x)


class FlaxLinen(JaxPeer):
    """`flax.linen.Dropout`."""

    name = "flax.linen"
    package = "flax"
    call = "flax.linen.Dropout(rate, deterministic=False).apply({}, x, rngs=...)"

    def drop(self, key: Any, x: Any, rate: Any, *mode: bool, **options: Any) -> Any:
        """The module applied to x with the key as its `dropout` stream."""
        only(options, "deterministic", "broadcast_dims", "collection")
        rngs = {options.pop("collection", "dropout"): key}
        if not mode:
            options.setdefault("deterministic", False)
        module = self.library.Dropout(rate, **options)
        return module.apply({}, x, *mode, rngs={} if key is None else rngs)


class FlaxNnx(JaxPeer):
    """`flax.nnx.Dropout`."""

    name = "flax.nnx"
    package = "flax"
    call = "flax.nnx.Dropout(rate)(x, rngs=key)"

    def drop(self, key: Any, x: Any, rate: Any, *mode: bool, **options: Any) -> Any:
        """A module without a stream of its own, with the key at the call."""
        only(options, "deterministic", "broadcast_dims")
        return self.library.Dropout(rate, **options)(x, *mode, rngs=key)

    def closed_over(self) -> Callable[[Any], Any]:
        """A module with a stream of its own."""
        from flax import nnx

        module: Callable[[Any], Any] = self.library.Dropout(0.5, rngs=nnx.Rngs(0))
        return module


class Own(JaxPeer):
    """jdrop's version and draw, which its modules share."""

    @property
    def version(self) -> str:
        """The version of the tree that is imported."""
        return jdrop.__version__

    def random_bits(self, x: Any, rate: float) -> float:
        """What the stream's own generator computes."""
        return counting.stream_bits(self.transformable(self.key(0), rate), x)


class Jdrop(Own):
    """The functions of jdrop."""

    name = "jdrop"
    call = "jdrop.dropout(key, x, rate)"

    def drop(self, key: Any, x: Any, rate: Any, *mode: bool, **options: Any) -> Any:
        """`dropout(key, x, rate)`."""
        only(options, "deterministic", "broadcast_dims", "offset")
        return self.library.dropout(key, x, rate, *mode, **options)

    def alpha(self, key: Any, x: Any, rate: float) -> Any:
        """`alpha_dropout(key, x, rate)`."""
        return self.library.alpha_dropout(key, x, rate)

    def feature_alpha(self, key: Any, x: Any, rate: float) -> Any:
        """`feature_alpha_dropout` with the channels second."""
        return self.library.feature_alpha_dropout(key, x, rate, channel_axis=1)

    def gaussian(self, key: Any, x: Any, rate: float) -> Any:
        """`gaussian_dropout(key, x, rate)`."""
        return self.library.gaussian_dropout(key, x, rate)

    def drop_block(self, key: Any, x: Any, rate: float, size: int) -> Any:
        """`drop_block` with the channels second."""
        return self.library.drop_block(key, x, rate, block_size=size, channel_axis=1)

    def drop_path(self, key: Any, x: Any, rate: float) -> Any:
        """`drop_path(key, x, rate)`."""
        return self.library.drop_path(key, x, rate)


class JdropLinen(Own, FlaxLinen):
    """`jdrop.linen.Dropout`."""

    name = "jdrop.linen"
    call = "jdrop.linen.Dropout(rate, deterministic=False).apply({}, x, rngs=...)"


class JdropNnx(Own, FlaxNnx):
    """`jdrop.nnx.Dropout`."""

    name = "jdrop.nnx"
    call = "jdrop.nnx.Dropout(rate)(x, rngs=key)"


class Equinox(JaxPeer):
    """`equinox.nn.Dropout`."""

    name = "equinox"
    package = "equinox"
    module = "equinox.nn"
    call = "equinox.nn.Dropout(rate)(x, key=key)"

    def drop(self, key: Any, x: Any, rate: Any, *mode: bool, **options: Any) -> Any:
        """The module with the key at the call; `inference` is the mode."""
        only(options, "deterministic")
        inference = options.get("deterministic")
        return self.library.Dropout(rate)(x, *mode, key=key, inference=inference)


class Haiku(JaxPeer):
    """`haiku.dropout`."""

    name = "haiku"
    package = "dm-haiku"
    module = "haiku"
    call = "haiku.dropout(key, rate, x)"

    def drop(self, key: Any, x: Any, rate: Any, *mode: bool, **options: Any) -> Any:
        """The function; it has no mode."""
        if mode:
            raise NotOffered("no flag")
        only(options, "broadcast_dims")
        return self.library.dropout(key, rate, x, **options)


class Keras(JaxPeer):
    """The layers of keras on its JAX backend, which keep the state of their seed."""

    name = "keras"
    package = "keras"
    module = "keras.layers"
    call = "keras.layers.Dropout(rate, seed=seed)(x, training=True), on the JAX backend"
    stateful = True
    key, jax_key = Peer.key, Peer.jax_key

    def __init__(self) -> None:
        """Imports the library on the backend."""
        os.environ["KERAS_BACKEND"] = "jax"
        super().__init__()

    def drop(self, key: Any, x: Any, rate: Any, *mode: bool, **options: Any) -> Any:
        """A layer of the dtype of x, new at every call."""
        only(options, "deterministic", "broadcast_dims")
        layer = self.library.Dropout(
            rate,
            noise_shape=noise_shape(x, options.get("broadcast_dims", ())),
            seed=key,
            dtype=x.dtype.name,
        )
        return layer(x, *mode, training=not options.get("deterministic", False))

    def closed_over(self) -> Callable[[Any], Any]:
        """A layer made outside, which holds the state of its seed."""
        layer = self.library.Dropout(0.5, seed=0)
        return lambda x: layer(x, training=True)

    def alpha(self, key: Any, x: Any, rate: float) -> Any:
        """`keras.layers.AlphaDropout`."""
        return self.library.AlphaDropout(rate, seed=key)(x, training=True)

    def gaussian(self, key: Any, x: Any, rate: float) -> Any:
        """`keras.layers.GaussianDropout`."""
        return self.library.GaussianDropout(rate, seed=key)(x, training=True)
