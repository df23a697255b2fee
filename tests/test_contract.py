"""One contract for every op: transforms, dtypes, keys, rates, edges."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, KEY_IMPLEMENTATIONS, RATES
from jax import lax

import jdrop

pytestmark = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

KEY = jax.random.key(0)
KEYS = jax.random.split(jax.random.key(1), 3)
X = jax.random.normal(jax.random.key(2), (24, 40)) + 3
RATE = 0.3


def run(case, key=KEY, x=X, rate=RATE, **options):
    return case.op(key, x, rate, **options)


def assert_same(got, expected):
    """Equal dropped places, and values up to the rounding of a fused multiply-add."""
    np.testing.assert_allclose(
        np.asarray(got, np.complex128), np.asarray(expected), rtol=5e-7, atol=5e-7
    )


TRANSFORMS = {
    "jit": lambda f: jax.jit(f)(X),
    "remat": lambda f: jax.checkpoint(f)(X),
    "jit of remat": lambda f: jax.jit(jax.checkpoint(f))(X),
    "jvp": lambda f: jax.jvp(f, (X,), (X,))[0],
    "vjp": lambda f: jax.vjp(f, X)[0],
    "scan": lambda f: lax.scan(lambda c, x: (c, f(x)), 0, X[None])[1][0],
    "vmap": lambda f: jax.vmap(f)(jnp.stack([X, X]))[1],
    "cond": lambda f: lax.cond(True, f, jnp.zeros_like, X),
    "export": lambda f: _export(f).call(X),
}


def _export(f):
    exported = jax.export.export(jax.jit(f))(X)
    return jax.export.deserialize(exported.serialize())


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_same_under_every_transform(case, transform):
    got = TRANSFORMS[transform](lambda x: run(case, x=x))
    assert_same(got, run(case))


@pytest.mark.parametrize("sizes", ["b, 40", "b, t, 40", "b, 8, 5"])
def test_export_with_symbolic_sizes(case, sizes):
    shape = jax.export.symbolic_shape(sizes)
    exported = jax.export.export(jax.jit(lambda x: run(case, x=x)))(
        jax.ShapeDtypeStruct(shape, jnp.float32)
    )
    x = X.reshape([4, 6, 40][-len(shape) :] if "t" in sizes else [-1, *shape[1:]])
    assert_same(exported.call(x), run(case, x=x))


@pytest.mark.parametrize("implementation", KEY_IMPLEMENTATIONS)
def test_vmap_over_keys_is_a_loop(case, implementation):
    keys = jax.random.split(jax.random.key(3, impl=implementation), 3)
    loop = jnp.stack([run(case, key) for key in keys])
    assert_same(jax.vmap(lambda key: run(case, key))(keys), loop)
    assert_same(lax.map(lambda key: run(case, key), keys), loop)
    assert len({np.asarray(y).tobytes() for y in loop}) == 3


def test_vmap_over_rates_is_a_loop(case):
    rates = jnp.array([0.0, 0.1, 0.5, 1.0])
    loop = jnp.stack([run(case, rate=rate) for rate in rates])
    assert_same(jax.vmap(lambda rate: run(case, rate=rate))(rates), loop)


def test_legacy_key_is_the_typed_key(case):
    assert_same(run(case, jax.random.PRNGKey(5)), run(case, jax.random.key(5)))


@pytest.mark.parametrize("rate", [0.0, *RATES, 1.0])
def test_traced_rate_agrees_with_static(case, rate):
    static = jax.jit(lambda x: run(case, x=x, rate=rate))(X)
    traced = jax.jit(lambda x, rate: run(case, x=x, rate=rate))
    for number in (rate, np.float32(rate), jnp.float32(rate)):
        assert_same(traced(X, number), static)
    assert_same(run(case, rate=np.float64(rate)), static)


def test_a_schedule_does_not_retrace(case):
    count = 0

    @jax.jit
    def step(x, rate):
        nonlocal count
        count += 1
        return run(case, x=x, rate=rate)

    for rate in np.linspace(0, 1, 5, dtype=np.float32):
        step(X, rate)
    assert count == 1


def test_traced_deterministic(case):
    f = jax.jit(lambda x, deterministic: run(case, x=x, deterministic=deterministic))
    assert_same(f(X, True), X)
    assert_same(f(X, False), run(case))


@pytest.mark.parametrize(
    "options", [{"rate": 0}, {"rate": 0.0}, {"deterministic": True}]
)
def test_leaves_x_itself_alone_without_a_key(case, options):
    assert run(case, None, **options) is X


def test_concrete_arrays_count_as_concrete(case):
    assert run(case, None, rate=jnp.float32(0)) is X
    assert run(case, None, deterministic=jnp.bool_(True)) is X


@pytest.mark.parametrize("rate", [1, 1.0, np.float32(1), jnp.float32(1)])
def test_rate_one_is_zeros_with_zero_gradient(case, rate):
    x = X.at[0, 0].set(jnp.inf).at[0, 1].set(jnp.nan)
    value, gradient = jax.value_and_grad(lambda x: run(case, x=x, rate=rate).sum())(x)
    assert value == 0
    assert not np.any(gradient)


def test_traced_rates_are_clamped_and_nan_gives_nan(case):
    f = jax.jit(lambda rate: run(case, rate=rate))
    assert_same(f(-1.0), X)
    assert_same(f(2.0), jnp.zeros_like(X))
    assert np.all(np.isnan(f(jnp.nan)))


def test_derivative_by_the_rate_is_zero(case):
    f = jax.grad(lambda rate: run(case, rate=rate).sum())
    assert f(RATE) == 0
    assert jax.jit(f)(RATE) == 0


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
def test_what_is_dropped_cannot_spoil_anything(case, bad):
    clean = run(case)
    gradient = jax.grad(lambda x: run(case, x=x).sum())
    is_kept = np.asarray(gradient(X)) != 0
    x = jnp.where(is_kept, X, bad)
    assert_same(run(case, x=x), clean)
    np.testing.assert_array_equal(gradient(x), gradient(X))


@pytest.mark.parametrize(
    "dtype", [jnp.float16, jnp.bfloat16, jnp.float8_e4m3fn, jnp.float32]
)
def test_dtype_stays_and_does_not_change_the_mask(case, dtype):
    x = jnp.full((24, 40), 2, dtype)
    y = run(case, x=x)
    assert y.dtype == dtype
    reference = run(case, x=x.astype(jnp.float32))
    expected = reference.astype(dtype).astype(jnp.float32)
    np.testing.assert_array_equal(y.astype(jnp.float32), expected)
    assert run(case, x=x[0, 0]).shape == ()


def test_complex(case):
    x = X.astype(jnp.complex64) * jnp.complex64(1 + 2j)
    if case.complex_ok:
        y = run(case, x=x)
        assert y.dtype == jnp.complex64
        assert_same(y, np.asarray(run(case)) * (1 + 2j))
    else:
        with pytest.raises(TypeError, match="real x; got dtype complex64"):
            run(case, x=x)


def test_double_precision(case):
    reference = run(case)
    with jax.enable_x64(True):
        assert_same(run(case), reference)
        y = run(case, x=X.astype(jnp.float64))
        assert y.dtype == jnp.float64
        np.testing.assert_allclose(y, reference, rtol=1e-6, atol=1e-6)
        traced = jax.jit(lambda rate: run(case, rate=rate))(np.float64(RATE))
        assert_same(traced, reference)


@pytest.mark.parametrize("x", [2.0, np.float32(2), np.ones((3, 4), np.float32)])
def test_numbers_and_numpy_arrays(case, x):
    y = run(case, x=x)
    assert isinstance(y, jax.Array)
    assert y.shape == np.shape(x)


def test_weak_type_stays(case):
    for f in (case.op, jax.jit(case.op)):
        assert f(KEY, 2.0, RATE).weak_type
        assert not f(KEY, jnp.float32(2), RATE).weak_type


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (3, 0, 4), (0, 64)])
def test_empty(case, shape):
    y = run(case, x=jnp.zeros(shape))
    assert y.shape == shape


def test_a_prefix_of_the_batch_gets_a_prefix_of_the_mask(case):
    for x in (X, X.reshape(24, 4, 10), X.reshape(24, 2, 5, 4)):
        assert_same(run(case, x=x[:7]), run(case, x=x)[:7])


@pytest.mark.parametrize("shape", [(24, 40), (24, 4, 10), (24, 1)])
def test_micro_batches_get_their_rows(case, shape):
    x = jnp.full(shape, 2.0)
    whole = run(case, x=x)
    parts = [run(case, x=x[i : i + 6], offset=i) for i in range(0, 24, 6)]
    assert_same(jnp.concatenate(parts), whole)
    traced = lax.map(lambda i: run(case, x=x[:6], offset=i), jnp.arange(0, 24, 6))
    assert_same(traced.reshape(shape), whole)


@pytest.mark.parametrize("dims", [(0,), (1,), (-1,), (0, 2), (1, 2), (0, 1, 2), [1]])
def test_broadcast_dims_share_a_bit(case, dims):
    x = jnp.full((6, 8, 40), 2.0)
    y = run(case, x=x, broadcast_dims=dims)
    shared = tuple(
        1 if i in {d % 3 for d in dims} else n for i, n in enumerate(x.shape)
    )
    assert_same(y, jnp.broadcast_to(run(case, x=jnp.full(shared, 2.0)), x.shape))


def test_offset_leaves_a_shared_row_alone(case):
    x = jnp.full((6, 40), 2.0)
    whole = run(case, x=x, broadcast_dims=(0,))
    part = run(case, x=x[:2], broadcast_dims=(0,), offset=4)
    assert_same(part, whole[:2])


def test_masks_are_nested_over_rates(case):
    gradient = jax.grad(lambda x, rate: run(case, x=x, rate=rate).sum())
    rates = (1e-4, 1 / 256, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1 - 1e-4)
    masks = [np.asarray(gradient(jnp.ones((64, 512)), rate)) != 0 for rate in rates]
    for lower, higher in zip(masks, masks[1:], strict=False):
        assert not np.any(higher & ~lower)
        assert higher.sum() < lower.sum()


def test_forward_and_reverse_derivatives_agree(case):
    x = X[:3, :5]
    jacobian = jax.jacfwd(lambda x: run(case, x=x))(x)
    np.testing.assert_allclose(jax.jacrev(lambda x: run(case, x=x))(x), jacobian)
    slope = np.asarray(jacobian).reshape(15, 15)
    assert np.count_nonzero(slope) == np.count_nonzero(np.diag(slope)) > 0


def test_higher_derivatives(case):
    x = X[0, :7]

    def cube(x):
        return (run(case, x=x) ** 3).sum()

    slope = np.diag(jax.jacfwd(lambda x: run(case, x=x))(x))
    curvature = 6 * np.asarray(run(case, x=x)) * slope**2
    np.testing.assert_allclose(np.diag(jax.hessian(cube)(x)), curvature, rtol=1e-5)
    grad_of_grad = jax.grad(lambda x: jax.grad(cube)(x).sum())(x)
    np.testing.assert_allclose(grad_of_grad, curvature, rtol=1e-5)


def test_a_scan_of_layers_trains(case):
    def network(x):
        return lax.scan(lambda x, key: (run(case, key, x), None), x, KEYS)[0].sum()

    loop = jax.grad(
        lambda x: run(case, KEYS[2], run(case, KEYS[1], run(case, KEYS[0], x))).sum()
    )
    assert_same(jax.grad(network)(X), loop(X))


def test_mask_pytree_gives_the_same(case):
    if case.op is jdrop.dropout:
        mask = jdrop.sample_mask(KEY, X.shape, RATE)
        assert_same(jax.jit(jdrop.apply_mask)(mask, X), run(case))


@pytest.mark.parametrize("legacy", [False, True])
def test_a_key_is_used_once(case, legacy):
    with jax.debug_key_reuse(True):
        key = jax.random.PRNGKey(6) if legacy else jax.random.key(6)
        jax.grad(lambda x: run(case, key, x).sum())(X)
        if not legacy:  # jax tracks typed keys only
            with pytest.raises(jax.errors.KeyReuseError):
                run(case, key)
            with pytest.raises(jax.errors.KeyReuseError):
                jax.jit(lambda k: run(case, k) + run(case, k))(jax.random.key(7))
