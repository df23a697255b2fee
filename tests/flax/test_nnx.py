"""Nnx modules: Flax's arguments, modes and keys around jdrop's functions."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.errors import TraceContextError
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jdrop
import jdrop.nnx

PAIRS = [
    pytest.param(jdrop.nnx.Dropout, jdrop.dropout, id="Dropout"),
    pytest.param(jdrop.nnx.AlphaDropout, jdrop.alpha_dropout, id="AlphaDropout"),
]
CLASSES = [pytest.param(pair.values[0], id=pair.id) for pair in PAIRS]
SWAPS = [pytest.param(nnx.Dropout, id="flax"), *CLASSES]
KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (20, 50)) + 3

needs_view = pytest.mark.skipif(
    not hasattr(nnx, "view"), reason="this Flax has no nnx.view"
)


def arguments_of(function):
    parameters = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in parameters]


@pytest.mark.parametrize("cls", CLASSES)
def test_takes_the_arguments_of_flax(cls):
    assert arguments_of(cls.__init__) == arguments_of(nnx.Dropout.__init__)
    assert arguments_of(cls.__call__) == arguments_of(nnx.Dropout.__call__)
    assert vars(cls(0.5)).keys() == vars(nnx.Dropout(0.5)).keys()


@needs_view
@pytest.mark.parametrize("cls", CLASSES)
def test_view_takes_the_arguments_of_flax(cls):
    assert arguments_of(cls.set_view) == arguments_of(nnx.Dropout.set_view)


@pytest.mark.parametrize("broadcast_dims", [(), (0,), [-1], (0, 1)])
@pytest.mark.parametrize("rate", [0.5, 0.1])
@pytest.mark.parametrize(("cls", "function"), PAIRS)
def test_module_equals_function_bit_for_bit(cls, function, rate, broadcast_dims):
    module = cls(rate, broadcast_dims=broadcast_dims)
    expected = function(KEY, X, rate, broadcast_dims=broadcast_dims)
    np.testing.assert_array_equal(module(X, rngs=KEY), expected)


@pytest.mark.parametrize(("cls", "function"), PAIRS)
def test_module_draws_from_a_fork_of_the_stream_it_is_given(cls, function):
    fork = nnx.Rngs(dropout=0).dropout.fork()
    expected = [function(fork(), X, 0.5) for _ in range(2)]
    rngs = nnx.Rngs(dropout=0)
    for given in (nnx.Rngs(dropout=0), nnx.Rngs(0), rngs.dropout):
        module = cls(0.5, rngs=given)
        np.testing.assert_array_equal(module(X), expected[0])
        np.testing.assert_array_equal(module(X), expected[1])
        assert module.rngs.count[...] == 2
    # Forking took one key; the calls took none.
    assert rngs.dropout.count[...] == 1


@pytest.mark.parametrize(("cls", "function"), PAIRS)
def test_rngs_of_the_call_come_first(cls, function):
    module = cls(0.5, rngs=nnx.Rngs(1), rng_collection="noise")
    for make in (lambda: nnx.Rngs(noise=0), lambda: nnx.Rngs(noise=0).noise):
        given, twin = make(), nnx.Rngs(noise=0).noise
        np.testing.assert_array_equal(module(X, rngs=given), function(twin(), X, 0.5))
        stream = given.noise if isinstance(given, nnx.Rngs) else given
        assert stream.count[...] == 1
    assert module.rngs.count[...] == 0


@pytest.mark.parametrize("cls", CLASSES)
def test_inner_and_outer_streams_agree_under_jit(cls):
    traces = []
    inner, outer = cls(0.5, rngs=nnx.Rngs(dropout=0)), cls(0.5)
    rngs = nnx.Rngs(dropout=0).fork()

    @nnx.jit
    def call(module, x, rngs=None):
        traces.append(module)
        return module(x, rngs=rngs)

    for used in (1, 2):
        np.testing.assert_array_equal(call(inner, X), call(outer, X, rngs))
        assert inner.rngs.count[...] == used and rngs.dropout.count[...] == used
    assert len(traces) == 2


@pytest.mark.parametrize("cls", CLASSES)
def test_missing_keys_fail(cls):
    match = f"`deterministic` is False, but no `rngs` .* to {cls.__name__}"
    with pytest.raises(ValueError, match=match):
        cls(0.5)(X)
    with pytest.raises(KeyError, match="No RngStream named 'dropout'"):
        cls(0.5, rngs=nnx.Rngs(params=0))


@pytest.mark.parametrize("cls", CLASSES)
def test_wrong_kinds_of_rngs_fail(cls):
    with pytest.raises(TypeError, match="RngStream or None, but got int.*nnx.Rngs"):
        cls(0.5, rngs=0)
    with pytest.raises(TypeError, match="RngStream or jax.Array, but got int.*Rngs"):
        cls(0.5)(X, rngs=0)


@pytest.mark.parametrize("cls", CLASSES)
def test_no_key_is_used_where_the_mask_is_known(cls):
    assert cls(0.5, deterministic=True)(X) is X
    assert cls(0.0)(X) is X
    everything = cls(1.0)
    np.testing.assert_array_equal(everything(X), jnp.zeros_like(X))
    gradient = jax.grad(lambda x: everything(x).sum())(X)
    np.testing.assert_array_equal(gradient, jnp.zeros_like(X))
    for rate, deterministic in ((0.5, True), (0.0, False), (1.0, False)):
        module = cls(rate, deterministic=deterministic, rngs=nnx.Rngs(0))
        module(X)
        assert module.rngs.count[...] == 0


@pytest.mark.parametrize("cls", CLASSES)
def test_a_call_that_fails_uses_no_key(cls):
    module = cls(0.5, rngs=nnx.Rngs(0))
    module.rate = 1.5
    with pytest.raises(ValueError, match=r"one real number in \[0, 1\]; got 1.5"):
        module(X)
    assert module.rngs.count[...] == 0


@pytest.mark.parametrize("cls", CLASSES)
def test_mode_of_the_call_comes_first(cls):
    dropped = cls(0.5)(X, rngs=KEY)
    assert cls(0.5, deterministic=False)(X, deterministic=True) is X
    overridden = cls(0.5, deterministic=True)(X, deterministic=False, rngs=KEY)
    np.testing.assert_array_equal(overridden, dropped)
    match = f"No `deterministic` argument was provided to {cls.__name__}"
    with pytest.raises(ValueError, match=match):
        cls(0.5, deterministic=None)(X)


@pytest.mark.parametrize(("cls", "function"), PAIRS)
def test_mode_may_be_traced(cls, function):
    module = cls(0.5)

    @jax.jit
    def call(deterministic):
        return module(X, deterministic=deterministic, rngs=KEY)

    np.testing.assert_array_equal(call(True), X)
    expected = function(KEY, X, 0.5)
    np.testing.assert_allclose(call(False), expected, rtol=1e-6, atol=1e-6)


class Network(nnx.Module):
    """A network as it is written for Flax."""

    def __init__(self, dropout, rngs):
        self.hidden = nnx.Linear(50, 40, rngs=rngs)
        self.norm = nnx.BatchNorm(40, rngs=rngs)
        self.dropout = dropout(0.5, rngs=rngs)
        self.out = nnx.Linear(40, 3, rngs=rngs)

    def __call__(self, x):
        return self.out(self.dropout(nnx.selu(self.norm(self.hidden(x)))))


@pytest.mark.parametrize("dropout", SWAPS)
def test_train_and_eval_switch_the_whole_model(dropout):
    model = Network(dropout, nnx.Rngs(0))
    assert not np.array_equal(model(X), model(X))
    model.eval()
    assert model.dropout.deterministic is True
    np.testing.assert_array_equal(model(X), model(X))
    model.train()
    assert model.dropout.deterministic is False


@pytest.mark.parametrize("dropout", SWAPS)
def test_set_attributes_finds_the_class(dropout):
    model = Network(dropout, nnx.Rngs(0))
    model.set_attributes(dropout, deterministic=True, rate=0.25)
    assert model.dropout.deterministic is True and model.dropout.rate == 0.25
    assert model.norm.use_running_average is False


@needs_view
@pytest.mark.parametrize("dropout", SWAPS)
def test_view_shares_the_weights_and_not_the_mode(dropout):
    model = Network(dropout, nnx.Rngs(0))
    evaluated = nnx.view(model, deterministic=True, use_running_average=True)
    assert evaluated.dropout.deterministic is True
    assert model.dropout.deterministic is False
    assert evaluated.hidden.kernel is model.hidden.kernel
    np.testing.assert_array_equal(evaluated(X), evaluated(X))
    assert "deterministic" in nnx.view_info(model).split(f"{dropout.__name__}:")[1]


@needs_view
@pytest.mark.parametrize("cls", CLASSES)
def test_view_of_one_module(cls):
    module = cls(0.5)
    assert nnx.view(module, deterministic=True)(X) is X
    with pytest.raises(ValueError, match="no `rngs` argument"):
        nnx.view(module, deterministic=False)(X)


@pytest.mark.parametrize("dropout", SWAPS)
def test_a_model_written_for_flax_trains(dropout):
    model = Network(dropout, nnx.Rngs(0))

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
    model.eval()
    assert model(X).shape == (20, 3)


@pytest.mark.parametrize("dropout", SWAPS)
def test_split_and_merge_carry_the_stream(dropout):
    model, twin = Network(dropout, nnx.Rngs(0)), Network(dropout, nnx.Rngs(0))

    @jax.jit
    def pure(graph, state, x):
        merged = nnx.merge(graph, state)
        return merged(x), nnx.state(merged)

    graph, state = nnx.split(model)
    first, state = pure(graph, state, X)
    second, state = pure(graph, state, X)
    np.testing.assert_allclose(first, twin(X), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(second, twin(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dropout", SWAPS)
def test_tabulate_lists_the_module(dropout):
    plain = {"force_terminal": False, "width": 200}
    table = nnx.tabulate(Network(dropout, nnx.Rngs(0)), X, console_kwargs=plain)
    row = next(line for line in table.splitlines() if "│ dropout " in line)
    assert dropout.__name__ in row and "float32[20,40]" in row


@pytest.mark.parametrize("cls", CLASSES)
def test_scan_over_steps_uses_a_key_a_step(cls):
    module = cls(0.5, rngs=nnx.Rngs(0))

    @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=(nnx.Carry, 0))
    def steps(module, x):
        return module, module(x)

    _, y = steps(module, jnp.ones((3, 100)))
    assert module.rngs.count[...] == 3
    masks = {tuple(row.tolist()) for row in np.asarray(y)}
    assert len(masks) == 3


@pytest.mark.parametrize(("cls", "function"), PAIRS)
def test_vmap_over_a_stack_of_modules(cls, function):
    @nnx.split_rngs(splits=3)
    @nnx.vmap
    def make(rngs):
        return cls(0.5, rngs=rngs)

    stack = make(nnx.Rngs(0))
    keys = jax.vmap(lambda key: jax.random.fold_in(key, 0))(stack.rngs.key[...])
    y = nnx.vmap(lambda module, x: module(x), in_axes=(0, None))(stack, X)
    expected = jnp.stack([function(key, X, 0.5) for key in keys])
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("cls", CLASSES)
def test_remat_keeps_values_and_gradients(cls):
    def gradient(forward):
        gradient_of = nnx.value_and_grad(lambda model: forward(model, X).sum())
        return nnx.jit(gradient_of)(Network(cls, nnx.Rngs(0)))

    plain = gradient(lambda model, x: model(x))
    rematerialised = gradient(nnx.remat(lambda model, x: model(x)))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4),
        plain,
        rematerialised,
    )


@pytest.mark.parametrize(("cls", "function"), PAIRS)
def test_closed_over_module_takes_a_key_at_the_call(cls, function):
    module = cls(0.5, rngs=nnx.Rngs(0))
    y = jax.jit(lambda key: module(X, rngs=key))(KEY)
    np.testing.assert_allclose(y, function(KEY, X, 0.5), rtol=1e-6, atol=1e-6)
    assert jax.jit(lambda x: module(x, deterministic=True))(X).shape == X.shape
    with pytest.raises(TraceContextError):
        jax.jit(lambda x: module(x))(X)


@pytest.mark.parametrize(("cls", "function"), PAIRS)
def test_rate_may_be_an_attribute_that_is_traced(cls, function):
    traces = []
    module = cls(jnp.float32(0), rngs=nnx.Rngs(0))

    @nnx.jit
    def call(module, rate):
        traces.append(rate)
        module.set_attributes(rate=rate)
        return module(X, rngs=KEY)

    for rate in (0.0, 0.25, 0.5, 1.0):
        y = call(module, jnp.float32(rate))
        np.testing.assert_allclose(y, function(KEY, X, rate), rtol=1e-6, atol=1e-6)
    assert len(traces) == 1


@pytest.mark.parametrize(("cls", "function"), PAIRS)
def test_module_may_be_made_inside_jit_with_a_traced_rate(cls, function):
    y = jax.jit(lambda rate: cls(rate)(X, rngs=KEY))(0.3)
    np.testing.assert_allclose(y, function(KEY, X, 0.3), rtol=1e-6, atol=1e-6)


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
        cls(0.5, deterministic=True)(jnp.arange(4))
    with pytest.raises(TypeError, match="deterministic is one bool"):
        cls(0.5, deterministic="no")(X, rngs=KEY)


def test_share_of_kept_units_is_the_keep_probability():
    x = jnp.ones((100, 100))
    for rate in (0.1, 0.3, 0.5, 0.7, 0.9):
        module = jdrop.nnx.Dropout(rate, rngs=nnx.Rngs(3))
        kept = sum(int((module(x) > 0).sum()) for _ in range(10))
        n = 10 * x.size
        # The count is binomial; four standard deviations.
        assert abs(kept / n - (1 - rate)) < 4 * np.sqrt(rate * (1 - rate) / n)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("broadcast_dims", [(0,), (1, 2), (0, 2)])
def test_broadcast_dims_share_one_fate(cls, broadcast_dims):
    module = cls(0.5, broadcast_dims=broadcast_dims, rngs=nnx.Rngs(0))
    y = first = np.asarray(module(jnp.ones((30, 30, 30))))
    for axis in broadcast_dims:
        first = first.take([0], axis=axis)
    np.testing.assert_array_equal(y, np.broadcast_to(first, y.shape))
    assert len(np.unique(first)) == 2


@pytest.mark.parametrize(("cls", "function"), PAIRS)
def test_explicitly_sharded_broadcast_dim(cls, function):
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(AxisType.Explicit,))
    sharding = NamedSharding(mesh, PartitionSpec("batch", None))
    module = cls(0.5, broadcast_dims=(0,))
    y = jax.jit(lambda x: module(x, rngs=KEY))(jax.device_put(X, sharding))
    assert y.sharding.is_equivalent_to(sharding, y.ndim)
    expected = function(KEY, X, 0.5, broadcast_dims=(0,))
    np.testing.assert_allclose(np.asarray(y), expected, rtol=1e-6, atol=1e-6)
