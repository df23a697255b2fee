"""Flax nnx modules: attributes, mode and keys around one call of a function.

`Dropout` takes what `flax.nnx.Dropout` takes, so a model migrates by search and
replace. Each module refers to its function, which says what is computed and what its
other attributes mean; to schedule a rate, pass an array and set the attribute at each
step. `model.train()` and `model.eval()` switch them on and off. All have these besides:

- `deterministic`: True returns the input. A bool, concrete or traced; None leaves it to
  the call.
- `rng_collection`: Name of the stream of `rngs` that keys are drawn from.
- `rngs`: Where keys come from. A module forks a stream of its own; without one, each
  call must be given `rngs`. A key is drawn only where the mask depends on one: neither
  at rest nor at rate 1.

A rate outside [0, 1] or NaN is a ValueError, and axes of the wrong kind a TypeError,
when the module is made; what depends on x is checked in the call.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jdrop._axes import as_dims
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
    from flax import nnx
except ModuleNotFoundError as error:
    raise ImportError(f"jdrop.nnx {NEEDS_FLAX}") from error

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

# Where keys come from; a call may also be given one key.
Keys = nnx.Rngs | nnx.RngStream
Flag = bool | jax.Array | None


class _Module(nnx.Module):
    """A function of a key and an input, with the key that a stream of Flax makes."""

    _function: ClassVar[Callable[..., Any]]
    deterministic: Flag
    rng_collection: str
    rngs: Keys | None
    broadcast_dims: Sequence[int]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Makes a module that `__init__` fills; says what it takes."""
        form = form_of(cls.__init__, cls.__name__, is_method=True)
        form.check_given(args, kwargs)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        check_fields(vars(self))
        if hasattr(self, "broadcast_dims"):
            self.broadcast_dims = as_dims(self.broadcast_dims)
        self.rngs = nnx.data(self._own_stream(self.rngs))

    def set_view(self, deterministic: Flag = None) -> None:
        """Sets the mode of a view of this module; `nnx.view` calls it.

        Args:
          deterministic: True returns the input; None changes nothing.
        """
        if deterministic is not None:
            self.deterministic = deterministic

    @checked_method
    def __call__(
        self,
        inputs: ArrayLike,
        *,
        deterministic: Flag = None,
        rngs: Keys | jax.Array | None = None,
        offset: ArrayLike | None = None,
    ) -> Any:
        """Calls the function of the module.

        Args:
          inputs: What the function takes after the key.
          deterministic: What the function takes. Overrides the attribute.
          rngs: Where the key comes from, or one key, which is consumed. Overrides the
            stream of the module.
          offset: What the function takes, if it does: index in the whole batch of the
            first row of a micro-batch.

        Returns:
          What the function returns.

        Raises:
          ValueError: If no mode was given, or if a key is needed and there is none.
          TypeError: If `rngs` is of the wrong kind.
        """
        return self._call((inputs,), deterministic, rngs, offset)

    def _call(
        self,
        inputs: tuple[Any, ...],
        deterministic: Flag,
        rngs: Keys | jax.Array | None,
        offset: ArrayLike | None,
        **replaced: Any,
    ) -> Any:
        if offset is not None:
            replaced["offset"] = offset
        own = {"deterministic", "rng_collection", "rngs"}
        names = (field.name for field in dataclasses.fields(cast(Any, self)))
        fields = {name: getattr(self, name) for name in names if name not in own}
        return type(self)._function(
            lambda: self._next_key(rngs),
            *inputs,
            deterministic=self._mode(deterministic),
            **fields | replaced,
        )

    def _mode(self, deterministic: Flag) -> bool | jax.Array:
        mode = self.deterministic if deterministic is None else deterministic
        if mode is None:
            raise ValueError(
                "No `deterministic` argument was provided to "
                f"{type(self).__name__}: got None from both the constructor and the "
                "call. Pass True to leave x alone or False to drop, or set it for a "
                "whole model with model.train() or model.eval()."
            )
        return mode

    def _stream_of(self, rngs: nnx.Rngs) -> nnx.RngStream:
        try:
            return rngs[self.rng_collection]
        except KeyError as error:
            raise KeyError(
                f"{error.args[0]} Pass nnx.Rngs(seed), whose one key serves all, or "
                f"nnx.Rngs({self.rng_collection}=seed)."
            ) from None

    def _own_stream(self, rngs: Keys | None) -> nnx.RngStream | None:
        if isinstance(rngs, nnx.Rngs):
            rngs = self._stream_of(rngs)
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
            rngs = self._stream_of(rngs)
        if isinstance(rngs, nnx.RngStream):
            return rngs()
        if isinstance(rngs, jax.Array | np.ndarray):
            return jnp.asarray(rngs)
        raise TypeError(
            "rngs must be a Rngs, RngStream or jax.Array, but got "
            f"{type(rngs).__name__}. Pass nnx.Rngs(seed) or jax.random.key(seed)."
        )


