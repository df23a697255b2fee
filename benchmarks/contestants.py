"""Who is timed: the libraries of `benchmarks.peers` by kind of key, and torch."""

import functools
import importlib.util
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax

from benchmarks.peers import PEERS
from benchmarks.peers.base import Peer
from benchmarks.timing import Entry

FLOOR, NOTHING, TORCH = "x * c", "no dropout", "torch"
LIBRARIES = ("jdrop", "flax.linen", "flax.nnx", "equinox", "haiku")
KEYS = ("threefry2x32", "rbg", "philox4x32")
# A name is a library and the kind of its key.
JDROP, FLAX = "jdrop, threefry2x32", "flax.linen, threefry2x32"
# Flax with its default keys, and with those that are quickest on a CPU.
SHORT_LIST = (JDROP, FLAX, "flax.linen, philox4x32")


class Contestant(NamedTuple):
    """A library with a kind of key, which is its name, and the key and its dropout."""

    name: str
    key: jax.Array
    drop: Callable[..., jax.Array]


def gather() -> list[Contestant]:
    """Every library that is installed, with every kind of key."""
    return [
        Contestant(f"{name}, {kind}", peer.jax_key(1, kind), peer.drop)
        for name, peer in installed(LIBRARIES).items()
        for kind in KEYS
        if _is_known(kind)
    ]


def installed(names: Iterable[str]) -> dict[str, Peer]:
    """The adapters of those libraries that are not absent."""
    missing = absent()
    return {name: PEERS[name]() for name in names if name not in missing}


def absent() -> list[str]:
    """Libraries that are left out, for they are not installed."""
    return [
        name
        for name in (*LIBRARIES, TORCH)
        if not importlib.util.find_spec(name.partition(".")[0])
    ]


def floor(rate: float) -> Callable[[Any, Any], Any]:
    """The least that a dropout can do: one multiply by 1 / keep."""
    scale = 1 / (1 - rate)
    return lambda key, x: x * scale


def torch_entry(kind: str, shape: tuple[int, ...], dtype: str, rate: float) -> Entry:
    """PyTorch's own kernels on the same shapes, CPU or CUDA, eager as its users run it.

    `kind` is that of a case of `benchmarks.ops`. The adapter in `benchmarks.peers` does
    not serve for timing: it may seed, and it knows neither CUDA nor whole channels.
    """
    import torch

    device = "cpu" if jax.default_backend() == "cpu" else "cuda"
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    if kind == "channel":
        # torch drops whole channels of (example, channel, row, column).
        shape = (shape[0], shape[-1], *shape[1:-1])
    x = torch.randn(shape).to(device, getattr(torch, dtype))
    operation = _torch_operation(kind, x, rate)

    def run(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            operation()
        wait()
        return (time.perf_counter() - start) / calls

    run(1)
    return Entry(TORCH, run)


def _torch_operation(kind: str, x: Any, rate: float) -> Callable[[], Any]:
    from torch import autograd
    from torch.nn import functional

    if kind in ("gradient", "pullback"):
        x.requires_grad_()
        cotangent = x.detach() + 1

        def differentiated() -> Any:
            y = functional.dropout(x, rate)
            if kind == "gradient":
                return autograd.grad(y.sum(), x)
            return y, autograd.grad(y, x, cotangent)

        return differentiated
    functions: dict[str, Callable[..., Any]] = {
        "alpha": functools.partial(functional.alpha_dropout, training=True),
        "channel": functional.dropout2d,
    }
    return functools.partial(functions.get(kind, functional.dropout), x, rate)


def _is_known(kind: str) -> bool:
    """Whether this version of JAX has a kind of key."""
    try:
        jax.random.key(0, impl=kind)
    except ValueError:
        return False
    return True
