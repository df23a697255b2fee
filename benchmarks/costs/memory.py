"""What dropout keeps for the backward pass: exact, so it needs no quiet machine."""

import functools
import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp

from benchmarks.costs import peak, torch_peer
from benchmarks.costs.contestants import SHORT_LIST, Contestant, gather, installed
from benchmarks.costs.plan import DTYPES, SHAPES
from benchmarks.costs.regimes import Record, Settings

RATE = 0.1


def run(settings: Settings) -> Iterator[Record]:
    """Reads residuals and peaks of jdrop and of the peers, with default keys.

    Args:
      settings: Thoroughness, sizes, and libraries to leave out.

    Yields:
      A record of kind "residual" for each shape and dtype, and those of `peak`.
    """
    peers = [p for p in gather(settings.without) if p.name.endswith("threefry2x32")]
    if settings.quick:
        peers = [peer for peer in peers if peer.name in SHORT_LIST]
    for name in ("large", "odd"):
        for dtype in DTYPES[:1] if settings.quick else DTYPES[:2]:
            yield residuals(name, dtype, peers, settings)
    yield from peak.peaks(peers, settings)


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
