"""Flax linen modules: fields, mode and keys around one call of a function.

They take what `flax.linen.Dropout` takes, so a model migrates by search and replace.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.typing import ArrayLike

from jdrop._check import check_rate
from jdrop._modules import NEEDS_FLAX, key_where_needed
from jdrop._units import alpha_dropout, dropout

try:
    import flax.linen as nn
except ModuleNotFoundError as error:
    raise ImportError(f"jdrop.linen {NEEDS_FLAX}") from error

__all__ = ["AlphaDropout", "Dropout"]


class _KeyedModule(nn.Module):
    """The fields, the mode and the key of a module that drops."""

    rate: ArrayLike
    broadcast_dims: Sequence[int] = ()
    deterministic: bool | jax.Array | None = None
    rng_collection: str = "dropout"

    def __post_init__(self) -> None:
        check_rate(self.rate)
        super().__post_init__()

    @nn.nowrap
    def _drop(
        self,
        function: Callable[..., jax.Array],
        inputs: ArrayLike,
        deterministic: bool | jax.Array | None,
        rng: jax.Array | None,
    ) -> jax.Array:
        mode: Any = nn.merge_param("deterministic", self.deterministic, deterministic)

        def next_key() -> jax.Array:
            return self.make_rng(self.rng_collection) if rng is None else rng

        return function(
            key_where_needed(self.rate, mode, next_key),
            inputs,
            self.rate,
            deterministic=mode,
            broadcast_dims=self.broadcast_dims,
        )


class Dropout(_KeyedModule):
    """Zeros each input with probability `rate` and scales the others to make up.

    y = m * x / keep, with m ~ Bernoulli(keep) and keep = 1 - rate, so that E[y] = x.

    The module is `jdrop.dropout` with the key that Flax hands out.

    Attributes:
      rate: Probability of dropping, one real number in [0, 1], concrete or traced.
      broadcast_dims: Axes along which all elements share a bit of the mask.
      deterministic: True returns the input. A bool, concrete or traced; None leaves
        it to the call.
      rng_collection: Name of the collection that keys are drawn from. Where `apply`
        is given no such collection, Flax draws from `params`.

    Raises:
      ValueError: If a concrete rate is outside [0, 1] or NaN.
      TypeError: If the rate is not a real number.

    References:
      Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, 2014. Dropout: a
      simple way to prevent neural networks from overfitting. JMLR 15:1929.
      https://jmlr.org/papers/v15/srivastava14a.html

    Example:
      >>> import jax, jax.numpy as jnp, jdrop.linen
      >>> module = jdrop.linen.Dropout(0.5)
      >>> x, rngs = jnp.ones((2, 1000)), {"dropout": jax.random.key(0)}
      >>> y = module.apply({}, x, deterministic=False, rngs=rngs)
      >>> print(jnp.unique(y))
      [0. 2.]
      >>> module.apply({}, x, deterministic=True) is x
      True
    """

    def __call__(
        self,
        inputs: ArrayLike,
        deterministic: bool | jax.Array | None = None,
        rng: jax.Array | None = None,
    ) -> jax.Array:
        """Drops units of the input.

        Args:
          inputs: Array of any shape and of a floating-point or complex dtype.
          deterministic: True returns the input. Given here or as a field, not both.
          rng: One key, which is consumed. By default `make_rng` makes it.

        Returns:
          An array of the shape and dtype of the input.

        Raises:
          ValueError: If `deterministic` is given twice or not at all.
          flax.errors.InvalidRngError: If a key is needed and `apply` was given none.
        """
        return self._drop(dropout, inputs, deterministic, rng)


class AlphaDropout(_KeyedModule):
    """Dropout for self-normalising networks: drops to SELU's saturation value.

    y = a * (m * x + (1 - m) * alpha') + b, with m ~ Bernoulli(1 - rate) and a and b
    such that an input of mean 0 and variance 1 gives an output of the same.

    The module is `jdrop.alpha_dropout` with the key that Flax hands out.

    Attributes:
      rate: Probability of dropping, one real number in [0, 1], concrete or traced.
      broadcast_dims: Axes along which all elements share a bit of the mask.
      deterministic: True returns the input. A bool, concrete or traced; None leaves
        it to the call.
      rng_collection: Name of the collection that keys are drawn from. Where `apply`
        is given no such collection, Flax draws from `params`.

    Raises:
      ValueError: If a concrete rate is outside [0, 1] or NaN.
      TypeError: If the rate is not a real number.

    References:
      Klambauer, Unterthiner, Mayr and Hochreiter, 2017. Self-normalizing neural
      networks. https://arxiv.org/abs/1706.02515

    Example:
      >>> import jax, jdrop.linen
      >>> module = jdrop.linen.AlphaDropout(0.1, deterministic=False)
      >>> x = jax.random.normal(jax.random.key(0), (1000, 1000))
      >>> y = module.apply({}, x, rngs={"dropout": jax.random.key(1)})
      >>> print(f"mean {abs(y.mean()):.2f}, variance {y.var():.2f}")
      mean 0.00, variance 1.00
    """

    def __call__(
        self,
        inputs: ArrayLike,
        deterministic: bool | jax.Array | None = None,
        rng: jax.Array | None = None,
    ) -> jax.Array:
        """Drops units of the input.

        Args:
          inputs: Array of any shape and of a floating-point dtype.
          deterministic: True returns the input. Given here or as a field, not both.
          rng: One key, which is consumed. By default `make_rng` makes it.

        Returns:
          An array of the shape and dtype of the input.

        Raises:
          ValueError: If `deterministic` is given twice or not at all.
          flax.errors.InvalidRngError: If a key is needed and `apply` was given none.
        """
        return self._drop(alpha_dropout, inputs, deterministic, rng)
