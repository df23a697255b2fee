"""Nnx modules in Flax's hands: streams of keys, modes, transforms, whole models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.errors import TraceContextError

import jdrop
from jdrop.nnx import Dropout

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (20, 50)) + 3
# Flax's own shows that the test is right.
SWAPS = pytest.mark.parametrize(
    "dropout",
    [
        pytest.param(nnx.Dropout, id="flax", marks=pytest.mark.slow),
        pytest.param(Dropout, id="jdrop"),
    ],
)
needs_view = pytest.mark.skipif(
    not hasattr(nnx, "view"), reason="this Flax has no nnx.view"
)


def test_has_the_attributes_of_flax():
    assert vars(Dropout(0.5)).keys() == vars(nnx.Dropout(0.5)).keys()


def test_module_draws_from_a_fork_of_the_stream_it_is_given():
    fork = nnx.Rngs(dropout=0).dropout.fork()
    expected = [jdrop.dropout(fork(), X, 0.5) for _ in range(2)]
    rngs = nnx.Rngs(dropout=0)
    for given in (nnx.Rngs(dropout=0), nnx.Rngs(0), rngs.dropout):
        module = Dropout(0.5, rngs=given)
        np.testing.assert_array_equal(module(X), expected[0])
        np.testing.assert_array_equal(module(X), expected[1])
        assert module.rngs.count[...] == 2
    # Forking took one key; the calls took none.
    assert rngs.dropout.count[...] == 1


def test_rngs_of_the_call_come_first():
    module = Dropout(0.5, rngs=nnx.Rngs(1), rng_collection="noise")
    for make in (lambda: nnx.Rngs(noise=0), lambda: nnx.Rngs(noise=0).noise):
        given, twin = make(), nnx.Rngs(noise=0).noise
        expected = jdrop.dropout(twin(), X, 0.5)
        np.testing.assert_array_equal(module(X, rngs=given), expected)
        stream = given.noise if isinstance(given, nnx.Rngs) else given
        assert stream.count[...] == 1
    assert module.rngs.count[...] == 0


def test_inner_and_outer_streams_agree_under_jit():
    traces = []
    inner, outer = Dropout(0.5, rngs=nnx.Rngs(dropout=0)), Dropout(0.5)
    rngs = nnx.Rngs(dropout=0).fork()

    @nnx.jit
    def call(module, x, rngs=None):
        traces.append(module)
        return module(x, rngs=rngs)

    for used in (1, 2):
        np.testing.assert_array_equal(call(inner, X), call(outer, X, rngs))
        assert inner.rngs.count[...] == used and rngs.dropout.count[...] == used
    assert len(traces) == 2


def test_missing_keys_and_modes_fail():
    match = "`deterministic` is False, but no `rngs` .* to Dropout"
    with pytest.raises(ValueError, match=match):
        Dropout(0.5)(X)
    with pytest.raises(ValueError, match="No `deterministic` argument .* to Dropout"):
        Dropout(0.5, deterministic=None)(X)
    law = r"No RngStream named 'dropout' .* or nnx.Rngs\(dropout=seed\)"
    with pytest.raises(KeyError, match=law):
        Dropout(0.5, rngs=nnx.Rngs(params=0))
    with pytest.raises(KeyError, match=law):
        Dropout(0.5)(X, rngs=nnx.Rngs(params=0))
    with pytest.raises(TypeError, match="RngStream or None, but got int.*nnx.Rngs"):
        Dropout(0.5, rngs=0)
    with pytest.raises(TypeError, match="RngStream or jax.Array, but got int.*Rngs"):
        Dropout(0.5)(X, rngs=0)


def test_all_but_the_first_argument_is_passed_by_name():
    law = r"^Dropout\(rate\) takes rate by position, and .*, rngs by name; got 2"
    with pytest.raises(TypeError, match=f"{law} by position. Name the others"):
        Dropout(0.5, nnx.Rngs(0))
    law = r"^Dropout\(...\)\(inputs\) takes inputs by position, and .*, rngs, offset by"
    with pytest.raises(TypeError, match=f"{law} name; got 2"):
        Dropout(0.5)(X, nnx.Rngs(0))
    for name in ("key", "rng"):
        with pytest.raises(TypeError, match=rf"{name}. Pass rngs=nnx.Rngs\(seed\)"):
            Dropout(0.5)(X, **{name: KEY})


def test_a_key_may_be_an_array_of_numpy():
    key = np.array([0, 1], np.uint32)
    y = Dropout(0.5)(X, rngs=key)
    np.testing.assert_array_equal(y, jdrop.dropout(key, X, 0.5))


@pytest.mark.parametrize(
    ("rate", "deterministic"), [(0.5, True), (0.0, False), (1.0, False), (1.5, False)]
)
def test_a_call_without_a_draw_uses_no_key(rate, deterministic):
    """A rate of 1.5 fails, and leaves the keys of the layers after it as they are."""
    module = Dropout(0.5, deterministic=deterministic, rngs=nnx.Rngs(0))
    module.rate = rate
    if rate > 1:
        with pytest.raises(ValueError, match=r"one real number in \[0, 1\]; got 1.5"):
            module(X)
    else:
        module(X)
    assert module.rngs.count[...] == 0


def test_mode_of_the_call_comes_first():
    dropped = Dropout(0.5)(X, rngs=KEY)
    assert Dropout(0.5, deterministic=False)(X, deterministic=True) is X
    overridden = Dropout(0.5, deterministic=True)(X, deterministic=False, rngs=KEY)
    np.testing.assert_array_equal(overridden, dropped)


@SWAPS
def test_rate_may_be_a_variable(dropout):
    for rate in (0.5, jnp.float32(0.5)):
        y = dropout(nnx.Variable(rate))(X, rngs=KEY)
        np.testing.assert_array_equal(y, dropout(0.5)(X, rngs=KEY))


@SWAPS
def test_no_rate_is_needed_at_rest(dropout):
    assert dropout(None, deterministic=True)(X) is X
    with pytest.raises(TypeError):
        dropout(None)(X, rngs=KEY)


class Network(nnx.Module):
    """A network as it is written for Flax."""

    def __init__(self, dropout):
        rngs = nnx.Rngs(0)
        self.hidden = nnx.Linear(50, 40, rngs=rngs)
        self.norm = nnx.BatchNorm(40, rngs=rngs)
        self.dropout = dropout(0.5, rngs=rngs)
        self.out = nnx.Linear(40, 3, rngs=rngs)

    def __call__(self, x):
        return self.out(self.dropout(nnx.selu(self.norm(self.hidden(x)))))


@SWAPS
def test_train_and_eval_switch_the_whole_model(dropout):
    model = Network(dropout)
    assert not np.array_equal(model(X), model(X))
    model.eval()
    assert model.dropout.deterministic is True
    np.testing.assert_array_equal(model(X), model(X))
    model.train()
    assert model.dropout.deterministic is False
    model.set_attributes(dropout, deterministic=True, rate=0.25)
    assert model.dropout.deterministic is True and model.dropout.rate == 0.25
    assert model.norm.use_running_average is False


@needs_view
@SWAPS
def test_view_shares_the_weights_and_not_the_mode(dropout):
    model = Network(dropout)
    evaluated = nnx.view(model, deterministic=True, use_running_average=True)
    assert evaluated.dropout.deterministic is True
    assert model.dropout.deterministic is False
    assert evaluated.hidden.kernel is model.hidden.kernel
    np.testing.assert_array_equal(evaluated(X), evaluated(X))
    assert "deterministic" in nnx.view_info(model).split(f"{dropout.__name__}:")[1]
    module = dropout(0.5)
    assert nnx.view(module, deterministic=True)(X) is X
    with pytest.raises(ValueError, match="no `rngs` argument"):
        nnx.view(module, deterministic=False)(X)


@SWAPS
def test_a_model_written_for_flax_trains(dropout):
    model = Network(dropout)

    @nnx.jit
    def step(model):
        def loss(model):
            return jnp.square(model(X) - 1).mean()

        value, gradient = nnx.value_and_grad(loss)(model)
        weights = nnx.state(model, nnx.Param)
        nnx.update(model, jax.tree.map(lambda w, g: w - 0.02 * g, weights, gradient))
        return value

    losses = [step(model) for _ in range(30)]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert model.dropout.rngs.count[...] == 30


@SWAPS
def test_split_and_merge_carry_the_stream(dropout):
    model, twin = Network(dropout), Network(dropout)

    @jax.jit
    def pure(graph, state, x):
        merged = nnx.merge(graph, state)
        return merged(x), nnx.state(merged)

    graph, state = nnx.split(model)
    for _ in range(2):
        y, state = pure(graph, state, X)
        np.testing.assert_allclose(y, twin(X), rtol=1e-5, atol=1e-5)


@SWAPS
def test_tabulate_lists_the_module(dropout):
    plain = {"force_terminal": False, "width": 200}
    table = nnx.tabulate(Network(dropout), X, console_kwargs=plain)
    row = next(line for line in table.splitlines() if "│ dropout " in line)
    assert dropout.__name__ in row and "float32[20,40]" in row


def test_scan_over_steps_uses_a_key_a_step():
    module = Dropout(0.5, rngs=nnx.Rngs(0))

    @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=(nnx.Carry, 0))
    def steps(module, x):
        return module, module(x)

    _, y = steps(module, jnp.ones((3, 100)))
    assert module.rngs.count[...] == 3
    masks = {tuple(row.tolist()) for row in np.asarray(y)}
    assert len(masks) == 3


def test_vmap_over_a_stack_of_modules():
    @nnx.split_rngs(splits=3)
    @nnx.vmap
    def make(rngs):
        return Dropout(0.5, rngs=rngs)

    stack = make(nnx.Rngs(0))
    keys = jax.vmap(lambda key: jax.random.fold_in(key, 0))(stack.rngs.key[...])
    y = nnx.vmap(lambda module, x: module(x), in_axes=(0, None))(stack, X)
    expected = jnp.stack([jdrop.dropout(key, X, 0.5) for key in keys])
    np.testing.assert_array_equal(y, expected)


def test_remat_keeps_values_and_gradients():
    def gradient(forward):
        gradient_of = nnx.value_and_grad(lambda model: forward(model, X).sum())
        return jax.tree.leaves(nnx.jit(gradient_of)(Network(Dropout)))

    plain = gradient(lambda model, x: model(x))
    rematerialised = gradient(nnx.remat(lambda model, x: model(x)))
    for a, b in zip(plain, rematerialised, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4)


def test_closed_over_module_takes_a_key_at_the_call():
    module = Dropout(0.5, rngs=nnx.Rngs(0))
    y = jax.jit(lambda key: module(X, rngs=key))(KEY)
    np.testing.assert_array_equal(y, jdrop.dropout(KEY, X, 0.5))
    assert jax.jit(lambda x: module(x, deterministic=True))(X).shape == X.shape
    with pytest.raises(TraceContextError):
        jax.jit(lambda x: module(x))(X)


def test_rate_may_be_an_attribute_that_is_traced():
    traces = []
    module = Dropout(jnp.float32(0), rngs=nnx.Rngs(0))

    @nnx.jit
    def call(module, rate):
        traces.append(rate)
        module.set_attributes(rate=rate)
        return module(X, rngs=KEY)

    for rate in (0.0, 0.25, 1.0):
        y = call(module, jnp.float32(rate))
        np.testing.assert_allclose(y, jdrop.dropout(KEY, X, rate), rtol=1e-6)
    assert len(traces) == 1
