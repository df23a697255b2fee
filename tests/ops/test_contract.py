"""One contract for every op: rates, modes, dtypes, edges, parts, derivatives."""

import math

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from cases import (
    CASES,
    KEY,
    LAWS,
    RATE,
    RATES,
    SHAPE,
    TYPICAL,
    X,
    assert_equation,
    each,
    each_case,
    each_frame,
    each_mask,
    each_typical,
    kept,
)
from jax.experimental import checkify

import jdrop

# Those that have a last rate, and whose output has no derivative by it.
each_drop = each([case for case in LAWS if case.drops], slow=True)
each_fixed_rate = each(
    [
        case
        for case in LAWS
        if case.op not in (jdrop.gaussian_noise, jdrop.concrete_dropout)
    ],
    slow=True,
)


def run(case, key=KEY, x=X, rate=RATE, **options):
    return case(key, x, rate, **options)


def assert_same(got, expected, tolerance=5e-7):
    """Equal dropped places, and values up to the rounding of a fused multiply-add."""
    np.testing.assert_allclose(
        np.asarray(got, np.complex128),
        np.asarray(expected),
        rtol=tolerance,
        atol=tolerance,
    )


SYMBOLIC = {
    "b,": (),
    "b, 40": (),
    "b, 4, 5": (),
    "b, 8, t": (),
    "b, 40, t": (),
    "b, t, 3": ("t <= 31",),
    "b, h, t, t": ("t >= 32",),
}


def export_of(case, sizes, constraints=()):
    shape = jax.export.symbolic_shape(sizes, constraints=constraints)
    program = jax.jit(lambda x: run(case, x=x))
    return jax.export.export(program)(jax.ShapeDtypeStruct(shape, jnp.float32))


@pytest.mark.parametrize(("sizes", "constraints"), SYMBOLIC.items())
@each_typical
def test_export_with_symbolic_sizes(case, sizes, constraints):
    program = export_of(case, sizes, constraints)
    again = jax.export.deserialize(program.serialize())
    t = 33 if "t >= 32" in constraints else 7
    known = {"b": 3, "h": 2, "t": t}
    shape = [known.get(str(n), n) for n in program.in_avals[0].shape]
    x = np.resize(np.asarray(X), shape)
    assert_equation(case, again.call(x), x)


@pytest.mark.parametrize("sizes", ["b, t, 3", "b, h, t, t"])
@each_typical
def test_a_size_that_leaves_the_layout_open_names_its_constraint(case, sizes):
    with pytest.raises(ValueError, match="Add the constraint 't >= 32' or 't <= 31'"):
        export_of(case, sizes)


@each_drop
def test_vmap_over_rates(case):
    rates = (0.0, 0.1, 0.5, 1.0)
    mapped = jax.vmap(lambda rate: run(case, rate=rate))(jnp.array(rates))
    for y, rate in zip(mapped, rates, strict=True):
        if 0 < rate < 1:
            assert_equation(case, y, X, rate)
        else:
            assert_same(y, X if rate == 0 else jnp.full_like(X, case.at_one))


@each_frame
def test_rates_of_every_type_in_one_trace(case):
    traces = []

    @jax.jit
    def traced(x, rate):
        traces.append(rate)
        return run(case, x=x, rate=rate)

    for rate in RATES:
        assert_equation(case, run(case, rate=rate), X, rate)
        assert_same(run(case, rate=np.float64(rate)), run(case, rate=rate))
        for number in (rate, np.float64(rate)):
            assert_equation(case, traced(X, number), X, rate)
    for rate in np.linspace(0, 1, 5, dtype=np.float32):
        traced(X, rate)
    # A Python number is of a weak type.
    assert len(traces) == 2


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float8_e4m3fn])
@each_typical
def test_rates_of_few_bits(case, dtype):
    rate = dtype(0.25)
    assert_equation(case, run(case, rate=rate), X, 0.25)
    assert_equation(case, run(case, rate=jnp.asarray(rate)), X, 0.25)


@each_frame
def test_traced_deterministic(case):
    f = jax.jit(lambda deterministic: run(case, deterministic=deterministic))
    assert_same(f(True), case.at_rest(X, case.realised(RATE)))
    assert_equation(case, f(False), X)


@each_case
def test_leaves_x_itself_alone_without_a_key(case):
    for rate in (0, 0.0, jnp.float32(0)):
        assert run(case, None, rate=rate) is X
    for deterministic in (True, jnp.bool_(True)):
        y = run(case, None, deterministic=deterministic)
        expected = case.at_rest(X, case.realised(RATE))
        assert y is X if expected is X else np.allclose(y, expected)


