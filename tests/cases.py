"""The table of ops, and what else all tests share: keys of every kind, rates, one x.

A new op is one new row. An oracle is the op's equation in NumPy float64: it takes a
mask, or noise, and never a key.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
import scipy.special
from block_oracle import drop_block_oracle, gamma_of

import jdrop

KEY_IMPLEMENTATIONS = (
    "threefry2x32",
    "threefry4x32",
    "philox2x32",
    "philox4x32",
    "rbg",
    "unsafe_rbg",
)
WORDS_IN_KEY = {
    "threefry2x32": 2,
    "threefry4x32": 4,
    "philox2x32": 1,
    "philox4x32": 2,
    "rbg": 4,
    "unsafe_rbg": 4,
    "legacy of 1": 1,
    "legacy of 2": 2,
    "legacy of 4": 4,
}
RATES = (0.5, 0.25, 0.1, 1 / 3, 0.9, 1e-4, 1 - 1e-4)

# The generator of this kind draws other numbers under vmap and in sharded programs.
KEY = jax.random.key(4, impl="rbg")
SHAPE, RATE = (8, 3, 20), 0.3
X = jax.random.normal(jax.random.key(2), SHAPE) + 3


Oracle = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def _itself(x: np.ndarray, rate: float) -> np.ndarray:
    return x


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """One op, called as `case(key, x, rate, **options)`.

    Attributes:
      op: The function of the library.
      oracle: `oracle(noise, x, rate)`, with a bool mask, or numbers, and the realised
        rate. It is affine in x.
      complex_ok: Whether the law makes sense for complex x.
      arguments: What the op is given besides.
      after: Numbers that arrays are filled with which follow x.
      noise: What its noise is: "mask", "seeds" of blocks, "normal" or "logistic".
      twin: The op that it is, with axes shared: its contract is the twin's.
      shares: The axes that it shares, of an x of so many dimensions.
      drops: Whether `rate` is a probability of dropping.
      rounds: Whether it is rounded to what the digits express.
      at_rest: What deterministic gives, of x and the realised rate.
      at_one: What every element is at rate 1.
      tolerance: Of its arithmetic in float32, relative and absolute.
    """

    op: Callable[..., jax.Array]
    oracle: Oracle
    complex_ok: bool = False
    _: dataclasses.KW_ONLY
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    after: tuple[float, ...] = ()
    noise: str = "mask"
    twin: Callable[..., jax.Array] | None = None
    shares: Callable[[int], Sequence[int]] = lambda ndim: ()
    drops: bool = True
    rounds: bool = True
    at_rest: Callable[[np.ndarray, float], np.ndarray] = _itself
    at_one: float = 0.0
    tolerance: float = 1e-6

    def __call__(self, key, x, rate=RATE, **options):
        """Calls the op with what the row gives it."""
        after = [jnp.full_like(x, number) for number in self.after]
        return self.op(key, x, *after, rate, **self.arguments, **options)

    @property
    def name(self) -> str:
        """What the op is called, which is its name in every message."""
        return self.op.__name__

    @property
    def label(self) -> str:
        """What the row is called: the op, and what it is given."""
        given = (f"{name}={value}" for name, value in self.arguments.items())
        return " ".join([self.name, *given])

    @property
    def module(self) -> str:
        """What its module is called, in jdrop.linen and in jdrop.nnx."""
        return self.name.title().replace("_", "")

    def realised(self, rate: float) -> float:
        """The rate that the law has."""
        return realised(rate) if self.rounds else float(np.float32(rate))

    def drawn(self, x, rate=RATE, words=(0, 4, 0, 4), dims=(), **part) -> np.ndarray:
        """What the oracle of the stream draws for x under the key of these words."""
        shape, dims = np.shape(x), (*dims, *self.shares(np.ndim(x)))
        if self.noise == "mask":
            return oracle.mask(words, shape, rate, dims, **part)
        if self.noise == "seeds":
            gamma = gamma_of(rate, (shape[1],), (SIDE,))
            return oracle.mask(
                words, (shape[0], shape[1] - SIDE + 1, *shape[2:]), gamma, dims, **part
            )
        uniform = (1 + oracle.symmetric(oracle.noise(words, shape, dims, **part))) / 2
        noises = {"normal": scipy.special.ndtri, "logistic": scipy.special.logit}
        return noises[self.noise](uniform)


def _dropout(mask: np.ndarray, x: np.ndarray, rate: float) -> np.ndarray:
    return np.where(mask, x / (1 - rate), 0)


def _alpha_dropout(mask, x, rate, mean=0.0, variance=1.0) -> np.ndarray:
    saturation = -1.7580993408473766
    spread = rate * (saturation - mean) ** 2 + variance
    a = (variance / ((1 - rate) * spread)) ** 0.5
    b = mean - a * ((1 - rate) * mean + rate * saturation)
    return a * np.where(mask, x, saturation) + b


def _gaussian_dropout(normal: np.ndarray, x: np.ndarray, rate: float) -> np.ndarray:
    return x * (1 + np.sqrt(rate / (1 - rate)) * normal)


def _gaussian_noise(normal: np.ndarray, x: np.ndarray, stddev: float) -> np.ndarray:
    return x + stddev * normal


def _concrete_dropout(logistic: np.ndarray, x: np.ndarray, rate: float) -> np.ndarray:
    logits = scipy.special.logit(rate) + logistic
    return x * scipy.special.expit(-logits / 0.1) / (1 - rate)


def _drop_block(seeds: np.ndarray, x: np.ndarray, rate: float) -> np.ndarray:
    return drop_block_oracle(seeds, x, (1, SIDE, 1))


def _zoneout(mask: np.ndarray, x: np.ndarray, rate: float) -> np.ndarray:
    return np.where(mask, x, BEFORE)


SIDE = 2
BEFORE = 5.0
FIXED_POINT = {"mean": 0.5, "variance": 2.0}
DROPOUT = Case(jdrop.dropout, _dropout, complex_ok=True)
ALPHA = Case(jdrop.alpha_dropout, _alpha_dropout)
GAUSSIAN = Case(
    jdrop.gaussian_dropout,
    _gaussian_dropout,
    complex_ok=True,
    noise="normal",
    tolerance=1e-4,
)
CASES = (
    DROPOUT,
    ALPHA,
    Case(
        jdrop.alpha_dropout,
        functools.partial(_alpha_dropout, **FIXED_POINT),
        arguments=FIXED_POINT,
        at_one=FIXED_POINT["mean"],
    ),
    Case(
        jdrop.feature_dropout,
        _dropout,
        complex_ok=True,
        twin=jdrop.dropout,
        shares=lambda ndim: range(1, ndim - 1),
    ),
    Case(
        jdrop.feature_dropout,
        _dropout,
        complex_ok=True,
        arguments={"channel_axis": 1, "batch_axis": None},
        twin=jdrop.dropout,
        shares=lambda ndim: (0, *range(2, ndim)),
    ),
    Case(
        jdrop.feature_alpha_dropout,
        _alpha_dropout,
        twin=jdrop.alpha_dropout,
        shares=lambda ndim: range(1, ndim - 1),
    ),
    Case(
        jdrop.drop_path,
        _dropout,
        complex_ok=True,
        twin=jdrop.dropout,
        shares=lambda ndim: range(1, ndim),
    ),
    Case(
        jdrop.drop_path,
        _dropout,
        complex_ok=True,
        arguments={"mode": "batch"},
        twin=jdrop.dropout,
        shares=range,
    ),
    Case(
        jdrop.attention_dropout,
        _dropout,
        arguments={"shared": ("heads", "query")},
        twin=jdrop.dropout,
        shares=lambda ndim: (ndim - 3, ndim - 2),
    ),
    GAUSSIAN,
    Case(
        jdrop.gaussian_noise,
        _gaussian_noise,
        noise="normal",
        drops=False,
        rounds=False,
        tolerance=1e-4,
    ),
    Case(
        jdrop.concrete_dropout,
        _concrete_dropout,
        noise="logistic",
        rounds=False,
        tolerance=1e-4,
    ),
    Case(
        jdrop.drop_block,
        _drop_block,
        complex_ok=True,
        arguments={"block_size": SIDE},
        noise="seeds",
    ),
    Case(
        jdrop.zoneout,
        _zoneout,
        complex_ok=True,
        after=(BEFORE,),
        at_rest=lambda x, rate: (1 - rate) * x + rate * BEFORE,
        at_one=BEFORE,
    ),
)
# Those with a law of their own, and of these one that draws words and one that draws
# numbers.
LAWS = tuple(case for case in CASES if case.twin is None)
TYPICAL = (DROPOUT, GAUSSIAN)


def each(cases: Sequence[Case], slow: bool = False) -> pytest.MarkDecorator:
    """Runs a test for each of some rows, or for those that are not typical if slow."""
    return pytest.mark.parametrize(
        "case",
        [
            pytest.param(
                case,
                id=case.label,
                marks=[pytest.mark.slow] if slow and case not in TYPICAL else [],
            )
            for case in cases
        ],
    )


each_case, each_law, each_typical = each(CASES), each(LAWS), each(TYPICAL)
# What the frame of an op does for all of them alike.
each_frame = each(LAWS, slow=True)
each_mask = each([case for case in LAWS if case.noise == "mask"])


def realised(rate: float) -> float:
    """The rate as the stream rounds it, in exact arithmetic."""
    return float(oracle.threshold(rate)[0])


def make_key(kind: str, words: Sequence[int]) -> jax.Array:
    """The key of these words: typed if `kind` is an implementation, else legacy."""
    data = jnp.array(words, jnp.uint32)
    if kind in KEY_IMPLEMENTATIONS:
        return jax.random.wrap_key_data(data, impl=kind)
    return data


def key_words(key: jax.Array) -> list[int]:
    """The words of one key, typed or legacy."""
    return (jax.random.key_data(key) if is_typed(key) else key).tolist()


def is_typed(key: jax.Array) -> bool:
    """Whether JAX knows the array to be a key."""
    return jnp.issubdtype(key.dtype, jax.dtypes.prng_key)


@functools.cache
def kept(
    words: tuple[int, ...] = (0, 4, 0, 4),
    shape: tuple[int, ...] = SHAPE,
    rate: float = RATE,
) -> np.ndarray:
    """What the oracle keeps under the key of these words; by default, `KEY`."""
    return oracle.mask(words, shape, rate)


def assert_equation(case: Case, y, x, rate=RATE, noise=None, slope=None) -> None:
    """Checks an output, and its slope, against the equation in float64.

    The tolerance is that of a multiply and an add, which a compiler may fuse, and of
    the functions that make noise of uniform numbers.
    """
    noise = case.drawn(x, rate) if noise is None else noise
    x, p = np.asarray(x, np.float64), case.realised(rate)
    tolerance = {"rtol": case.tolerance, "atol": case.tolerance}
    close = functools.partial(np.testing.assert_allclose, **tolerance)
    close(y, case.oracle(noise, x, p))
    if slope is not None:
        close(slope, case.oracle(noise, x + 1, p) - case.oracle(noise, x, p))
        if case.noise == "mask":
            np.testing.assert_array_equal(np.asarray(slope) != 0, noise)
