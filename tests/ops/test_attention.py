"""Dropout of attention weights, whole and block by block: one mask, one formula."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jdrop

KEY = jax.random.key(4)
RATE = 0.3
# Batch, queries, key positions, heads, features.
B, T, S, N, H = 4, 40, 70, 3, 8


def arrays(batch=(B,), queries=T, positions=S, heads=N, features=H, dtype=jnp.float32):
    normal = np.random.default_rng(2).standard_normal
    return [
        jnp.asarray(normal((*batch, length, heads, features)), dtype)
        for length in (queries, positions, positions)
    ]


def plain(q, k, v, *, key=KEY, rate=RATE, attended=None, **options):
    """The formula, with all the weights."""
    scores = jnp.einsum("...tnh,...snh->...nts", q, k) * q.shape[-1] ** -0.5
    if attended is not None:
        scores = jnp.where(attended, scores, -jnp.inf)
    weights = jdrop.attention_dropout(key, jax.nn.softmax(scores), rate, **options)
    return jnp.einsum("...nts,...snh->...tnh", weights, v)


def blockwise(q, k, v, *, key=KEY, rate=RATE, block_size=32, **options):
    return jdrop.blockwise_attention(
        key, q, k, v, rate, block_size=block_size, **options
    )


def value_and_grads(f, *args):
    """What f gives, and the gradients of a loss that is not linear in it."""

    def loss(*args):
        y = f(*args)
        return (y.astype(jnp.float32) ** 2).sum(), y

    (_, y), grads = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(*args)
    return y, *grads


def assert_close(got, expected, atol=1e-5):
    """Of sums of some 100 terms near 1, each rounded to 2^-24, with room to spare."""
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=atol)


@pytest.mark.parametrize(
    ("names", "dims"),
    [
        pytest.param((), (), marks=pytest.mark.slow),
        (["query"], (3,)),
        ({"heads", "batch"}, (0, 1, 2)),
    ],
)
def test_names_are_axes(names, dims):
    weights = jnp.ones((2, 3, 4, 33, 40))
    got = jdrop.attention_dropout(KEY, weights, RATE, shared=names)
    expected = jdrop.dropout(KEY, weights, RATE, broadcast_dims=dims)
    np.testing.assert_array_equal(got, expected)


def test_weights_are_dropped_as_others_are():
    weights = jnp.ones((4, 33))
    drop = jdrop.attention_dropout
    assert drop(None, weights, RATE, deterministic=True) is weights
    assert not np.any(drop(None, weights, 1.0, shared=("query",)))
    rows = drop(KEY, weights[2:], RATE, offset=2)
    np.testing.assert_array_equal(rows, drop(KEY, weights, RATE)[2:])


@pytest.mark.parametrize(
    ("error", "names", "ndim", "message"),
    [
        (TypeError, "heads", 4, r"sequence of names .*; got 'heads'. Pass a tuple"),
        (TypeError, 1, 4, "sequence of names .*; got 1"),
        (ValueError, ("keys",), 4, "'batch', 'heads', 'query'; got 'keys'. To share"),
        (ValueError, (1,), 4, "got 1. To share"),
        (ValueError, ("batch",), 3, r"for 3 dimensions, which have no axis 'batch'"),
        (ValueError, ("heads",), 2, r"\('heads',\) for 2 dimensions"),
        (ValueError, ("query",), 1, "no axis 'query'. Leave out"),
    ],
)
def test_bad_names(error, names, ndim, message):
    with pytest.raises(error, match=message):
        jdrop.attention_dropout(KEY, jnp.ones((2,) * ndim), RATE, shared=names)


slow = pytest.mark.slow
CASES = {
    "a block is left over, causal": (
        {},
        {"is_causal": True},
        np.tril(np.ones((T, S), bool)),
    ),
    "blocks of one size, a mask for each key position": (
        {},
        {"block_size": 14, "shared": ("batch", "heads")},
        np.arange(B * S).reshape(B, 1, 1, S) % 3 > 0,
    ),
    "one block, a mask for each query": (
        {"batch": (2, 2)},
        {"block_size": 512, "shared": ("query",)},
        np.arange(4 * N * T).reshape(2, 2, N, T, 1) % 5 > 0,
    ),
    "rows that share words with other examples": (
        {"queries": 5, "heads": 1, "features": 3},
        {"block_size": 16, "offset": 3},
        np.arange(5 * S).reshape(5, S) % 2 > 0,
    ),
}


@pytest.mark.parametrize(
    ("sizes", "options", "attended"),
    [
        pytest.param(*case, id=name, marks=[slow] if i else [])
        for i, (name, case) in enumerate(CASES.items())
    ],
)
def test_blockwise_is_the_formula(sizes, options, attended):
    q, k, v = arrays(**sizes)
    given = {name: options[name] for name in ("shared", "offset") if name in options}
    mask = None if "is_causal" in options else attended
    attended = attended.reshape((1,) * (q.ndim - attended.ndim) + attended.shape)
    # A query that attends to nothing gives 0, where the formula gives NaN.
    nobody = ~attended.any(axis=-1, keepdims=True)

    def formula(q, k, v):
        y = plain(q, k, v, attended=attended | nobody, **given)
        return jnp.where(jnp.moveaxis(nobody, -3, -2), jnp.zeros_like(y), y)

    got = value_and_grads(lambda *x: blockwise(*x, mask=mask, **options), q, k, v)
    assert_close(got, value_and_grads(formula, q, k, v))


@pytest.mark.parametrize(
    ("shape", "shared", "offset"),
    [
        ((3, 2, 5, 37), (), 3),
        ((2, 3, 40, 70), ("query",), 5),
        pytest.param((2, 3, 40, 70), (), 0, marks=slow),
        pytest.param((2, 3, 40, 70), ("heads", "batch"), 0, marks=slow),
        pytest.param((3, 2, 5, 37), ("heads",), 3, marks=slow),
        pytest.param((2, 35, 20), (), 3, marks=slow),
    ],
)
@pytest.mark.parametrize("offset_is", ["traced", pytest.param("concrete", marks=slow)])
def test_blockwise_draws_the_very_mask(shape, shared, offset, offset_is):
    """With unit vectors for values it returns the weights: equal ones, or zeros."""
    *batch, heads, queries, positions = shape
    q = jnp.zeros((*batch, queries, heads, 1))
    k = jnp.zeros((*batch, positions, heads, 1))
    v = jnp.broadcast_to(jnp.eye(positions)[:, None], (*k.shape[:-1], positions))
    expected = jdrop.attention_dropout(
        KEY, jnp.ones(shape), RATE, shared=shared, offset=offset
    )

    def f(offset):
        return blockwise(q, k, v, shared=shared, offset=offset, block_size=16)

    got = (jax.jit(f) if offset_is == "traced" else f)(offset)
    np.testing.assert_array_equal(jnp.moveaxis(got, -2, -3) != 0, expected != 0)


@slow
def test_blockwise_in_traces():
    q, k, v = arrays(batch=(1,))
    keys = jax.random.split(KEY, 3)

    @jax.jit
    def run(keys, rate, rest):
        def one(key):
            return blockwise(q, k, v, key=key, rate=rate, deterministic=rest)

        return jax.vmap(one)(keys)

    assert_close(run(keys, RATE, False)[1], plain(q, k, v, key=keys[1]))
    rest = plain(q, k, v, rate=0)
    for rate, at_rest in ((RATE, True), (0.0, False)):
        assert_close(run(keys, rate, at_rest)[0], rest)
    assert_close(blockwise(q, k, v, key=None, deterministic=True), rest)
    assert_close(blockwise(q, k, v, key=None, rate=0), rest)
    np.testing.assert_array_equal(run(keys, 1.0, False), jnp.zeros((3, *q.shape)))


@pytest.mark.parametrize(
    "options",
    [
        {"rate": 1.0, "key": None},
        pytest.param({"mask": jnp.zeros((1, 1), bool)}, marks=slow),
    ],
    ids=["all dropped", "all masked"],
)
def test_blockwise_where_nothing_is_left(options):
    x = arrays(batch=(1,))
    for y in value_and_grads(lambda *x: blockwise(*x, **options), *x):
        np.testing.assert_array_equal(y, jnp.zeros_like(y))


@slow
def test_blockwise_of_empty_arrays():
    q, k, v = arrays(batch=(1,))
    assert not np.any(blockwise(q, k[:, :0], v[:, :0]))
    assert blockwise(q[:, :0], k, v).shape == (1, 0, N, H)
    assert blockwise(q[:0], k[:0], v[:0]).shape == (0, T, N, H)


@slow
def test_blockwise_forward_and_second_derivatives():
    q, k, v = arrays(batch=(), queries=3, positions=40, heads=2, features=2)
    steps = jax.tree.map(jnp.cos, (q, k, v))

    def derivatives(f):
        def loss(q, k):
            return (f(q, k, v) ** 3).sum()

        return jax.jvp(f, (q, k, v), steps), jax.hessian(loss, (0, 1))(q, k)

    assert_close(derivatives(blockwise), derivatives(plain), atol=1e-4)


def test_blockwise_keeps_the_type():
    x = arrays(dtype=jnp.bfloat16)
    types = jax.eval_shape(lambda *x: value_and_grads(blockwise, *x), *x)
    assert {y.dtype for y in types} == {jnp.dtype(jnp.bfloat16)}


@slow
def test_blockwise_in_half_precision():
    """Rounded to 8 digits: the weights, of sum 1 / keep, and the result."""
    x = arrays(dtype=jnp.bfloat16)
    exact = [x.astype(jnp.float32) for x in x]
    largest = jnp.abs(exact[2]).max() / (1 - RATE)
    error = jnp.abs(blockwise(*x).astype(jnp.float32) - plain(*exact)).max()
    assert 0 < error < 2 * largest * 2**-8


@pytest.mark.parametrize("grad", [False, pytest.param(True, marks=slow)])
def test_blockwise_on_a_mesh(grad):
    """Each device computes its examples, under their rows of the whole mask."""

    def part(q, k, v):
        return blockwise(q, k, v, offset=lax.axis_index("a"))

    def gradient(f):
        return jax.grad(lambda *x: f(*x).sum(), (0, 1, 2)) if grad else f

    x = arrays()
    mesh = jax.make_mesh((B,), ("a",), axis_types=(AxisType.Auto,))
    mapped = jax.shard_map(gradient(part), mesh=mesh, in_specs=P("a"), out_specs=P("a"))
    assert_close(jax.jit(mapped)(*x), gradient(plain)(*x))


@slow
def test_blockwise_under_explicit_axes():
    x = arrays()
    mesh = jax.make_mesh((B,), ("a",), axis_types=(AxisType.Explicit,))
    place = NamedSharding(mesh, P("a"))
    got = jax.jit(blockwise)(*jax.device_put(x, place))
    assert got.sharding.is_equivalent_to(place, 4)
    assert_close(got, plain(*x))


def temporaries(f, length):
    """Bytes beside arguments and results of a step of training."""
    x = jax.ShapeDtypeStruct((1, length, 1, 8), jnp.float32)
    step = jax.jit(jax.value_and_grad(lambda *x: (f(*x) ** 2).sum(), (0, 1, 2)))
    return step.lower(x, x, x).compile().memory_analysis().temp_size_in_bytes


def test_memory_is_linear_in_the_sequence():
    small, large = (temporaries(blockwise, length) for length in (512, 1024))
    assert large < 2.1 * small


@slow
def test_memory_of_the_formula_is_quadratic():
    small, large = (temporaries(plain, length) for length in (512, 1024))
    assert large > 3.5 * small


def test_no_residual_is_quadratic():
    """Nothing that is kept outgrows the arguments, however small the blocks are."""
    x = jax.ShapeDtypeStruct((1, 512, 1, 8), jnp.float32)

    def f(q, k, v, scale):
        mask = jnp.ones((512, 1), bool)
        return blockwise(q, k, v, block_size=4, mask=mask, scale=scale)

    pullback = jax.eval_shape(lambda *x: jax.vjp(f, *x)[1], x, x, x, 0.3)
    assert max(leaf.size for leaf in jax.tree.leaves(pullback)) == x.size


@slow
def test_the_scale_of_scores():
    q, k, v = arrays(batch=(1,))

    def f(scale):
        return (blockwise(q, k, v, scale=scale) ** 2).sum()

    def formula(scale):
        return (plain(q * scale * H**0.5, k, v) ** 2).sum()

    np.testing.assert_allclose(f(0.2), formula(0.2), rtol=1e-5)
    np.testing.assert_allclose(jax.grad(f)(0.2), jax.grad(formula)(0.2), rtol=1e-4)


Q, K, V = arrays(batch=(2,), queries=4, positions=6)


@pytest.mark.parametrize(
    ("error", "changes", "message"),
    [
        (TypeError, {"q": Q.astype(int)}, "must be floating-point; got dtype int32"),
        (TypeError, {"k": K.astype(jnp.bfloat16)}, "got float32, bfloat16 and float32"),
        (TypeError, {"mask": jnp.ones((4, 6))}, "holds bools.* got dtype float32"),
        (ValueError, {"mask": jnp.ones((2, 6), bool)}, r"got shape \(2, 6\). A mask"),
        (ValueError, {"mask": jnp.ones((1,) * 5, bool)}, r"got shape \(1, 1, 1, 1, 1"),
        (ValueError, {"q": Q[0, 0]}, r"got q \(3, 8\), k \(2, 6, 3, 8\)"),
        (ValueError, {"k": K[:, :, :1]}, r"k \(2, 6, 1, 8\).* jnp.repeat"),
        (ValueError, {"v": V[:, :5]}, r"v \(2, 5, 3, 8\)"),
        (ValueError, {"q": Q[:1]}, "with the same batch axes and heads"),
        (ValueError, {"q": Q[..., :7]}, r"q \(2, 4, 3, 7\)"),
        (ValueError, {"block_size": 0}, "block_size is 1 or more; got 0"),
        (
            TypeError,
            {"block_size": 2.5},
            "is a static integer; got float 2.5",
        ),
        (TypeError, {"mask": "causal"}, "holds bools, .* got dtype <U6"),
        (TypeError, {"is_causal": "yes"}, "is_causal is True or False; got str 'yes'"),
        (TypeError, {"scale": "a"}, "scale is one real number .* got str 'a'. Pass a"),
        (ValueError, {"scale": jnp.ones(3)}, r"got an array of shape \(3,\). Use jax"),
        (ValueError, {"shared": ("keys",)}, "got 'keys'"),
        (ValueError, {"rate": 1.5}, "got 1.5"),
        (ValueError, {"offset": -1}, "got -1"),
        (TypeError, {"key": None}, "got None. Make a key"),
        (TypeError, {"deterministic": None}, "got NoneType None"),
    ],
)
def test_bad_arguments(error, changes, message):
    given = {"q": Q, "k": K, "v": V} | changes
    with pytest.raises(error, match=message):
        blockwise(**given)


def shared_in_flax(broadcast_dropout):
    return ("batch", "heads") if broadcast_dropout else ()


def on_weights(
    query,
    key,
    value,
    mask=None,
    dropout_rng=None,
    dropout_rate=0.0,
    broadcast_dropout=True,
    deterministic=False,
    **_,
):
    weights = jdrop.attention_dropout(
        dropout_rng,
        nn.dot_product_attention_weights(query, key, mask=mask),
        dropout_rate,
        deterministic=deterministic,
        shared=shared_in_flax(broadcast_dropout),
    )
    return jnp.einsum("...nts,...snh->...tnh", weights, value)


def by_blocks(
    query,
    key,
    value,
    mask=None,
    dropout_rng=None,
    dropout_rate=0.0,
    broadcast_dropout=True,
    deterministic=False,
    **_,
):
    return jdrop.blockwise_attention(
        dropout_rng,
        query,
        key,
        value,
        dropout_rate,
        deterministic=deterministic,
        shared=shared_in_flax(broadcast_dropout),
        mask=mask,
        block_size=8,
    )


def by_mask(query, key, value, mask=None, dropout_rng=None, deterministic=False, **_):
    """What the others have to be, with a mask of jdrop's that is read."""
    weights = nn.dot_product_attention_weights(query, key, mask=mask)
    if not deterministic:
        kept = jdrop.sample_mask(
            dropout_rng, weights.shape, RATE, broadcast_dims=(0, 1)
        )
        weights = jnp.where(kept.to_bool(), weights / kept.keep, 0)
    return jnp.einsum("...nts,...snh->...tnh", weights, value)


