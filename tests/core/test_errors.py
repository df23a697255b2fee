"""Every message of the functions: the law, the value received, the remedy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import each_case, each_typical

import jdrop

KEY = jax.random.key(0)
X = jnp.ones((3, 4))


def call(case, key=KEY, x=X, rate=0.5, **options):
    return case(key, x, rate, **options)


ONE_BOOL = jnp.array([True])
KEYS = jax.random.split(KEY, 3)
LEGACY = jax.random.PRNGKey(0)

VALUE_ERRORS = [
    ({"rate": -0.5}, r"in \[0, 1\]; got -0.5"),
    ({"rate": 1.5}, r"in \[0, 1\]; got 1.5"),
    ({"rate": 50}, r"in \[0, 1\]; got 50. .*; 50 % is 0.5"),
    ({"rate": -1e-3}, "got -0.001"),
    ({"rate": np.nextafter(-(2**-33), -1)}, "got -1.16.*e-10"),
    ({"rate": np.nextafter(1 + 2**-33, 2)}, "got 1.00000000011"),
    ({"rate": 1.5, "deterministic": True}, "got 1.5"),
    ({"rate": jnp.float32(2)}, "got 2.0"),
    ({"rate": np.float64(2)}, "got 2.0"),
    ({"rate": jnp.bfloat16(1.5)}, "got 1.5"),
    ({"rate": 10**400}, r"got 10{36}\.\.\.\. 0 keeps everything"),
    ({"rate": float("nan")}, "got nan"),
    ({"rate": jnp.ones(2)}, r"shape \(2,\). An array to drop from .*jax.vmap"),
    ({"key": KEYS}, r"a batch of keys of shape \(3,\).*jax.vmap"),
    ({"key": jnp.ones((3, 2), jnp.uint32)}, r"a batch of keys of shape \(3,\)"),
    ({"broadcast_dims": (0, 2)}, r"got 2 in \(0, 2\). Axes run from -2 to 1"),
    ({"broadcast_dims": (7,), "rate": 0}, "Axes run from"),
    ({"offset": -1}, r"\[0, 2\^32\); got -1. Pass how many come before"),
    ({"offset": 2**32}, "got 4294967296"),
    ({"offset": 10**400}, r"got 10{36}\.\.\."),
    ({"offset": jnp.arange(2)}, r"shape \(2,\). Use jax.vmap"),
    ({"offset": 2, "x": jnp.float32(1)}, "a scalar has no axis; got int 2. Pass no"),
    ({"offset": 2**28 - 2, "x": jnp.ones((3, 32, 1))}, "numbers 268435456 words along"),
]
TYPE_ERRORS = [
    ({"rate": "0.5"}, "got str '0.5'. Pass a float"),
    ({"rate": True}, "got bool True"),
    ({"rate": np.bool_(True)}, "got bool"),
    ({"rate": None}, "got NoneType None"),
    ({"rate": KEY}, "of dtype key.* The key comes first, the rate last"),
    ({"rate": lambda step: 0.1}, r"got function .* what it returns: rate\(step\)"),
    ({"rate": 0.5j}, "got complex 0.5j"),
    ({"deterministic": None}, "got NoneType None. Pass deterministic=not training"),
    ({"deterministic": 2}, "one bool, or a concrete 0 or 1: .* got int 2. Pass"),
    ({"deterministic": "no"}, "got str 'no'. Pass deterministic=not training"),
    ({"deterministic": np.array(2)}, r"got array\(2\). Pass"),
    ({"deterministic": ONE_BOOL}, r"an array of dtype bool and shape \(1,\)"),
    ({"x": jnp.arange(3)}, "must be floating-point; got dtype int32. Cast it first"),
    ({"x": jnp.arange(3), "rate": 0}, "dtype int32"),
    ({"x": jnp.ones(3, bool)}, "dtype bool"),
    ({"x": np.ones((2, 8, 8, 3), np.uint8)}, "got dtype uint8. Cast it first"),
    ({"x": [[1.0], [1.0, 2.0]]}, r"got list \[\[1.0\], \[1.0, 2.0\]\]. Call it once"),
    ({"x": {"w": X}}, r"takes one array x of numbers; got dict \{'w': .* Call it once"),
    ({"x": None}, "one array x of numbers; got NoneType None"),
    ({"key": X, "x": KEY}, "takes the key first, then x; got a key where x belongs"),
    ({"key": X, "x": LEGACY}, r"legacy key, it comes first: \w+\(key, x, \.\.\.\)"),
    ({"key": X}, "comes first; got an array of dtype float32"),
    ({"key": None}, "got None. Make a key with jax.random.key"),
    ({"key": lambda: None}, "got None. Make a key with jax.random.key"),
    ({"key": 0}, "got int 0. Make a key with"),
    ({"key": "0"}, "got str '0'. Make a key with"),
    ({"key": jnp.ones(3, jnp.uint32)}, "1, 2 or 4 uint32"),
    ({"broadcast_dims": 1}, r"got int 1. Pass a tuple such as \(1,\)"),
    ({"broadcast_dims": np.array(1)}, r"got array\(1\). Pass a tuple such as \(1,\)"),
    ({"broadcast_dims": None}, r"got NoneType None. Pass a tuple such as \(0, 1\)"),
    ({"broadcast_dims": (0.5,)}, r"holds integers, .*; got tuple \(0.5,\). Pass a"),
    ({"offset": 1.0}, "an integer; got float 1.0. Pass how many come before"),
    ({"offset": (0, 1)}, r"one integer; got tuple \(0, 1\). .* within=shape"),
]
BAD_CALLS = [(ValueError, *bad) for bad in VALUE_ERRORS]
BAD_CALLS += [(TypeError, *bad) for bad in TYPE_ERRORS]


@pytest.mark.parametrize(("error", "options", "message"), BAD_CALLS)
@each_typical
def test_bad_calls(case, error, options, message):
    with pytest.raises(error, match=message):
        call(case, **options)


@each_typical
def test_traced_values_are_trusted_but_not_their_kind(case):
    jax.jit(lambda rate: call(case, rate=rate))(2.0)
    with pytest.raises(TypeError, match="a float such as 0.1"):
        jax.jit(lambda rate: call(case, rate=rate))(True)
    with pytest.raises(TypeError, match="key is needed"):
        jax.jit(lambda off: call(case, None, deterministic=off))(True)
    with pytest.raises(TypeError, match="got a traced array of dtype int32"):
        jax.jit(lambda off: call(case, deterministic=off))(1)


@each_case
def test_names_itself(case):
    with pytest.raises(TypeError, match=f"^{case.name} "):
        call(case, x=jnp.ones((3, 4, 5), int))


@each_typical
def test_a_call_without_a_key_says_how_it_is_called(case):
    usage = rf"^{case.name}\(key, x, rate\) takes the key first"
    with pytest.raises(TypeError, match=f"{usage}.* no rate. Pass rate after the key"):
        case.op(X, 0.5)
    with pytest.raises(TypeError, match="got no key. Make a key with"):
        case.op(x=X, rate=0.5)
    with pytest.raises(TypeError, match="no x and no rate"):
        case.op(KEY)
    by_position = "key, x, rate by position, and .* offset by name; got 4 by position"
    with pytest.raises(TypeError, match=f"{by_position}. Name the others"):
        case.op(KEY, X, 0.5, True)


MASK = jdrop.sample_mask(KEY, X.shape, 0.5)
FORMS = [
    (jdrop.sample_mask, ((3, 4), 0.5), r"\(key, shape, rate\) takes the key first.*no"),
    (jdrop.key_for, (), r"\(key\) takes the key first.* no key. Make a key"),
    (jdrop.apply_mask, (MASK,), r"\(mask, x\) takes all of these; got no x. Pass x"),
    (
        jdrop.apply_mask,
        (MASK, X, 0.5),
        "nothing by name; got 3 .* Leave out the oth",
    ),
    (jdrop.drop_path_rates, (12,), r"\(depth, rate\) takes all of these; got no rate"),
    (jdrop.concrete_regulariser, (0.1, 1.0, 8, 1.0), "dropout_scale by name; got 4"),
    (jdrop.mc_predict, (jnp.sin, KEY), r"\(apply, key, n\) .* got no n. Pass n"),
]


@pytest.mark.parametrize(("function", "arguments", "message"), FORMS)
def test_a_call_of_another_form_says_how_it_is_called(function, arguments, message):
    with pytest.raises(TypeError, match=f"^{function.__name__}.*{message}"):
        function(*arguments)


# What an argument is called in other libraries.
HABITS = {
    "p": "rate=..., the probability of dropping",
    "keep_prob": "rate=1 - keep, the probability of dropping",
    "train": "deterministic=not training",
    "inference": "deterministic=True for inference",
    "rng": r"a key first, such as jax.random.key\(seed\)",
}


@each_typical
@pytest.mark.parametrize(("name", "remedy"), HABITS.items())
def test_a_name_from_elsewhere_says_what_it_is_here(case, name, remedy):
    law = r"\(key, x, rate\) takes deterministic, broadcast_dims, offset by name; got"
    for given in ({}, {"rate": 0.5}):
        with pytest.raises(TypeError, match=f"^{case.name}{law} {name}. Pass {remedy}"):
            case.op(KEY, X, **given, **{name: 0.5})
    with pytest.raises(TypeError, match="got broadcast_axes. Leave it out"):
        case.op(KEY, X, 0.5, broadcast_axes=(0,))


def test_a_name_from_elsewhere_for_other_arguments():
    with pytest.raises(TypeError, match="got p. Pass stddev=..., of the noise"):
        jdrop.gaussian_noise(KEY, X, p=0.5)
    with pytest.raises(TypeError, match="nothing else by name; got deterministic. L"):
        jdrop.apply_mask(MASK, X, deterministic=True)
    with pytest.raises(TypeError, match="got n_samples. Pass the number of samples"):
        jdrop.mc_predict(jnp.sin, KEY, n_samples=3)


@each_case
def test_a_key_where_x_belongs(case):
    x = jnp.ones((3, 4, 5))
    arguments = [x, KEY, *[x] * len(case.after), 0.5]
    with pytest.raises(TypeError, match=f"{case.name} takes the key first, then x;"):
        case.op(*arguments, **case.arguments)


@each_case
def test_what_is_no_array(case):
    for x in (None, "x", [[1.0], [1.0, 2.0]]):
        arguments = [KEY, x, *[x] * len(case.after), 0.5]
        with pytest.raises(TypeError, match=f"{case.name} takes one array x of num"):
            case.op(*arguments, **case.arguments)


@each_case
def test_numpy_arrays_and_lists_are_arrays(case):
    x = np.ones((2, 3, 4), np.float32)
    expected = case.op(KEY, *[jnp.asarray(x)] * (1 + len(case.after)), 0.0)
    for given in (x, x.tolist()):
        y = case.op(KEY, *[given] * (1 + len(case.after)), 0.0, **case.arguments)
        assert isinstance(y, jax.Array) and y.dtype == jnp.float32
        np.testing.assert_array_equal(y, expected)


def test_sample_mask_needs_a_key_at_any_rate():
    for rate in (0, 0.5):
        with pytest.raises(TypeError, match="key is needed to draw a mask; got None"):
            jdrop.sample_mask(None, (3, 4), rate)


@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [
        (3, TypeError, "shape is a sequence of integers; got int 3"),
        ((3, 1.5), TypeError, "sequence of integers"),
        ((3, -1), ValueError, r"no negative axis; got \(3, -1\)"),
        (
            (2**28 + 1, 32, 1),
            ValueError,
            "268435456 words .* got 268435457 and 1",
        ),
        ((2**34,), ValueError, "got 536870912 and 1. Split the array"),
        ((2, 2**16, 2**33), ValueError, "4294967296 along the others; got 2 and 175"),
    ],
)
def test_bad_shapes(shape, error, message):
    with pytest.raises(error, match=message):
        jdrop.sample_mask(KEY, shape, 0.5)


WINDOWS = [
    ((1, 2), (3, 4, 5), r"an offset \(1, 2\), a shape \(3, 4\) and within=\(3, 4, 5\)"),
    ((1, 2, 3), (3, 4), r"an offset \(1, 2, 3\), .* as many axes"),
    ((1, 1), (3, 9), "an end of 4 along axis 0 of 3. Pass a smaller shape"),
    ((0, 6), (3, 9), "an end of 10 along axis 1 of 9"),
    ((0, -1), (3, 9), r"\[0, 2\^32\); got -1"),
    (2, (3, 9), "an end of 5 along axis 0"),
]


@pytest.mark.parametrize(("offset", "within", "message"), WINDOWS)
def test_bad_windows(offset, within, message):
    with pytest.raises(ValueError, match=message):
        jdrop.sample_mask(KEY, (3, 4), 0.5, offset=offset, within=within)
    with pytest.raises(TypeError, match="within is a sequence of integers; got int 3"):
        jdrop.sample_mask(KEY, (3, 4), 0.5, within=3)
    with pytest.raises(TypeError, match="along each axis .* got float 0.5"):
        jdrop.sample_mask(KEY, (3, 4), 0.5, offset=(0, 0.5), within=(3, 9))


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


def test_what_is_no_mask():
    mask = jdrop.sample_mask(KEY, X.shape, 0.5)
    law = (
        r"^apply_mask\(mask, x\) takes a Mask first, then the array x; got an array of "
    )
    remedies = {
        "dtype bool .* jnp.where\\(mask, x / keep, 0\\)": (mask.to_bool(), X),
        "dtype float32 .* and Mask Mask\\(": (X, mask),
        "dtype key<fry> .* sample_mask\\(key, x.shape, rate\\)": (KEY, X),
    }
    for remedy, arguments in remedies.items():
        with pytest.raises(TypeError, match=law + remedy):
            jdrop.apply_mask(*arguments)


def test_batch_of_masks():
    keys = jax.random.split(KEY, 2)
    masks = jax.vmap(lambda key: jdrop.sample_mask(key, (3, 4), 0.5))(keys)
    for use in (lambda: masks.to_bool(), lambda: jdrop.apply_mask(masks, X)):
        with pytest.raises(ValueError, match="a batch of masks with jax.vmap"):
            use()
