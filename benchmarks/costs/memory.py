"""What dropout keeps for the backward pass, and what a training step takes at its peak.

Both are read off compiled programs, so they are exact and need no quiet machine.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.costs import torch_peer
from benchmarks.costs.contestants import SHORT_LIST, Contestant, gather, installed
from benchmarks.costs.plan import DTYPES, SHAPES
from benchmarks.costs.program import temporary_bytes
from benchmarks.costs.regimes import Record, Settings

RATE = 0.1
NOTHING = "no dropout"
# The stack of blocks: 8 sequences of 512 tokens, as in a small transformer.
BLOCKS, TOKENS, WIDTH, HIDDEN = 4, 4096, 512, 2048


def run(settings: Settings) -> Iterator[Record]:
    """Reads residuals and peaks of jdrop and of the peers, with default keys.

    Args:
      settings: Thoroughness, sizes, and libraries to leave out.

    Yields:
      A record of kind "residual" for each shape and dtype, and one of kind "peak".
    """
    peers = [p for p in gather(settings.without) if p.name.endswith("threefry2x32")]
    if settings.quick:
        peers = [peer for peer in peers if peer.name in SHORT_LIST]
    for name in ("large", "odd"):
        for dtype in DTYPES[:1] if settings.quick else DTYPES[:2]:
            yield residuals(name, dtype, peers, settings)
    yield peaks(peers, settings)


def residuals(
    name: str, dtype: str, peers: list[Contestant], settings: Settings
) -> Record:
    """What crosses from the forward to the backward pass of a compiled dropout.

    Args:
      name: A key of `SHAPES`.
      dtype: Name of x's dtype.
      peers: The contestants.
      settings: Sizes, and libraries to leave out.

    Returns:
      By contestant: the arrays kept, and their bytes. Scalars are not counted.
    """
    first, *rest = SHAPES[name]
    shape = (settings.rows(first), *rest)
    x = jnp.ones(shape, dtype)
    results: dict[str, Record] = {}
    for peer in peers:
        function = functools.partial(peer.drop, peer.key, rate=RATE, dims=())
        arrays = kept(function, x)
        results[peer.name] = {
            "bytes": sum(array.nbytes for array in arrays),
            "arrays": [f"{array.dtype}{list(array.shape)}" for array in arrays],
        }
    if "torch" not in settings.without and installed("torch"):
        saved = torch_peer.saved_bytes(shape, dtype, RATE)
        results["torch"] = {"bytes": sum(saved), "arrays": [f"{n} B" for n in saved]}
    elements = math.prod(shape)
    for result in results.values():
        result["bytes_per_element"] = result["bytes"] / elements
    # The claim of the design, for what the row of the target table is checked against.
    least = settings.rows(first) * -(-rest[-1] // 32) * 4
    return {
        "kind": "residual",
        "case": name,
        "shape": list(shape),
        "dtype": dtype,
        "bytes_of_words": least,
        "results": results,
    }


def kept(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> list[jax.Array]:
    """The arrays that the pullback of a compiled function holds, without scalars.

    Args:
      function: The function of x.
      x: Its argument.

    Returns:
      The arrays, largest first.
    """
    _, pullback = jax.vjp(jax.jit(function), x)
    arrays = [leaf for leaf in jax.tree.leaves(pullback) if leaf.ndim]
    return sorted(arrays, key=lambda array: -array.nbytes)


def peaks(peers: list[Contestant], settings: Settings) -> Record:
    """Temporary memory of a training step, with and without `jax.checkpoint`.

    The model is a stack of residual blocks with dropout on the hidden layer and on the
    output, the places where a transformer has it. jax issue 17982 reports that flax's
    random words outlive the checkpoint around such a block.

    Args:
      peers: The contestants.
      settings: Sizes.

    Returns:
      By contestant: `plain` and `checkpoint`, in bytes.
    """
    results = {NOTHING: _peak(None, settings)}
    for peer in peers:
        results[peer.name] = _peak(peer, settings)
    return {
        "kind": "peak",
        "case": f"{BLOCKS} blocks {WIDTH}-{HIDDEN}-{WIDTH}",
        "tokens": settings.rows(TOKENS),
        "results": results,
    }


def _peak(peer: Contestant | None, settings: Settings) -> dict[str, int]:
    key = jax.random.key(1) if peer is None else peer.key
    narrow, wide = (WIDTH, HIDDEN), (HIDDEN, WIDTH)
    layers = [
        tuple(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (narrow, wide))
        for _ in range(BLOCKS)
    ]
    x = jax.ShapeDtypeStruct((settings.rows(TOKENS), WIDTH), jnp.float32)

    def drop(key: jax.Array, x: jax.Array) -> jax.Array:
        return x if peer is None else peer.drop(key, x, RATE, ())

    def block(layer: Any, x: jax.Array, key: jax.Array) -> jax.Array:
        first, second = jax.random.split(key)
        hidden = drop(first, jax.nn.gelu(x @ layer[0]))
        return x + drop(second, hidden @ layer[1])

    def temporary(block: Callable[..., jax.Array]) -> int:
        def loss(layers: Any, x: jax.Array, key: jax.Array) -> jax.Array:
            for i, layer in enumerate(layers):
                x = block(layer, x, jax.random.fold_in(key, i))
            return jnp.mean(x**2)

        program = jax.jit(jax.value_and_grad(loss)).lower(layers, x, key).compile()
        return temporary_bytes(program)

    return {"plain": temporary(block), "checkpoint": temporary(jax.checkpoint(block))}
