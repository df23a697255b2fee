"""Alpha dropout, Gaussian dropout and drop block, where a library has them."""

import numpy as np

from benchmarks.peers.base import Peer
from benchmarks.probes.observation import (
    Observation,
    distinct,
    expects,
    ones,
    probe,
    refuses,
)

RATES = (0.1, 0.3, 0.5)
NORMAL = np.random.default_rng(0).standard_normal((1000, 1000)).astype(np.float32)


def alpha_outputs(peer: Peer) -> list[np.ndarray]:
    """Alpha dropout of a million normal numbers at each rate."""
    x = peer.array(NORMAL)
    return [np.asarray(peer.alpha(peer.key(0), x, rate)) for rate in RATES]


def moments(seen: list[float], wanted: float) -> Observation:
    """Compares moments over 1e6 elements, with 0.01 for their own spread."""
    error = max(abs(value - wanted) for value in seen)
    text = ", ".join(f"{round(value, 2) + 0.0:.2f}" for value in seen)
    return Observation(text, error < 0.01)


@probe("alpha dropout of N(0, 1), mean at rates 0.1, 0.3, 0.5", "0")
def alpha_mean(peer: Peer) -> Observation:
    """The mean that alpha dropout promises to keep."""
    outputs = [
        np.asarray(peer.alpha(peer.key(0), peer.array(NORMAL), rate)) for rate in RATES
    ]
    return moments([float(y.mean()) for y in outputs], 0)


@probe("alpha dropout of N(0, 1), variance at the same rates", "1")
def alpha_variance(peer: Peer) -> Observation:
    """The variance that alpha dropout promises to keep."""
    outputs = [
        np.asarray(peer.alpha(peer.key(0), peer.array(NORMAL), rate)) for rate in RATES
    ]
    return moments([float(y.var()) for y in outputs], 1)


@probe("alpha dropout, rate 1", "0, gradient 0")
def alpha_rate_one(peer: Peer) -> Observation:
    """The limit where everything is dropped."""
    value = distinct(peer.alpha(peer.key(0), ones(peer), 1.0))
    slope = distinct(peer.alpha_slope(peer.key(0), ones(peer), 1.0))
    return expects(f"{value}, gradient {slope}", "0, gradient 0")


@probe("alpha dropout, rate 1.5", "an error")
def alpha_rate_above_one(peer: Peer) -> Observation:
    """A rate that is none."""
    return refuses(lambda: peer.alpha(peer.key(0), ones(peer), 1.5))


@probe("alpha dropout, x = inf where it is dropped, rate 0.5", "-0.779, gradient 0")
def alpha_dropped_infinity(peer: Peer) -> Observation:
    """The dropped value is a alpha' + b, whatever x was."""
    key = peer.key(0)
    y = np.asarray(peer.alpha(key, ones(peer), 0.5))
    gone = y == y.min()
    value = distinct(np.asarray(peer.alpha(key, ones(peer) * np.inf, 0.5))[gone])
    slope = distinct(np.asarray(peer.alpha_slope(key, ones(peer) * np.inf, 0.5))[gone])
    return expects(f"{value}, gradient {slope}", "-0.779, gradient 0")


@probe("Gaussian dropout, rate 1", "values, or ValueError")
def gaussian_rate_one(peer: Peer) -> Observation:
    """The rate at which the variance p / q has no limit."""
    seen = refuses(lambda: peer.gaussian(peer.key(0), ones(peer), 1.0), (ValueError,))
    return Observation(seen.text, seen.text.startswith("accepted") or seen.meets)


@probe("drop block, 7x7, block 7, rate 0.1: dropped", "0.10")
def drop_block_rate(peer: Peer) -> Observation:
    """The fraction that is dropped where one block fills the image."""
    x = np.ones((20_000, 7, 7, 1), np.float32)
    y = np.asarray(peer.drop_block(peer.key(0), x, 0.1, 7))
    # 20,000 blocks: five standard deviations of the fraction are 0.011.
    dropped = float((y == 0).mean())
    return Observation(f"{dropped:.3f}", abs(dropped - 0.1) < 0.011)
