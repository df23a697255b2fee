"""Flax nnx modules: attributes, mode and keys around one call of a function.

They take what `flax.nnx.Dropout` takes, so a model migrates by search and replace. Each
refers to its function, which says what is computed. `model.train()` and `model.eval()`
switch them on and off.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

import jax
from jax.typing import ArrayLike

from jdrop._flax import NEEDS_FLAX, by_name, check_fields
from jdrop._ops import alpha, units

try:
    from flax import nnx
except ModuleNotFoundError as error:
    raise ImportError(f"jdrop.nnx {NEEDS_FLAX}") from error

__all__ = ["AlphaDropout", "Dropout"]

# Where keys come from; a call may also be given one key.
Keys = nnx.Rngs | nnx.RngStream


class _Module(nnx.Module):
    """A function of a key and an input, with the key that a stream of Flax makes."""

    _function: ClassVar[Callable[..., jax.Array]]

    @by_name
    def __init__(
        self,
        rate: ArrayLike,
        *,
        broadcast_dims: Sequence[int] = (),
        deterministic: bool | jax.Array | None = False,
        rng_collection: str = "dropout",
        rngs: Keys | None = None,
    ):
        """Makes the module.

        Args:
          rate: Probability of dropping, one real number in [0, 1], concrete or traced.
            To schedule it, pass an array and set the attribute at each step.
          broadcast_dims: Axes along which all elements share a bit of the mask.
          deterministic: True returns the input. A bool, concrete or traced; None leaves
            it to the call.
          rng_collection: Name of the stream of `rngs` that keys are drawn from.
          rngs: Where keys come from. The module forks a stream of its own; without one,
            each call must be given `rngs`. A key is drawn only where the mask depends
            on one: neither at rest nor at rate 1.

        Raises:
          ValueError: If a concrete rate is outside [0, 1] or NaN.
          TypeError: If the rate is not a real number, or another argument is of the
            wrong kind.
        """
        self.broadcast_dims = check_fields(rate, broadcast_dims)
        self.rate = rate
        self.deterministic = deterministic
        self.rng_collection = rng_collection
        self.rngs = nnx.data(self._own_stream(rngs))

    def set_view(self, deterministic: bool | jax.Array | None = None) -> None:
        """Sets the mode of a view of this module; `nnx.view` calls it.

        Args:
          deterministic: True returns the input; None changes nothing.
        """
        if deterministic is not None:
            self.deterministic = deterministic

    @by_name
    def __call__(
        self,
        inputs: ArrayLike,
        *,
        deterministic: bool | jax.Array | None = None,
        rngs: Keys | jax.Array | None = None,
    ) -> jax.Array:
        """Calls the function of the module.

        Args:
          inputs: Array of any shape, of a dtype that the function takes.
          deterministic: True returns the input. Overrides the attribute.
          rngs: Where the key comes from, or one key, which is consumed. Overrides the
            stream of the module.

        Returns:
          An array of the shape and dtype of the input.

        Raises:
          ValueError: If no mode was given, or if a key is needed and there is none.
          TypeError: If `rngs` is of the wrong kind.
        """
        return type(self)._function(
            lambda: self._next_key(rngs),
            inputs,
            self.rate,
            deterministic=self._mode(deterministic),
            broadcast_dims=self.broadcast_dims,
        )

    def _mode(self, deterministic: bool | jax.Array | None) -> bool | jax.Array:
        mode = self.deterministic if deterministic is None else deterministic
        if mode is None:
            raise ValueError(
                "No `deterministic` argument was provided to "
                f"{type(self).__name__}: got None from both the constructor and the "
                "call. Pass True to leave x alone or False to drop, or set it for a "
                "whole model with model.train() or model.eval()."
            )
        return mode

    def _own_stream(self, rngs: Keys | None) -> nnx.RngStream | None:
        if isinstance(rngs, nnx.Rngs):
            rngs = rngs[self.rng_collection]
        if isinstance(rngs, nnx.RngStream):
            return rngs.fork()
        if rngs is None:
            return None
        raise TypeError(
            "rngs must be a Rngs, RngStream or None, but got "
            f"{type(rngs).__name__}. Pass rngs=nnx.Rngs(seed)."
        )

    def _next_key(self, rngs: Keys | jax.Array | None) -> jax.Array:
        rngs = self.rngs if rngs is None else rngs
        if rngs is None:
            raise ValueError(
                "`deterministic` is False, but no `rngs` argument was provided to "
                f"{type(self).__name__}: got None from both the constructor and the "
                "call. Pass rngs=nnx.Rngs(seed) to either, or a key to the call."
            )
        if isinstance(rngs, nnx.Rngs):
            rngs = rngs[self.rng_collection]
        if isinstance(rngs, nnx.RngStream):
            return rngs()
        if isinstance(rngs, jax.Array):
            return rngs
        raise TypeError(
            "rngs must be a Rngs, RngStream or jax.Array, but got "
            f"{type(rngs).__name__}. Pass nnx.Rngs(seed) or jax.random.key(seed)."
        )


class Dropout(_Module):
    """`jdrop.dropout` as a module: y = m * x / keep, with m ~ Bernoulli(keep).

    Example:
      >>> import jax.numpy as jnp, jdrop.nnx
      >>> from flax import nnx
      >>> module = jdrop.nnx.Dropout(0.5, rngs=nnx.Rngs(0))
      >>> x = jnp.ones((2, 1000))
      >>> print(jnp.unique(module(x)))
      [0. 2.]
      >>> module.eval()
      >>> module(x) is x
      True
    """

    _function = staticmethod(units.dropout)


class AlphaDropout(_Module):
    """`jdrop.alpha_dropout` as a module: keeps mean 0 and variance 1.

    Example:
      >>> import jax, jdrop.nnx
      >>> from flax import nnx
      >>> module = jdrop.nnx.AlphaDropout(0.1, rngs=nnx.Rngs(0))
      >>> y = module(jax.random.normal(jax.random.key(1), (1000, 1000)))
      >>> print(f"mean {abs(y.mean()):.2f}, variance {y.var():.2f}")
      mean 0.00, variance 1.00
    """

    _function = staticmethod(alpha.alpha_dropout)
