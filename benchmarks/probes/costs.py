"""What a mask costs, and how exact the law is: numbers of which less is better."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from benchmarks.peers.base import Peer
from benchmarks.probes.observation import Observation, number, probe

ONES = np.ones((256, 256), np.float32)
RATES = (0.05, 0.1, 0.15, 0.2, 0.3)
SAMPLES = 2**22
SIGMAS = 5


@probe("kept for the backward pass, rate 0.1", "1 bit per element")
def residuals(peer: Peer) -> Observation:
    """Bits per element between the two passes, eagerly and across a jit boundary."""
    bits = peer.residual_bits(peer.array(ONES), 0.1)
    counts = {mode: number(value) for mode, value in bits.items()}
    words = [f"{count} ({mode})" for mode, count in counts.items()]
    text = next(iter(counts.values())) if len(set(counts.values())) == 1 else ""
    worst = max(bits.values())
    # Beside the mask there may be scalars.
    return Observation(
        f"{text or ', '.join(words)} bits" if text != "1" else "1 bit",
        worst < 1 + 1e-2,
        worst,
    )


def drawn(peer: Peer, rate: float, most: int) -> Observation:
    """Bits per element that the generator computes."""
    bits = peer.random_bits(peer.array(ONES), rate)
    return Observation(f"{number(bits)} bits", bits < most + 1e-2, bits)


@probe("random bits computed per element, rate 0.5", "at most 2")
def drawn_at_a_half(peer: Peer) -> Observation:
    """A rate of one binary digit."""
    return drawn(peer, 0.5, 2)


@probe("random bits computed per element, rate 0.1", "at most 16")
def drawn_at_a_tenth(peer: Peer) -> Observation:
    """A rate of endless digits."""
    return drawn(peer, 0.1, 16)


def bias(drop: Callable[[Any, float], Any], x: np.ndarray) -> Observation:
    """The relative error of E[y] at the worst of several rates.

    The standard deviation of mean(y) / mean(x) is sqrt(p / q * E[x^2] / n) / E[x].
    """
    worst, at, noise = 0.0, 0.0, 0.0
    wide = x.astype(np.float64)
    for rate in RATES:
        y = np.asarray(drop(x, rate)).astype(np.float64)
        sigma = np.sqrt(rate / (1 - rate) * (wide**2).mean() / x.size) / wide.mean()
        error = y.mean() / wide.mean() - 1
        noise = max(noise, SIGMAS * sigma)
        if abs(error) > max(SIGMAS * sigma, abs(worst)):
            worst, at = error, rate
    if worst == 0:
        return Observation(f"below {noise:.2%}", True, 0.0)
    return Observation(f"{worst:+.2%} at rate {at}", False, abs(worst))


@probe("bias of E[y], bfloat16 x, worst of five rates", "none")
def bias_of_low_precision(peer: Peer) -> Observation:
    """E[y] / x - 1 over x in [1, 2)."""
    x = np.random.default_rng(0).uniform(1, 2, SAMPLES).astype(jnp.bfloat16)
    return bias(lambda x, rate: peer.drop(peer.key(0), peer.array(x), rate), x)


@probe("bias of E[y], bfloat16 rate, worst of five rates", "none")
def bias_of_a_rounded_rate(peer: Peer) -> Observation:
    """E[y] / x - 1 for a float32 x, with the rate in few bits, as haiku advises."""
    x = np.random.default_rng(0).uniform(1, 2, SAMPLES).astype(np.float32)
    peer.jax_key(0)
    return bias(
        lambda x, rate: peer.drop(peer.key(0), peer.array(x), jnp.bfloat16(rate)), x
    )


@probe("rate applied for 0.1, as 1 - 1/y for x = 1", "within 2^-17 of 0.1")
def applied_rate(peer: Peer) -> Observation:
    """How far the rate is rounded, as the scale shows it."""
    y = np.asarray(peer.drop(peer.key(0), peer.array(ONES), 0.1)).max()
    rate = 1 - 1 / float(y)
    error = abs(rate - 0.1)
    # A float32 y cannot tell rates that are closer than 2^-23.
    return Observation(f"{rate:.6f}", error <= 2**-17, error if error > 2e-7 else 0.0)
