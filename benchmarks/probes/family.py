"""The other members of the family: their laws, edges, and formulas given their masks.

A mask, or noise, is read off an output for ones, and the formula in NumPy is held
against the output for other numbers under the same key.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.ndimage
import scipy.stats

from benchmarks.peers.base import Peer
from benchmarks.probes import (
    ERROR,
    NOTHING,
    SHAPE,
    Case,
    Observation,
    kept,
    number,
    ones,
    values,
    with_slope,
)

ALPHA_RATES = (0.1, 0.3, 0.5)
# All libraries express it exactly.
RATE = 0.25
UNITS, CHANNELS = (256, 256), (16, 8, 5, 5)
MAP, SIDE = (1, 4, 16, 16), 3
EQUAL = "equal"
SATURATION = -1.7580993408473766
"""What SELU tends to: minus the product of its two constants."""


def alpha_dropout(mask: np.ndarray, x: np.ndarray, rate: float) -> np.ndarray:
    """Klambauer et al. 2017."""
    a = ((1 - rate) * (1 + rate * SATURATION**2)) ** -0.5
    return a * np.where(mask, x, SATURATION) - a * rate * SATURATION


def gaussian_dropout(noise: np.ndarray, x: np.ndarray, rate: float) -> np.ndarray:
    """Srivastava et al. 2014, section 10, by factors of mean 1."""
    return x * noise


def drop_block(mask: np.ndarray, x: np.ndarray, rate: float) -> np.ndarray:
    """Ghiasi et al. 2018: scaled by what is really kept."""
    return x * mask * mask.size / mask.sum()


def drop_path(mask: np.ndarray, x: np.ndarray, rate: float) -> np.ndarray:
    """Huang et al. 2016, with the scale at training."""
    return x * mask / (1 - rate)


def _given(
    title: str,
    method: str,
    formula: Callable[[np.ndarray, np.ndarray, float], np.ndarray],
    shape: tuple[int, ...],
    noise_of_ones: Callable[[np.ndarray], np.ndarray],
    shared: tuple[int, ...] = (),
    options: tuple[int, ...] = (),
) -> Case:
    """Whether an op is its formula, given the mask or noise that it draws.

    Args:
      title: What is done, without the rate.
      method: That of a peer which has the op.
      formula: `formula(noise, x, rate)`.
      shape: Shape of x.
      noise_of_ones: Reads the noise off the output for ones.
      shared: Axes along which all elements share it.
      options: What the method takes beside key, x and rate.
    """

    def look(peer: Peer) -> Observation:
        def op(x: np.ndarray) -> np.ndarray:
            call = getattr(peer, method)
            return peer.read(call(peer.key(0), peer.array(x), RATE, *options))

        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        noise = noise_of_ones(op(np.ones(shape, np.float32)))
        if (noise != noise.mean(shared, keepdims=True)).any():
            return Observation("another mask", False)
        error = float(np.abs(op(x) - formula(noise, x.astype(np.float64), RATE)).max())
        # Of a few operations in float32 on numbers up to 5.
        if error < 2e-6:
            return Observation(EQUAL, True)
        return Observation(f"off by {number(error)}", False)

    return Case(f"{title}, rate {RATE}", EQUAL, look)


def _largest(y: np.ndarray) -> np.ndarray:
    """Of alpha dropout, whose dropped ones are not 0 but lower."""
    return y == y.max()


def _not_zero(y: np.ndarray) -> np.ndarray:
    return y != 0


def _normality(peer: Peer) -> Observation:
    """Moments within five standard deviations, and a Kolmogorov-Smirnov test."""
    x = peer.array(np.ones((1000, 1000), np.float32))
    y = peer.read(peer.gaussian(peer.key(0), x, RATE)).astype(np.float64).ravel()
    mean, variance, wanted = y.mean(), y.var(), RATE / (1 - RATE)
    fits = (
        abs(mean - 1) < 5 * (wanted / y.size) ** 0.5
        and abs(variance / wanted - 1) < 5 * (2 / y.size) ** 0.5
    )
    test = scipy.stats.kstest((y - 1) / wanted**0.5, "norm")
    law = "normal" if test.pvalue > 1e-4 else "not normal"
    return Observation(
        f"{mean:.2f}, {variance:.2f}, {law}", bool(fits and law == "normal")
    )


def _blocks(peer: Peer) -> str:
    """Whether all that is dropped is covered by blocks that lie wholly in the map."""
    x = peer.array(np.ones((1, 1, 100, 100), np.float32))
    [[gone]] = ~kept(peer, peer.drop_block(peer.key(0), x, RATE, SIDE))
    whole = scipy.ndimage.binary_opening(gone, np.ones((SIDE, SIDE)))
    return "whole blocks" if np.array_equal(whole, gone) else "blocks cut at the edges"


def _moment(name: str) -> Callable[[Peer], Observation]:
    wanted = {"mean": 0, "var": 1}[name]

    def look(peer: Peer) -> Observation:
        x = np.random.default_rng(0).standard_normal((1000, 1000)).astype(np.float32)
        outputs = [_alpha(peer, p)(peer.array(x)) for p in ALPHA_RATES]
        seen = [float(getattr(peer.read(y), name)()) for y in outputs]
        text = ", ".join(f"{round(value, 2) + 0.0:.2f}" for value in seen)
        # 0.01 for the spread of moments over 1e6 elements.
        return Observation(text, max(abs(value - wanted) for value in seen) < 0.01)

    return look


def _alpha(peer: Peer, rate: float) -> Callable[[Any], Any]:
    return lambda x: peer.alpha(peer.key(0), x, rate)


def _alpha_infinity(peer: Peer) -> str:
    function = _alpha(peer, 0.5)
    y = peer.read(function(ones(peer)))
    gone, x = y == y.min(), peer.array(np.full(SHAPE, np.inf, np.float32))
    value, slope = function(x)[gone], peer.slope(function, x)[gone]
    return f"{values(peer, value)}, gradient {values(peer, slope)}"


def _gaussian(peer: Peer) -> Observation:
    # The variance p / q has no limit here, so that any value may come out.
    try:
        y = peer.gaussian(peer.key(0), ones(peer), 1.0)
    except ValueError:
        return Observation("ValueError", True)
    return Observation(values(peer, y), True)


def _dropped(peer: Peer) -> Observation:
    x = peer.array(np.ones((20_000, 1, 7, 7), np.float32))
    dropped = 1 - float(kept(peer, peer.drop_block(peer.key(0), x, 0.1, 7)).mean())
    # 20,000 blocks: five standard deviations of the fraction are 0.011.
    return Observation(f"{dropped:.3f}", abs(dropped - 0.1) < 0.011)


FAMILY = (
    Case("alpha dropout of N(0, 1), mean at rates 0.1, 0.3, 0.5", "0", _moment("mean")),
    Case("alpha dropout of N(0, 1), variance at the same rates", "1", _moment("var")),
    Case("alpha dropout, rate 1", NOTHING, lambda p: with_slope(p, _alpha(p, 1.0))),
    Case("alpha dropout, rate 1.5", ERROR, lambda p: _alpha(p, 1.5)(ones(p))),
    Case(
        "alpha dropout, x = inf where it is dropped, rate 0.5",
        "-0.779, gradient 0",
        _alpha_infinity,
    ),
    _given("alpha dropout given its mask", "alpha", alpha_dropout, UNITS, _largest),
    _given(
        "feature alpha dropout given its mask",
        "feature_alpha",
        alpha_dropout,
        CHANNELS,
        _largest,
        shared=(2, 3),
    ),
    Case("Gaussian dropout, rate 1", "values, or ValueError", _gaussian),
    Case(
        "Gaussian dropout, rate 0.25: mean, variance, law of y / x",
        "1.00, 0.33, normal",
        _normality,
    ),
    _given(
        "Gaussian dropout given its noise",
        "gaussian",
        gaussian_dropout,
        UNITS,
        np.asarray,
    ),
    Case("drop block, 7x7, block 7, rate 0.1: dropped", "0.10", _dropped),
    Case("drop block, 3x3: what is dropped", "whole blocks", _blocks),
    _given(
        "drop block given its mask",
        "drop_block",
        drop_block,
        MAP,
        _not_zero,
        options=(SIDE,),
    ),
    _given(
        "drop path given its mask",
        "drop_path",
        drop_path,
        CHANNELS,
        _not_zero,
        shared=(1, 2, 3),
    ),
)
"""What is asked of the other members of the family, where a library has them."""
