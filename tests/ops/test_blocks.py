"""Drop block: its masks against NumPy, its rate, its normalisation, its program."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from block_oracle import (
    coverage,
    drop_block_oracle,
    dropped_share,
    gamma_of,
)
from cases import KEY, key_words
from jax.sharding import PartitionSpec as P
from meshes import collectives, make_mesh, place

import jdrop
from jdrop._gamma import seed_rate
from jdrop._op import _draw_and_apply

RATE = 0.3
SIGMAS = 5


def map_of(shape):
    """Values of which none is 0 and no two examples or channels are alike."""
    return np.random.default_rng(7).uniform(1, 2, shape).astype(np.float32)


def seeds_of(shape, block, rate, shared=(), calibration="exact", offset=0):
    """The seeds of `KEY`, True where a block is kept, as the stream draws them."""
    positions = [axis for axis, side in enumerate(block) if side > 1]
    sizes, sides = [shape[i] for i in positions], [block[i] for i in positions]
    gamma = gamma_of(rate, sizes, sides, calibration)
    sizes = [size - side + 1 for size, side in zip(shape, block, strict=True)]
    return oracle.mask(key_words(KEY), sizes, gamma, shared, offset)


slow = pytest.mark.slow
# The shape of x, the side of a block along each of its axes, and the options.
MAPS = [
    ((4, 14, 14, 6), (1, 7, 7, 1), {}),
    pytest.param((4, 14, 14, 6), (1, 7, 7, 1), {"per_channel": False}, marks=slow),
    pytest.param((40, 7, 7, 3), (1, 7, 7, 1), {}, marks=slow),
    ((9, 4, 5, 3), (1, 4, 5, 1), {}),
    ((4, 9, 16, 3), (1, 3, 6, 1), {"block_size": (3, 6), "per_channel": False}),
    ((5, 3, 40), (1, 1, 6), {"block_size": 6, "channel_axis": 1}),
    pytest.param(
        (5, 40), (1, 6), {"block_size": [6], "channel_axis": None}, marks=slow
    ),
    ((9, 40, 3), (2, 2, 1), {"block_size": 2, "batch_axis": None}),
    ((3, 8, 9, 10, 2), (1, 3, 3, 3, 1), {"block_size": 3}),
]


@pytest.mark.parametrize(("shape", "block", "options"), MAPS, ids=str)
def test_whole_blocks_are_dropped_and_the_rest_makes_up(shape, block, options):
    x = map_of(shape)
    shared = () if options.get("per_channel", True) else (-1,)
    seeds = seeds_of(shape, block, RATE, shared)
    expected = drop_block_oracle(seeds, x, block, options.get("batch_axis", 0))

    @jax.jit
    def value_and_slope(x):
        y, pullback = jax.vjp(lambda x: jdrop.drop_block(KEY, x, RATE, **options), x)
        return y, *pullback(jnp.ones(shape))

    y, slope = value_and_slope(x)
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    np.testing.assert_allclose(slope, expected / x, rtol=1e-6)
    assert 0.05 < (expected == 0).mean() < 0.5


def torchvision_drop_block(seeds, x, side):
    """torchvision.ops.drop_block2d on (height, width), without its random numbers."""
    noise = np.pad((~seeds).astype(float), side // 2)
    noise = np.pad(noise, side // 2, constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(noise, (side, side))
    noise = 1 - windows.max((-1, -2))
    return x * noise * noise.size / noise.sum()


def test_it_is_what_torchvision_computes_of_the_same_seeds():
    """For one example of one channel, as torchvision normalises the whole batch."""
    x = map_of((1, 20, 24, 1))
    y = jdrop.drop_block(KEY, x, RATE, calibration="paper", block_size=5)
    seeds = seeds_of(x.shape, (1, 5, 5, 1), RATE, calibration="paper")
    expected = torchvision_drop_block(seeds[0, ..., 0], x[0, ..., 0], 5)
    np.testing.assert_allclose(y[0, ..., 0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "side"),
    [
        ((64, 7, 7, 64), 7),
        ((64, 14, 14, 64), 7),
        pytest.param((8, 56, 56, 32), 7, marks=slow),
        pytest.param((64, 40, 64), 7, marks=slow),
        pytest.param((16, 8, 9, 10, 32), 3, marks=slow),
    ],
    ids=str,
)
def test_the_expected_share_is_dropped(shape, side):
    """Maps are independent: the variance of their shares gives the tolerance."""
    positions = tuple(range(1, len(shape) - 1))
    covered = coverage([shape[i] for i in positions], [side] * len(positions))

    @jax.jit
    def shares(rate):
        both = []
        for calibration in ("exact", "paper"):
            options = {"block_size": side, "calibration": calibration}
            y = jdrop.drop_block(KEY, jnp.ones(shape), rate, **options)
            both.append(((y == 0).mean(positions), y.mean()))
        return both

    for rate in (0.1, 0.5):
        of_paper = dropped_share(rate / covered.mean(), covered)
        for expected, (share, mean) in zip((rate, of_paper), shares(rate), strict=True):
            share = np.asarray(share, np.float64)
            sigma = share.std() / math.sqrt(share.size)
            # The rate of seeds is rounded to 2^-16, which moves the share by up to
            # 2^-17 times the number of blocks that cover a position.
            rounding = 2**-17 * covered.mean()
            assert abs(share.mean() - expected) <= SIGMAS * sigma + rounding
            # Every example keeps its mean.
            np.testing.assert_allclose(mean, 1, rtol=1e-6)


def test_the_gamma_of_the_paper_drops_less_than_asked():
    for sizes, asked, dropped in (
        ((14, 14), 0.1, 0.093),
        ((14, 14), 0.5, 0.358),
        ((56, 56), 0.5, 0.384),
        ((7, 7), 0.5, 0.5),
    ):
        covered = coverage(sizes, (7, 7))
        assert abs(dropped_share(asked / covered.mean(), covered) - dropped) < 5e-4
        gamma = seed_rate(np.float32(asked), sizes, (7, 7), "paper")
        np.testing.assert_allclose(gamma, asked / covered.mean(), rtol=1e-6)


def test_seeds_outside_the_valid_region_would_drop_nearly_all():
    """timm 1.0.31, drop_block_2d: that gamma, but a seed at every position."""
    side = 7
    along = [
        sum(abs(seed - i) <= side // 2 for seed in range(side)) for i in range(side)
    ]
    covered = np.multiply.outer(along, along)
    gamma = 0.1 * 7 * 7 / side**2 / ((7 - side + 1) * (7 - side + 1))
    assert abs(dropped_share(gamma, covered) - 0.930) < 5e-4
    ours = seed_rate(np.float32(0.1), (7, 7), (7, 7), "exact")
    assert abs(dropped_share(ours, coverage((7, 7), (7, 7))) - 0.1) < 1e-6


@pytest.mark.parametrize(
    ("sizes", "block"),
    [((7, 7), (7, 7)), ((14, 14), (7, 7)), ((9,), (4,)), ((12, 10, 11), (7, 5, 3))],
)
def test_gamma_is_solved_alike_for_a_number_and_a_traced_rate(sizes, block):
    traced = jax.jit(
        lambda rate, calibration: seed_rate(rate, sizes, block, calibration),
        static_argnums=1,
    )
    covered = coverage(sizes, block)
    for rate in np.float32([0, 1e-6, 1e-3, 0.1, 1 / 3, 0.5, 0.9, 0.999, 1]):
        gamma = seed_rate(rate, sizes, block, "exact")
        assert abs(dropped_share(float(gamma), covered) - rate) < 1e-6
        for calibration in ("exact", "paper"):
            gamma = seed_rate(rate, sizes, block, calibration)
            assert traced(rate, calibration) == gamma
            assert (gamma == rate) or 0 < rate < 1
    assert np.isnan(traced(np.nan, "exact"))


def test_a_schedule_gives_the_same_masks_without_compiling_again():
    x = map_of((4, 14, 14, 6))
    traces = []

    @jax.jit
    def traced(rate, deterministic):
        traces.append(rate)
        return jdrop.drop_block(KEY, x, rate, deterministic=deterministic)

    dropped = np.zeros(x.shape, bool)
    for rate in (0.01, 1 / 3, 0.9):
        y = traced(rate, False)
        np.testing.assert_allclose(y, jdrop.drop_block(KEY, x, rate), rtol=1e-6)
        # What a lower rate drops, a higher one drops too.
        assert not np.any(dropped & (y != 0))
        dropped = np.asarray(y == 0)
    for rate, deterministic in ((0.0, False), (-1.0, False), (0.5, True)):
        np.testing.assert_array_equal(traced(rate, deterministic), x)
    np.testing.assert_array_equal(traced(1.0, False), 0)
    assert np.isnan(traced(jnp.nan, False)).all()
    assert len(traces) == 1


def test_both_ends_need_no_key():
    x = jnp.asarray(map_of((4, 14, 14, 6)))
    for options in ({"rate": 0}, {"rate": 0.5, "deterministic": True}):
        assert jdrop.drop_block(None, x, **options) is x
    for calibration in ("exact", "paper"):
        f = functools.partial(jdrop.drop_block, calibration=calibration)
        y, pullback = jax.vjp(lambda x, f=f: f(None, x, 1), x)
        for zeros in (y, *pullback(x)):
            np.testing.assert_array_equal(zeros, 0)


def test_parts_of_a_batch_get_their_rows():
    x = map_of((40, 8, 8, 3))
    whole = jdrop.drop_block(KEY, x, RATE, block_size=3)
    np.testing.assert_array_equal(
        jdrop.drop_block(KEY, x[:3], RATE, block_size=3), whole[:3]
    )

    @jax.jit
    def part(first):
        rows = jax.lax.dynamic_slice_in_dim(x, first, 10)
        return jdrop.drop_block(KEY, rows, RATE, block_size=3, offset=first)

    for first in (2, 30):
        np.testing.assert_array_equal(part(first), whole[first:][:10])


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_what_is_dropped_cannot_spoil_anything(bad):
    """Nor where nothing is left: blocks of the whole map, shared by its channels."""
    f = functools.partial(jdrop.drop_block, KEY, rate=0.5, per_channel=False)
    x = map_of((16, 7, 7, 3))
    kept = np.asarray(f(x) != 0)
    is_kept = kept.all((1, 2, 3))
    assert np.array_equal(is_kept, kept.any((1, 2, 3)))
    assert 0 < is_kept.sum() < 16
    y, pullback = jax.vjp(f, np.where(kept, x, np.float32(bad)))
    np.testing.assert_array_equal(y, np.where(kept, x, 0))
    np.testing.assert_array_equal(pullback(jnp.ones(x.shape))[0], kept)


def small(x, key=KEY, rate=RATE):
    return jdrop.drop_block(key, x, rate, block_size=3)


@slow
def test_types_and_sizes():
    x = map_of((3, 8, 9))
    y = np.asarray(small(x))
    weak = jax.jit(lambda x: small(jnp.broadcast_to(x, (1, 8, 9))))
    assert weak(2.0).weak_type and not weak(jnp.float32(2)).weak_type
    np.testing.assert_allclose(small(x * np.complex64(1j)), 1j * y, rtol=1e-6)
    for shape in ((0, 8, 9), (3, 0, 9), (3, 8, 0)):
        assert small(jnp.zeros(shape)).shape == shape
    with jax.enable_x64(True):
        wide = small(jnp.asarray(x, jnp.float64))
        assert wide.dtype == jnp.float64
        np.testing.assert_allclose(wide, y, rtol=1e-6)


def test_packed_seeds_are_the_only_residual():
    """Fewer than one bit an element: the seeds of a map are fewer than its elements."""
    shape = (16, 28, 28, 3)
    words = (tuple(oracle.words_shape((16, 22, 22, 3))), "uint32")
    for dtype in (jnp.float32, jnp.bfloat16):
        x = jax.ShapeDtypeStruct(shape, dtype)
        for rate in (0.1, jnp.float32(0.1)):
            f = jax.jit(lambda x, rate: jdrop.drop_block(KEY, x, rate))
            pullback = jax.eval_shape(lambda *args, f=f: jax.vjp(f, *args)[1], x, rate)
            kept = [
                (y.shape, str(y.dtype)) for y in jax.tree.leaves(pullback) if y.ndim
            ]
            assert kept == [words]


def test_the_same_options_are_one_program():
    x = jnp.ones((5, 11, 11, 3))
    before = _draw_and_apply._cache_size()
    for size in (3, np.int64(3), (3, 3), [3, 3]):
        jdrop.drop_block(KEY, x, 0.1, block_size=size, channel_axis=3, batch_axis=-4)
        jdrop.drop_block(KEY, x, 0.2, block_size=size)
    assert _draw_and_apply._cache_size() - before <= 2


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("explicit", P("a")),
        pytest.param("auto", P("a", None, None, "b"), marks=slow),
        pytest.param("auto", P(("a", "b")), marks=slow),
        pytest.param("explicit", P("a", None, None, "b"), marks=slow),
    ],
)
def test_examples_on_devices_of_their_own(kind, spec):
    """Devices speak only where they share an example, for its number of kept ones."""
    mesh = make_mesh((4, 2), kind)
    x = map_of((8, 8, 14, 4))
    with jax.set_mesh(mesh):
        placed = place(x, mesh, spec)
        f = jax.jit(lambda x: jax.vjp(lambda x: jdrop.drop_block(KEY, x, RATE), x))
        program = jax.jit(lambda x: f(x)[1](x)[0]).lower(placed).compile()
        assert collectives(program) == ({"all-reduce"} if len(spec) > 1 else set())
        y, _ = f(placed)
        assert y.sharding.is_equivalent_to(placed.sharding, 4)
    np.testing.assert_allclose(y, jdrop.drop_block(KEY, x, RATE), rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "options", "error", "message"),
    [
        ((4, 3), {}, ValueError, r"1 to 3 axes .* shape \(4, 3\), of which 0 are left"),
        ((2,) * 6, {}, ValueError, "of which 4 are left. Say channel_axis=None"),
        ((4, 8, 3), {"channel_axis": 0}, ValueError, "must be different axes of x"),
        ((4, 8, 3), {"channel_axis": 3}, ValueError, "channel_axis must be an axis"),
        ((4, 8, 3), {"block_size": 0}, ValueError, "block_size is 1 or more; got 0"),
        ((4, 8, 3), {"block_size": 2.0}, TypeError, "block_size is a static integer"),
        ((4, 8, 3), {"block_size": (3, 3)}, ValueError, "there are 1; got 2"),
        ((4, 8, 3), {"per_channel": "no"}, TypeError, "is True or False; got str 'no'"),
        ((), {}, ValueError, "has 0 dimensions; got -1. The array comes after the key"),
        ((4, 8, 3), {"calibration": "timm"}, ValueError, "'exact' or 'paper'"),
        ((4, 8, 3), {"rate": 1.5}, ValueError, r"one real number in \[0, 1\]; got 1.5"),
        (
            (4, 8, 3),
            {"offset": 1, "batch_axis": None},
            ValueError,
            "batch_axis must be 0 with it; got an offset with batch_axis=None",
        ),
    ],
)
def test_errors_say_what_to_do(shape, options, error, message):
    with pytest.raises(error, match=message):
        jdrop.drop_block(KEY, jnp.ones(shape), **{"rate": RATE, **options})


@slow
def test_a_program_for_any_batch_and_none_for_any_map():
    def export(sizes):
        shape = jax.export.symbolic_shape(sizes)
        program = jax.jit(lambda x: jdrop.drop_block(KEY, x, RATE, block_size=3))
        return jax.export.export(program)(jax.ShapeDtypeStruct(shape, jnp.float32))

    x = map_of((3, 8, 3))
    y = export("b, 8, 3").call(x)
    np.testing.assert_allclose(
        y, jdrop.drop_block(KEY, x, RATE, block_size=3), rtol=1e-6
    )
    with pytest.raises(ValueError, match="Leave only the batch and the channels open"):
        export("b, t, 3")
