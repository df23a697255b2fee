"""What is exact, so that it needs no quiet machine: memory, and compiled programs."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.stages import Compiled

import jdrop
from benchmarks import ops
from benchmarks.contestants import (
    FLAX,
    JDROP,
    KEYS,
    LIBRARIES,
    NOTHING,
    TORCH,
    installed,
)
from benchmarks.counting import (
    fused_draws,
    residual_bits,
    temporary_bytes,
    text_of,
)
from benchmarks.family import MEMBERS
from benchmarks.ops import COLUMNS, DTYPES, IMAGE_ROWS, LARGE, RATES, SIZES
from benchmarks.peers.base import Peer
from benchmarks.table import Row, Settings, row

Shape = tuple[int, ...]
Block = Callable[[jax.Array, Any], jax.Array]

RATE = 0.1
# Rows that 32 does not divide, one column, few columns.
THIN = (IMAGE_ROWS, (2**20, 1), (2**16, 10))
# Random bits are counted primitive by primitive: the count is exact at any size.
COUNTED = (64, 512)
# Residual blocks on 8 sequences of 512 tokens, as in a small transformer.
BLOCKS, TOKENS, WIDTH, HIDDEN = 4, 4096, 512, 2048


def run_memory(settings: Settings) -> Iterator[Row]:
    """Reads what jdrop and the peers keep and allocate, with default keys."""
    peers = installed(LIBRARIES[:2] if settings.quick else (*LIBRARIES, TORCH))
    for shape in (LARGE, *THIN):
        for dtype in DTYPES[:1] if settings.quick else DTYPES[:2]:
            yield from residuals(shape, dtype, peers)
    for size in SIZES[:4] if settings.quick else SIZES:
        yield from growth((size // COLUMNS, COLUMNS))
    peers.pop(TORCH, None)
    yield from peaks((TOKENS, WIDTH), peers)


def run_program(settings: Settings) -> Iterator[Row]:
    """Compiles jdrop's dropout for the backend at hand, and counts its random bits."""
    rates = RATES[::2] if settings.quick else RATES
    for dtype in DTYPES[: 1 if settings.quick else 3]:
        for rate in rates:
            text = text_of(_compiled_dropout(LARGE, dtype, rate))
            counts = {
                "loops": text.count(" while("),
                "fusions": text.count(" fusion("),
                "fused draws": len(fused_draws(text, math.prod(LARGE))),
            }
            about = {"case": "dropout", "dtype": dtype, "rate": rate}
            for metric, count in counts.items():
                yield row(JDROP, metric, count, "a program", LARGE, **about)
    names = {name.partition(",")[0]: name for name in (JDROP, FLAX)}
    for library, peer in installed(names).items():
        for rate in rates:
            bits, name = peer.random_bits(jnp.ones(COUNTED), rate), names[library]
            about = {"case": "draw", "dtype": "float32", "rate": rate}
            yield row(name, "random bits", bits, "an element", COUNTED, **about)


def run_family(settings: Settings) -> Iterator[Row]:
    """Times the ops of the family, and reads what each of them keeps."""
    yield from ops.run(settings)
    key = jax.random.key(1)
    for case in ops.cases(settings):
        arrays, about = ops.family_arrays(case), {"case": case.kind, "rate": case.rate}
        for name, own in MEMBERS[case.kind].contestants.items():

            @jax.jit
            def function(*arrays: Any, own: Any = own, rate: float = case.rate) -> Any:
                return own(key, *arrays, rate)

            bits = float(f"{residual_bits(function, *arrays):.4g}")
            about |= {"dtype": case.dtype, "shape": case.shape}
            yield row(name, "kept bits", bits, "an element", **about)


