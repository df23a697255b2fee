"""Every message of the functions: the law, the value received, the remedy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import each_case

import jdrop

KEY = jax.random.key(0)
X = jnp.ones((3, 4))


def call(case, key=KEY, x=X, rate=0.5, **options):
    return case.op(key, x, rate, **options)


BAD_CALLS = {
    "rate below": ({"rate": -0.5}, ValueError, r"in \[0, 1\]; got -0.5"),
    "rate above": ({"rate": 1.5}, ValueError, r"in \[0, 1\]; got 1.5"),
    "rate array above": ({"rate": jnp.float32(2)}, ValueError, "got 2.0"),
    "rate huge": ({"rate": 10**400}, ValueError, r"got 10{36}\.\.\.\. 0 keeps"),
    "rate small type": ({"rate": jnp.bfloat16(1.5)}, ValueError, "got 1.5"),
    "rate numpy bool": ({"rate": np.bool_(True)}, TypeError, "got bool"),
    "rate nan": ({"rate": float("nan")}, ValueError, "got nan"),
    "rate vector": ({"rate": jnp.ones(2)}, ValueError, r"shape \(2,\).*jax.vmap"),
    "rate string": ({"rate": "0.5"}, TypeError, "got str '0.5'. Pass a float"),
    "rate bool": ({"rate": True}, TypeError, "got bool True"),
    "rate None": ({"rate": None}, TypeError, "got NoneType None"),
    "rate complex": ({"rate": 0.5j}, TypeError, "got complex 0.5j"),
    "deterministic None": (
        {"deterministic": None},
        TypeError,
        "got NoneType None. Pass deterministic=not training",
    ),
    "deterministic int": ({"deterministic": 1}, TypeError, "got int 1"),
    "deterministic vector": (
        {"deterministic": jnp.array([True])},
        TypeError,
        r"an array of dtype bool and shape \(1,\)",
    ),
    "int x": ({"x": jnp.arange(3)}, TypeError, r"got dtype int32. Cast it first"),
    "int x at rate 0": ({"x": jnp.arange(3), "rate": 0}, TypeError, "dtype int32"),
    "swapped": ({"key": X, "x": KEY}, TypeError, "takes the key first, then x; got"),
    "swapped, legacy": (
        {"key": X, "x": jax.random.PRNGKey(0)},
        TypeError,
        r"legacy key, it comes first: \w+\(key, x, \.\.\.\)",
    ),
    "x as key": ({"key": X}, TypeError, "comes first; got an array of dtype float32"),
    "key from a function": ({"key": lambda: 0}, TypeError, "got int 0. Make a key"),
    "bool x": ({"x": jnp.ones(3, bool)}, TypeError, "dtype bool"),
    "no key": ({"key": None}, TypeError, r"got None. Make a key with jax.random.key"),
    "int key": ({"key": 0}, TypeError, "got int 0. Make a key with"),
    "float key": ({"key": jnp.ones(2)}, TypeError, "dtype float32 and shape"),
    "long key": ({"key": jnp.ones(3, jnp.uint32)}, TypeError, "1, 2 or 4 uint32"),
    "key batch": (
        {"key": jax.random.split(KEY, 3)},
        ValueError,
        r"a batch of keys of shape \(3,\).*jax.vmap",
    ),
    "legacy key batch": (
        {"key": jnp.ones((3, 2), jnp.uint32)},
        ValueError,
        r"a batch of keys of shape \(3,\).*jax.vmap",
    ),
    "axis out of range": (
        {"broadcast_dims": (0, 2)},
        ValueError,
        r"got 2 in \(0, 2\). Axes run from -2 to 1",
    ),
    "axis not a sequence": (
        {"broadcast_dims": 1},
        TypeError,
        r"got int 1. Pass a tuple such as \(1,\)",
    ),
    "axis not an integer": (
        {"broadcast_dims": (0.5,)},
        TypeError,
        "holds integers; got tuple",
    ),
    "offset negative": ({"offset": -1}, ValueError, r"\[0, 2\^32\); got -1"),
    "offset large": ({"offset": 2**32}, ValueError, "got 4294967296"),
    "offset float": ({"offset": 1.0}, TypeError, "an integer; got float 1.0"),
    "offset vector": (
        {"offset": jnp.arange(2)},
        ValueError,
        r"shape \(2,\). Use jax.vmap",
    ),
    "offset for one axis": (
        {"x": jnp.ones(4), "offset": 2},
        ValueError,
        r"shape \(4,\) has no axis of examples.*Reshape",
    ),
}


@pytest.mark.parametrize("bad", BAD_CALLS)
@each_case
def test_bad_calls(case, bad):
    options, error, message = BAD_CALLS[bad]
    with pytest.raises(error, match=message):
        call(case, **options)


@each_case
def test_a_mode_hides_no_error(case):
    with pytest.raises(ValueError, match="got 1.5"):
        call(case, rate=1.5, deterministic=True)
    with pytest.raises(ValueError, match="Axes run from"):
        call(case, rate=0, broadcast_dims=(7,))


@each_case
def test_traced_values_are_trusted_but_not_their_kind(case):
    jax.jit(lambda rate: call(case, rate=rate))(2.0)
    with pytest.raises(TypeError, match="a float such as 0.1"):
        jax.jit(lambda rate: call(case, rate=rate))(True)
    with pytest.raises(TypeError, match="key is needed"):
        jax.jit(lambda off: call(case, None, deterministic=off))(True)


@each_case
def test_names_itself(case):
    with pytest.raises(TypeError, match=f"^{case.name} "):
        call(case, x=jnp.arange(3))


@each_case
def test_a_call_without_a_key_says_how_it_is_called(case):
    usage = rf"^{case.name}\(key, x, rate\) takes the key first"
    with pytest.raises(TypeError, match=f"{usage}.* got no rate. Make a key"):
        case.op(X, 0.5)
    with pytest.raises(TypeError, match="got no key. Make a key with"):
        case.op(x=X, rate=0.5)
    with pytest.raises(TypeError, match="no x and no rate"):
        case.op(KEY)
    with pytest.raises(TypeError, match=r"sample_mask\(key, shape, rate\) .* no rate"):
        jdrop.sample_mask((3, 4), 0.5)


def test_sample_mask_needs_a_key_at_any_rate():
    for rate in (0, 0.5):
        with pytest.raises(TypeError, match="key is needed"):
            jdrop.sample_mask(None, (3, 4), rate)


@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [
        (3, TypeError, "shape is a sequence of integers; got int 3"),
        ((3, 1.5), TypeError, "sequence of integers"),
        ((3, -1), ValueError, r"no negative axis; got \(3, -1\)"),
        (
            (2**17, 2**16, 32),
            ValueError,
            "4294967295 rows of 8589934592 elements at most",
        ),
        ((2**34,), ValueError, "rows of 17179869184"),
        ((2**16, 2**20, 2**33), ValueError, "rows of 8589934592"),
    ],
)
def test_bad_shapes(shape, error, message):
    with pytest.raises(error, match=message):
        jdrop.sample_mask(KEY, shape, 0.5)


def test_an_empty_mask_may_have_axes_of_any_size():
    mask = jdrop.sample_mask(KEY, (0, 2**32, 40), 0.5)
    assert mask.shape == (0, 2**32, 40) and mask.words.size == 0


def test_mask_that_does_not_fit():
    mask = jdrop.sample_mask(KEY, (3, 4), 0.5)
    for shape in [(4, 3), (3, 4, 1), (4,), ()]:
        with pytest.raises(ValueError, match=r"a mask of shape \(3, 4\) and x of"):
            jdrop.apply_mask(mask, jnp.ones(shape))
    with pytest.raises(TypeError, match="got dtype int32"):
        jdrop.apply_mask(mask, jnp.ones((3, 4), jnp.int32))


def test_batch_of_masks():
    keys = jax.random.split(KEY, 2)
    masks = jax.vmap(lambda key: jdrop.sample_mask(key, (3, 4), 0.5))(keys)
    for use in (lambda: masks.to_bool(), lambda: jdrop.apply_mask(masks, X)):
        with pytest.raises(ValueError, match="a batch of masks with jax.vmap"):
            use()


def test_numpy_inputs_are_not_special():
    with pytest.raises(ValueError, match="got 1.5"):
        jdrop.dropout(KEY, np.ones((3, 4), np.float32), np.float64(1.5))
