"""The mask and every op with its slopes, under every transform, by the oracle."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import (
    KEY,
    RATE,
    SHAPE,
    TYPICAL,
    X,
    assert_equation,
    each_law,
    kept,
    key_words,
)
from jax import lax
from transforms import FORWARD_ONLY, TRANSFORMS

import jdrop

# One input for each op, side by side: one program serves all ops.
XS = jnp.stack([X] * len(TYPICAL), axis=1)


def values(key, x, first=0, rate=RATE):
    return [case(key, x[:, i], rate, offset=first) for i, case in enumerate(TYPICAL)]


def everything(key, x, first=0, rate=RATE):
    """The mask, the values, and by a derivative inside the slopes."""
    mask = jdrop.sample_mask(key, (len(x), *SHAPE[1:]), rate, offset=first).to_bool()
    ys, pullback = jax.vjp(lambda x: values(key, x, first, rate), x)
    [slope] = pullback(jax.tree.map(jnp.ones_like, ys))
    return mask, ys, slope


def slopes(f):
    """The derivative of every element by its own input."""
    return jax.grad(lambda x: sum(y.sum() for y in jax.tree.leaves(f(x))))


def assert_equations(ys, slope):
    for i, case in enumerate(TYPICAL):
        assert_equation(case, ys[i], X, slope=slope[:, i])


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_inside(transform):
    mask, *rest = TRANSFORMS[transform](everything, KEY, XS)
    np.testing.assert_array_equal(mask, kept())
    assert_equations(*rest)


@pytest.mark.parametrize("transform", sorted(TRANSFORMS.keys() - FORWARD_ONLY))
def test_slopes_of_the_transform(transform):
    run = functools.partial(TRANSFORMS[transform], values, KEY)
    ys, pullback = jax.vjp(run, XS)
    assert_equations(ys, *pullback([jnp.ones_like(X)] * len(TYPICAL)))


def by_linearize(f):
    pushforward = jax.linearize(f, XS)[1]
    seeds = [jnp.ones_like(X)] * len(TYPICAL)
    return jax.linear_transpose(pushforward, XS)(seeds)[0]


OTHER_DERIVATIVES = {
    "jvp": lambda f: jnp.stack(jax.jvp(f, (XS,), (jnp.ones_like(XS),))[1], axis=1),
    "linearize": by_linearize,
    "jit of grad of remat": lambda f: jax.jit(slopes(jax.checkpoint(f)))(XS),
}


@pytest.mark.parametrize("derivative", OTHER_DERIVATIVES)
def test_other_derivatives(derivative):
    f = functools.partial(values, KEY)
    assert_equations(f(XS), OTHER_DERIVATIVES[derivative](f))


@each_law
def test_remat_of_a_scan_of_layers_draws_the_same_again(case):
    """The backward pass draws each layer's mask anew, in other programs than before."""
    keys = jax.random.split(KEY, 3)

    @functools.partial(jax.checkpoint, policy=jax.checkpoint_policies.nothing_saveable)
    def layer(x, key):
        return case(key, x, RATE), None

    y, pullback = jax.vjp(jax.jit(lambda x: lax.scan(layer, x, keys)[0]), X)
    expected, beside = np.asarray(X, np.float64), np.asarray(X, np.float64) + 1
    for key in keys:
        noise = case.drawn(X, words=tuple(key_words(key)))
        expected, beside = (
            case.oracle(noise, x, case.realised(RATE)) for x in (expected, beside)
        )
    tolerance = max(10 * case.tolerance, 1e-5)
    close = functools.partial(
        np.testing.assert_allclose, rtol=tolerance, atol=tolerance
    )
    close(y, expected)
    close(pullback(jnp.ones_like(X))[0], beside - expected)