def run_linen(attention_fn, x, mask, deterministic):
    module = nn.MultiHeadDotProductAttention(
        num_heads=2, dropout_rate=RATE, attention_fn=attention_fn
    )
    variables = module.init(jax.random.key(0), x, deterministic=True)
    rngs = {"dropout": KEY}
    return module.apply(variables, x, mask=mask, deterministic=deterministic, rngs=rngs)


def run_nnx(attention_fn, x, mask, deterministic):
    module = nnx.MultiHeadAttention(
        num_heads=2,
        in_features=x.shape[-1],
        dropout_rate=RATE,
        attention_fn=attention_fn,
        decode=False,
        rngs=nnx.Rngs(0, dropout=3),
    )
    return module(x, mask=mask, deterministic=deterministic)


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("run", [run_linen, pytest.param(run_nnx, marks=slow)])
def test_flax_takes_it_as_its_attention(run):
    x = jnp.asarray(np.random.default_rng(1).standard_normal((2, 20, 16)), jnp.float32)

    @jax.jit
    def outputs(x):
        mask = nn.make_causal_mask(x[..., 0], dtype=bool)
        calls = [(by_mask, True), (by_blocks, True)]
        calls += [(f, False) for f in (by_mask, by_blocks, on_weights)]
        return [run(f, x, mask, deterministic) for f, deterministic in calls]

    rest, rest_by_blocks, dropped, *others = outputs(x)
    assert not np.allclose(dropped, rest)
    assert_close(rest_by_blocks, rest)
    for y in others:
        assert_close(y, dropped)
