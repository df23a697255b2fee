"""Flax linen modules: fields, mode and key around one call of a function.

`Dropout` takes what `flax.linen.Dropout` takes, so a model migrates by search and
replace. Each module refers to its function, which says what is computed and what its
fields mean, and has these two besides:

- `deterministic`: True returns the input. A bool, concrete or traced; None leaves it to
  the call.
- `rng_collection`: Name of the collection that keys are drawn from. Where `apply` is
  given no such collection, Flax draws from `params`. A key is drawn only where the mask
  depends on one, as in Flax: neither at rest nor at rate 1.

A rate outside [0, 1] or NaN is a ValueError, and axes of the wrong kind a TypeError,
when the module is made; what depends on x is checked in the call.

Examples:
  >>> import flax.linen as nn
  >>> import jax, jax.numpy as jnp, jdrop.linen
  >>> class Block(nn.Module):
  ...     @nn.compact
  ...     def __call__(self, x, training):
  ...         y = jdrop.linen.Dropout(0.1, deterministic=not training)(nn.Dense(8)(x))
  ...         return x + jdrop.linen.DropPath(0.2, deterministic=not training)(y)
  >>> x, (key, other) = jnp.ones((4, 8)), jax.random.split(jax.random.key(0))
  >>> params = Block().init(key, x, training=False)
  >>> Block().apply(params, x, training=True, rngs={"dropout": other}).shape
  (4, 8)
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import jax
from jax.typing import ArrayLike

from jdrop._calls import checked_method, form_of
from jdrop._flax import NEEDS_FLAX, check_fields, first_logit
from jdrop._ops import (
    alpha,
    attention,
    blocks,
    concrete,
    features,
    noise,
    recurrent,
    tokens,
    units,
    weights,
)

try:
    import flax.linen as nn
except ModuleNotFoundError as error:
    raise ImportError(f"jdrop.linen {NEEDS_FLAX}") from error

__all__ = [
    "AlphaDropout",
    "AttentionDropout",
    "ConcreteDropout",
    "DropBlock",
    "DropConnect",
    "DropPath",
    "Dropout",
    "FeatureAlphaDropout",
    "FeatureDropout",
    "GaussianDropout",
    "GaussianNoise",
    "TokenDropout",
    "Zoneout",
]

Flag = bool | jax.Array | None


class _Module(nn.Module):
    """A function of a key and an input, with the key that Flax hands out."""

    _function: ClassVar[Callable[..., Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Makes a module that `__init__` fills; says what it takes."""
        form = form_of(cls.__init__, cls.__name__, is_method=True)
        form.check_given(args, kwargs)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        check_fields(vars(self))
        super().__post_init__()

    @checked_method
    def __call__(
        self,
        inputs: ArrayLike,
        deterministic: Flag = None,
        rng: jax.Array | None = None,
        *,
        offset: ArrayLike | None = None,
    ) -> Any:
        """Calls the function of the module.

        Args:
          inputs: What the function takes after the key.
          deterministic: What the function takes. Given here or as a field, not both.
          rng: One key, which is consumed. By default `make_rng` makes it.
          offset: What the function takes, if it does: index in the whole batch of the
            first row of a micro-batch.

        Returns:
          What the function returns.

        Raises:
          ValueError: If `deterministic` is given twice or not at all.
          flax.errors.InvalidRngError: If a key is needed and `apply` was given none.
        """
        return self._call((inputs,), deterministic, rng, offset)

    def _call(
        self,
        inputs: tuple[Any, ...],
        deterministic: Flag,
        rng: jax.Array | None,
        offset: ArrayLike | None,
        **replaced: Any,
    ) -> Any:
        if offset is not None:
            replaced["offset"] = offset
        own = {"deterministic", "rng_collection", "parent", "name"}
        names = (field.name for field in dataclasses.fields(self))
        fields = {name: getattr(self, name) for name in names if name not in own}
        return type(self)._function(
            lambda: self.make_rng(self.rng_collection) if rng is None else rng,
            *inputs,
            deterministic=nn.merge_param(
                "deterministic", self.deterministic, deterministic
            ),
            **fields | replaced,
        )


class Dropout(_Module):
    """`jdrop.dropout` as a module: y = m * x / keep, with m ~ Bernoulli(keep).

    Examples:
      >>> import jax, jax.numpy as jnp, jdrop.linen
      >>> module = jdrop.linen.Dropout(0.5)
      >>> x, rngs = jnp.ones((2, 1000)), {"dropout": jax.random.key(0)}
      >>> y = module.apply({}, x, deterministic=False, rngs=rngs)
      >>> print(jnp.unique(y))
      [0. 2.]
      >>> module.apply({}, x, deterministic=True) is x
      True
    """

    rate: ArrayLike
    broadcast_dims: Sequence[int] = ()
    deterministic: Flag = None
    rng_collection: str = "dropout"
    _function = staticmethod(units.dropout)


