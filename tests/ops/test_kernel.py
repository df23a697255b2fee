"""The kernel, by Pallas's interpreter on a CPU: the bits and laws of XLA's path.

And lowered for a TPU, where the number of devices decides whether it is there.
"""

import functools
import itertools
import subprocess
import sys

import cases
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from cases import ALPHA, KEY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from meshes import PLACEMENTS, collectives, make_mesh, place
from transforms import TRANSFORMS

import jdrop
from jdrop import _kernel

# Two pairs of digits compile soon.
RATE = 5 / 16
slow = pytest.mark.slow
SEEN = "jdrop_affine"


@pytest.fixture(scope="module", params=["tpu", pytest.param("cuda", marks=slow)])
def kernel(request):
    """That of a platform, on the CPU; programs traced without it are forgotten."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_kernel, "ASKED", "interpret")
        patch.setattr(_kernel, "KERNELS", {"cpu": request.param})
        jax.clear_caches()
        yield request.param
    jax.clear_caches()


def by_words(key, x, rate, **options):
    """Dropout without a kernel, which needs the words beside the draw."""
    return jdrop.apply_mask(jdrop.sample_mask(key, x.shape, rate, **options), x)


def normal(shape, dtype=jnp.float32):
    return jax.random.normal(jax.random.key(1), shape, dtype)


# Blocks that fill an array, and that stick out: of rows, columns, several row axes.
SHAPES = {
    "tpu": [(3, 296, 128), (2, 8, 16, 256), (512, 256), (2, 3, 200, 128), (8, 1152)],
    "cuda": [(3, 160, 256), (2, 8, 16, 256), (64, 512), (2, 3, 32, 768)],
}


@pytest.mark.parametrize(
    ("dtype", "rate", "number"),
    [
        (jnp.float32, RATE, 1),
        (jnp.bfloat16, 0.5, 2),
        pytest.param(jnp.float32, 0.1, 5, marks=slow),
        pytest.param(jnp.bfloat16, 1e-4, 5, marks=slow),
    ],
)
def test_the_bits_of_xla(kernel, dtype, rate, number):
    for shape in SHAPES[kernel][:number]:
        x = normal(shape, dtype)
        drop = functools.partial(jdrop.dropout, KEY, rate=rate)
        assert "pallas_call" in str(jax.make_jaxpr(drop)(x))
        y = drop(x)
        assert y.dtype == x.dtype
        np.testing.assert_array_equal(y, by_words(KEY, x, rate), str(shape))


def test_alpha_dropout(kernel):
    """Affine, at an offset; a mean has a derivative, of which the kernel knows none."""
    x = normal((4, 64, 256))
    mask = jdrop.sample_mask(KEY, x.shape, RATE, offset=7)
    kept, values = np.asarray(mask.to_bool()), np.asarray(x, np.float64)

    def expected(mean):
        return ALPHA.oracle(kept, values, RATE, mean)

    def drop(mean):
        return jdrop.alpha_dropout(KEY, x, RATE, mean=mean, offset=7)

    y, slope = jax.jvp(drop, (0.5,), (1.0,))
    np.testing.assert_allclose(y, expected(0.5), rtol=1e-5, atol=1e-5)
    difference = (expected(0.5 + 1e-5) - expected(0.5 - 1e-5)) / 2e-5
    np.testing.assert_allclose(slope, difference, rtol=1e-3, atol=1e-4)
    _, of_x = jax.jvp(
        lambda x: jdrop.alpha_dropout(KEY, x, RATE, offset=7), (x,), (jnp.ones_like(x),)
    )
    np.testing.assert_array_equal(of_x != 0, kept)


def test_derivatives(kernel):
    """Forward, reverse and twice, and a dropped infinity has none."""
    x = normal((64, 256)).at[0].set(jnp.inf)
    y, tangent = jax.jvp(lambda x: jdrop.dropout(KEY, x, RATE), (x,), (x,))
    np.testing.assert_array_equal(y, tangent)
    weight = normal(x.shape)
    slope = jax.grad(lambda x: (jdrop.dropout(KEY, x, RATE) * weight).sum())(x)
    np.testing.assert_array_equal(slope, by_words(KEY, weight, RATE))

    def energy(scale):
        return (jdrop.dropout(KEY, weight * scale, RATE) ** 2).sum()

    kept = by_words(KEY, weight, RATE)
    np.testing.assert_allclose(jax.hessian(energy)(1.0), 2 * (kept**2).sum(), rtol=1e-4)


DEFAULT = {"jit of remat", "vmap over keys", "scan"}


@pytest.mark.parametrize(
    "transform",
    [n if n in DEFAULT else pytest.param(n, marks=slow) for n in TRANSFORMS],
)
def test_transforms(kernel, transform):
    """Pallas's interpreter knows no types that vary, as checked in shard_map."""
    x = normal((8, 32, 256))

    def drop(key, x, first=0, rate=RATE):
        return jdrop.dropout(key, x, rate, offset=first)

    if "shard_map" in transform and "unchecked" not in transform:
        pytest.skip("checked shard_map does not take Pallas's interpreter")
    y = TRANSFORMS[transform](drop, KEY, x)
    rate = cases.RATE if "rates" in transform else RATE
    np.testing.assert_allclose(y, by_words(KEY, x, rate), rtol=1e-6)


