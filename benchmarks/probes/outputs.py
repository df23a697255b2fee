"""What comes out: dtypes, infinities, derivatives, laws."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers.base import NotOffered, Peer
from benchmarks.probes import (
    NOTHING,
    SHAPE,
    Case,
    Observation,
    drop,
    joined,
    kept,
    ones,
    outcome,
    values,
)

BIAS_RATES = (0.05, 0.1, 0.15, 0.2, 0.3)
SAMPLES = 2**22
SIGMAS = 5


def _where_dropped(value: float) -> Callable[[Peer], str]:
    def look(peer: Peer) -> str:
        gone = ~kept(peer, drop(peer, 0.5))
        x = peer.array(np.full(SHAPE, value, np.float32))

        def there(y: Any) -> str:
            return values(peer, y[gone])

        seen = {"eager": there(drop(peer, 0.5, x))}
        try:
            compiled = jax.jit(peer.transformable(peer.key(0), 0.5))
            seen["jit"] = outcome(lambda: there(compiled(x)))
        except NotOffered:
            pass
        slope = there(peer.slope(lambda x: drop(peer, 0.5, x), x))
        return f"{joined(seen)}, gradient {slope}"

    return look


def _dtypes(peer: Peer) -> str:
    changes = []
    for dtype in (jnp.float16, jnp.bfloat16, jnp.float32):
        y = peer.read(drop(peer, 0.3, ones(peer, dtype)))
        if y.dtype != dtype:
            changes.append(f"{jnp.dtype(dtype).name} to {y.dtype.name}")
    return ", ".join(changes) or "that of x"


def _dtype_traced(peer: Peer) -> str:
    x = ones(peer, jnp.bfloat16)
    y = peer.compile(lambda rate: drop(peer, rate, x))(np.float32(0.3))
    return peer.read(y).dtype.name


def _weak_type(peer: Peer) -> str:
    function = peer.transformable(peer.key(0), 0.3)
    y = jax.eval_shape(function, jnp.full(SHAPE, 1.0))
    return "kept" if jax.typeof(y).weak_type else "lost"


def _complex(peer: Peer) -> str:
    x = peer.array(np.full(SHAPE, 1 + 1j, np.complex64))
    found = np.unique(peer.read(drop(peer, 0.5, x)))
    return "0 or 2 + 2i" if set(found) == {0, 2 + 2j} else str(found[:3])


def _smallest(peer: Peer) -> str:
    for shape in ((), (0, 4)):
        y = drop(peer, 0.5, peer.array(np.ones(shape, np.float32)))
        if peer.read(y).shape != shape:
            return "another shape"
    return "works"


def _derivatives(peer: Peer) -> str:
    function = peer.transformable(peer.key(0), 0.5)
    x = jnp.arange(1.0, 9.0)

    def energy(x: jax.Array) -> jax.Array:
        return (function(x) ** 2).sum()

    @jax.jit
    def differentiate(x: jax.Array) -> tuple[jax.Array, ...]:
        _, tangent = jax.jvp(function, (x,), (jnp.ones_like(x),))
        twice = jax.grad(lambda x: jax.grad(energy)(x).sum())(x)
        return function(jnp.ones_like(x)), tangent, jax.hessian(energy)(x), twice

    slope, tangent, curvature, twice = differentiate(x)
    # The layer multiplies x by its slope: the energy is slope^2 x^2.
    right = (
        np.array_equal(tangent, slope)
        and np.allclose(curvature, np.diag(2 * slope**2))
        and np.allclose(twice, 2 * slope**2)
    )
    return "work" if right else "another result"


def _bias(peer: Peer, x: np.ndarray, rate_type: Callable[[float], Any]) -> Observation:
    """The relative error of E[y] at the worst of several rates.

    The standard deviation of mean(y) / mean(x) is sqrt(p / q * E[x^2] / n) / E[x].
    """
    worst, at, bound = 0.0, 0.0, 0.0
    wide = x.astype(np.float64)
    for p in BIAS_RATES:
        y = peer.read(drop(peer, rate_type(p), peer.array(x))).astype(np.float64)
        sigma = np.sqrt(p / (1 - p) * (wide**2).mean() / x.size) / wide.mean()
        error = y.mean() / wide.mean() - 1
        bound = max(bound, SIGMAS * sigma)
        if abs(error) > max(SIGMAS * sigma, abs(worst)):
            worst, at = error, p
    if worst == 0:
        return Observation(f"below {bound:.2%}", True, 0.0)
    return Observation(f"{worst:+.2%} at rate {at}", False, abs(worst))


def _bias_of_x(peer: Peer) -> Observation:
    x = np.random.default_rng(0).uniform(1, 2, SAMPLES).astype(jnp.bfloat16)
    return _bias(peer, x, float)


def _bias_of_rate(peer: Peer) -> Observation:
    # A rate of few bits, as haiku advises; only JAX's libraries know the type.
    peer.jax_key(0)
    x = np.random.default_rng(0).uniform(1, 2, SAMPLES).astype(np.float32)
    return _bias(peer, x, jnp.bfloat16)


def _applied_rate(peer: Peer) -> Observation:
    rate = 1 - 1 / float(peer.read(drop(peer, 0.1)).max())
    error = abs(rate - 0.1)
    # A float32 y cannot tell rates that are closer than 2^-23.
    return Observation(f"{rate:.6f}", error <= 2**-17, error if error > 2e-7 else 0.0)


CASES = (
    Case("x = inf where it is dropped", NOTHING, _where_dropped(np.inf)),
    Case("x = NaN where it is dropped", NOTHING, _where_dropped(np.nan)),
    Case("dtype of y for float16, bfloat16, float32 x", "that of x", _dtypes),
    Case("dtype of y, bfloat16 x, traced float32 rate", "bfloat16", _dtype_traced),
    Case("weak type of x", "kept", _weak_type),
    Case("complex64 x = 1 + i, rate 0.5", "0 or 2 + 2i", _complex),
    Case("x of shape (), (0, 4)", "works", _smallest),
    Case("jvp, hessian, grad of grad", "work", _derivatives),
    Case("bias of E[y], bfloat16 x, worst of five rates", "none", _bias_of_x),
    Case("bias of E[y], bfloat16 rate, worst of five rates", "none", _bias_of_rate),
    Case("rate applied for 0.1: 1 - 1/y, x = 1", "within 2^-17 of 0.1", _applied_rate),
)
"""What is asked of every library's outputs."""
