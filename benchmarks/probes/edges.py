"""Rates at and beyond their ends, traced rates, the mode, and missing keys."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers.base import Peer
from benchmarks.probes.observation import (
    SHAPE,
    Observation,
    distinct,
    expects,
    kept,
    number,
    ones,
    outcome,
    probe,
    refuses,
    setting,
)


@probe("rate -0.5, x = 1", "an error")
def negative_rate(peer: Peer) -> Observation:
    """Dropout of a negative rate."""
    return refuses(lambda: peer.drop(peer.key(0), ones(peer), -0.5))


@probe("rate 1.5, x = 1", "an error")
def rate_above_one(peer: Peer) -> Observation:
    """Dropout of a rate above one."""
    return refuses(lambda: peer.drop(peer.key(0), ones(peer), 1.5))


@probe("rate NaN, x = 1", "an error")
def rate_not_a_number(peer: Peer) -> Observation:
    """Dropout of a rate that is no number, and its gradient if it is accepted."""
    key, x, nan = peer.key(0), ones(peer), float("nan")
    seen = refuses(lambda: peer.drop(key, x, nan))
    if not seen.text.startswith("accepted"):
        return seen
    slope = outcome(lambda: distinct(peer.slope(key, x, nan)))
    return Observation(f"{seen.text}, gradient {slope}", False)


@probe("rate 1", "0, gradient 0")
def rate_one(peer: Peer) -> Observation:
    """Value and gradient where everything is dropped."""
    key, x = peer.key(0), ones(peer)
    value = distinct(peer.drop(key, x, 1.0))
    slope = distinct(peer.slope(key, x, 1.0))
    return expects(f"{value}, gradient {slope}", "0, gradient 0")


@probe("rate 1, x = inf", "0")
def rate_one_of_inf(peer: Peer) -> Observation:
    """The value where an infinity is dropped for certain."""
    return expects(distinct(peer.drop(peer.key(0), ones(peer) * np.inf, 1.0)), "0")


@probe("rate 0, no key", "x")
def rate_zero(peer: Peer) -> Observation:
    """Whether a call that drops nothing needs a key."""
    x = ones(peer)
    same = np.array_equal(np.asarray(peer.drop(None, x, 0.0)), x)
    return expects("x" if same else "another array", "x")


@probe("an array of rates, one a column", "works, or an error")
def array_of_rates(peer: Peer) -> Observation:
    """Several rates at once: a convenience where it works, hence the cost."""
    rates = peer.array(np.linspace(0.1, 0.9, SHAPE[1], dtype=np.float32))
    seen = refuses(lambda: peer.drop(peer.key(0), ones(peer), rates))
    if seen.text.startswith("accepted"):
        return Observation(f"works: 1 becomes {seen.text[10:]}", True, 0.0)
    return Observation(seen.text, seen.meets, 1.0, seen.detail)


@probe("traced rate 0.3", "the static mask")
def traced_rate(peer: Peer) -> Observation:
    """A rate that is an argument of the compiled function."""
    key, x = peer.key(0), ones(peer)
    traced = kept(peer.traced_rate(key, x, 0.3))
    same = np.array_equal(traced, kept(peer.drop(key, x, 0.3)))
    return expects("the static mask" if same else "another mask", "the static mask")


@probe("traced rate 0; 1; 1.5; NaN, x = 1", "1; 0; 0; nan")
def traced_rate_at_its_ends(peer: Peer) -> Observation:
    """What a schedule gives at and beyond its ends."""
    key, x = peer.key(0), ones(peer)
    rates = (0.0, 1.0, 1.5, float("nan"))
    values = [distinct(peer.traced_rate(key, x, rate)) for rate in rates]
    return expects("; ".join(values), "1; 0; 0; nan")


@probe("traced rate 1, gradient", "0")
def traced_rate_one_slope(peer: Peer) -> Observation:
    """The gradient where a schedule ends at 1."""
    return expects(distinct(peer.traced_rate_slope(peer.key(0), ones(peer), 1.0)), "0")


@probe("d/d(rate) of the sum of 1536 ones, rate 0.3", "0")
def slope_of_the_rate(peer: Peer) -> Observation:
    """The mean does not depend on the rate, so its derivative is 0."""
    slope = peer.rate_slope(peer.key(0), ones(peer), 0.3)
    return expects("None" if slope is None else number(float(slope)), "0")


@probe("traced deterministic", "works")
def traced_mode(peer: Peer) -> Observation:
    """A mode that is an argument of the compiled function."""
    key, x = peer.key(0), ones(peer)
    peer.drop(key, x, 0.5, deterministic=True)
    peer.transformable(key, 0.5)
    drop = jax.jit(
        lambda deterministic: peer.drop(key, x, 0.5, deterministic=deterministic)
    )
    off = np.array_equal(drop(jnp.bool_(True)), x)
    on = np.array_equal(drop(jnp.bool_(False)), peer.drop(key, x, 0.5))
    return expects("works" if on and off else "another output", "works")


@probe("the mode by position: True", "an error")
def mode_by_position(peer: Peer) -> Observation:
    """Whether `training` can be passed where `deterministic` is meant."""
    key, x = peer.key(0), ones(peer)
    seen = refuses(lambda: peer.by_position(key, x))
    if seen.meets:
        return seen
    switched_off = np.array_equal(np.asarray(peer.by_position(key, x)), x)
    return Observation(f"accepted: dropout {'off' if switched_off else 'on'}", False)


@probe("no key, rate 0.5", "an error")
def missing_key(peer: Peer) -> Observation:
    """A call that needs a key and gets none."""
    # Flax's error is an exception of no standard kind.
    seen = refuses(lambda: peer.drop(None, ones(peer), 0.5), (Exception,))
    if peer.stateful and not seen.meets:
        return Observation("draws from its own state")
    return seen


@probe("only a key for `params`, rate 0.5", "as Flax, in the modules")
def key_of_the_parameters(peer: Peer) -> Observation:
    """Flax falls back to the stream of the parameters without a word."""
    return Observation(distinct(peer.params_key(peer.key(0), ones(peer))))


@probe("three keys as one key", "an error")
def batch_of_keys(peer: Peer) -> Observation:
    """A batch of keys where a single one is meant."""
    keys = jax.random.split(peer.jax_key(0), 3)
    # Flax's error is an exception of no standard kind.
    return refuses(lambda: peer.drop(keys, ones(peer), 0.5), (Exception,))


@probe("one key used twice, jax_debug_key_reuse", "KeyReuseError")
def reused_key(peer: Peer) -> Observation:
    """Two layers with one key, while JAX is asked to watch for it."""
    key, x = peer.jax_key(0), ones(peer)
    with setting("jax_debug_key_reuse", True):
        peer.drop(key, x, 0.5)
        seen = refuses(lambda: peer.drop(key, x, 0.5), (jax.errors.KeyReuseError,))
    if seen.text.startswith("accepted"):
        return Observation("accepted", False)
    return seen
