"""What linen and nnx modules have in common: each is its function, with Flax's key."""

import inspect

import flax.linen
import flax.nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, KEY, X
from jax.sharding import PartitionSpec as P
from meshes import make_mesh, place

import jdrop.linen
import jdrop.nnx

X = X[..., 0]


def drop_in_linen(cls, key, x, rate, **options):
    return cls(rate, **options).apply({}, x, rng=key)


def drop_in_nnx(cls, key, x, rate, **options):
    return cls(rate, **options)(x, rngs=key)


MODULES = [
    pytest.param(
        getattr(package, case.module),
        case.op,
        drop,
        id=f"{package.__name__}.{case.module}",
    )
    for package, drop in ((jdrop.linen, drop_in_linen), (jdrop.nnx, drop_in_nnx))
    for case in CASES
]
each_module = pytest.mark.parametrize(("cls", "function", "drop"), MODULES)


@each_module
@pytest.mark.parametrize("dims", [(), {0}, [-1], (0, 1), np.array([1])])
@pytest.mark.parametrize("rate", [0.5, 0.1])
def test_module_equals_function_bit_for_bit(cls, function, drop, rate, dims):
    y = drop(cls, KEY, X, rate, broadcast_dims=dims, deterministic=False)
    np.testing.assert_array_equal(y, function(KEY, X, rate, broadcast_dims=dims))


@pytest.mark.parametrize("package", [jdrop.linen, jdrop.nnx])
def test_classes_differ_in_their_function_alone(package):
    flax_class = getattr(flax, package.__name__.split(".")[1]).Dropout
    classes = [getattr(package, name) for name in package.__all__]
    assert len({cls._function for cls in classes}) == len(CASES)
    for cls in classes:
        for method in ("__init__", "__call__", "set_view"):
            if hasattr(flax_class, method):
                taken = inspect.signature(getattr(cls, method)).parameters.values()
                theirs = inspect.signature(getattr(flax_class, method)).parameters
                assert [(p.name, p.kind, p.default) for p in taken] == [
                    (p.name, p.kind, p.default) for p in theirs.values()
                ]
        assert cls.__call__ is classes[0].__call__


@each_module
def test_no_key_is_asked_for_where_the_mask_is_known(cls, function, drop):
    assert drop(cls, None, X, 0.5, deterministic=True) is X
    assert drop(cls, None, X, 0.0, deterministic=False) is X
    y, pullback = jax.vjp(lambda x: drop(cls, None, x, 1.0, deterministic=False), X)
    for zeros in (y, *pullback(X)):
        np.testing.assert_array_equal(zeros, jnp.zeros_like(X))


@each_module
def test_mode_may_be_a_concrete_0_or_1(cls, function, drop):
    for mode in (1, 0, 1.0, np.array(True), np.array(0), jnp.int32(1)):
        y = drop(cls, KEY, X, 0.5, deterministic=mode)
        expected = function(KEY, X, 0.5, deterministic=bool(mode))
        np.testing.assert_array_equal(y, expected)


@each_module
def test_mode_and_rate_may_be_traced(cls, function, drop):
    traces = []

    @jax.jit
    def call(rate, deterministic):
        traces.append(rate)
        return drop(cls, KEY, X, rate, deterministic=deterministic)

    for rate in (0.0, 0.25, 1.0):
        expected = function(KEY, X, rate)
        np.testing.assert_allclose(call(rate, False), expected, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(call(rate, True), X)
    assert len(traces) == 1


@each_module
@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ((-0.5,), ValueError, r"one real number in \[0, 1\]; got -0.5"),
        ((float("nan"),), ValueError, r"one real number in \[0, 1\]; got nan"),
        ((np.float32(1.25),), ValueError, r"in \[0, 1\]; got 1.25"),
        (("0.5",), TypeError, "one real number in .*; got str '0.5'"),
        ((0.5, 1), TypeError, r"got int 1. Pass a tuple such as \(1,\)"),
        ((0.5, (0.5,)), TypeError, "broadcast_dims holds integers.* got tuple"),
    ],
)
def test_wrong_fields_fail_at_construction(cls, function, drop, fields, error, message):
    names = ("rate", "broadcast_dims")
    with pytest.raises(error, match=message):
        cls(**dict(zip(names, fields, strict=False)))


@each_module
def test_wrong_arguments_fail_in_the_call(cls, function, drop):
    with pytest.raises(TypeError, match="must be floating-point; got dtype int32"):
        drop(cls, None, jnp.arange(4), 0.5, deterministic=True)
    with pytest.raises(TypeError, match="deterministic is one bool"):
        drop(cls, KEY, X, 0.5, deterministic="no")
    with pytest.raises(ValueError, match="Axes run from -2 to 1"):
        drop(cls, KEY, X, 0.5, deterministic=False, broadcast_dims=(2,))


@each_module
def test_explicitly_sharded_input_keeps_its_sharding_and_mask(cls, function, drop):
    """flax.nnx fails at the shared axis: flax issue 5209."""
    x = place(X, make_mesh((4,), "explicit"), P("a", None))

    @jax.jit
    def call(x):
        return [
            drop(cls, KEY, x, 0.5, deterministic=False, broadcast_dims=dims)
            for dims in ((), (0,))
        ]

    for y, dims in zip(call(x), ((), (0,)), strict=True):
        assert y.sharding.is_equivalent_to(x.sharding, y.ndim)
        expected = function(KEY, X, 0.5, broadcast_dims=dims)
        np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)
