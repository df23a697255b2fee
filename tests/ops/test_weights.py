"""Drop connect: which leaves it drops from, and by which keys."""

import re

import flax.linen as nn
import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jdrop
import jdrop.linen
import jdrop.nnx

KEY = jax.random.key(0)
# As equinox, haiku and Flax name them, and with norms whose weight is a vector.
PARAMS = {
    "encoder": {"kernel": jnp.ones((40, 30)), "bias": jnp.ones(30)},
    "layers": [{"weight": jnp.ones((30, 20)), "bias": None}, {"w": jnp.ones((20, 9))}],
    "norm": {"weight": jnp.ones(9), "scale": jnp.ones((3, 9))},
    "embedding": jnp.ones((50, 9)),
    "steps": 3,
}
WEIGHTS = {
    "encoder/kernel": lambda tree: tree["encoder"]["kernel"],
    "layers/0/weight": lambda tree: tree["layers"][0]["weight"],
    "layers/1/w": lambda tree: tree["layers"][1]["w"],
}


def test_each_weight_is_dropout_under_the_key_of_its_path():
    """So the contract of dropout holds for each of them."""
    dropped = jdrop.drop_connect(KEY, PARAMS, 0.3)
    assert jax.tree.structure(dropped) == jax.tree.structure(PARAMS)
    for path, get in WEIGHTS.items():
        key = jdrop.key_for(KEY, path)
        np.testing.assert_array_equal(
            get(dropped), jdrop.dropout(key, get(PARAMS), 0.3)
        )
    for name in ("norm", "embedding", "steps"):
        assert dropped[name] is PARAMS[name] or dropped[name] == PARAMS[name]
    assert dropped["encoder"]["bias"] is PARAMS["encoder"]["bias"]


def test_a_filter_of_paths_chooses():
    dropped = jdrop.drop_connect(KEY, PARAMS, 0.3, where=lambda path: "bias" in path)
    key = jdrop.key_for(KEY, "encoder/bias")
    bias = jdrop.dropout(key, PARAMS["encoder"]["bias"], 0.3)
    np.testing.assert_array_equal(dropped["encoder"]["bias"], bias)
    assert dropped["encoder"]["kernel"] is PARAMS["encoder"]["kernel"]
    with pytest.raises(ValueError, match="chose none: got the paths embedding, .*wh"):
        jdrop.drop_connect(KEY, PARAMS, 0.3, where=lambda path: "conv" in path)
    with pytest.raises(ValueError, match="of an empty tree"):
        jdrop.drop_connect(KEY, {}, 0.3)


def test_other_layers_do_not_move_a_mask():
    alone = {"encoder": PARAMS["encoder"]}
    whole = jdrop.drop_connect(KEY, PARAMS, 0.3)["encoder"]["kernel"]
    part = jdrop.drop_connect(KEY, alone, 0.3)["encoder"]["kernel"]
    np.testing.assert_array_equal(whole, part)


def test_edges_need_no_key_and_a_key_is_used_once():
    for options in ({"rate": 0.0}, {"rate": 0.5, "deterministic": True}):
        dropped = jdrop.drop_connect(None, PARAMS, **options)
        for path, get in WEIGHTS.items():
            assert get(dropped) is get(PARAMS), path
    dropped = jdrop.drop_connect(None, PARAMS, 1.0)
    assert not np.any(dropped["encoder"]["kernel"])
    with jax.debug_key_reuse(True):
        key = jax.random.key(6)
        jdrop.drop_connect(key, PARAMS, 0.5)
        with pytest.raises(jax.errors.KeyReuseError):
            jdrop.drop_connect(key, PARAMS, 0.5)


def test_the_gradient_of_a_weight_that_is_dropped_is_zero():
    x = jnp.linspace(-1, 1, 5 * 40).reshape(5, 40)

    @jax.jit
    def loss(params, rate):
        dropped = jdrop.drop_connect(KEY, params, rate)
        kernel, bias = (dropped["encoder"][name] for name in ("kernel", "bias"))
        return (x @ kernel + bias[None]).sum()

    params = {"encoder": PARAMS["encoder"]}
    slope = jax.grad(loss)(params, 0.3)["encoder"]
    mask = jdrop.sample_mask(jdrop.key_for(KEY, "encoder/kernel"), (40, 30), 0.3)
    np.testing.assert_array_equal(slope["kernel"] != 0, mask.to_bool())
    np.testing.assert_array_equal(slope["bias"], jnp.full(30, 5.0))


def test_models_of_flax():
    """The state of an nnx model names its leaves by what its variables hold."""
    x = jnp.ones((2, 6))
    model = nnx.Linear(6, 300, rngs=nnx.Rngs(0))
    graph, params = nnx.split(model)
    dropped = jdrop.nnx.DropConnect(0.5)(params, rngs=KEY)
    kernel = jdrop.dropout(jdrop.key_for(KEY, "kernel"), model.kernel[...], 0.5)
    np.testing.assert_allclose(nnx.merge(graph, dropped)(x), x @ kernel, rtol=1e-5)
    dense = nn.Dense(300)
    variables = dense.init(jax.random.key(1), x)
    module = jdrop.linen.DropConnect(0.5, deterministic=False)
    dropped = module.apply({}, variables, rng=KEY)
    key = jdrop.key_for(KEY, "params/kernel")
    kernel = jdrop.dropout(key, variables["params"]["kernel"], 0.5)
    np.testing.assert_allclose(dense.apply(dropped, x), x @ kernel, rtol=1e-5)


def test_one_array_is_a_weight():
    w = jnp.ones(100)
    y = jdrop.drop_connect(KEY, w, 0.5)
    np.testing.assert_array_equal(y, jdrop.dropout(jdrop.key_for(KEY, ""), w, 0.5))


def test_what_is_wrong_says_so():
    with pytest.raises(ValueError, match=r"in \[0, 1\]; got 1.5"):
        jdrop.drop_connect(KEY, PARAMS, 1.5)
    with pytest.raises(TypeError, match="drop_connect .* got dtype int32"):
        jdrop.drop_connect(KEY, {"kernel": jnp.ones((2, 2), int)}, 0.5)
    with pytest.raises(TypeError, match="where is a function .* got str 'kernel'. Pas"):
        jdrop.drop_connect(KEY, PARAMS, 0.5, where="kernel")
    usage = re.escape("drop_connect(key, params, rate)")
    with pytest.raises(TypeError, match=f"{usage} takes the key first"):
        jdrop.drop_connect(PARAMS, 0.5)
