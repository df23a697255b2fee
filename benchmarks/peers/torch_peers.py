"""torch and what is built on it: a global generator, and arrays of their own.

Arrays are converted on the way in and out, so that a probe reads NumPy's.
"""

import importlib.metadata
import importlib.util
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from benchmarks.peers.base import NotOffered, Peer, load


class _TorchArrays(Peer):
    """Seeds, conversion and gradients for the libraries built on torch."""

    def __init__(self) -> None:
        """Imports the library."""
        self.torch = load("torch")

    def _seed(self, key: Any) -> None:
        if key is not None:
            self.torch.manual_seed(key)

    def _in(self, x: Any) -> Any:
        x = np.asarray(x)
        if x.dtype == jnp.bfloat16:
            return self.torch.tensor(x.astype(np.float32)).to(self.torch.bfloat16)
        return self.torch.tensor(x)

    def _out(self, y: Any) -> Any:
        y = y.detach()
        if y.dtype == self.torch.bfloat16:
            return y.to(self.torch.float32).numpy().astype(jnp.bfloat16)
        return y.numpy()

    def _slope(self, function: Callable[[Any], Any], x: Any) -> Any:
        x = self._in(x).requires_grad_()
        y = function(x).sum()
        if not y.requires_grad:
            return np.zeros(x.shape)
        y.backward()
        return self._out(x.grad)


class Torch(_TorchArrays):
    """`torch.nn.functional` on the CPU."""

    name = "torch"
    package = "torch"
    call = "torch.nn.functional.dropout(x, rate) after torch.manual_seed(seed), on CPU"
    functions = "torch.nn.functional"
    stateful = True

    def __init__(self) -> None:
        """Imports the library."""
        super().__init__()
        self.library = load(self.functions)

    def drop(self, key: Any, x: Any, rate: Any, **options: Any) -> Any:
        """The function after the global generator is seeded."""
        training = not options.pop("deterministic", False)
        if options:
            raise NotOffered("no option")
        self._seed(key)
        return self._out(self.library.dropout(self._in(x), rate, training))

    def slope(self, key: Any, x: Any, rate: Any) -> Any:
        """By `backward`."""
        self._seed(key)
        return self._slope(lambda x: self.library.dropout(x, rate, True), x)

    def by_position(self, key: Any, x: Any) -> Any:
        """`dropout(x, rate, True)`."""
        self._seed(key)
        return self._out(self.library.dropout(self._in(x), 0.5, True))

    def residual_bits(self, x: Any, rate: float) -> dict[str, float]:
        """What autograd's hooks see saved."""
        bits = 0

        def pack(tensor: Any) -> Any:
            nonlocal bits
            bits += 8 * tensor.element_size() * tensor.numel()
            return tensor

        hooks = self.torch.autograd.graph.saved_tensors_hooks
        with hooks(pack, lambda tensor: tensor):
            self.library.dropout(self._in(x).requires_grad_(), rate, True)
        return {"eager": bits / np.size(x)}

    def alpha(self, key: Any, x: Any, rate: float) -> Any:
        """`alpha_dropout(x, rate)`."""
        self._seed(key)
        return self._out(self.library.alpha_dropout(self._in(x), rate, True))

    def alpha_slope(self, key: Any, x: Any, rate: float) -> Any:
        """By `backward`."""
        self._seed(key)
        return self._slope(lambda x: self.library.alpha_dropout(x, rate, True), x)


class TorchReference(Torch):
    """The decompositions that torch keeps beside its kernels."""

    name = "torch._refs"
    call = "torch._refs.nn.functional, as torch"
    functions = "torch._refs.nn.functional"


class Timm(_TorchArrays):
    """timm's drop block."""

    name = "timm"
    package = "timm"
    call = "drop_block_2d(x, rate, size) of timm/layers/drop.py"

    def __init__(self) -> None:
        """Imports the library."""
        super().__init__()
        self.block = _load_file("timm", "timm/layers/drop.py").drop_block_2d

    def drop_block(self, key: Any, x: np.ndarray, rate: float, size: int) -> Any:
        """`drop_block_2d`, which takes channels second."""
        self._seed(key)
        y = self.block(self._in(x.transpose(0, 3, 1, 2)), rate, size)
        return self._out(y).transpose(0, 2, 3, 1)


class Torchvision(Timm):
    """torchvision's drop block."""

    name = "torchvision"
    package = "torchvision"
    call = "torchvision.ops.drop_block2d(x, rate, size)"

    def __init__(self) -> None:
        """Imports the library."""
        _TorchArrays.__init__(self)
        self.block = load("torchvision.ops").drop_block2d


def _load_file(package: str, path: str) -> Any:
    """Loads one file of a package, which may need more than is installed."""
    file = importlib.metadata.distribution(package).locate_file(path)
    spec = importlib.util.spec_from_file_location(package + "_file", str(file))
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"{package} has no {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