@pytest.mark.parametrize(
    ("rate", "key"), [(1, None), (np.float32(1), KEY), (jnp.float32(1), None)], ids=str
)
@each([case for case in CASES if case.drops and case.noise == "mask"])
def test_rate_one_is_its_limit_with_zero_gradient(case, rate, key):
    x = X.at[0, 0, 0].set(jnp.inf).at[0, 1, 0].set(jnp.nan)
    y, pullback = jax.vjp(lambda x: run(case, key, x, rate), x)
    assert y.shape == x.shape and y.dtype == x.dtype
    np.testing.assert_array_equal(y, case.at_one)
    np.testing.assert_array_equal(*pullback(jnp.ones_like(x)), 0)


@each([case for case in LAWS if case.drops and case.noise != "mask"])
def test_rate_one_of_noise_is_zeros_with_zero_gradient(case):
    y, pullback = jax.vjp(lambda x: run(case, None, x, 1), X)
    for zeros in (y, *pullback(jnp.ones_like(X))):
        np.testing.assert_array_equal(zeros, 0)


@each_drop
def test_checkify_has_no_floating_point_error_to_report(case):
    def slopes(x, traced):
        return [
            jax.value_and_grad(lambda x, rate=rate: run(case, x=x, rate=rate).sum())(x)
            for rate in (1, traced)
        ]

    checked = jax.jit(checkify.checkify(slopes, errors=checkify.float_checks))
    for rate in (0.0, RATE, 1.0):
        error, _ = checked(X, rate)
        assert error.get() is None, rate


@each_drop
def test_traced_rates_are_clamped_and_nan_gives_nan(case):
    f = jax.jit(jax.value_and_grad(lambda x, rate: run(case, x=x, rate=rate).sum()))
    assert_same(f(X, -1.0)[0], X.sum())
    for rate in (1.0, 2.0):
        value, slope = f(X, rate)
        assert value == case.at_one * X.size and not np.any(slope)
    assert np.isnan(f(X, jnp.nan)[0])


@each_fixed_rate
def test_derivative_by_the_rate_is_zero(case):
    f = jax.grad(lambda rate: run(case, rate=rate).sum())
    assert f(RATE) == 0
    assert jax.jit(f)(RATE) == 0


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
@each_mask
def test_what_is_dropped_cannot_spoil_anything(case, bad):
    y, pullback = jax.vjp(lambda x: run(case, x=x), jnp.where(kept(), X, bad))
    assert_equation(case, y, X, slope=pullback(jnp.ones_like(X))[0])


FEW_BITS = [(case, jnp.bfloat16) for case in LAWS]
FEW_BITS += [(case, jnp.float16) for case in TYPICAL]
FEW_BITS += [(case, jnp.float8_e4m3fn) for case in TYPICAL]


@pytest.mark.parametrize(("case", "dtype"), FEW_BITS)
def test_dtype_stays_and_does_not_change_the_mask(case, dtype):
    x = X.astype(dtype)
    y = run(case, x=x)
    assert y.dtype == dtype
    # Computed in float32, and rounded once.
    expected = run(case, x=x.astype(jnp.float32)).astype(dtype)
    np.testing.assert_array_equal(y.astype(jnp.float32), expected.astype(jnp.float32))


@each_case
def test_complex(case):
    x = X.astype(jnp.complex64) * jnp.complex64(1 + 2j)
    if case.complex_ok:
        y = run(case, x=x)
        assert y.dtype == jnp.complex64
        expected = case.oracle(case.drawn(x), np.asarray(x), case.realised(RATE))
        assert_same(y, expected, case.tolerance)
    else:
        with pytest.raises(TypeError, match="real x; got dtype complex64"):
            run(case, x=x)


@each_frame
def test_double_precision(case):
    with jax.enable_x64(True):
        x = np.asarray(X, np.float64)
        y = run(case, x=jnp.asarray(x))
        assert y.dtype == jnp.float64
        expected = case.oracle(case.drawn(x), x, case.realised(RATE))
        assert_same(y, expected, case.tolerance)
        traced = jax.jit(lambda rate: run(case, rate=rate))(np.float64(RATE))
        assert traced.dtype == jnp.float32
        assert_equation(case, traced, X)


@pytest.mark.parametrize("x", [2.0, np.float32(2), np.ones((3, 4), np.float32)])
@each_typical
def test_numbers_and_numpy_arrays(case, x):
    y = run(case, x=x)
    assert isinstance(y, jax.Array)
    assert y.shape == np.shape(x)


@each_frame
def test_weak_type_stays(case):
    for f in (case, jax.jit(case)):
        weak = jnp.broadcast_to(jnp.asarray(2.0), SHAPE)
        assert f(KEY, weak, RATE).weak_type
        assert not f(KEY, weak.astype(jnp.float32), RATE).weak_type


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (3, 0, 4)])
@each_typical
def test_empty(case, shape):
    assert run(case, x=jnp.zeros(shape)).shape == shape


