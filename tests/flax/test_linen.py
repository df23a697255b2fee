"""Linen modules: Flax's arguments, rules and keys around jdrop's functions."""

import inspect

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jdrop
import jdrop.linen

PAIRS = [
    pytest.param(jdrop.linen.Dropout, jdrop.dropout, id="Dropout"),
    pytest.param(jdrop.linen.AlphaDropout, jdrop.alpha_dropout, id="AlphaDropout"),
]
CLASSES = [pytest.param(pair.values[0], id=pair.id) for pair in PAIRS]
KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (20, 50)) + 3


class NextKey(nn.Module):
    """The key that a module in its place would be handed first."""

    @nn.compact
    def __call__(self, collection="dropout"):
        return self.make_rng(collection)


def fields_of(cls):
    own = [name for name in cls.__dataclass_fields__ if name not in ("parent", "name")]
    return [(name, cls.__dataclass_fields__[name].default) for name in own]


def call_of(cls):
    parameters = inspect.signature(cls.__call__).parameters.values()
    return [(p.name, p.kind, p.default) for p in parameters]


@pytest.mark.parametrize("cls", CLASSES)
def test_takes_the_arguments_of_flax(cls):
    assert fields_of(cls) == fields_of(nn.Dropout)
    assert call_of(cls) == call_of(nn.Dropout)
    by_position = cls(0.5, (0,), True, "noise")
    assert by_position == cls(
        rate=0.5, broadcast_dims=(0,), deterministic=True, rng_collection="noise"
    )


@pytest.mark.parametrize("broadcast_dims", [(), (0,), (-1,), (0, 1)])
@pytest.mark.parametrize("rate", [0.5, 0.1])
@pytest.mark.parametrize(("cls", "function"), PAIRS)
def test_module_equals_function_bit_for_bit(cls, function, rate, broadcast_dims):
    module = cls(rate, broadcast_dims, deterministic=False)
    expected = function(KEY, X, rate, broadcast_dims=broadcast_dims)
    np.testing.assert_array_equal(module.apply({}, X, rng=KEY), expected)


@pytest.mark.parametrize(("cls", "function"), PAIRS)
def test_key_comes_from_the_named_collection(cls, function):
    for collection in ("dropout", "noise"):
        module = cls(0.5, deterministic=False, rng_collection=collection)
        rngs = {collection: KEY, "params": jax.random.key(7)}
        key = NextKey().apply({}, collection, rngs=rngs)
        got = module.apply({}, X, rngs=rngs)
        np.testing.assert_array_equal(got, function(key, X, 0.5))


@pytest.mark.parametrize(("cls", "function"), PAIRS)
def test_missing_collection_falls_back_to_params(cls, function):
    rngs = {"params": KEY}
    key = NextKey().apply({}, "params", rngs=rngs)
    got = cls(0.5, deterministic=False).apply({}, X, rngs=rngs)
    np.testing.assert_array_equal(got, function(key, X, 0.5))


@pytest.mark.parametrize("cls", CLASSES)
def test_no_collection_at_all_is_flax_error(cls):
    with pytest.raises(flax.errors.InvalidRngError, match='needs PRNG for "dropout"'):
        cls(0.5, deterministic=False).apply({}, X)


@pytest.mark.parametrize("cls", CLASSES)
def test_no_key_is_asked_for_where_the_mask_is_known(cls):
    assert cls(0.5, deterministic=True).apply({}, X) is X
    assert cls(0.0, deterministic=False).apply({}, X) is X
    everything = cls(1.0, deterministic=False)
    np.testing.assert_array_equal(everything.apply({}, X), jnp.zeros_like(X))
    gradient = jax.grad(lambda x: everything.apply({}, x).sum())(X)
    np.testing.assert_array_equal(gradient, jnp.zeros_like(X))


@pytest.mark.parametrize("cls", CLASSES)
def test_initialisation_makes_no_variables(cls):
    assert cls(0.5, deterministic=False).init(KEY, X) == {}
    assert cls(0.5, deterministic=True).init({}, X) == {}