class AlphaDropout(_Module):
    """`jdrop.alpha_dropout` as a module: keeps SELU's mean and variance."""

    rate: ArrayLike
    broadcast_dims: Sequence[int] = ()
    deterministic: Flag = None
    rng_collection: str = "dropout"
    mean: ArrayLike = 0
    variance: ArrayLike = 1
    _function = staticmethod(alpha.alpha_dropout)


class FeatureDropout(_Module):
    """`jdrop.feature_dropout` as a module: drops whole channels."""

    rate: ArrayLike
    channel_axis: int = -1
    batch_axis: int | None = 0
    deterministic: Flag = None
    rng_collection: str = "dropout"
    _function = staticmethod(features.feature_dropout)


class FeatureAlphaDropout(_Module):
    """`jdrop.feature_alpha_dropout` as a module: alpha dropout of whole channels."""

    rate: ArrayLike
    channel_axis: int = -1
    batch_axis: int | None = 0
    mean: ArrayLike = 0
    variance: ArrayLike = 1
    deterministic: Flag = None
    rng_collection: str = "dropout"
    _function = staticmethod(alpha.feature_alpha_dropout)


class AttentionDropout(_Module):
    """`jdrop.attention_dropout` as a module: drops attention weights."""

    rate: ArrayLike
    shared: Sequence[str] = ()
    deterministic: Flag = None
    rng_collection: str = "dropout"
    _function = staticmethod(attention.attention_dropout)


class DropBlock(_Module):
    """`jdrop.drop_block` as a module: drops blocks of neighbouring positions."""

    rate: ArrayLike
    block_size: int | Sequence[int] = 7
    per_channel: bool = True
    channel_axis: int | None = -1
    batch_axis: int | None = 0
    calibration: str = "exact"
    deterministic: Flag = None
    rng_collection: str = "dropout"
    _function = staticmethod(blocks.drop_block)


class TokenDropout(_Module):
    """`jdrop.token_dropout` as a module: returns fewer tokens, and their indices."""

    rate: float
    prefix_tokens: int = 0
    deterministic: bool | None = None
    rng_collection: str = "dropout"
    _function = staticmethod(tokens.token_dropout)


class DropPath(_Module):
    """`jdrop.drop_path` as a module: drops the branch of a residual block."""

    rate: ArrayLike
    mode: str = "sample"
    deterministic: Flag = None
    rng_collection: str = "dropout"
    _function = staticmethod(features.drop_path)


class DropConnect(_Module):
    """`jdrop.drop_connect` as a module: drops weights of a tree of parameters."""

    rate: ArrayLike
    where: Callable[[str], bool] | None = None
    deterministic: Flag = None
    rng_collection: str = "dropout"
    _function = staticmethod(weights.drop_connect)


class GaussianDropout(_Module):
    """`jdrop.gaussian_dropout` as a module: multiplies by noise of mean 1."""

    rate: ArrayLike
    broadcast_dims: Sequence[int] = ()
    deterministic: Flag = None
    rng_collection: str = "dropout"
    _function = staticmethod(noise.gaussian_dropout)


class GaussianNoise(_Module):
    """`jdrop.gaussian_noise` as a module: adds noise of mean 0."""

    stddev: ArrayLike
    broadcast_dims: Sequence[int] = ()
    deterministic: Flag = None
    rng_collection: str = "dropout"
    _function = staticmethod(noise.gaussian_noise)


class Zoneout(_Module):
    """`jdrop.zoneout` as a module: units keep their state for a step."""

    rate: ArrayLike
    broadcast_dims: Sequence[int] = ()
    deterministic: Flag = None
    rng_collection: str = "dropout"
    _function = staticmethod(recurrent.zoneout)

    @checked_method
    def __call__(  # type: ignore[override]
        self,
        inputs: ArrayLike,
        previous: ArrayLike,
        deterministic: Flag = None,
        rng: jax.Array | None = None,
        *,
        offset: ArrayLike | None = None,
    ) -> jax.Array:
        """Calls the function, as other modules do; `previous` is the state before."""
        return self._call((inputs, previous), deterministic, rng, offset)


class ConcreteDropout(_Module):
    """`jdrop.concrete_dropout` as a module: it learns its rate.

    `rate` is where it begins. The parameter is `logit`, whose sigmoid is the rate.
    """

    rate: ArrayLike
    broadcast_dims: Sequence[int] = ()
    temperature: ArrayLike = 0.1
    deterministic: Flag = None
    rng_collection: str = "dropout"
    _function = staticmethod(concrete.concrete_dropout)

    @nn.compact
    @checked_method
    def __call__(
        self,
        inputs: ArrayLike,
        deterministic: Flag = None,
        rng: jax.Array | None = None,
        *,
        offset: ArrayLike | None = None,
    ) -> jax.Array:
        """Calls the function at the learned rate, as other modules do."""
        logit = self.param("logit", lambda key: first_logit(self.rate))
        rate = jax.nn.sigmoid(logit)
        return self._call((inputs,), deterministic, rng, offset, rate=rate)
