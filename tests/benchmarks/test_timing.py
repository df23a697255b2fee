"""The clock: turns, pairs and medians; and what is timed is what it is called."""

import functools
import itertools
import statistics

import jax
import jax.numpy as jnp
import pytest

import jdrop
from benchmarks import contestants, ops, timing, train_step

# What is evidence and not the library is tested at leisure.
pytestmark = pytest.mark.slow


def scripted(name, *seconds):
    """An entry whose calls last as long as it is told, again and again."""
    times = itertools.cycle(seconds)
    return timing.Entry(name, lambda calls: next(times))


def test_a_ratio_is_taken_within_a_round():
    # The first two calls find how many fill a turn. A round that is slow for both, as
    # the last, is no worse for either.
    entries = [scripted("floor", 1, 1, 1, 2, 9), scripted("other", 9, 9, 3, 6, 27)]
    results = timing.compete(entries, "floor", 3, 0.1)
    assert results["other"]["ratio"] == (3, 3, 3)
    assert results["other"]["time"] == (4.5, 6, 16.5)
    assert results["floor"]["ratio"] == results["floor"]["cpu ratio"] == (1, 1, 1)


def test_quartiles_are_those_of_the_sample():
    values = [5, 1, 4, 2, 3]
    assert timing.quartiles(values) == (2, statistics.median(values), 4)


def test_a_turn_is_as_many_calls_as_fill_it_and_one_that_does_not_count():
    turns = []

    def run(calls):
        turns.append(calls)
        return 0.25

    timing.compete([timing.Entry("f", run)], "f", 2, 1.0)
    assert turns == [1, 1, 1, 4, 1, 4]


def test_a_second_trace_is_an_error():
    entry = timing.jitted("f", lambda x: x + 1, 1.0)
    entry.run(3)
    jax.clear_caches()
    with pytest.raises(AssertionError, match="f was traced 2 times, not once"):
        entry.run(1)


def test_compilation_starts_from_scratch_every_time():
    traces = []
    entry = timing.compiling("f", lambda x: traces.append(x) or x + 1, jnp.ones(3))
    before = len(traces)
    assert entry.run(3) > 0
    assert len(traces) == before + 3


@pytest.mark.parametrize("kind", ["forward", "gradient", "pullback"])
def test_a_case_computes_what_it_is_called(kind):
    x, cotangent = jnp.arange(1.0, 4.0), jnp.full(3, 2.0)
    arrays = (x, cotangent) if kind == "pullback" else (x,)
    got = ops._computed(ops.Case(kind), contestants.floor(0.5))(None, *arrays)
    # c = 1 / (1 - 0.5)
    expected = {
        "forward": 2 * x,
        "gradient": (jnp.sum(2 * x), jnp.full(3, 2.0)),
        "pullback": (2 * x, (2 * cotangent,)),
    }[kind]
    assert jax.tree.all(jax.tree.map(jnp.array_equal, got, expected))


@pytest.mark.parametrize("what", ops.MANY)
def test_many_calls_differ_in_what_the_case_says(what):
    calls = []

    def drop(key, x, rate):
        calls.append((x.shape, rate))
        return x

    case = ops.Case(f"compile {ops.CALLS} {what}", rate=0.1)
    ops._computed(case, drop)(jax.random.key(0), jnp.ones((64, 2)))
    assert len(calls) == ops.CALLS
    alike = {"calls": {(1, 1)}, "rates": {(1, 24)}, "shapes": {(24, 1)}}[what]
    assert {tuple(len(set(column)) for column in zip(*calls, strict=True))} == alike


@pytest.mark.parametrize(
    "kind", ["forward", "gradient", "pullback", "alpha", "channel"]
)
def test_torch_takes_part_where_it_is_installed(kind):
    pytest.importorskip("torch")
    entry = contestants.torch_entry(kind, (2, 4, 4, 3), "float32", 0.1)
    assert entry.name == "torch"
    assert entry.run(2) > 0


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize(
    ("forward", "image", "widths"),
    [
        (train_step.mlp, (12,), (8, 8)),
        pytest.param(train_step.cnn, (4, 4, 3), (4, 4), marks=pytest.mark.slow),
    ],
)
def test_dropout_at_rate_0_leaves_a_training_step_as_it_is(forward, image, widths):
    step = functools.partial(train_step.train_step, forward=forward)

    @jax.jit
    def losses(key, *rates):
        weights = train_step.init(key, image, widths)
        images, labels = jax.random.normal(key, (2, *image)), jnp.zeros(2, jnp.int32)

        def loss(drop):
            return step(weights, images, labels, key, drop=drop)[1]

        drops = [lambda k, x, rate=rate: jdrop.dropout(k, x, rate) for rate in rates]
        return [loss(drop) for drop in (None, *drops)]

    expected, at_zero, at_half = losses(jax.random.key(0), 0.0, 0.5)
    assert at_zero == pytest.approx(expected)
    assert at_half != pytest.approx(expected)


@pytest.mark.usefixtures("standard_promotion")
def test_a_training_step_descends():
    key = jax.random.key(0)
    weights = train_step.init(key, (12,), (8, 8))
    images, labels = jax.random.normal(key, (4, 12)), jnp.arange(4)

    @jax.jit
    def step(weights):
        return train_step.train_step(
            weights, images, labels, key, forward=train_step.mlp
        )

    after, before = step(weights)
    assert step(after)[1] < before
