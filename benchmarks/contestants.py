"""Who is timed: the libraries of `benchmarks.peers` by kind of key, and torch."""

import importlib.util
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax

from benchmarks.peers import PEERS
from benchmarks.peers.base import Peer
from benchmarks.peers.others import timm_layers
from benchmarks.timing import Entry

FLOOR, NOTHING, TORCH, TIMM = "x * c", "no dropout", "torch", "timm"
LIBRARIES = ("jdrop", "flax.linen", "flax.nnx", "equinox", "haiku")
KEYS = ("threefry2x32", "rbg", "philox4x32")
# A name is a library and the kind of its key.
JDROP, FLAX = "jdrop, threefry2x32", "flax.linen, threefry2x32"
# Flax with its default keys, and with those that are quickest on a CPU.
SHORT_LIST = (JDROP, FLAX, "flax.linen, philox4x32")
# By kind of case: functions of `torch.nn.functional`.
OF_TORCH = {
    "alpha": "alpha_dropout",
    "channel": "dropout2d",
    "alpha_dropout": "alpha_dropout",
    "feature_dropout": "dropout2d",
    "feature_alpha_dropout": "feature_alpha_dropout",
    "attention_dropout": "dropout",
}
# And of timm: the file, the function, and what it takes beside x and the rate. A mask
# for each channel and one prefix token, as jdrop has them.
OF_TIMM: dict[str, tuple[str, str, tuple[Any, ...]]] = {
    "drop_path": ("drop", "drop_path", (True,)),
    "drop_block": ("drop", "drop_block_2d", (7, 1.0, False, False, False)),
    "token_dropout": ("patch_dropout", "patch_dropout_forward", (1, True, True)),
}
# Their channels are those of (example, channel, row, column).
CHANNELS_FIRST = ("channel", "feature_dropout", "feature_alpha_dropout", "drop_block")


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
        for name in (*LIBRARIES, TORCH, TIMM)
        if not importlib.util.find_spec(name.partition(".")[0])
    ]


def floor(rate: float) -> Callable[[Any, Any], Any]:
    """The least that a dropout can do: one multiply by 1 / keep."""
    scale = 1 / (1 - rate)
    return lambda key, x: x * scale


def torch_entry(kind: str, shape: tuple[int, ...], dtype: str, rate: float) -> Entry:
    """PyTorch's own kernels on the same shapes, CPU or CUDA, eager as its users run it.

    `kind` is that of a case of `benchmarks.ops`; where torch has no such op, it is
    timm's. The adapters in `benchmarks.peers` do not serve for timing: they may seed,
    and know neither CUDA nor whole channels.
    """
    import torch

    device = "cpu" if jax.default_backend() == "cpu" else "cuda"
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    if kind in CHANNELS_FIRST:
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
    return Entry(TIMM if kind in OF_TIMM else TORCH, run)


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
    if kind in OF_TIMM:
        file, name, options = OF_TIMM[kind]
        function = timm_layers(file)[name]
    else:
        function = getattr(functional, OF_TORCH.get(kind, "dropout"))
        options = (True,)
    return lambda: function(x, rate, *options)


def _is_known(kind: str) -> bool:
    """Whether this version of JAX has a kind of key."""
    try:
        jax.random.key(0, impl=kind)
    except ValueError:
        return False
    return True