@pytest.mark.parametrize("cls", CLASSES)
def test_mode_is_given_once(cls):
    rngs = {"dropout": KEY}
    field_true = cls(0.5, deterministic=True).apply({}, X)
    call_true = cls(0.5).apply({}, X, deterministic=True)
    assert field_true is X and call_true is X
    field_false = cls(0.5, deterministic=False).apply({}, X, rngs=rngs)
    call_false = cls(0.5).apply({}, X, deterministic=False, rngs=rngs)
    np.testing.assert_array_equal(field_false, call_false)
    with pytest.raises(ValueError, match="must be passed to the constructor or at"):
        cls(0.5).apply({}, X, rngs=rngs)
    with pytest.raises(ValueError, match="constructor and at call time"):
        cls(0.5, deterministic=True).apply({}, X, deterministic=True)


@pytest.mark.parametrize(("cls", "function"), PAIRS)
def test_mode_may_be_traced(cls, function):
    @jax.jit
    def apply(deterministic):
        return cls(0.5).apply({}, X, deterministic=deterministic, rng=KEY)

    np.testing.assert_array_equal(apply(True), X)
    expected = function(KEY, X, 0.5)
    np.testing.assert_allclose(apply(False), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("cls", "function"), PAIRS)
def test_rate_may_be_traced_without_recompilation(cls, function):
    traces = []

    @jax.jit
    def apply(rate):
        traces.append(rate)
        return cls(rate, deterministic=False).apply({}, X, rng=KEY)

    for rate in (0.0, 0.25, 0.5, 1.0):
        expected = function(KEY, X, rate)
        np.testing.assert_allclose(apply(rate), expected, rtol=1e-6, atol=1e-6)
    assert len(traces) == 1


@pytest.mark.parametrize("rate", [-0.5, 1.5, float("nan"), np.float32(1.01)])
@pytest.mark.parametrize("cls", CLASSES)
def test_rate_out_of_range_fails_at_construction(cls, rate):
    with pytest.raises(ValueError, match=r"one real number in \[0, 1\]; got"):
        cls(rate)


@pytest.mark.parametrize("cls", CLASSES)
def test_wrong_kinds_fail(cls):
    with pytest.raises(TypeError, match="one real number in .*; got str '0.5'"):
        cls("0.5")
    with pytest.raises(TypeError, match="must be floating-point; got dtype int32"):
        cls(0.5, deterministic=True).apply({}, jnp.arange(4))
    with pytest.raises(TypeError, match="deterministic is one bool"):
        cls(0.5, deterministic="no").apply({}, X, rng=KEY)


def test_share_of_kept_units_is_the_keep_probability():
    x = jnp.ones((100, 100))
    for index, rate in enumerate((0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)):
        module = jdrop.linen.Dropout(rate, deterministic=False)
        kept = 0
        for key in jax.random.split(jax.random.key(index), 10):
            kept += int((module.apply({}, x, rngs={"dropout": key}) > 0).sum())
        n = 10 * x.size
        # The count is binomial; four standard deviations.
        assert abs(kept / n - (1 - rate)) < 4 * np.sqrt(rate * (1 - rate) / n)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize(
    ("ndim", "broadcast_dims"),
    [
        (2, (0,)),
        (2, (1,)),
        (3, (1,)),
        (3, (1, 2)),
        (4, (3,)),
        (4, (0, 1)),
        (4, (0, 2, 3)),
    ],
)
def test_broadcast_dims_share_one_fate(cls, ndim, broadcast_dims):
    module = cls(0.5, broadcast_dims, deterministic=False)
    y = np.asarray(module.apply({}, jnp.ones((10,) * ndim), rng=KEY))
    first = y.take([0], axis=broadcast_dims[0])
    for axis in broadcast_dims:
        first = first.take([0], axis=axis)
    np.testing.assert_array_equal(y, np.broadcast_to(first, y.shape))
    assert len(np.unique(first)) == 2


class TwoLayers(nn.Module):
    """Two modules side by side on the same input."""

    dropout: type[nn.Module]

    @nn.compact
    def __call__(self, x, deterministic=False):
        first = self.dropout(0.5)(x, deterministic=deterministic)
        return first, self.dropout(0.5)(x, deterministic=deterministic)


@pytest.mark.parametrize("cls", CLASSES)
def test_layers_and_keys_give_different_masks(cls):
    model = TwoLayers(cls)
    first, second = model.apply({}, X, rngs={"dropout": KEY})
    again, _ = model.apply({}, X, rngs={"dropout": KEY})
    other, _ = model.apply({}, X, rngs={"dropout": jax.random.key(5)})
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_key_given_to_the_call_is_the_key(cls):
    class Shared(nn.Module):
        @nn.compact
        def __call__(self, x):
            key = self.make_rng("dropout")
            layer = cls(0.5, deterministic=False)
            return layer(x, rng=key), layer(x, rng=jax.random.clone(key))

    np.testing.assert_array_equal(*Shared().apply({}, X, rngs={"dropout": KEY}))