@dataclasses.dataclass(eq=False, repr=False)
class Dropout(_Module):
    """`jdrop.dropout` as a module: y = m * x / keep, with m ~ Bernoulli(keep).

    Examples:
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

    rate: ArrayLike
    _: dataclasses.KW_ONLY
    broadcast_dims: Sequence[int] = ()
    deterministic: Flag = False
    rng_collection: str = "dropout"
    rngs: Keys | None = None
    _function = staticmethod(units.dropout)


@dataclasses.dataclass(eq=False, repr=False)
class AlphaDropout(_Module):
    """`jdrop.alpha_dropout` as a module: keeps SELU's mean and variance."""

    rate: ArrayLike
    _: dataclasses.KW_ONLY
    broadcast_dims: Sequence[int] = ()
    mean: ArrayLike = 0
    variance: ArrayLike = 1
    deterministic: Flag = False
    rng_collection: str = "dropout"
    rngs: Keys | None = None
    _function = staticmethod(alpha.alpha_dropout)


@dataclasses.dataclass(eq=False, repr=False)
class FeatureDropout(_Module):
    """`jdrop.feature_dropout` as a module: drops whole channels."""

    rate: ArrayLike
    _: dataclasses.KW_ONLY
    channel_axis: int = -1
    batch_axis: int | None = 0
    deterministic: Flag = False
    rng_collection: str = "dropout"
    rngs: Keys | None = None
    _function = staticmethod(features.feature_dropout)


@dataclasses.dataclass(eq=False, repr=False)
class FeatureAlphaDropout(_Module):
    """`jdrop.feature_alpha_dropout` as a module: alpha dropout of whole channels."""

    rate: ArrayLike
    _: dataclasses.KW_ONLY
    channel_axis: int = -1
    batch_axis: int | None = 0
    mean: ArrayLike = 0
    variance: ArrayLike = 1
    deterministic: Flag = False
    rng_collection: str = "dropout"
    rngs: Keys | None = None
    _function = staticmethod(alpha.feature_alpha_dropout)


@dataclasses.dataclass(eq=False, repr=False)
class AttentionDropout(_Module):
    """`jdrop.attention_dropout` as a module: drops attention weights."""

    rate: ArrayLike
    _: dataclasses.KW_ONLY
    shared: Sequence[str] = ()
    deterministic: Flag = False
    rng_collection: str = "dropout"
    rngs: Keys | None = None
    _function = staticmethod(attention.attention_dropout)


@dataclasses.dataclass(eq=False, repr=False)
class DropBlock(_Module):
    """`jdrop.drop_block` as a module: drops blocks of neighbouring positions."""

    rate: ArrayLike
    _: dataclasses.KW_ONLY
    block_size: int | Sequence[int] = 7
    per_channel: bool = True
    channel_axis: int | None = -1
    batch_axis: int | None = 0
    calibration: str = "exact"
    deterministic: Flag = False
    rng_collection: str = "dropout"
    rngs: Keys | None = None
    _function = staticmethod(blocks.drop_block)


