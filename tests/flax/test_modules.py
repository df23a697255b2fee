"""What linen and nnx modules have in common: each is its function, with Flax's key."""

import inspect

import flax.linen
import flax.nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, DROPOUT, GAUSSIAN, KEY, TYPICAL, X
from jax.sharding import PartitionSpec as P
from meshes import make_mesh, place

import jdrop
import jdrop.linen
import jdrop.nnx

X = X[..., :4]


def drop_in_linen(cls, key, x, *arguments, after=(), offset=None, **options):
    module = cls(*arguments, **options)
    after = [jnp.full_like(x, number) for number in after]
    # Only a rate that is learned makes a variable.
    variables = module.init(KEY, x, *after, rng=KEY)
    return module.apply(variables, x, *after, rng=key, offset=offset)


def drop_in_nnx(cls, key, x, *arguments, after=(), offset=None, **options):
    after = [jnp.full_like(x, number) for number in after]
    return cls(*arguments, **options)(x, *after, rngs=key, offset=offset)


PACKAGES = ((jdrop.linen, drop_in_linen), (jdrop.nnx, drop_in_nnx))


def each_module(cases):
    """Runs a test for the modules of some rows, in both packages."""
    modules = [
        pytest.param(
            getattr(package, case.module),
            case,
            drop,
            id=f"{package.__name__}.{case.label}",
        )
        for package, drop in PACKAGES
        for case in cases
    ]
    return pytest.mark.parametrize(("cls", "case", "drop"), modules)


@each_module(CASES)
def test_module_equals_function_bit_for_bit(cls, case, drop):
    options = {**case.arguments, "deterministic": False}
    for rate in (0.5, 0.1):
        y = drop(cls, KEY, X, rate, after=case.after, **options)
        expected = case(KEY, X, rate)
        if cls.__name__ == "ConcreteDropout":
            # Its rate is the sigmoid of a parameter.
            np.testing.assert_allclose(y, expected, rtol=1e-4)
        else:
            np.testing.assert_array_equal(y, expected)


@each_module(TYPICAL)
def test_micro_batches_are_parts_of_the_batch(cls, case, drop):
    whole = drop(cls, KEY, X, 0.5, deterministic=False)
    part = drop(cls, KEY, X[2:], 0.5, deterministic=False, offset=2)
    np.testing.assert_array_equal(part, whole[2:])


@each_module((DROPOUT, GAUSSIAN))
@pytest.mark.parametrize("dims", [{0}, [-1], (0, 1), np.array([1])])
def test_module_shares_axes(cls, case, drop, dims):
    y = drop(cls, KEY, X, 0.5, broadcast_dims=dims, deterministic=False)
    np.testing.assert_array_equal(y, case(KEY, X, 0.5, broadcast_dims=dims))


@pytest.mark.parametrize("package", [jdrop.linen, jdrop.nnx])
def test_the_module_of_dropout_takes_what_that_of_flax_takes(package):
    cls = package.Dropout
    flax_class = getattr(flax, package.__name__.split(".")[1]).Dropout
    for method in ("__init__", "__call__", "set_view"):
        if hasattr(flax_class, method):
            taken, theirs = (
                [
                    (p.name, p.kind, p.default)
                    for p in inspect.signature(
                        getattr(owner, method)
                    ).parameters.values()
                    # The one argument more that jdrop's have.
                    if p.name != "offset"
                ]
                for owner in (cls, flax_class)
            )
            assert taken == theirs


@pytest.mark.parametrize("package", [jdrop.linen, jdrop.nnx])
def test_modules_have_the_arguments_of_their_functions(package):
    own = {"self", "deterministic", "rng_collection", "rngs", "parent", "name"}
    for name in package.__all__:
        cls = getattr(package, name)
        fields = inspect.signature(cls.__init__).parameters
        taken = inspect.signature(cls._function).parameters
        for field in fields.keys() - own:
            expected = taken[field].default
            assert fields[field].default == expected, (name, field)
        given = taken.keys() - fields.keys()
        data = {"key", "x", "weights", "params", "previous", "deterministic", "offset"}
        assert given <= data, (name, given - data)


@each_module(TYPICAL)
def test_no_key_is_asked_for_where_the_mask_is_known(cls, case, drop):
    assert drop(cls, None, X, 0.5, deterministic=True) is X
    assert drop(cls, None, X, 0.0, deterministic=False) is X
    y, pullback = jax.vjp(lambda x: drop(cls, None, x, 1.0, deterministic=False), X)
    for zeros in (y, *pullback(X)):
        np.testing.assert_array_equal(zeros, jnp.zeros_like(X))


@each_module(TYPICAL)
def test_mode_may_be_a_concrete_0_or_1(cls, case, drop):
    for mode in (1, 0, 1.0, np.array(True), np.array(0), jnp.int32(1)):
        y = drop(cls, KEY, X, 0.5, deterministic=mode)
        expected = case(KEY, X, 0.5, deterministic=bool(mode))
        np.testing.assert_array_equal(y, expected)