class Block(nn.Module):
    """A layer with dropout, in the form that `nn.scan` takes."""

    dropout: type[nn.Module]
    deterministic: bool = False

    @nn.compact
    def __call__(self, x, _=None):
        x = nn.selu(nn.Dense(x.shape[-1])(x))
        x = self.dropout(0.5, deterministic=self.deterministic)(x)
        return x, x == 0


SWAPS = [pytest.param(nn.Dropout, id="flax"), *CLASSES]


@pytest.mark.parametrize("dropout", SWAPS)
def test_a_model_written_for_flax_runs(dropout):
    model = Block(dropout)
    variables = jax.jit(model.init)(KEY, X)
    assert jax.tree.map(jnp.shape, variables) == {
        "params": {"Dense_0": {"bias": (50,), "kernel": (50, 50)}}
    }

    @jax.jit
    def step(variables, key):
        def loss(variables):
            y, _ = model.apply(variables, X, rngs={"dropout": key})
            return jnp.square(y).mean()

        return jax.value_and_grad(loss)(variables)

    loss, gradient = step(variables, KEY)
    assert loss > 0
    assert all(jnp.isfinite(g).all() and g.any() for g in jax.tree.leaves(gradient))
    evaluated, _ = Block(dropout, deterministic=True).apply(variables, X)
    reference, _ = Block(nn.Dropout, deterministic=True).apply(variables, X)
    np.testing.assert_array_equal(evaluated, reference)


@pytest.mark.parametrize("dropout", SWAPS)
def test_tabulate_lists_the_module(dropout):
    plain = {"force_terminal": False, "width": 200}
    table = Block(dropout).tabulate(KEY, X, console_kwargs=plain)
    row = next(line for line in table.splitlines() if "Dropout_0" in line)
    assert dropout.__name__ in row and "float32[20,50]" in row


def scanned(dropout, split):
    return nn.scan(
        Block,
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": split},
        length=3,
    )(dropout)


@pytest.mark.parametrize("dropout", [nn.Dropout, jdrop.linen.Dropout])
def test_scan_splits_keys_when_asked(dropout):
    for split in (True, False):
        model = scanned(dropout, split)
        variables = jax.jit(model.init)(KEY, X)
        _, dropped = jax.jit(model.apply)(variables, X, rngs={"dropout": KEY})
        assert dropped.shape == (3, *X.shape)
        assert np.array_equal(dropped[0], dropped[1]) is not split


@pytest.mark.parametrize("cls", CLASSES)
def test_remat_keeps_values_and_gradients(cls):
    variables = jax.jit(Block(cls).init)(KEY, X)

    def gradient(model):
        def loss(x):
            y, _ = model.apply(variables, x, rngs={"dropout": KEY})
            return jnp.square(y).sum()

        return jax.jit(jax.value_and_grad(loss))(X)

    plain, rematerialised = gradient(Block(cls)), gradient(nn.remat(Block)(cls))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        plain,
        rematerialised,
    )


@pytest.mark.parametrize("cls", CLASSES)
def test_vmap_splits_keys_when_asked(cls):
    for split in (True, False):
        mapped = nn.vmap(cls, variable_axes={}, split_rngs={"dropout": split})
        module = mapped(0.5, deterministic=False)
        y = module.apply({}, jnp.ones((2, 100)), rngs={"dropout": KEY})
        assert np.array_equal(y[0], y[1]) is not split


@pytest.mark.parametrize(("cls", "function"), PAIRS)
def test_explicitly_sharded_input_keeps_its_sharding_and_mask(cls, function):
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(AxisType.Explicit,))
    sharding = NamedSharding(mesh, PartitionSpec("batch", None))
    module = cls(0.5, deterministic=False)
    y = jax.jit(lambda x: module.apply({}, x, rng=KEY))(jax.device_put(X, sharding))
    assert y.sharding.is_equivalent_to(sharding, y.ndim)
    np.testing.assert_allclose(
        np.asarray(y), function(KEY, X, 0.5), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("cls", CLASSES)
def test_repr_names_the_class_and_its_fields(cls):
    text = repr(cls(0.25, deterministic=True))
    assert text.startswith(f"{cls.__name__}(")
    assert "rate = 0.25" in text and "deterministic = True" in text