@dataclasses.dataclass(eq=False, repr=False)
class TokenDropout(_Module):
    """`jdrop.token_dropout` as a module: returns fewer tokens, and their indices."""

    rate: float
    _: dataclasses.KW_ONLY
    prefix_tokens: int = 0
    deterministic: bool = False
    rng_collection: str = "dropout"
    rngs: Keys | None = None
    _function = staticmethod(tokens.token_dropout)


@dataclasses.dataclass(eq=False, repr=False)
class DropPath(_Module):
    """`jdrop.drop_path` as a module: drops the branch of a residual block."""

    rate: ArrayLike
    _: dataclasses.KW_ONLY
    mode: str = "sample"
    deterministic: Flag = False
    rng_collection: str = "dropout"
    rngs: Keys | None = None
    _function = staticmethod(features.drop_path)


@dataclasses.dataclass(eq=False, repr=False)
class DropConnect(_Module):
    """`jdrop.drop_connect` as a module: drops weights of a tree of parameters."""

    rate: ArrayLike
    _: dataclasses.KW_ONLY
    where: Callable[[str], bool] | None = None
    deterministic: Flag = False
    rng_collection: str = "dropout"
    rngs: Keys | None = None
    _function = staticmethod(weights.drop_connect)


@dataclasses.dataclass(eq=False, repr=False)
class GaussianDropout(_Module):
    """`jdrop.gaussian_dropout` as a module: multiplies by noise of mean 1."""

    rate: ArrayLike
    _: dataclasses.KW_ONLY
    broadcast_dims: Sequence[int] = ()
    deterministic: Flag = False
    rng_collection: str = "dropout"
    rngs: Keys | None = None
    _function = staticmethod(noise.gaussian_dropout)


@dataclasses.dataclass(eq=False, repr=False)
class GaussianNoise(_Module):
    """`jdrop.gaussian_noise` as a module: adds noise of mean 0."""

    stddev: ArrayLike
    _: dataclasses.KW_ONLY
    broadcast_dims: Sequence[int] = ()
    deterministic: Flag = False
    rng_collection: str = "dropout"
    rngs: Keys | None = None
    _function = staticmethod(noise.gaussian_noise)


@dataclasses.dataclass(eq=False, repr=False)
class Zoneout(_Module):
    """`jdrop.zoneout` as a module: units keep their state for a step."""

    rate: ArrayLike
    _: dataclasses.KW_ONLY
    broadcast_dims: Sequence[int] = ()
    deterministic: Flag = False
    rng_collection: str = "dropout"
    rngs: Keys | None = None
    _function = staticmethod(recurrent.zoneout)

    @checked_method
    def __call__(  # type: ignore[override]
        self,
        inputs: ArrayLike,
        previous: ArrayLike,
        *,
        deterministic: Flag = None,
        rngs: Keys | jax.Array | None = None,
        offset: ArrayLike | None = None,
    ) -> jax.Array:
        """Calls the function, as other modules do; `previous` is the state before."""
        return self._call((inputs, previous), deterministic, rngs, offset)


@dataclasses.dataclass(eq=False, repr=False)
class ConcreteDropout(_Module):
    """`jdrop.concrete_dropout` as a module: it learns its rate.

    `rate` is where it begins. The parameter is `logit`, whose sigmoid is the rate.
    """

    rate: ArrayLike
    _: dataclasses.KW_ONLY
    broadcast_dims: Sequence[int] = ()
    temperature: ArrayLike = 0.1
    deterministic: Flag = False
    rng_collection: str = "dropout"
    rngs: Keys | None = None
    _function = staticmethod(concrete.concrete_dropout)

    def __post_init__(self) -> None:  # noqa: D105
        super().__post_init__()
        self.logit = nnx.Param(first_logit(self.rate))

    @checked_method
    def __call__(
        self,
        inputs: ArrayLike,
        *,
        deterministic: Flag = None,
        rngs: Keys | jax.Array | None = None,
        offset: ArrayLike | None = None,
    ) -> jax.Array:
        """Calls the function at the learned rate, as other modules do."""
        rate = jax.nn.sigmoid(self.logit[...])
        return self._call((inputs,), deterministic, rngs, offset, rate=rate)
