"""Token dropout: which tokens are kept, against NumPy, and what becomes of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from cases import KEY, key_words
from jax.sharding import PartitionSpec as P
from meshes import collectives, make_mesh, place, words_drawn

import jdrop

TOKENS = np.random.default_rng(3).normal(size=(8, 41, 6)).astype(np.float32)


def uniform(batch, tokens, offset=0):
    """The leading bits of the noise, of which uniform numbers are made."""
    return oracle.noise(key_words(KEY), (batch, tokens), offset=offset) >> np.uint32(8)


def indices_oracle(u, count, prefix=0):
    """The places of the greatest numbers of each row, the first ones of equals."""
    rows = [
        [*range(prefix), *sorted(i + prefix for i in np.lexsort([-row])[:count])]
        for row in u.astype(np.int64)
    ]
    return np.array(rows, int).reshape(len(u), prefix + count)


def check(x, rate, count, prefix=0, offset=0):
    """Compares the tokens and their indices with the oracle, and returns them."""
    kept, indices = jdrop.token_dropout(
        KEY, x, rate, prefix_tokens=prefix, offset=offset
    )
    batch, tokens = x.shape[:2]
    expected = indices_oracle(uniform(batch, tokens - prefix, offset), count, prefix)
    assert indices.dtype == jnp.int32 and kept.dtype == x.dtype
    np.testing.assert_array_equal(indices, expected)
    rows = np.arange(batch)[:, None]
    np.testing.assert_array_equal(kept, np.asarray(x)[rows, expected])
    return kept, indices


@pytest.mark.parametrize(
    ("rate", "prefix", "count"),
    [(0.1, 1, 36), (0.5, 2, 20), (1, 0, 1)],
)
def test_the_greatest_numbers_are_kept_in_order(rate, prefix, count):
    check(TOKENS, rate, count, prefix)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((5, 40), jnp.int32), ((5, 40, 3, 2), jnp.bfloat16)]
)
def test_arrays_of_every_kind(shape, dtype):
    x = jnp.arange(np.prod(shape)).reshape(shape).astype(dtype)
    check(x, 0.5, 20)
    check(x[:0], 0.5, 20)


@pytest.mark.parametrize("rate", [0.9, np.float32(0.9), jnp.float32(0.9)])
def test_the_number_of_tokens_is_rounded_to_the_nearest(rate):
    """100 * (1 - 0.9) is 9.999999999999998, of which some keep 9."""
    kept, _ = jdrop.token_dropout(KEY, jnp.ones((1, 100)), rate)
    assert kept.shape == (1, 10)


def test_equal_numbers_are_taken_by_their_place():
    """Of 2^14 numbers of 24 bits some are equal; the last one kept is one of those."""
    u = uniform(1, 1 << 14)
    order = np.sort(u[0])[::-1]
    equal = np.flatnonzero(order[1:] == order[:-1])
    assert equal.size
    count = int(equal[0]) + 1
    check(jnp.ones(u.shape), 1 - count / u.size, count)


def test_kept_tokens_are_nested_over_rates():
    _, few = jdrop.token_dropout(KEY, TOKENS, 0.75, prefix_tokens=1)
    _, many = jdrop.token_dropout(KEY, TOKENS, 0.5, prefix_tokens=1)
    for lower, higher in zip(np.asarray(many), np.asarray(few), strict=True):
        assert set(higher) < set(lower)


def test_each_token_is_kept_equally_often():
    """Of n tokens k are kept: a share of k / n each, of its binomial variance."""
    batch, n, k = 4096, 16, 4
    _, indices = jdrop.token_dropout(KEY, jnp.ones((batch, n)), 1 - k / n)
    kept = np.zeros((batch, n))
    np.put_along_axis(kept, np.asarray(indices), 1, axis=1)
    sigma = np.sqrt(k / n * (1 - k / n) / batch)
    assert np.abs(kept.mean(0) - k / n).max() < 5 * sigma
    # Without replacement two of them are kept together less often than k^2 / n^2.
    together = k * (k - 1) / (n * (n - 1))
    pairs = (kept.T @ kept / batch)[np.triu_indices(n, 1)]
    sigma = np.sqrt(together * (1 - together) / batch)
    assert np.abs(pairs - together).max() < 5 * sigma


def test_parts_of_a_batch_get_their_rows():
    _, whole = check(TOKENS, 0.5, 20, prefix=1)
    np.testing.assert_array_equal(check(TOKENS[:3], 0.5, 20, 1)[1], whole[:3])

    @jax.jit
    def part(first):
        x = jax.lax.dynamic_slice_in_dim(TOKENS, first, 2)
        return jdrop.token_dropout(KEY, x, 0.5, prefix_tokens=1, offset=first)[1]

    np.testing.assert_array_equal(part(5), whole[5:7])
    check(TOKENS[:2], 0.5, 20, prefix=1, offset=1000)


def test_gradients_go_to_the_tokens_that_are_kept():
    def loss(x):
        kept, indices = jdrop.token_dropout(KEY, x, 0.75, prefix_tokens=1)
        return (kept**2).sum(), indices

    slope, indices = jax.jit(jax.grad(loss, has_aux=True))(TOKENS)
    is_kept = np.zeros(TOKENS.shape[:2], bool)
    np.put_along_axis(is_kept, np.asarray(indices), True, axis=1)
    expected = np.where(is_kept[..., None], 2 * TOKENS, 0)
    np.testing.assert_allclose(slope, expected, rtol=1e-6)


def test_vmap_over_keys_is_a_loop():
    f = functools.partial(jdrop.token_dropout, x=TOKENS, rate=0.5)
    keys = jnp.stack([jax.random.key(1, impl="rbg"), KEY])
    for got, expected in zip(jax.vmap(f)(keys), f(KEY), strict=True):
        np.testing.assert_array_equal(got[1], expected)
        assert not np.array_equal(got[0], got[1])


@pytest.mark.parametrize(
    "options",
    [
        {"rate": 0},
        {"rate": 0.5, "deterministic": True},
        {"rate": None, "deterministic": True},
        {"rate": 0.01},
        {"rate": 1, "prefix_tokens": 40},
        {"rate": 1, "prefix_tokens": 41},
    ],
    ids=str,
)
def test_where_nothing_is_removed_no_key_is_needed(options):
    x = jnp.asarray(TOKENS)
    kept, indices = jdrop.token_dropout(None, x, **options)
    assert kept is x
    assert indices.dtype == jnp.int32
    np.testing.assert_array_equal(indices, [np.arange(41)] * 8)


def test_a_key_may_be_made_where_it_is_needed():
    _, expected = jdrop.token_dropout(KEY, TOKENS, 0.5)
    _, indices = jdrop.token_dropout(lambda: KEY, TOKENS, 0.5)
    np.testing.assert_array_equal(indices, expected)
    with jax.debug_key_reuse(True), pytest.raises(jax.errors.KeyReuseError):
        key = jax.random.key(0)
        for _ in range(2):
            jdrop.token_dropout(key, TOKENS, 0.5)


@pytest.mark.parametrize(
    ("kind", "spec"), [("auto", P("a")), ("explicit", P("a", None, "b"))]
)
def test_devices_take_their_own_tokens(kind, spec):
    f = functools.partial(jdrop.token_dropout, KEY, rate=0.5, prefix_tokens=1)
    mesh = make_mesh((4, 2), kind)
    with jax.set_mesh(mesh):
        x = place(TOKENS, mesh, spec)
        program = jax.jit(lambda x: jax.vjp(lambda x: f(x=x)[0], x)).lower(x).compile()
        assert not collectives(program)
        assert words_drawn(program) <= TOKENS[..., 0].size
        kept, indices = jax.jit(lambda x: f(x=x))(x)
        assert kept.sharding.is_equivalent_to(x.sharding, 3)
    for got, expected in zip((kept, indices), f(x=TOKENS), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("x", "options", "error", "message"),
    [
        (jnp.ones(3), {}, ValueError, r"\(batch, tokens, ...\) .* shape \(3,\)"),
        (TOKENS, {"prefix_tokens": 42}, ValueError, "with 42 prefix tokens or more"),
        (TOKENS, {"prefix_tokens": -1}, ValueError, "prefix_tokens is 0 or more"),
        (
            None,
            {},
            TypeError,
            "token_dropout takes one array x .* got NoneType",
        ),
        (TOKENS, {"rate": 1.5}, ValueError, r"one real number in \[0, 1\]; got 1.5"),
        (TOKENS, {"rate": np.nan}, ValueError, r"one real number in \[0, 1\]; got nan"),
        (TOKENS, {"deterministic": "no"}, TypeError, "deterministic is one bool"),
        (TOKENS, {"key": None}, TypeError, "a random key is needed"),
        (KEY, {"key": TOKENS}, ValueError, "takes the key first"),
    ],
)
def test_errors_say_what_to_do(x, options, error, message):
    with pytest.raises(error, match=message):
        jdrop.token_dropout(**{"key": KEY, "x": x, "rate": 0.5, **options})


@pytest.mark.parametrize("name", ["rate", "deterministic"])
def test_what_decides_the_shape_is_not_traced(name):
    f = jax.jit(lambda v: jdrop.token_dropout(KEY, TOKENS, **{"rate": 0.5, name: v}))
    with pytest.raises(TypeError, match=f"got a traced {name}. Pass a Python value"):
        f({"rate": 0.5, "deterministic": True}[name])