ON_MESHES = list(itertools.product(("auto", "explicit"), PLACEMENTS))


@pytest.mark.parametrize(
    ("kind", "placement"),
    [
        row if i in (2, len(PLACEMENTS) + 8) else pytest.param(*row, marks=slow)
        for i, row in enumerate(ON_MESHES)
    ],
)
def test_meshes(kernel, kind, placement):
    """Each device its own rows and columns, and nothing said."""
    (sizes, spec), x = placement, normal((8, 256, 512))
    placed = place(x, make_mesh(sizes, kind), spec)
    drop = jax.jit(lambda x: jdrop.dropout(KEY, x, RATE))
    assert SEEN in str(jax.make_jaxpr(drop)(placed))
    program = drop.lower(placed).compile()
    y = program(placed)
    np.testing.assert_array_equal(y, by_words(KEY, x, RATE))
    assert y.sharding.is_equivalent_to(placed.sharding, x.ndim)
    assert not collectives(program)


def test_a_cut_between_the_bits_of_a_word(kernel):
    """Of 8 devices each has 20 rows of a column, which begin within a word."""
    x = normal((160, 256))
    placed = place(x, make_mesh((8,), "auto"), P("a"))
    program = jax.jit(lambda x: jdrop.dropout(KEY, x, RATE)).lower(placed).compile()
    np.testing.assert_array_equal(program(placed), by_words(KEY, x, RATE))
    assert not collectives(program)


def test_nothing_is_kept(kernel):
    """In one program neither the words nor bits of x's size are there."""
    x = normal((2048, 256))
    step = jax.jit(jax.grad(lambda x: (jdrop.dropout(KEY, x, RATE) ** 2).sum()))
    text = step.lower(x).compile().as_text()
    assert "u32[64,256]" not in text and "pred[2048,256]" not in text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_kernel, "KERNELS", {})
        jax.clear_caches()
        step = jax.jit(jax.grad(lambda x: (jdrop.dropout(KEY, x, RATE) ** 2).sum()))
        assert "u32[64,256]" in step.lower(x).compile().as_text()
    jax.clear_caches()


@slow
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_part_of_any_array(kernel, data):
    rows, columns = _kernel.BLOCKS[kernel].multiple
    lead = data.draw(st.lists(st.integers(1, 3), max_size=2))
    shape = [
        rows * data.draw(st.integers(1, 40)),
        columns * data.draw(st.integers(1, 3)),
    ]
    shape = (*lead, *shape)
    rate = data.draw(st.sampled_from([0.5, 0.25, RATE, 0.75]))
    offset = data.draw(st.integers(0, 2**20)) * data.draw(st.sampled_from([1, 32]))
    dtype = data.draw(st.sampled_from([jnp.float32, jnp.bfloat16]))
    x = normal(shape, dtype)
    y = jdrop.dropout(KEY, x, rate, offset=offset)
    np.testing.assert_array_equal(y, by_words(KEY, x, rate, offset=offset))


def lowered(devices, wrap=lambda f: f):
    """The text of a program for TPUs, which are not there."""
    mesh = jax.make_mesh((devices,), ("a",), axis_types=(AxisType.Auto,))
    here = NamedSharding(mesh, P("a"))
    x = jax.ShapeDtypeStruct((8, 256, 256), jnp.float32, sharding=here)
    drop = jax.jit(wrap(lambda x: jdrop.dropout(KEY, x, RATE)))
    return str(jax.export.export(drop, platforms=["tpu"])(x).mlir_module())


def test_a_tpu_has_its_kernel_where_nothing_is_partitioned(monkeypatch):
    monkeypatch.setattr(_kernel, "ASKED", "on")
    jax.clear_caches()
    mesh = jax.make_mesh((4,), ("a",), axis_types=(AxisType.Auto,))
    by_hand = functools.partial(
        jax.shard_map, mesh=mesh, in_specs=P("a"), out_specs=P("a")
    )
    assert lowered(1).count("tpu_custom_call") == 1
    assert "tpu_custom_call" not in lowered(4)
    assert lowered(4, by_hand).count("tpu_custom_call") == 1
    jax.clear_caches()


def test_a_cpu_has_no_part_in_it(monkeypatch):
    monkeypatch.setattr(_kernel, "KERNELS", _kernel.chosen(""))
    monkeypatch.setattr(_kernel, "ASKED", "")
    x = jnp.ones((544, 512))
    assert SEEN not in str(jax.make_jaxpr(lambda x: jdrop.dropout(KEY, x, 0.5))(x))


def test_the_switch():
    assert _kernel.chosen("off") == {}
    assert set(_kernel.chosen("")) == {"tpu"}
    assert set(_kernel.chosen("on")) == {"tpu", "cuda"}
    done = subprocess.run(
        [sys.executable, "-c", "import jdrop"],
        env={"JDROP_KERNEL": "1", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "JDROP_KERNEL is off, on, interpret, or not set; got '1'" in done.stderr