def residuals(shape: Shape, dtype: str, peers: dict[str, Peer]) -> Iterator[Row]:
    """Bytes that cross from the forward to the backward pass of a compiled dropout."""
    x = jnp.ones(shape, dtype)
    for name, peer in peers.items():
        bits = peer.residual_bits(x, RATE)
        # torch compiles nothing here.
        kept = bits.get("jit", bits["eager"]) / 8
        about = {"case": "residual", "dtype": dtype, "rate": RATE}
        label = name if name == TORCH else f"{name}, {KEYS[0]}"
        yield row(label, "kept", float(f"{kept:.4g}"), "B an element", shape, **about)


def growth(shape: Shape) -> Iterator[Row]:
    """The packed words of a mask, and what the compiled dropout allocates beside y."""
    key = jax.random.key(1)
    mask = jax.eval_shape(lambda k: jdrop.sample_mask(k, shape, RATE), key)
    about = {"case": "growth", "dtype": "float32", "rate": RATE, "shape": shape}
    elements = math.prod(shape)
    yield row(JDROP, "words", mask.words.size / elements, "an element", **about)
    allocated = temporary_bytes(_compiled_dropout(shape, "float32", RATE)) / elements
    yield row(JDROP, "temporary bytes", allocated, "an element", **about)


def peaks(shape: Shape, peers: dict[str, Peer]) -> Iterator[Row]:
    """What a training step takes at its peak, with and without `jax.checkpoint`.

    The model is a stack of residual blocks with dropout on the hidden layer and on the
    output, the places where a transformer has it. Its program is compiled, and asked
    for the temporary memory it plans. jax issue 17982 reports that flax's random words
    outlive a checkpoint around each of several blocks that are written out; in a scan,
    what the backward pass gets is explicit.
    """
    drops = {f"{name}, {KEYS[0]}": peer.drop for name, peer in peers.items()}
    for form, stack in (("written out", _written_out), ("in a scan", _scanned)):
        about = {"case": f"{BLOCKS} blocks {WIDTH}-{HIDDEN}-{WIDTH} {form}"}
        for name, drop in ({NOTHING: None} | drops).items():
            block = functools.partial(_block, drop)
            plain = _temporary(block, stack, shape)
            saved = _temporary(jax.checkpoint(block), stack, shape)
            yield row(name, "temporary bytes", plain, "B", shape, **about)
            yield row(name, "temporary bytes, checkpoint", saved, "B", shape, **about)


def _compiled_dropout(shape: Shape, dtype: str, rate: float) -> Compiled:
    dropout = jax.jit(lambda key, x: jdrop.dropout(key, x, rate))
    x = jax.ShapeDtypeStruct(shape, dtype)
    return dropout.lower(jax.random.key(1), x).compile()


def _block(drop: Callable[..., Any] | None, x: jax.Array, layer: Any) -> jax.Array:
    (into, out), key = layer
    if drop is None:
        return x + jax.nn.gelu(x @ into) @ out
    first, second = jax.random.split(key)
    hidden = drop(first, jax.nn.gelu(x @ into), RATE)
    return x + drop(second, hidden @ out, RATE)


def _temporary(block: Block, stack: Callable[..., jax.Array], shape: Shape) -> int:
    def loss(weights: Any, x: jax.Array, key: jax.Array) -> jax.Array:
        layers = weights, jax.random.split(key, BLOCKS)
        return jnp.mean(stack(block, x, layers) ** 2)

    shapes = ((BLOCKS, WIDTH, HIDDEN), (BLOCKS, HIDDEN, WIDTH))
    weights = tuple(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    step = jax.jit(jax.value_and_grad(loss))
    return temporary_bytes(step.lower(weights, x, jax.random.key(1)).compile())


def _written_out(block: Block, x: jax.Array, layers: Any) -> jax.Array:
    for i in range(BLOCKS):
        x = block(x, jax.tree.map(lambda leaf, i=i: leaf[i], layers))
    return x


def _scanned(block: Block, x: jax.Array, layers: Any) -> jax.Array:
    return lax.scan(lambda x, layer: (block(x, layer), None), x, layers)[0]
