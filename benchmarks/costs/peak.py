"""What a training step takes at its peak, with and without `jax.checkpoint`.

The model is a stack of residual blocks with dropout on the hidden layer and on the
output, the places where a transformer has it. Only its program is compiled, and asked
for the temporary memory it plans.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.costs.contestants import NOTHING, Contestant
from benchmarks.costs.program import temporary_bytes
from benchmarks.costs.regimes import Record, Settings

RATE = 0.1
# 8 sequences of 512 tokens, as in a small transformer.
BLOCKS, TOKENS, WIDTH, HIDDEN = 4, 4096, 512, 2048
SHAPES = ((BLOCKS, WIDTH, HIDDEN), (BLOCKS, HIDDEN, WIDTH))

Block = Callable[[jax.Array, Any], jax.Array]


def peaks(peers: list[Contestant], settings: Settings) -> Iterator[Record]:
    """Temporary memory of a training step, its blocks written out or in a scan.

    jax issue 17982 reports that flax's random words outlive a checkpoint around each of
    several blocks. In a scan, what the backward pass gets is explicit.

    Args:
      peers: The contestants.
      settings: Sizes.

    Yields:
      For each form, by contestant: `plain` and `checkpoint`, in bytes.
    """
    for form, stack in (("written out", _written_out), ("in a scan", _scanned)):
        results = {NOTHING: _peak(None, stack, settings)}
        for peer in peers:
            results[peer.name] = _peak(peer, stack, settings)
        yield {
            "kind": "peak",
            "case": f"{BLOCKS} blocks {WIDTH}-{HIDDEN}-{WIDTH} {form}",
            "tokens": settings.rows(TOKENS),
            "results": results,
        }


def _peak(
    peer: Contestant | None, stack: Callable[..., jax.Array], settings: Settings
) -> dict[str, int]:
    key = jax.random.key(1) if peer is None else peer.key
    weights = tuple(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in SHAPES)
    x = jax.ShapeDtypeStruct((settings.rows(TOKENS), WIDTH), jnp.float32)

    def drop(key: jax.Array, x: jax.Array) -> jax.Array:
        return x if peer is None else peer.drop(key, x, RATE, ())

    def block(x: jax.Array, layer: Any) -> jax.Array:
        (into, out), key = layer
        first, second = jax.random.split(key)
        hidden = drop(first, jax.nn.gelu(x @ into))
        return x + drop(second, hidden @ out)

    def temporary(block: Block) -> int:
        def loss(weights: Any, x: jax.Array, key: jax.Array) -> jax.Array:
            layers = weights, jax.random.split(key, BLOCKS)
            return jnp.mean(stack(block, x, layers) ** 2)

        step = jax.jit(jax.value_and_grad(loss))
        return temporary_bytes(step.lower(weights, x, key).compile())

    return {"plain": temporary(block), "checkpoint": temporary(jax.checkpoint(block))}


def _written_out(block: Block, x: jax.Array, layers: Any) -> jax.Array:
    for i in range(BLOCKS):
        x = block(x, jax.tree.map(lambda leaf, i=i: leaf[i], layers))
    return x


def _scanned(block: Block, x: jax.Array, layers: Any) -> jax.Array:
    return lax.scan(lambda x, layer: (block(x, layer), None), x, layers)[0]
