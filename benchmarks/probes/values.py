"""What goes in and what comes out: dtypes, infinities, shapes, derivatives."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers.base import NotOffered, Peer
from benchmarks.probes.observation import (
    SHAPE,
    Observation,
    distinct,
    expects,
    kept,
    ones,
    outcome,
    per_mode,
    probe,
    refuses,
)

DTYPES = (jnp.float16, jnp.bfloat16, jnp.float32)


def integers(peer: Peer, rate: float) -> Observation:
    """Dropout of ones that are integers."""
    x = ones(peer, np.int32)
    seen: list[str] = []

    def drop() -> object:
        y = peer.drop(peer.key(0), x, rate)
        seen.append(f"{y.dtype}: {distinct(y)}")
        return y

    refused = refuses(drop)
    return Observation(f"accepted, {seen[0]}", False) if seen else refused


@probe("int32 x = 1, rate 0.5", "an error")
def integer_input(peer: Peer) -> Observation:
    """Integers, which cannot hold 1 / keep."""
    return integers(peer, 0.5)


@probe("int32 x = 1, rate 0", "an error")
def integer_input_at_rate_zero(peer: Peer) -> Observation:
    """The same mistake where it does no harm yet."""
    return integers(peer, 0.0)


def where_dropped(peer: Peer, value: float) -> Observation:
    """What becomes of a value where ones with the same key are dropped."""
    key = peer.key(0)
    gone = ~kept(peer.drop(key, ones(peer), 0.5))
    x = ones(peer) * np.float32(value)
    seen = {"eager": distinct(np.asarray(peer.drop(key, x, 0.5))[gone])}
    try:
        drop = jax.jit(peer.transformable(key, 0.5))
        seen["jit"] = outcome(lambda: distinct(np.asarray(drop(x))[gone]))
    except NotOffered:
        pass
    slope = distinct(np.asarray(peer.slope(key, x, 0.5))[gone])
    return expects(f"{per_mode(seen)}, gradient {slope}", "0, gradient 0")


@probe("x = inf where it is dropped", "0, gradient 0")
def dropped_infinity(peer: Peer) -> Observation:
    """Select or multiply."""
    return where_dropped(peer, np.inf)


@probe("x = NaN where it is dropped", "0, gradient 0")
def dropped_nan(peer: Peer) -> Observation:
    """Select or multiply."""
    return where_dropped(peer, np.nan)


@probe("dtype of y for float16, bfloat16, float32 x", "that of x")
def dtypes(peer: Peer) -> Observation:
    """Whether the output has the dtype of the input."""

    def changed(dtype: type) -> str:
        y = peer.drop(peer.key(0), ones(peer, dtype), 0.3)
        return "" if y.dtype == dtype else f"{jnp.dtype(dtype).name} to {y.dtype.name}"

    changes = [text for text in map(changed, DTYPES) if text]
    return expects(", ".join(changes) or "that of x", "that of x")


@probe("dtype of y for bfloat16 x, traced float32 rate", "bfloat16")
def dtype_of_a_traced_rate(peer: Peer) -> Observation:
    """Whether a strongly typed rate promotes the output."""
    rate = np.float32(0.3)
    y = peer.traced_rate(peer.key(0), ones(peer, jnp.bfloat16), rate)
    return expects(str(y.dtype), "bfloat16")


@probe("weak type of x", "kept")
def weak_type(peer: Peer) -> Observation:
    """Whether an x that yields to any dtype still does afterwards."""
    x = jnp.full(SHAPE, 1.0)
    drop = peer.transformable(peer.key(0), 0.3)
    weak = jax.typeof(jax.eval_shape(drop, x)).weak_type
    return expects("kept" if weak == jax.typeof(x).weak_type else "lost", "kept")


@probe("complex64 x = 1 + i, rate 0.5", "0 or 2 + 2i")
def complex_input(peer: Peer) -> Observation:
    """Dropout is linear, so it makes sense for complex numbers."""
    x = peer.array(np.full(SHAPE, 1 + 1j, np.complex64))
    y = np.asarray(peer.drop(peer.key(0), x, 0.5))
    right = set(np.unique(y)) == {0, 2 + 2j}
    return expects("0 or 2 + 2i" if right else str(np.unique(y)[:3]), "0 or 2 + 2i")


@probe("x of shape (), (0, 4)", "works")
def smallest_shapes(peer: Peer) -> Observation:
    """Scalar and empty arrays."""
    shapes = ((), (0, 4))
    inputs = [peer.array(np.ones(shape, np.float32)) for shape in shapes]
    outputs = [peer.drop(peer.key(0), x, 0.5) for x in inputs]
    right = all(np.shape(y) == shape for y, shape in zip(outputs, shapes, strict=True))
    return expects("works" if right else "another shape", "works")


@probe("broadcast_dims (2,) of a 2-d x", "an error")
def shared_axis_just_outside(peer: Peer) -> Observation:
    """The first axis that is not one."""
    return refuses(lambda: peer.drop(peer.key(0), ones(peer), 0.5, broadcast_dims=(2,)))


@probe("broadcast_dims (5,) of a 2-d x", "an error")
def shared_axis_outside(peer: Peer) -> Observation:
    """An axis that is far from being one."""
    return refuses(lambda: peer.drop(peer.key(0), ones(peer), 0.5, broadcast_dims=(5,)))


@probe("jvp, hessian, grad of grad", "work")
def derivatives(peer: Peer) -> Observation:
    """Forward mode and higher derivatives: the layer is linear in x."""
    drop = peer.transformable(peer.key(0), 0.5)
    x = jnp.arange(1.0, 9.0)

    def energy(x: jax.Array) -> jax.Array:
        return (drop(x) ** 2).sum()

    @jax.jit
    def differentiate(x: jax.Array) -> tuple[jax.Array, ...]:
        _, tangent = jax.jvp(drop, (x,), (jnp.ones_like(x),))
        twice = jax.grad(lambda x: jax.grad(energy)(x).sum())(x)
        return drop(jnp.ones_like(x)), tangent, jax.hessian(energy)(x), twice

    slope, tangent, curvature, twice = differentiate(x)
    # The layer multiplies x by its slope: the energy is slope^2 x^2.
    right = (
        np.array_equal(tangent, slope)
        and np.allclose(curvature, np.diag(2 * slope**2))
        and np.allclose(twice, 2 * slope**2)
    )
    return expects("work" if right else "another result", "work")
