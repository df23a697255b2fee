"""The libraries whose dropout is a JAX function of a key."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.peers import counting
from benchmarks.peers.base import NotOffered, Peer, load


class JaxPeer(Peer):
    """What all of them have: keys, tracing, and gradients by `jax.grad`."""

    def array(self, x: Any) -> jax.Array:
        """An array of JAX: NumPy's own promote bfloat16 by a Python number."""
        return jnp.asarray(x)

    def key(self, seed: int) -> jax.Array:
        """A key of JAX's default implementation."""
        return jax.random.key(seed)

    def jax_key(self, seed: int, implementation: str = "threefry2x32") -> jax.Array:
        """A key of the implementation that is asked for."""
        return jax.random.key(seed, impl=implementation)

    def transformable(self, key: Any, rate: float) -> Callable[[Any], Any]:
        """Dropout with its key and rate bound."""
        return lambda x: self.drop(key, x, rate)

    def closed_over(self) -> Callable[[Any], Any]:
        """Dropout with a key that was made outside."""
        return self.transformable(self.key(0), 0.5)

    def slope(self, key: Any, x: Any, rate: Any) -> jax.Array:
        """By `jax.grad`."""
        return jax.grad(lambda x: self.drop(key, x, rate).sum())(x)

    def rate_slope(self, key: Any, x: Any, rate: float) -> jax.Array:
        """By `jax.grad`, outside of any compiled function."""
        return jax.grad(lambda rate: self.drop(key, x, rate).sum())(rate)

    def traced_rate(self, key: Any, x: Any, rate: Any) -> jax.Array:
        """Under `jax.jit`."""
        return jax.jit(lambda rate: self.drop(key, x, rate))(rate)

    def traced_rate_slope(self, key: Any, x: Any, rate: float) -> jax.Array:
        """Under `jax.jit`."""
        return jax.jit(lambda rate: self.slope(key, x, rate))(rate)

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


class Own(JaxPeer):
    """jdrop's version and draw, which its modules share."""

    @property
    def version(self) -> str:
        """The version of the tree that is imported."""
        return str(load("jdrop").__version__)

    def random_bits(self, x: Any, rate: float) -> float:
        """What the stream's own generator computes."""
        return counting.stream_bits(self.transformable(self.key(0), rate), x)


class Jdrop(Own):
    """The functions of jdrop."""

    name = "jdrop"
    call = "jdrop.dropout"

    def __init__(self) -> None:
        """Imports the library."""
        self.jdrop = load("jdrop")

    def drop(self, key: Any, x: Any, rate: Any, **options: Any) -> Any:
        """`dropout(key, x, rate)`."""
        return self.jdrop.dropout(key, x, rate, **options)

    def by_position(self, key: Any, x: Any) -> Any:
        """`dropout(key, x, rate, True)`."""
        return self.jdrop.dropout(key, x, 0.5, True)

    def alpha(self, key: Any, x: Any, rate: float) -> Any:
        """`alpha_dropout(key, x, rate)`."""
        return self.jdrop.alpha_dropout(key, x, rate)

    def alpha_slope(self, key: Any, x: Any, rate: float) -> jax.Array:
        """By `jax.grad`."""
        return jax.grad(lambda x: self.alpha(key, x, rate).sum())(x)


class FlaxLinen(JaxPeer):
    """`flax.linen.Dropout`."""

    name = "flax.linen"
    package = "flax"
    call = "flax.linen.Dropout(rate, deterministic=False).apply({}, x, rngs=...)"
    module = "flax.linen"

    def __init__(self) -> None:
        """Imports the library."""
        self.dropout = load(self.module).Dropout

    def drop(self, key: Any, x: Any, rate: Any, **options: Any) -> Any:
        """The module applied to x with the key as its `dropout` stream."""
        if "offset" in options:
            raise NotOffered("no option")
        module = self.dropout(rate, **{"deterministic": False, **options})
        return module.apply({}, x, rngs={} if key is None else {"dropout": key})

    def by_position(self, key: Any, x: Any) -> Any:
        """`module(x, True)`."""
        return self.dropout(0.5).apply({}, x, True, rngs={"dropout": key})

    def params_key(self, key: Any, x: Any) -> Any:
        """The module applied with a `params` stream alone."""
        module = self.dropout(0.5, deterministic=False)
        return module.apply({}, x, rngs={"params": key})


class JdropLinen(Own, FlaxLinen):
    """`jdrop.linen.Dropout`."""

    name = "jdrop.linen"
    call = "jdrop.linen.Dropout(rate, deterministic=False).apply({}, x, rngs=...)"
    module = "jdrop.linen"


class FlaxNnx(JaxPeer):
    """`flax.nnx.Dropout`."""

    name = "flax.nnx"
    package = "flax"
    call = "flax.nnx.Dropout(rate)(x, rngs=key)"
    module = "flax.nnx"

    def __init__(self) -> None:
        """Imports the library."""
        self.dropout = load(self.module).Dropout
        self.rngs = load("flax.nnx").Rngs

    def drop(self, key: Any, x: Any, rate: Any, **options: Any) -> Any:
        """A module without a stream of its own, with the key at the call."""
        if "offset" in options:
            raise NotOffered("no option")
        return self.dropout(rate, **options)(x, rngs=key)

    def by_position(self, key: Any, x: Any) -> Any:
        """`module(x, True)`."""
        return self.dropout(0.5)(x, True, rngs=key)

    def closed_over(self) -> Callable[[Any], Any]:
        """A module with a stream of its own."""
        module: Callable[[Any], Any] = self.dropout(0.5, rngs=self.rngs(0))
        return module


class JdropNnx(Own, FlaxNnx):
    """`jdrop.nnx.Dropout`."""

    name = "jdrop.nnx"
    call = "jdrop.nnx.Dropout(rate)(x, rngs=key)"
    module = "jdrop.nnx"


class Equinox(JaxPeer):
    """`equinox.nn.Dropout`."""

    name = "equinox"
    package = "equinox"
    call = "equinox.nn.Dropout(rate)(x, key=key)"

    def __init__(self) -> None:
        """Imports the library."""
        self.dropout = load("equinox").nn.Dropout

    def drop(self, key: Any, x: Any, rate: Any, **options: Any) -> Any:
        """The module with the key at the call; `inference` is the mode."""
        if options.keys() - {"deterministic"}:
            raise NotOffered("no option")
        return self.dropout(rate)(x, key=key, inference=options.get("deterministic"))

    def by_position(self, key: Any, x: Any) -> Any:
        """`module(x, True)`."""
        return self.dropout(0.5)(x, True, key=key)


class Haiku(JaxPeer):
    """`haiku.dropout`."""

    name = "haiku"
    package = "dm-haiku"
    call = "haiku.dropout(key, rate, x)"

    def __init__(self) -> None:
        """Imports the library."""
        self.dropout = load("haiku").dropout

    def drop(self, key: Any, x: Any, rate: Any, **options: Any) -> Any:
        """The function; it has no mode."""
        if "deterministic" in options:
            raise NotOffered("no flag")
        if "offset" in options:
            raise NotOffered("no option")
        return self.dropout(key, rate, x, **options)