@each_module(TYPICAL)
def test_mode_and_rate_may_be_traced(cls, case, drop):
    traces = []

    @jax.jit
    def call(rate, deterministic):
        traces.append(rate)
        return drop(cls, KEY, X, rate, deterministic=deterministic)

    for rate in (0.0, 0.25, 1.0):
        expected = case(KEY, X, rate)
        np.testing.assert_allclose(call(rate, False), expected, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(call(rate, True), X)
    assert len(traces) == 1


@each_module((DROPOUT,))
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
def test_wrong_fields_fail_at_construction(cls, case, drop, fields, error, message):
    names = ("rate", "broadcast_dims")
    with pytest.raises(error, match=message):
        cls(**dict(zip(names, fields, strict=False)))


WRONG_FIELDS = [
    ("DropPath", {"mode": "row"}, "mode is 'sample' or 'batch'; got 'row'"),
    ("DropBlock", {"per_channel": "no"}, "per_channel is True or False; got str"),
    ("DropBlock", {"calibration": "timm"}, "'exact' or 'paper'; got 'timm'"),
    ("AlphaDropout", {"mean": "a"}, "mean is one real number .* got str 'a'"),
    ("AlphaDropout", {"variance": 0}, "variance is one real number .* got 0"),
    ("ConcreteDropout", {"temperature": -1}, "temperature is .* got -1"),
    ("TokenDropout", {"prefix_tokens": -1}, "prefix_tokens is 0 or more; got -1"),
]


@pytest.mark.parametrize("package", [jdrop.linen, jdrop.nnx])
@pytest.mark.parametrize(("name", "fields", "message"), WRONG_FIELDS)
def test_wrong_options_fail_at_construction(package, name, fields, message):
    with pytest.raises((TypeError, ValueError), match=message):
        getattr(package, name)(0.5, **fields)


@pytest.mark.parametrize("package", [jdrop.linen, jdrop.nnx])
def test_a_name_from_elsewhere_says_what_it_is_here(package):
    for name in package.__all__:
        cls = getattr(package, name)
        own = "stddev" if name == "GaussianNoise" else "rate"
        law = rf"^{name}\({own}\) takes .* by name; got"
        with pytest.raises(TypeError, match=f"{law} p. Pass {own}=..., "):
            cls(p=0.5)
        with pytest.raises(TypeError, match=f"{law} training. Pass deterministic=not"):
            cls(0.5, training=True)
        module, arrays = cls(0.5), [X] * (2 if name == "Zoneout" else 1)
        law = rf"^{name}\(...\)\(inputs.*\) takes deterministic, .* by name; got"
        with pytest.raises(TypeError, match=f"{law} train. Pass deterministic=not tr"):
            if package is jdrop.nnx:
                module(*arrays, train=True)
            else:
                module.apply({}, *arrays, train=True)


def test_a_key_for_a_linen_module_goes_to_apply():
    with pytest.raises(TypeError, match="got rngs. Pass the key to apply: rngs={"):
        jdrop.linen.Dropout(0.5, rngs={"dropout": KEY})
    with pytest.raises(TypeError, match=r"got key. Pass rng=jax.random.key\(seed\)"):
        jdrop.linen.Dropout(0.5, deterministic=False).apply({}, X, key=KEY)
    with pytest.raises(flax.errors.InvalidRngError, match='needs PRNG for "dropout"'):
        jdrop.linen.Dropout(0.5, deterministic=False).apply({}, X)


@pytest.mark.parametrize(("package", "drop"), PACKAGES)
def test_an_axis_that_x_does_not_have_is_none(package, drop):
    options = {"block_size": 2, "channel_axis": None}
    y = drop(package.DropBlock, KEY, X, 0.5, deterministic=False, **options)
    np.testing.assert_array_equal(y, jdrop.drop_block(KEY, X, 0.5, **options))
    with pytest.raises(TypeError, match="batch_axis is one axis .* got float 0.5"):
        package.DropBlock(0.5, batch_axis=0.5)


@each_module(TYPICAL)
def test_wrong_arguments_fail_in_the_call(cls, case, drop):
    with pytest.raises(TypeError, match="must be floating-point; got dtype int32"):
        drop(cls, None, jnp.arange(4), 0.5, deterministic=True)
    with pytest.raises(TypeError, match="deterministic is one bool"):
        drop(cls, KEY, X, 0.5, deterministic="no")
    with pytest.raises(ValueError, match="Axes run from -3 to 2"):
        drop(cls, KEY, X, 0.5, deterministic=False, broadcast_dims=(3,))


@each_module(TYPICAL)
def test_explicitly_sharded_input_keeps_its_sharding_and_mask(cls, case, drop):
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
        expected = case(KEY, X, 0.5, broadcast_dims=dims)
        np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)