PARTS = [(case, SHAPE) for case in LAWS]
PARTS += [(case, shape) for case in TYPICAL for shape in ((8, 40), (8, 1))]


@pytest.mark.parametrize(("case", "shape"), PARTS)
def test_parts_of_a_batch_get_their_rows(case, shape):
    x = jnp.full(shape, 2.0)
    prefix = run(case, x=x[:2])
    parts = [run(case, x=x[i : i + 2], offset=i) for i in range(0, 8, 2)]
    assert_same(parts[0], prefix)
    assert_equation(case, jnp.concatenate(parts), x)


@pytest.mark.parametrize("dims", [(0,), (-1,), [1], (0, 2), (2, 1, -1), (0, 1, 2)])
@each_typical
def test_broadcast_dims_share_a_bit(case, dims):
    noise = case.drawn(X, dims=dims)
    for axis in dims:
        assert np.all(noise == noise.take([0], axis))
    assert_equation(case, run(case, broadcast_dims=dims), X, noise=noise)


@each_typical
def test_offset_leaves_a_shared_row_alone(case):
    whole = run(case, broadcast_dims=(0,))
    part = run(case, x=X[4:], broadcast_dims=(0,), offset=4)
    assert_same(part, whole[4:])


@each_mask
def test_masks_are_nested_over_rates(case):
    x = jnp.ones((64, 512))
    slope = jax.jit(jax.grad(lambda x, rate: run(case, x=x, rate=rate).sum()))
    rates = (1e-4, 1 / 256, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1 - 1e-4)
    masks = [np.asarray(slope(x, rate)) != 0 for rate in rates]
    for lower, higher in zip(masks, masks[1:], strict=False):
        assert not np.any(higher & ~lower)
        assert higher.sum() < lower.sum()


@each_frame
def test_forward_and_reverse_derivatives_agree(case):
    x = X[:2, :, :3]
    jacobian = jax.jacfwd(lambda x: run(case, x=x))(x)
    np.testing.assert_allclose(jax.jacrev(lambda x: run(case, x=x))(x), jacobian)
    slope = np.asarray(jacobian).reshape(18, 18)
    assert np.count_nonzero(slope) == np.count_nonzero(np.diag(slope)) > 0


@each_frame
def test_higher_derivatives(case):
    x = X[:2, :2, :2]

    def cube(x):
        return (run(case, x=x) ** 3).sum()

    slope = jax.grad(lambda x: run(case, x=x).sum())(x)
    curvature = 6 * np.asarray(run(case, x=x)) * np.square(slope)
    hessian = jax.jit(jax.hessian(cube))(x).reshape(8, 8)
    np.testing.assert_allclose(hessian, np.diag(curvature.ravel()), rtol=1e-5)
    grad_of_grad = jax.jit(jax.grad(lambda x: jax.grad(cube)(x).sum()))(x)
    np.testing.assert_allclose(grad_of_grad, curvature, rtol=1e-5)


@each([case for case in CASES if case.twin])
def test_axes_that_are_named_are_axes_that_share(case):
    """So the contract of the twin is theirs."""
    for shape in (SHAPE, (2, 2, 3, 4, 5)):
        x = jnp.linspace(1, 2, math.prod(shape)).reshape(shape)
        dims = tuple(case.shares(len(shape)))
        y = case.twin(KEY, x, 0.5, broadcast_dims=dims, offset=3)
        np.testing.assert_array_equal(case(KEY, x, 0.5, offset=3), y)


@each_frame
def test_taylor_mode(case):
    """jet has rules for few primitives, and a jit may not be given a key in it."""
    jet = pytest.importorskip("jax.experimental.jet").jet
    one, zero = jnp.ones_like(X), jnp.zeros_like(X)
    _, terms = jet(lambda x: run(case, x=x) ** 3, (X,), ((one, zero, zero),))
    # Every law is affine in x.
    y, slope = jax.jvp(lambda x: run(case, x=x), (X,), (one,))
    expected = 3 * slope * y**2, 6 * slope**2 * y, 6 * slope**3
    np.testing.assert_allclose(terms, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("legacy", [False, True])
@each_typical
def test_a_key_is_used_once(case, legacy):
    with jax.debug_key_reuse(True):
        key = jax.random.PRNGKey(6) if legacy else jax.random.key(6)
        jax.grad(lambda x: run(case, key, x).sum())(X)
        if not legacy:  # JAX tracks typed keys only
            with pytest.raises(jax.errors.KeyReuseError):
                run(case, key)
            with pytest.raises(jax.errors.KeyReuseError):
                jax.jit(lambda k: run(case, k) + run(case, k))(jax.random.key(7))


@each_case
def test_nothing_but_x_is_positional_after_the_rate(case):
    with pytest.raises(TypeError, match="by position"):
        case.op(KEY, X, *case.after, RATE, True)
