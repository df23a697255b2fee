"""The trainers: networks, steps, epochs, and one real training."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

import jdrop
from examples import architecture, data, loop, models_linen, models_nnx
from examples.architecture import Architecture, Layer, Network
from examples.convolution import conv_as_matmul
from examples.loop import Batch
from examples.optimizer import make_optimizer
from examples.report import count, layer_table

# optax's Adam divides by float ** int32, which strict promotion refuses.
pytestmark = pytest.mark.usefixtures("standard_promotion")

FLAVOURS = [models_linen, models_nnx]
DIGIT = (8, 8, 1)
ARCHITECTURES = {
    "mlp": architecture.mlp(10, 0.5, 0.2),
    "alpha_mlp": architecture.alpha_mlp(10, 0.05, "selu"),
    "alpha_mlp relu": architecture.alpha_mlp(10, 0.2, "relu"),
    "cnn": architecture.cnn(10, 0.25, 0.0, batch_norm=False),
    "cnn whole": architecture.cnn(10, 0.25, 0.2, batch_norm=True),
}


def shorter(spec: Architecture) -> Architecture:
    """Three hidden layers do for what twenty take long to compile."""
    return dataclasses.replace(spec, hidden=spec.hidden[:3])


def digits(examples: int) -> Batch:
    loaded = data.load("digits", train_size=examples)
    return Batch(jnp.asarray(loaded.train_images), jnp.asarray(loaded.train_labels))


def start(network: Network, optimizer: optax.GradientTransformation) -> loop.State:
    return loop.create_state(network, optimizer, jax.random.key(0))


def initial(network: Network) -> tuple[Any, Any]:
    trees: tuple[Any, Any] = jax.jit(network.init)(jax.random.key(0))
    return trees


def shapes(network: Network) -> tuple[Any, Any]:
    trees: tuple[Any, Any] = jax.eval_shape(network.init, jax.random.key(0))
    return trees


def assert_equal(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        # Sums of (inputs + 1) * outputs over the layers.
        ("mlp", (28, 28, 1), 785 * 256 + 257 * 256 + 257 * 10),
        ("mlp", DIGIT, 65 * 256 + 257 * 256 + 257 * 10),
        ("alpha_mlp", DIGIT, 65 * 100 + 19 * 101 * 100 + 101 * 10),
        ("alpha_mlp relu", DIGIT, 65 * 100 + 19 * 101 * 100 + 101 * 10),
        # Convolutions of 9 pixels; after three poolings 4 x 4 of 32 x 32 are left.
        (
            "cnn",
            (32, 32, 3),
            28 * 32 + 289 * 64 + 577 * 128 + (16 * 128 + 1) * 512 + 513 * 10,
        ),
        # BatchNorm has a scale and a bias for each channel that comes in.
        (
            "cnn whole",
            DIGIT,
            10 * 32 + 289 * 64 + 577 * 128 + 129 * 512 + 513 * 10 + 2 * (1 + 32 + 64),
        ),
    ],
)
def test_parameter_counts(
    flavour: Any, name: str, shape: tuple[int, ...], parameters: int
) -> None:
    params, stats = shapes(flavour.network(ARCHITECTURES[name], shape))
    assert count(params) == parameters
    assert bool(jax.tree.leaves(stats)) == ARCHITECTURES[name].batch_norm


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (8, 8), (28, 28), (32, 32)])
def test_cnn_takes_any_image_size(flavour: Any, size: tuple[int, int]) -> None:
    network = flavour.network(ARCHITECTURES["cnn"], (*size, 2))
    images = jnp.zeros((3, *size, 2))
    logits, _ = jax.eval_shape(network.apply, *shapes(network), images, None)
    assert logits.shape == (3, 10)


def test_the_layers_are_those_of_the_textbook() -> None:
    mlp = ARCHITECTURES["mlp"]
    assert [layer.rate for layer in (mlp.flat, *mlp.hidden)] == [0.2, 0.5, 0.5]
    selu = ARCHITECTURES["alpha_mlp"]
    assert [layer.rate for layer in selu.hidden] == 20 * [0.05]
    assert (selu.activation, selu.kernel_init) == ("selu", "lecun_normal")
    relu = ARCHITECTURES["alpha_mlp relu"]
    assert [layer.rate for layer in relu.hidden] == [0.2, *(19 * [0.0])]
    assert (relu.activation, relu.kernel_init) == ("relu", "xavier_uniform")
    cnn = ARCHITECTURES["cnn whole"]
    assert [layer.rate for layer in cnn.convolutions] == 3 * [0.2]
    assert [layer.rate for layer in (cnn.flat, *cnn.hidden)] == [0.25, 0.25]


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("variant", ["selu", "relu"])
def test_initial_weights(flavour: Any, variant: str) -> None:
    spec = shorter(architecture.alpha_mlp(10, 0.0, variant))
    params, _ = initial(flavour.network(spec, (10, 10, 1)))
    kernel = np.asarray(params["hidden_1"]["dense"]["kernel"])
    # Both have variance 1 / 100 at 100 x 100. The estimate of a normal variance from n
    # draws has relative deviation sqrt(2 / n); 4 sigma.
    assert kernel.var() == pytest.approx(0.01, rel=4 * (2 / kernel.size) ** 0.5)
    # Xavier uniform is bounded by sqrt(6 / 200); LeCun's normal goes further.
    assert (np.abs(kernel).max() <= 0.03**0.5) == (variant == "relu")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_linen_and_nnx_take_the_same_steps(name: str) -> None:
    batch, key = digits(32), jax.random.key(1)
    results = []
    for flavour in FLAVOURS:
        network = flavour.network(shorter(ARCHITECTURES[name]), DIGIT)
        first = start(network, optax.adamw(1e-3))
        if results:
            params, stats = results[0][0]
            assert jax.tree.structure(params) == jax.tree.structure(first.params)
            first = first.replace(params=params, stats=stats)
        step = jax.jit(loop.train_step)
        state, before = step(first, batch, key)
        state, after = step(state, batch, key)
        assert int(state.step) == 2
        results.append(((first.params, first.stats), (before, after), state))
    assert_equal(results[0][1], results[1][1])
    assert_equal(results[0][2].params, results[1][2].params)
    assert_equal(results[0][2].stats, results[1][2].stats)
    changed = jax.tree.map(
        lambda a, b: bool((a != b).any()), results[0][0][0], results[0][2].params
    )
    assert all(jax.tree.leaves(changed))


def test_train_step_is_pure_and_step_t_has_the_key_fold_in_t() -> None:
    network = models_linen.network(ARCHITECTURES["mlp"], DIGIT)
    batch, key = digits(16), jax.random.key(1)
    state = start(network, optax.sgd(0.1)).replace(step=jnp.int32(7))
    step = jax.jit(loop.train_step)
    once, metrics = step(state, batch, key)
    again, same = step(state, batch, key)
    assert_equal((once.params, metrics), (again.params, same))
    step_key = jax.random.fold_in(key, 7)
    logits, _ = jax.jit(network.apply)(
        state.params, state.stats, batch.images, step_key
    )
    loss, _ = loop.measure(logits, batch.labels)
    np.testing.assert_allclose(metrics.loss, loss.mean(), rtol=1e-5)
    _, other = step(state.replace(step=jnp.int32(8)), batch, key)
    assert other.loss != metrics.loss


def test_dropout_draws_from_the_key_of_its_name() -> None:
    spec = dataclasses.replace(ARCHITECTURES["mlp"], activation="selu")
    network = models_nnx.network(spec, DIGIT)
    params, stats = initial(network)
    # Logits that show which units of the last hidden layer are kept.
    params["logits"]["kernel"] = jnp.eye(256)[:, :10]
    step_key = jax.random.key(2)
    logits, _ = jax.jit(network.apply)(params, stats, digits(16).images, step_key)
    mask_key = jdrop.key_for(step_key, "hidden_1")
    mask = jdrop.sample_mask(mask_key, (16, 256), 0.5).to_bool()
    np.testing.assert_array_equal(logits != 0, mask[:, :10])


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_another_layer_does_not_shift_the_masks(flavour: Any) -> None:
    spec = dataclasses.replace(ARCHITECTURES["mlp"], activation="selu")
    extra = (Layer("hidden_new", 256, 0.5), *spec.hidden)
    kept = []
    for hidden in (spec.hidden, extra):
        network = flavour.network(dataclasses.replace(spec, hidden=hidden), DIGIT)
        params, stats = initial(network)
        params["logits"]["kernel"] = jnp.eye(256)[:, :10]
        logits, _ = jax.jit(network.apply)(
            params, stats, digits(8).images, jax.random.key(2)
        )
        kept.append(np.asarray(logits != 0))
    np.testing.assert_array_equal(kept[0], kept[1])
    assert 0 < kept[0].mean() < 1


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_channel_dropout_drops_whole_channels(flavour: Any) -> None:
    spec = architecture.cnn(10, 0.0, 0.5, batch_norm=False)
    one = dataclasses.replace(spec, convolutions=spec.convolutions[:1], hidden=())
    network = flavour.network(dataclasses.replace(one, classes=16 * 32), DIGIT)
    params, stats = initial(network)
    params["conv_0"]["conv"]["bias"] = jnp.ones(32)
    params["logits"]["kernel"] = jnp.eye(16 * 32)
    images = jnp.zeros((64, *DIGIT))
    logits, _ = jax.jit(network.apply)(params, stats, images, jax.random.key(1))
    pixels = np.asarray(logits).reshape(64, 16, 32)
    assert (pixels == pixels[:, :1]).all()
    assert set(np.unique(pixels)) == {0.0, 2.0}


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_evaluation_is_deterministic_and_leaves_the_averages(flavour: Any) -> None:
    network = flavour.network(ARCHITECTURES["cnn whole"], DIGIT)
    params, stats = initial(network)
    images = digits(8).images
    logits, same = jax.jit(network.apply)(params, stats, images, None)
    assert_equal(stats, same)
    # Of one example alone, the same: no statistics of the batch.
    alone, _ = jax.jit(network.apply)(params, stats, images[:1], None)
    np.testing.assert_allclose(alone, logits[:1], rtol=1e-5, atol=1e-6)
    _, moved = jax.jit(network.apply)(params, stats, images, jax.random.key(0))
    assert (moved["conv_0"]["norm"]["mean"] != stats["conv_0"]["norm"]["mean"]).all()


def test_evaluate_counts_every_example_once() -> None:
    network = models_linen.network(ARCHITECTURES["mlp"], DIGIT)
    state = start(network, optax.sgd(0.1))
    # More than one batch, and a last one that is not full.
    batch = digits(loop.EVALUATION_BATCH + 88)
    logits, _ = jax.jit(network.apply)(state.params, state.stats, batch.images, None)
    log_p = np.asarray(logits) - np.log(np.exp(logits).sum(-1, keepdims=True))
    loss = -log_p[np.arange(len(batch.labels)), batch.labels].mean()
    accuracy = (log_p.argmax(-1) == batch.labels).mean()
    metrics = loop.evaluate(state, batch)
    np.testing.assert_allclose(metrics.loss, loss, rtol=1e-5)
    np.testing.assert_allclose(metrics.accuracy, accuracy, rtol=1e-6)


def counting_state(examples: int) -> tuple[loop.State, Batch]:
    """A linear network of one-hot images: an example that was seen moves its row."""

    def init(key: jax.Array) -> tuple[Any, Any]:
        return {"rows": jnp.zeros((examples, 2))}, {}

    def apply(params: Any, stats: Any, x: jax.Array, key: Any) -> tuple[jax.Array, Any]:
        return x @ params["rows"], stats

    state = start(Network(init, apply), optax.sgd(1.0))
    return state, Batch(jnp.eye(examples), jnp.zeros(examples, jnp.int32))


def test_an_epoch_takes_each_example_at_most_once_in_a_fresh_order() -> None:
    state, batch = counting_state(10)
    left_out = []
    for epoch in range(4):
        after, _ = loop.train_epoch(
            state, batch, jax.random.key(0), jax.random.key(epoch), batch_size=4
        )
        assert int(after.step) == 2
        # The gradient of a zero logit is 1/2, of the mean of four examples 1/8.
        moved = np.asarray(after.params["rows"][:, 0])
        assert sorted(moved) == [0.0] * 2 + [0.125] * 8
        left_out.append(tuple(np.flatnonzero(moved == 0)))
    assert len(set(left_out)) > 1


def test_an_epoch_is_its_steps() -> None:
    network = models_linen.network(ARCHITECTURES["mlp"], DIGIT)
    state, batch = start(network, optax.adamw(1e-3)), digits(96)
    key, order_key = jax.random.key(1), jax.random.key(2)
    with jax.debug_key_reuse(True):
        scanned, _ = loop.train_epoch(state, batch, key, order_key, batch_size=32)
    rows = jax.random.permutation(jax.random.key(2), 96).reshape(3, 32)
    step = jax.jit(loop.train_step)
    for taken in rows:
        state, _ = step(state, Batch(batch.images[taken], batch.labels[taken]), key)
    # The same masks; sums in another order where the compiler fuses the scan.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        scanned.params,
        state.params,
    )


@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (1, 5, 7, 2), (3, 1, 1, 1)])
def test_the_convolution_is_that_of_lax(shape: tuple[int, ...]) -> None:
    x = jax.random.normal(jax.random.key(0), shape)
    kernel = jax.random.normal(jax.random.key(1), (3, 3, shape[-1], 4))
    numbers = ("NHWC", "HWIO", "NHWC")

    def ours(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return conv_as_matmul(x, kernel, (1, 1), "SAME")

    def lax_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=numbers
        )

    expected, pull_back = jax.vjp(jax.jit(lax_conv), x, kernel)
    result, pull_back_ours = jax.vjp(jax.jit(ours), x, kernel)
    cotangent = jax.random.normal(jax.random.key(2), expected.shape)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)
    for a, b in zip(pull_back_ours(cotangent), pull_back(cotangent), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_optimizers_decay_weights_and_not_biases(name: str) -> None:
    optimizer = make_optimizer(
        name, learning_rate=0.1, weight_decay=0.5, momentum=0.9, steps=2
    )
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    state, none = optimizer.init(params), jax.tree.map(jnp.zeros_like, params)
    for _ in range(3):
        updates, state = optimizer.update(none, state, params)
        params = optax.apply_updates(params, updates)
    # AdamW multiplies by 1 - 0.5 * rate, at rates 0.1, 0.05, 0. SGD adds 0.5 * w to a
    # velocity v that falls to 0.9 v: w 1, v 0.5; w 0.95, v 0.925; w 0.90375.
    expected = {"adamw": 0.95 * 0.975, "sgd": 0.95 - 0.05 * (0.9 * 0.5 + 0.5 * 0.95)}
    np.testing.assert_allclose(params["kernel"], expected[name], rtol=1e-6)
    np.testing.assert_array_equal(params["bias"], 1.0)


def test_the_hash_of_parameters_sees_every_bit_and_name() -> None:
    params = {"a": {"kernel": jnp.ones((2, 3))}, "b": {"bias": jnp.zeros(3)}}
    assert loop.params_sha256(params) == loop.params_sha256(dict(params))
    others = [
        {**params, "a": {"kernel": params["a"]["kernel"].at[1, 2].add(2**-23)}},
        {**params, "a": {"kernel": params["a"]["kernel"].reshape(3, 2)}},
        {"a": params["a"], "c": params["b"]},
    ]
    hashes = {loop.params_sha256(tree) for tree in [params, *others]}
    assert len(hashes) == 4


@pytest.mark.parametrize("name", ["mlp", "cnn whole"])
def test_the_table_has_every_layer_and_parameter(name: str) -> None:
    spec = ARCHITECTURES[name]
    params, _ = shapes(models_linen.network(spec, DIGIT))
    table = layer_table(spec, params)
    names, _, numbers, rates = ([*column.cells] for column in table.columns)
    assert set(params) <= set(map(str, names))
    *layers, total = [int(str(n).replace(",", "")) for n in numbers if n]
    assert sum(layers) == total == count(params)
    assert f"dropout {spec.hidden[0].rate:g}" in rates


def test_a_real_training_reaches_its_accuracy() -> None:
    loaded = data.load("digits")
    train = Batch(jnp.asarray(loaded.train_images), jnp.asarray(loaded.train_labels))
    test = Batch(jnp.asarray(loaded.test_images), jnp.asarray(loaded.test_labels))
    optimizer = make_optimizer(
        "adamw", learning_rate=3e-3, weight_decay=1e-4, momentum=0.9, steps=20 * 37
    )
    state = start(models_linen.network(ARCHITECTURES["mlp"], DIGIT), optimizer)
    epochs = loop.fit(
        state, train, test, epochs=20, batch_size=32, key=jax.random.key(0)
    )
    history = [epoch for _, epoch in epochs]
    # About 98 % of 600; three binomial standard deviations of 0.6 % below that.
    assert history[-1].test.accuracy > 0.962
    assert history[-1].train.accuracy > 0.99
    assert history[-1].test.loss < 0.15
    # On the way, with dropout, the loss is above that of the whole network.
    assert history[-1].batches.loss > history[-1].train.loss
