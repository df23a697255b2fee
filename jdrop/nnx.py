"""Flax nnx modules: attributes, mode and keys around one call of a function.

They take what `flax.nnx.Dropout` takes, so a model migrates by search and replace.
"""

from collections.abc import Callable, Sequence

import jax
from jax.typing import ArrayLike

from jdrop._check import check_rate
from jdrop._modules import NEEDS_FLAX, key_where_needed
from jdrop._units import alpha_dropout, dropout

try:
    from flax import nnx
except ModuleNotFoundError as error:
    raise ImportError(f"jdrop.nnx {NEEDS_FLAX}") from error

__all__ = ["AlphaDropout", "Dropout"]

# Where keys come from; a call may also be given one key.
Keys = nnx.Rngs | nnx.RngStream


class _KeyedModule(nnx.Module):
    """The attributes, the mode and the keys of a module that drops."""

    def __init__(
        self,
        rate: ArrayLike,
        *,
        broadcast_dims: Sequence[int] = (),
        deterministic: bool | jax.Array | None = False,
        rng_collection: str = "dropout",
        rngs: Keys | None = None,
    ):
        check_rate(rate)
        self.rate = rate
        self.broadcast_dims = tuple(broadcast_dims)
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

    def _drop(
        self,
        function: Callable[..., jax.Array],
        inputs: ArrayLike,
        deterministic: bool | jax.Array | None,
        rngs: Keys | jax.Array | None,
    ) -> jax.Array:
        mode = self._mode(deterministic)
        return function(
            key_where_needed(self.rate, mode, lambda: self._next_key(rngs)),
            inputs,
            self.rate,
            deterministic=mode,
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


class Dropout(_KeyedModule):
    """Zeros each input with probability `rate` and scales the others to make up.

    y = m * x / keep, with m ~ Bernoulli(keep) and keep = 1 - rate, so that E[y] = x.

    The module is `jdrop.dropout` with the key that Flax hands out. `model.train()` and
    `model.eval()` switch it on and off.

    Args:
      rate: Probability of dropping, one real number in [0, 1], concrete or traced. To
        schedule it, make the module with an array and set the attribute at each step.
      broadcast_dims: Axes along which all elements share a bit of the mask.
      deterministic: True returns the input. A bool, concrete or traced; None leaves
        it to the call.
      rng_collection: Name of the stream of `rngs` that keys are drawn from.
      rngs: Where keys come from. The module forks a stream of its own; without one,
        each call must be given `rngs`.

    Raises:
      ValueError: If a concrete rate is outside [0, 1] or NaN.
      TypeError: If the rate is not a real number, or `rngs` is of the wrong kind.

    References:
      Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, 2014. Dropout: a
      simple way to prevent neural networks from overfitting. JMLR 15:1929.
      https://jmlr.org/papers/v15/srivastava14a.html

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

    def __call__(
        self,
        inputs: ArrayLike,
        *,
        deterministic: bool | jax.Array | None = None,
        rngs: Keys | jax.Array | None = None,
    ) -> jax.Array:
        """Drops units of the input.

        Args:
          inputs: Array of any shape and of a floating-point or complex dtype.
          deterministic: True returns the input. Overrides the attribute.
          rngs: Where the key comes from, or one key, which is consumed. Overrides the
            stream of the module.

        Returns:
          An array of the shape and dtype of the input.

        Raises:
          ValueError: If no mode was given, or if a key is needed and there is none.
          TypeError: If `rngs` is of the wrong kind.
        """
        return self._drop(dropout, inputs, deterministic, rngs)


class AlphaDropout(_KeyedModule):
    """Dropout for self-normalising networks: drops to SELU's saturation value.

    y = a * (m * x + (1 - m) * alpha') + b, with m ~ Bernoulli(1 - rate) and a and b
    such that an input of mean 0 and variance 1 gives an output of the same.

    The module is `jdrop.alpha_dropout` with the key that Flax hands out.
    `model.train()` and `model.eval()` switch it on and off.

    Args:
      rate: Probability of dropping, one real number in [0, 1], concrete or traced. To
        schedule it, make the module with an array and set the attribute at each step.
      broadcast_dims: Axes along which all elements share a bit of the mask.
      deterministic: True returns the input. A bool, concrete or traced; None leaves
        it to the call.
      rng_collection: Name of the stream of `rngs` that keys are drawn from.
      rngs: Where keys come from. The module forks a stream of its own; without one,
        each call must be given `rngs`.

    Raises:
      ValueError: If a concrete rate is outside [0, 1] or NaN.
      TypeError: If the rate is not a real number, or `rngs` is of the wrong kind.

    References:
      Klambauer, Unterthiner, Mayr and Hochreiter, 2017. Self-normalizing neural
      networks. https://arxiv.org/abs/1706.02515

    Example:
      >>> import jax, jdrop.nnx
      >>> from flax import nnx
      >>> module = jdrop.nnx.AlphaDropout(0.1, rngs=nnx.Rngs(0))
      >>> y = module(jax.random.normal(jax.random.key(1), (1000, 1000)))
      >>> print(f"mean {abs(y.mean()):.2f}, variance {y.var():.2f}")
      mean 0.00, variance 1.00
    """

    def __call__(
        self,
        inputs: ArrayLike,
        *,
        deterministic: bool | jax.Array | None = None,
        rngs: Keys | jax.Array | None = None,
    ) -> jax.Array:
        """Drops units of the input.

        Args:
          inputs: Array of any shape and of a floating-point dtype.
          deterministic: True returns the input. Overrides the attribute.
          rngs: Where the key comes from, or one key, which is consumed. Overrides the
            stream of the module.

        Returns:
          An array of the shape and dtype of the input.

        Raises:
          ValueError: If no mode was given, or if a key is needed and there is none.
          TypeError: If `rngs` is of the wrong kind.
        """
        return self._drop(alpha_dropout, inputs, deterministic, rngs)
