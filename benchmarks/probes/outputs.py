"""What comes out: dtypes, infinities, derivatives, laws."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers.base import NotOffered, Peer
from benchmarks.probes import (
    ERROR,
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
    with_slope,
)

ALPHA_RATES = (0.1, 0.3, 0.5)
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


def _drop_block(peer: Peer) -> Observation:
    x = peer.array(np.ones((20_000, 1, 7, 7), np.float32))
    dropped = 1 - float(kept(peer, peer.drop_block(peer.key(0), x, 0.1, 7)).mean())
    # 20,000 blocks: five standard deviations of the fraction are 0.011.
    return Observation(f"{dropped:.3f}", abs(dropped - 0.1) < 0.011)


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
    Case("Gaussian dropout, rate 1", "values, or ValueError", _gaussian),
    Case("drop block, 7x7, block 7, rate 0.1: dropped", "0.10", _drop_block),
)
"""What is asked of the other members of the family, where a library has them."""
