"""The mask and every op with its slopes, under every transform, by the oracle."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import (
    ALPHA,
    DROPOUT,
    KEY,
    LAWS,
    RATE,
    SHAPE,
    X,
    assert_equation,
    each_frame,
    kept,
    key_words,
)
from jax import lax
from transforms import FORWARD_ONLY, TRANSFORMS

import jdrop

# The ops of a group are side by side in one program, each with an input of its own.
MASKS = (DROPOUT, ALPHA)
OTHERS = tuple(case for case in LAWS if case not in MASKS)
each_group = pytest.mark.parametrize(
    "cases",
    [MASKS, pytest.param(OTHERS, marks=pytest.mark.slow)],
    ids=["masks", "others"],
)


def beside(cases, x=X):
    """An input for each op, along axis 1."""
    return jnp.stack([x] * len(cases), axis=1)


def values(cases, key, x, first=0, rate=RATE):
    return [case(key, x[:, i], rate, offset=first) for i, case in enumerate(cases)]


def everything(cases, key, x, first=0, rate=RATE):
    """The mask, the values, and by a derivative inside the slopes."""
    mask = jdrop.sample_mask(key, (len(x), *SHAPE[1:]), rate, offset=first).to_bool()
    ys, pullback = jax.vjp(lambda x: values(cases, key, x, first, rate), x)
    [slope] = pullback(jax.tree.map(jnp.ones_like, ys))
    return mask, ys, slope


def slopes(f):
    """The derivative of every element by its own input."""
    return jax.grad(lambda x: sum(y.sum() for y in jax.tree.leaves(f(x))))


def assert_equations(cases, ys, slope):
    for i, case in enumerate(cases):
        assert_equation(case, ys[i], X, slope=slope[:, i])


def usual(names):
    """Transforms of which the usual ones run by default."""
    often = ("jit", "constant key", "remat", "vmap over keys", "scan", "shard_map")
    often += ("export", "eager")
    return [
        pytest.param(name, marks=[] if name in often else pytest.mark.slow)
        for name in names
    ]


@pytest.mark.parametrize("transform", usual(TRANSFORMS))
@each_group
def test_inside(cases, transform):
    run = functools.partial(everything, cases)
    mask, *rest = TRANSFORMS[transform](run, KEY, beside(cases))
    np.testing.assert_array_equal(mask, kept())
    assert_equations(cases, *rest)


@pytest.mark.parametrize("transform", usual(sorted(TRANSFORMS.keys() - FORWARD_ONLY)))
@pytest.mark.slow
@each_group
def test_slopes_of_the_transform(cases, transform):
    run = functools.partial(
        TRANSFORMS[transform], functools.partial(values, cases), KEY
    )
    ys, pullback = jax.vjp(run, beside(cases))
    assert_equations(cases, ys, *pullback([jnp.ones_like(X)] * len(cases)))


def by_linearize(f, x):
    y, pushforward = jax.linearize(f, x)
    seeds = [jnp.ones_like(part) for part in y]
    return jax.linear_transpose(pushforward, x)(seeds)[0]


OTHER_DERIVATIVES = {
    "jvp": lambda f, x: jnp.stack(jax.jvp(f, (x,), (jnp.ones_like(x),))[1], axis=1),
    "linearize": by_linearize,
    "jit of grad of remat": lambda f, x: jax.jit(slopes(jax.checkpoint(f)))(x),
}


@pytest.mark.parametrize("derivative", OTHER_DERIVATIVES)
@each_group
def test_other_derivatives(cases, derivative):
    f, x = functools.partial(values, cases, KEY), beside(cases)
    assert_equations(cases, f(x), OTHER_DERIVATIVES[derivative](f, x))


@each_frame
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
