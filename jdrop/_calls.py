"""How a function is called: its form, what it was given, what to pass instead."""

import functools
import inspect
from collections.abc import Callable, Collection
from typing import Any, NamedTuple, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

# What an argument is called elsewhere: its name here, what to pass, the other names.
_HABITS = (
    ("rate", "rate=..., the probability of dropping", "p prob drop_prob dropout_rate"),
    ("rate", "rate=1 - keep, the probability of dropping", "keep keep_prob keep_rate"),
    ("deterministic", "deterministic=not training", "train training is_training"),
    ("deterministic", "deterministic=True for inference", "inference eval"),
    ("key", "a key first, such as jax.random.key(seed)", "rng rngs seed"),
    ("rngs", "rngs=nnx.Rngs(seed)", "rng key seed"),
    ("rng", "rng=jax.random.key(seed)", "rngs key seed"),
    ("rng_collection", "the key to apply: rngs={'dropout': key}", "rng rngs key seed"),
    ("stddev", "stddev=..., of the noise", "rate p scale std"),
    ("n", "the number of samples after the key", "n_samples num_samples samples"),
)


class Form(NamedTuple):
    """What a function takes.

    Attributes:
      usage: Its name, and what it has to be given.
      required: Names of what it has to be given.
      placed: Names of what it takes by position, those in any number left out.
      named: Names of what it takes by name alone.
      is_open: Whether it takes any number of arguments by position.
    """

    usage: str
    required: tuple[str, ...]
    placed: tuple[str, ...]
    named: tuple[str, ...]
    is_open: bool

    def check(self, args: tuple[Any, ...], names: Collection[str]) -> None:
        """Raises unless a call has what it must have, and nothing else than it may."""
        self.check_given(args, names)
        missing = [name for name in self.required[len(args) :] if name not in names]
        if not missing:
            return
        law, remedy = "all of these", f"Pass {' and '.join(missing)}"
        if self.required[0] == "key":
            law = "the key first, and all of these"
            remedy += " after the key, which jax.random.key(seed) makes"
        if "key" in missing:
            remedy = "Make a key with jax.random.key(seed)"
        raise TypeError(
            f"{self.usage} takes {law}; got no {' and no '.join(missing)}. {remedy}."
        )

    def check_given(self, args: tuple[Any, ...], names: Collection[str]) -> None:
        """Raises if a call has anything that the function does not take."""
        if len(args) > len(self.placed) and not self.is_open:
            remedy = "Name the others." if self.named else "Leave out the others."
            raise TypeError(
                f"{self.usage} takes {', '.join(self.placed)} by position, and "
                f"{', '.join(self.named) or 'nothing'} by name; got {len(args)} by "
                f"position. {remedy}"
            )
        taken = (*self.placed, *self.named)
        for name in names:
            if name not in taken:
                options = [option for option in taken if option not in self.required]
                raise TypeError(
                    f"{self.usage} takes {', '.join(options) or 'nothing else'} by "
                    f"name; got {name}. {_instead(name, taken)}"
                )


def _instead(name: str, taken: Collection[str]) -> str:
    for own, remedy, others in _HABITS:
        if own in taken and name in others.split():
            return f"Pass {remedy}."
    return "Leave it out."


@functools.lru_cache
def form_of(
    function: Callable[..., Any], name: str, *, is_method: bool = False
) -> Form:
    """What a function, which goes by a name, takes; a method after its object."""
    parameters = list(inspect.signature(function).parameters.values())[is_method:]
    placed = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    named = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    required = [p.name for p in (*placed, *named) if p.default is p.empty]
    return Form(
        f"{name}({', '.join(required)})",
        tuple(required),
        tuple(p.name for p in placed),
        tuple(p.name for p in named),
        any(p.kind is p.VAR_POSITIONAL for p in parameters),
    )


def checked_call(function: Callable[P, R]) -> Callable[P, R]:
    """Makes a call of other arguments than it takes say how the function is called."""
    form = form_of(function, function.__name__)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        form.check(args, kwargs)
        return function(*args, **kwargs)

    return call


def checked_method(method: Callable[P, R]) -> Callable[P, R]:
    """Makes a module say so of its own call, by the name of its class."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        form = form_of(method, f"{type(args[0]).__name__}(...)", is_method=True)
        form.check(args[1:], kwargs)
        return method(*args, **kwargs)

    return call
