"""PyTorch side by side: its native dropout on the same shapes, CPU or CUDA."""

import time
from collections.abc import Callable
from typing import Any

import jax

from benchmarks.costs.contestants import installed
from benchmarks.costs.timing import Entry

NAME = "torch"


def entry(
    kind: str, shape: tuple[int, ...], dtype: str, rate: float, without: tuple[str, ...]
) -> list[Entry]:
    """The entry of torch in a contest, if there is one.

    Args:
      kind: The contest's kind: "forward", "gradient", "pullback", "alpha", "channel"
        or "eager".
      shape: Shape of x, channels last as in JAX.
      dtype: Name of x's dtype.
      rate: Probability of dropping.
      without: Libraries to leave out.

    Returns:
      One entry, or none where torch is not installed or not on the device of JAX.
    """
    if NAME in without or not installed("torch"):
        return []
    import torch

    device = "cpu" if jax.default_backend() == "cpu" else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        return []
    if kind == "channel":
        # torch drops whole channels of (example, channel, row, column).
        shape = (shape[0], shape[-1], *shape[1:-1])
    x = torch.randn(shape, dtype=torch.float32).to(device, getattr(torch, dtype))
    return [_timed(_operation(kind, x, rate), device)]


def saved_bytes(shape: tuple[int, ...], dtype: str, rate: float) -> list[int]:
    """Bytes of each tensor, beside x, that torch saves for the backward pass.

    Args:
      shape: Shape of x.
      dtype: Name of x's dtype.
      rate: Probability of dropping.

    Returns:
      One number a tensor.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    x = torch.ones(shape, dtype=getattr(torch, dtype), device=device).requires_grad_()
    saved = []

    def pack(tensor: Any) -> Any:
        if tensor.data_ptr() != x.data_ptr():
            saved.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        torch.nn.functional.dropout(x, rate)
    return saved


def _operation(kind: str, x: Any, rate: float) -> Callable[[], Any]:
    from torch import autograd
    from torch.nn import functional

    if kind == "alpha":
        return lambda: functional.alpha_dropout(x, rate, training=True)
    if kind == "channel":
        return lambda: functional.dropout2d(x, rate)
    if kind in ("forward", "eager"):
        return lambda: functional.dropout(x, rate)
    x.requires_grad_()
    cotangent = x.detach() + 1

    def gradient() -> Any:
        y = functional.dropout(x, rate)
        if kind == "pullback":
            return y, autograd.grad(y, x, cotangent)
        return autograd.grad(y.sum(), x)

    return gradient


def _timed(operation: Callable[[], Any], device: str) -> Entry:
    import torch

    wait = torch.cuda.synchronize if device == "cuda" else lambda: None

    def run(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            operation()
        wait()
        return (time.perf_counter() - start) / calls

    run(1)
    return Entry(NAME, run)
