"""Flax linen modules: fields, mode and key around one call of a function.

They take what `flax.linen.Dropout` takes, so a model migrates by search and replace.
Each refers to its function, which says what is computed. Their fields:

- `rate`: Probability of dropping, one real number in [0, 1], concrete or traced.
- `broadcast_dims`: Axes along which all elements share a bit of the mask.
- `deterministic`: True returns the input. A bool, concrete or traced; None leaves it to
  the call.
- `rng_collection`: Name of the collection that keys are drawn from. Where `apply` is
  given no such collection, Flax draws from `params`. A key is drawn only where the mask
  depends on one, as in Flax: neither at rest nor at rate 1.

A rate outside [0, 1] or NaN is a ValueError, and any other field of the wrong kind a
TypeError, when the module is made.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

import jax
from jax.typing import ArrayLike

from jdrop._flax import NEEDS_FLAX, check_fields
from jdrop._ops import alpha, units

try:
    import flax.linen as nn
except ModuleNotFoundError as error:
    raise ImportError(f"jdrop.linen {NEEDS_FLAX}") from error

__all__ = ["AlphaDropout", "Dropout"]


class _Module(nn.Module):
    """A function of a key and an input, with the key that Flax hands out."""

    rate: ArrayLike
    broadcast_dims: Sequence[int] = ()
    deterministic: bool | jax.Array | None = None
    rng_collection: str = "dropout"

    _function: ClassVar[Callable[..., jax.Array]]

    def __post_init__(self) -> None:
        check_fields(self.rate, self.broadcast_dims)
        super().__post_init__()

    def __call__(
        self,
        inputs: ArrayLike,
        deterministic: bool | jax.Array | None = None,
        rng: jax.Array | None = None,
    ) -> jax.Array:
        """Calls the function of the module.

        Args:
          inputs: Array of any shape, of a dtype that the function takes.
          deterministic: True returns the input. Given here or as a field, not both.
          rng: One key, which is consumed. By default `make_rng` makes it.

        Returns:
          An array of the shape and dtype of the input.

        Raises:
          ValueError: If `deterministic` is given twice or not at all.
          flax.errors.InvalidRngError: If a key is needed and `apply` was given none.
        """
        return type(self)._function(
            lambda: self.make_rng(self.rng_collection) if rng is None else rng,
            inputs,
            self.rate,
            deterministic=nn.merge_param(
                "deterministic", self.deterministic, deterministic
            ),
            broadcast_dims=self.broadcast_dims,
        )


class Dropout(_Module):
    """`jdrop.dropout` as a module: y = m * x / keep, with m ~ Bernoulli(keep).

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

    _function = staticmethod(units.dropout)


class AlphaDropout(_Module):
    """`jdrop.alpha_dropout` as a module: keeps mean 0 and variance 1.

    Example:
      >>> import jax, jdrop.linen
      >>> module = jdrop.linen.AlphaDropout(0.1, deterministic=False)
      >>> x = jax.random.normal(jax.random.key(0), (1000, 1000))
      >>> y = module.apply({}, x, rngs={"dropout": jax.random.key(1)})
      >>> print(f"mean {abs(y.mean()):.2f}, variance {y.var():.2f}")
      mean 0.00, variance 1.00
    """

    _function = staticmethod(alpha.alpha_dropout)
