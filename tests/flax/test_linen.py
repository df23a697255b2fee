"""Linen modules in Flax's hands: collections, modes, transforms, whole models."""

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jdrop
from jdrop.linen import Dropout

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (20, 50)) + 3
# Flax's own shows that the test is right.
SWAPS = pytest.mark.parametrize(
    "dropout",
    [
        pytest.param(nn.Dropout, id="flax", marks=pytest.mark.slow),
        pytest.param(Dropout, id="jdrop"),
    ],
)


class NextKey(nn.Module):
    """The key that a module in its place would be handed first."""

    @nn.compact
    def __call__(self, collection="dropout"):
        return self.make_rng(collection)


def test_takes_the_fields_of_flax_by_position():
    fields = (0.5, (0,), True, "noise")
    names = ("rate", "broadcast_dims", "deterministic", "rng_collection")
    assert Dropout(*fields) == Dropout(**dict(zip(names, fields, strict=True)))


@pytest.mark.parametrize(
    ("named", "given"),
    [
        ("dropout", ("dropout", "params")),
        ("noise", ("noise", "params")),
        ("dropout", ("params",)),
    ],
)
def test_key_comes_from_the_named_collection_or_from_params(named, given):
    rngs = {name: jax.random.key(i) for i, name in enumerate(given)}
    key = NextKey().apply({}, given[0], rngs=rngs)
    module = Dropout(0.5, deterministic=False, rng_collection=named)
    expected = jdrop.dropout(key, X, 0.5)
    np.testing.assert_array_equal(module.apply({}, X, rngs=rngs), expected)


def test_no_collection_at_all_is_flax_error():
    with pytest.raises(flax.errors.InvalidRngError, match='needs PRNG for "dropout"'):
        Dropout(0.5, deterministic=False).apply({}, X)
    assert Dropout(0.0, deterministic=False).apply({}, X) is X
    assert not np.any(Dropout(1.0, deterministic=False).apply({}, X))


def test_initialisation_makes_no_variables():
    assert Dropout(0.5, deterministic=False).init(KEY, X) == {}
    assert Dropout(0.5, deterministic=True).init({}, X) == {}


def test_mode_is_given_once():
    rngs = {"dropout": KEY}
    assert Dropout(0.5).apply({}, X, deterministic=True) is X
    field = Dropout(0.5, deterministic=False).apply({}, X, rngs=rngs)
    call = Dropout(0.5).apply({}, X, deterministic=False, rngs=rngs)
    np.testing.assert_array_equal(field, call)
    with pytest.raises(ValueError, match="must be passed to the constructor or at"):
        Dropout(0.5).apply({}, X, rngs=rngs)
    with pytest.raises(ValueError, match="constructor and at call time"):
        Dropout(0.5, deterministic=True).apply({}, X, deterministic=True)


@SWAPS
def test_no_rate_is_needed_at_rest(dropout):
    assert dropout(None).apply({}, X, deterministic=True) is X
    with pytest.raises(TypeError):
        dropout(None).apply({}, X, deterministic=False, rngs={"dropout": KEY})


class Layers(nn.Module):
    """Modules side by side: two with keys of their own, two with one that is given."""

    @nn.compact
    def __call__(self, x):
        key = self.make_rng("dropout")
        layers = [Dropout(0.5, deterministic=False) for _ in range(4)]
        own = [layer(x) for layer in layers[:2]]
        return *own, layers[2](x, rng=key), layers[3](x, rng=jax.random.clone(key))


def test_layers_and_keys_give_different_masks():
    masks = [
        np.asarray(mask)
        for key in (KEY, KEY, jax.random.key(5))
        for mask in Layers().apply({}, X, rngs={"dropout": key})
    ]
    np.testing.assert_array_equal(masks[:4], masks[4:8])
    np.testing.assert_array_equal(masks[2::4], masks[3::4])
    different = [*masks[:3], *masks[8:11]]
    assert len({mask.tobytes() for mask in different}) == 6


class Block(nn.Module):
    """A layer with dropout, in the form that `nn.scan` takes."""

    dropout: type[nn.Module]
    deterministic: bool = False

    @nn.compact
    def __call__(self, x, _=None):
        x = nn.selu(nn.Dense(x.shape[-1])(x))
        x = self.dropout(0.5, deterministic=self.deterministic)(x)
        return x, x == 0


@SWAPS
def test_a_model_written_for_flax_runs(dropout):
    model = Block(dropout)
    variables = jax.jit(model.init)(KEY, X)
    assert jax.tree.map(jnp.shape, variables) == {
        "params": {"Dense_0": {"bias": (50,), "kernel": (50, 50)}}
    }

    def step(model, variables):
        def loss(variables):
            y, _ = model.apply(variables, X, rngs={"dropout": KEY})
            return jnp.square(y).mean()

        return jax.jit(jax.value_and_grad(loss))(variables)

    loss, gradient = step(model, variables)
    assert loss > 0
    assert all(jnp.isfinite(g).all() and g.any() for g in jax.tree.leaves(gradient))
    rematerialised = step(nn.remat(Block)(dropout), variables)
    for got, expected in zip(
        jax.tree.leaves(rematerialised), jax.tree.leaves((loss, gradient)), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    evaluated, _ = Block(dropout, deterministic=True).apply(variables, X)
    reference, _ = Block(nn.Dropout, deterministic=True).apply(variables, X)
    np.testing.assert_array_equal(evaluated, reference)


@SWAPS
def test_tabulate_lists_the_module(dropout):
    plain = {"force_terminal": False, "width": 200}
    table = Block(dropout).tabulate(KEY, X, console_kwargs=plain)
    row = next(line for line in table.splitlines() if "Dropout_0" in line)
    assert dropout.__name__ in row and "float32[20,50]" in row


@SWAPS
@pytest.mark.parametrize("split", [True, False])
def test_scan_and_vmap_split_keys_when_asked(dropout, split):
    rngs = {"dropout": KEY}
    axes = {"params": 0}
    splits = {"params": True, "dropout": split}
    scanned = nn.scan(Block, variable_axes=axes, split_rngs=splits, length=3)(dropout)
    variables = jax.jit(scanned.init)(KEY, X)
    _, dropped = jax.jit(scanned.apply)(variables, X, rngs=rngs)
    assert dropped.shape == (3, *X.shape)
    assert np.array_equal(dropped[0], dropped[1]) is not split
    mapped = nn.vmap(dropout, variable_axes={}, split_rngs={"dropout": split})
    y = mapped(0.5, deterministic=False).apply({}, jnp.ones((2, 100)), rngs=rngs)
    assert np.array_equal(y[0], y[1]) is not split


def test_repr_names_the_class_and_its_fields():
    text = repr(Dropout(0.25, deterministic=True))
    assert text.startswith("Dropout(")
    assert "rate = 0.25" in text and "deterministic = True" in text
