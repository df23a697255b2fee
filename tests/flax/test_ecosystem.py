"""Masks and modules in the hands of other libraries, beyond docs/ecosystem.md."""

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY, X, each_frame
from flax import nnx, serialization

import jdrop
import jdrop.linen
import jdrop.nnx

# Rows that are two axes, and one.
SHAPES = [(3, 2, 20, 5), (70,)]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mask_is_rebuilt_of_its_leaves(shape):
    mask = jdrop.sample_mask(KEY, shape, 0.3)
    leaves, structure = jax.tree.flatten(mask)
    assert jax.tree.unflatten(structure, map(np.asarray, leaves)) == mask
    paths = [path for path, _ in jax.tree.leaves_with_path({"mask": mask})]
    assert [jax.tree_util.keystr(path) for path in paths] == [
        "['mask'].words",
        "['mask'].rate",
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_an_exported_program_returns_the_mask(shape):
    sample = jax.jit(lambda key: jdrop.sample_mask(key, shape, 0.3))
    program = jax.export.export(sample)(KEY)
    loaded = jax.export.deserialize(program.serialize())
    mask = loaded.call(KEY)
    assert mask == jdrop.sample_mask(KEY, shape, 0.3)
    assert mask.layout == jdrop.sample_mask(KEY, shape, 0.3).layout


@pytest.mark.slow
def test_orbax_saves_keys_and_masks(tmp_path):
    import orbax.checkpoint as ocp

    keys = {kind: jax.random.key(3, impl=kind) for kind in ("threefry2x32", "rbg")}
    mask = jdrop.sample_mask(KEY, (4, 64), 0.3)
    blank = jdrop.sample_mask(jax.random.key(1), (4, 64), 0.3)
    with ocp.StandardCheckpointer() as saver:
        saver.save(tmp_path / "state", {"keys": keys, "mask": mask})
        saver.wait_until_finished()
        like = {"keys": {k: jax.random.clone(v) for k, v in keys.items()}}
        restored = saver.restore(tmp_path / "state", {**like, "mask": blank})
    assert restored["mask"] == mask != blank
    for kind, key in restored["keys"].items():
        assert key == keys[kind] and jax.random.key_impl(key) == kind


def arrays_of(case):
    return [X, *[jnp.full_like(X, number) for number in case.after]]


@each_frame
def test_split_and_merge_keep_every_module(case):
    cls = getattr(jdrop.nnx, case.module)
    module = cls(0.5, rngs=nnx.Rngs(0), **case.arguments)
    twin = cls(0.5, rngs=nnx.Rngs(0), **case.arguments)
    graph, keys, rest = nnx.split(module, nnx.RngState, ...)
    learned = {"logit"} if case.module == "ConcreteDropout" else set()
    assert set(rest) == learned and set(keys) == {"rngs"}
    merged = nnx.merge(graph, keys, rest)
    np.testing.assert_array_equal(merged(*arrays_of(case)), twin(*arrays_of(case)))


@each_frame
def test_variables_of_linen_modules_are_numbers(case):
    module = getattr(jdrop.linen, case.module)(0.5, **case.arguments)
    variables = module.init(KEY, *arrays_of(case), deterministic=True)
    learned = case.module == "ConcreteDropout"
    assert variables == ({"params": {"logit": 0.0}} if learned else {})
    saved = serialization.to_bytes(variables)
    assert serialization.from_bytes(variables, saved) == variables


def test_the_mode_of_an_equinox_layer_may_be_traced():
    class Dropout(eqx.Module):
        rate: float
        inference: bool | jax.Array = False

        def __call__(self, x, *, key=None):
            return jdrop.dropout(key, x, self.rate, deterministic=self.inference)

    call = jax.jit(lambda mode: Dropout(0.5, mode)(X, key=KEY))
    np.testing.assert_array_equal(call(True), X)
    np.testing.assert_array_equal(call(False), jdrop.dropout(KEY, X, 0.5))


def test_haiku_makes_a_key_only_where_one_is_needed():
    def network(x, rate):
        y = jdrop.dropout(hk.next_rng_key, x, rate)
        return y, hk.maybe_next_rng_key()

    apply = hk.transform(network).apply
    for rate in (0.0, 1.0):
        y, _ = apply({}, None, X, rate)
        np.testing.assert_array_equal(y, X * (1 - rate))
    with pytest.raises(ValueError, match="non-None PRNGKey"):
        apply({}, None, X, 0.5)
