"""keras on its JAX backend: layers that keep the state of their seed."""

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.peers import counting
from benchmarks.peers.base import NotOffered, Peer, load


class Keras(Peer):
    """The layers of keras, on its JAX backend."""

    name = "keras"
    package = "keras"
    call = "keras.layers.Dropout(rate, seed=seed)(x, training=True), on the JAX backend"
    stateful = True

    def __init__(self) -> None:
        """Imports the library."""
        os.environ["KERAS_BACKEND"] = "jax"
        self.layers = load("keras").layers

    def array(self, x: Any) -> Any:
        """An array of JAX, the backend."""
        return jnp.asarray(x)

    def drop(self, key: Any, x: Any, rate: Any, **options: Any) -> Any:
        """A layer of the dtype of x, new at every call."""
        training = not options.pop("deterministic", False)
        shared = options.pop("broadcast_dims", ())
        if options:
            raise NotOffered("no option")
        if any(axis >= x.ndim for axis in shared):
            raise NotOffered("takes a shape, not axes")
        shape = tuple(1 if i in shared else n for i, n in enumerate(x.shape))
        layer = self.layers.Dropout(
            rate, noise_shape=shape if shared else None, seed=key, dtype=x.dtype.name
        )
        return layer(x, training=training)

    def slope(self, key: Any, x: Any, rate: Any) -> Any:
        """By `jax.grad`."""
        return jax.grad(lambda x: self.drop(key, x, rate).sum())(x)

    def rate_slope(self, key: Any, x: Any, rate: float) -> Any:
        """By `jax.grad`, outside of any compiled function."""
        return jax.grad(lambda rate: self.drop(key, x, rate).sum())(rate)

    def traced_rate(self, key: Any, x: Any, rate: Any) -> Any:
        """Under `jax.jit`."""
        return jax.jit(lambda rate: self.drop(key, x, rate))(rate)

    def traced_rate_slope(self, key: Any, x: Any, rate: float) -> Any:
        """Under `jax.jit`."""
        return jax.jit(lambda rate: self.slope(key, x, rate))(rate)

    def by_position(self, key: Any, x: Any) -> Any:
        """`layer(x, True)`."""
        return self.layers.Dropout(0.5, seed=key)(x, True)

    def transformable(self, key: Any, rate: float) -> Callable[[Any], Any]:
        """A new layer at every call."""
        return lambda x: self.drop(key, x, rate)

    def closed_over(self) -> Callable[[Any], Any]:
        """A layer made outside, which holds the state of its seed."""
        layer = self.layers.Dropout(0.5, seed=0)
        return lambda x: layer(x, training=True)

    def residual_bits(self, x: Any, rate: float) -> dict[str, float]:
        """What `jax.vjp` holds, eagerly and across a jit boundary."""
        drop = self.transformable(0, rate)
        return {
            "eager": counting.residual_bits(drop, x),
            "jit": counting.residual_bits(jax.jit(drop), x),
        }

    def random_bits(self, x: Any, rate: float) -> float:
        """What the `random_bits` of the traced function computes."""
        return counting.threefry_bits(self.transformable(0, rate), x)

    def alpha(self, key: Any, x: Any, rate: float) -> Any:
        """`keras.layers.AlphaDropout`."""
        return self.layers.AlphaDropout(rate, seed=key)(x, training=True)

    def alpha_slope(self, key: Any, x: Any, rate: float) -> Any:
        """By `jax.grad`."""
        return jax.grad(lambda x: self.alpha(key, x, rate).sum())(x)

    def gaussian(self, key: Any, x: Any, rate: float) -> Any:
        """`keras.layers.GaussianDropout`."""
        layer = self.layers.GaussianDropout(rate, seed=key)
        return layer(x, training=True)
