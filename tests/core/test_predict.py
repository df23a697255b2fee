"""Monte-Carlo prediction: the moments of a loop over keys, in bounded memory."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jdrop
import jdrop.linen
import jdrop.nnx

KEY = jax.random.key(5)
RATE = 0.5


def normal(*shape):
    return jnp.asarray(np.random.default_rng(3).standard_normal(shape), jnp.float32)


WEIGHTS, X = normal(20, 3), normal(4, 20)


def apply(key, weights, x):
    return jdrop.dropout(key, x, RATE) @ weights


def probabilities(key, weights, x):
    return jax.nn.softmax(apply(key, weights, x))


def loop(n, f=apply):
    """What the samples are, one after another, in float64."""
    f = jax.jit(f)
    samples = [f(jdrop.key_for(KEY, "sample", i), WEIGHTS, X) for i in range(n)]
    return np.asarray(samples, np.float64)


def entropy(p):
    return -(p * np.log(p)).sum(axis=-1)


def assert_close(got, expected):
    """Rounded to 2^-24 in a few tens of additions."""
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "chunk_size",
    [None, 4, *(pytest.param(n, marks=pytest.mark.slow) for n in (5, 1, 100))],
)
def test_values_are_those_of_a_loop(chunk_size):
    samples = loop(10)
    got = jdrop.mc_predict(apply, KEY, 10, WEIGHTS, X, chunk_size=chunk_size)
    assert_close(got.mean, samples.mean(axis=0))
    assert_close(got.variance, samples.var(axis=0, ddof=1))
    assert got.entropy is None
    assert got.mutual_information is None


@pytest.mark.parametrize(
    ("f", "outputs", "chunk_size"),
    [
        (apply, "logits", 4),
        pytest.param(probabilities, "probabilities", None, marks=pytest.mark.slow),
    ],
)
def test_uncertainty_is_that_of_a_loop(f, outputs, chunk_size):
    samples = loop(10, probabilities)
    got = jdrop.mc_predict(
        f, KEY, 10, WEIGHTS, X, outputs=outputs, chunk_size=chunk_size
    )
    mean = samples.mean(axis=0)
    assert_close(got.mean, mean)
    assert_close(got.variance, samples.var(axis=0, ddof=1))
    assert_close(got.entropy, entropy(mean))
    assert_close(got.mutual_information, entropy(mean) - entropy(samples).mean(axis=0))
    assert np.all(got.entropy > got.mutual_information)
    assert np.all(got.mutual_information > 0)


def test_what_is_certain_has_no_entropy():
    """p log p is 0 at 0, and rounding makes no information negative."""

    def certain(key, p):
        return p

    p = jnp.array([[0, 1, 0], [0.2, 0.1, 0.7]], jnp.float32)
    got = jdrop.mc_predict(certain, KEY, 7, p, outputs="probabilities", chunk_size=2)
    np.testing.assert_allclose(got.mean, p, rtol=1e-6)
    np.testing.assert_allclose(got.variance, np.zeros((2, 3)), atol=1e-12)
    np.testing.assert_allclose(got.entropy, [0, 0.8018185], rtol=1e-6)
    np.testing.assert_allclose(got.mutual_information, [0, 0], atol=1e-6)
    assert np.all(got.mutual_information >= 0)


def test_a_far_mean_does_not_swallow_the_variance():
    """A difference of sums of squares would have no digit left in float32."""

    def far(key, x):
        return x + jax.random.normal(key, x.shape)

    got = jdrop.mc_predict(far, KEY, 256, jnp.full(64, 1e4), chunk_size=16)
    # The mean of 64 sample variances, each of variance 2 / 255.
    sigma = (2 / 255 / 64) ** 0.5
    assert abs(got.variance.mean() - 1) < 4 * sigma


def test_of_one_sample():
    got = jdrop.mc_predict(apply, KEY, 1, WEIGHTS, X)
    assert_close(got.mean, loop(1)[0])
    np.testing.assert_array_equal(got.variance, np.zeros((4, 3)))


@pytest.mark.slow
def test_outputs_may_be_a_pytree():
    def both(key, weights, x):
        y = apply(key, weights, x)
        return {"y": y, "half": y.astype(jnp.bfloat16)}

    samples = loop(6)
    got = jdrop.mc_predict(both, KEY, 6, WEIGHTS, X, chunk_size=3)
    assert_close(got.mean["y"], samples.mean(axis=0))
    assert_close(got.variance["y"], samples.var(axis=0, ddof=1))
    assert got.mean["half"].dtype == jnp.float32
    np.testing.assert_allclose(got.mean["half"], samples.mean(axis=0), atol=0.05)


def test_shared_is_one_network_for_all_examples():
    same = jnp.broadcast_to(X[:1], X.shape)
    shared = jdrop.mc_predict(apply, KEY, 8, WEIGHTS, same, shared=True)
    assert np.all(shared.variance > 0)
    for moment in shared[:2]:
        assert_close(moment, np.broadcast_to(moment[:1], moment.shape))
    independent = jdrop.mc_predict(apply, KEY, 8, WEIGHTS, same)
    assert not np.allclose(independent.mean[0], independent.mean[1])
    # The one network is that of row 0.
    assert_close(shared.mean[0], independent.mean[0])
    assert_close(shared.variance[0], independent.variance[0])


def test_two_calls_are_traced_once():
    traces = []

    def counted(key, weights, x):
        traces.append(1)
        return apply(key, weights, x)

    jdrop.mc_predict(counted, KEY, 4, WEIGHTS, X)
    jdrop.mc_predict(counted, jax.random.key(6), 4, 2 * WEIGHTS, X)
    assert len(traces) == 1


def test_memory_does_not_grow_with_the_number_of_samples():
    def temporaries(n):
        def run(key, weights, x):
            return jdrop.mc_predict(apply, key, n, weights, x, chunk_size=4)

        x = jax.ShapeDtypeStruct((64, 512), jnp.float32)
        weights = jax.ShapeDtypeStruct((512, 64), jnp.float32)
        compiled = jax.jit(run).lower(KEY, weights, x).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    # Beside what a chunk needs: the numbers of the first samples.
    assert temporaries(400) < temporaries(40) + 4 * 400


LINEN = nn.Sequential([nn.Dense(3), jdrop.linen.Dropout(RATE, deterministic=False)])


def apply_linen(key, variables, x):
    return LINEN.apply(variables, x, rngs={"dropout": key})


@pytest.mark.slow
def test_with_linen():
    variables = jax.jit(LINEN.init)(KEY, X)
    got = jdrop.mc_predict(apply_linen, KEY, 5, variables, X, chunk_size=5)
    keys = [jdrop.key_for(KEY, "sample", i) for i in range(5)]
    samples = np.stack([jax.jit(apply_linen)(key, variables, X) for key in keys])
    assert_close(got.mean, samples.mean(axis=0))
    assert_close(got.variance, samples.var(axis=0, ddof=1))


class Model(nnx.Module):
    def __init__(self, rngs):
        self.dense = nnx.Linear(20, 3, rngs=rngs)
        self.dropout = jdrop.nnx.Dropout(RATE)

    def __call__(self, x, rngs=None):
        return self.dropout(self.dense(x), rngs=rngs)


@pytest.mark.slow
def test_with_nnx():
    graph, state = nnx.split(Model(nnx.Rngs(0)))

    def apply_nnx(key, state, x):
        return nnx.merge(graph, state)(x, rngs=key)

    got = jdrop.mc_predict(apply_nnx, KEY, 5, state, X)
    keys = [jdrop.key_for(KEY, "sample", i) for i in range(5)]
    samples = np.stack([jax.jit(apply_nnx)(key, state, X) for key in keys])
    assert_close(got.mean, samples.mean(axis=0))


class Unhashable:
    __hash__ = None

    def __call__(self, key, weights, x):
        return apply(key, weights, x)


def labels(key, weights, x):
    return apply(key, weights, x).argmax(axis=-1)


def score(key, weights, x):
    return apply(key, weights, x).sum()


def binary(key, weights, x):
    return apply(key, weights, x)[:, :1]


@pytest.mark.parametrize(
    ("error", "changes", "message"),
    [
        (TypeError, {"apply": KEY}, r"takes the function first; got \w+. Pass"),
        (TypeError, {"apply": Unhashable()}, "an unhashable Unhashable. Pass a func"),
        (TypeError, {"apply": labels}, "floating-point; got dtype int32. Return"),
        (TypeError, {"key": None}, "got None. Make a key with jax.random.key"),
        (ValueError, {"key": jax.random.split(KEY)}, r"a batch of keys of shape \(2,"),
        (ValueError, {"n": 0}, "n is 1 or more; got 0"),
        (TypeError, {"n": 2.0}, "n is a static integer; got float 2.0"),
        (TypeError, {"shared": "yes"}, "shared is True or False; got str 'yes'"),
        (ValueError, {"chunk_size": 0}, "chunk_size is 1 or more; got 0"),
        (ValueError, {"outputs": "classes"}, "'logits'; got 'classes'. Pass"),
        (ValueError, {"apply": score, "outputs": "logits"}, r"of shape \(\). Give"),
        (ValueError, {"apply": binary, "outputs": "logits"}, r"shape \(4, 1\). Give"),
        (ValueError, {"apply": score, "shared": True}, r"an output of shape \(\)"),
    ],
)
def test_bad_arguments(error, changes, message):
    given = {"apply": apply, "key": KEY, "n": 3} | changes
    first = [given.pop(name) for name in ("apply", "key", "n")]
    with pytest.raises(error, match=message):
        jdrop.mc_predict(*first, WEIGHTS, X, **given)


def test_shared_needs_a_batch():
    with pytest.raises(ValueError, match="got no args. Pass the inputs"):
        jdrop.mc_predict(lambda key: jnp.ones(3), KEY, 3, shared=True)
