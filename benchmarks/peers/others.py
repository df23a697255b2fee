"""The libraries with arrays of their own: torch, what is built on it, TensorFlow."""

import importlib
import importlib.metadata
import os
import runpy
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from benchmarks.peers.base import NotOffered, Peer, noise_shape, only


class TorchArrays(Peer):
    """Tensors, the seed of the global generator, and gradients by autograd."""

    def __init__(self) -> None:
        """Imports the library, and torch."""
        self.torch: Any = importlib.import_module("torch")
        super().__init__()

    def array(self, x: Any) -> Any:
        """A tensor; NumPy's bfloat16, which torch does not know, by way of float32."""
        if isinstance(x, self.torch.Tensor):
            return x
        x = np.asarray(x)
        if x.dtype == jnp.bfloat16:
            return self.torch.tensor(x.astype(np.float32)).to(self.torch.bfloat16)
        return self.torch.tensor(x)

    def read(self, y: Any) -> np.ndarray:
        """The values, detached from their graph."""
        if y.dtype == self.torch.bfloat16:
            return np.asarray(y.detach().float()).astype(jnp.bfloat16)
        return np.asarray(y.detach())

    def slope(self, function: Callable[[Any], Any], at: Any) -> Any:
        """By `backward`."""
        if isinstance(at, float):
            raise NotOffered("rate is a number")
        at = at.detach().requires_grad_()
        y = function(at).sum()
        if not y.requires_grad:
            return self.torch.zeros_like(at)
        return self.torch.autograd.grad(y, at)[0]

    def seed(self, key: Any) -> None:
        """Seeds the global generator, if there is a key."""
        if key is not None:
            self.torch.manual_seed(key)


class Torch(TorchArrays):
    """`torch.nn.functional` on the CPU."""

    name = "torch"
    package = "torch"
    call = "torch.nn.functional.dropout(x, rate) after torch.manual_seed(seed), on CPU"
    module = "torch.nn.functional"
    stateful = True

    def drop(self, key: Any, x: Any, rate: Any, *mode: bool, **options: Any) -> Any:
        """The function after the global generator is seeded."""
        only(options, "deterministic")
        self.seed(key)
        training = mode or (not options.get("deterministic", False),)
        return self.library.dropout(self.array(x), rate, *training)

    def alpha(self, key: Any, x: Any, rate: float) -> Any:
        """`alpha_dropout(x, rate, True)`, in training mode."""
        self.seed(key)
        return self.library.alpha_dropout(self.array(x), rate, True)

    def feature_alpha(self, key: Any, x: Any, rate: float) -> Any:
        """`feature_alpha_dropout(x, rate, True)`, in training mode."""
        if not hasattr(self.library, "feature_alpha_dropout"):
            raise NotOffered("not offered")
        self.seed(key)
        return self.library.feature_alpha_dropout(self.array(x), rate, True)

    def residual_bits(self, x: Any, rate: float) -> dict[str, float]:
        """What autograd's hooks see saved."""
        x = self.array(x).detach().requires_grad_()
        bits = 0

        def pack(tensor: Any) -> Any:
            nonlocal bits
            bits += 8 * tensor.element_size() * tensor.numel()
            return tensor

        hooks = self.torch.autograd.graph.saved_tensors_hooks
        with hooks(pack, lambda tensor: tensor):
            self.drop(0, x, rate)
        return {"eager": bits / x.numel()}


class TorchReference(Torch):
    """The decompositions that torch keeps beside its kernels."""

    name = "torch._refs"
    call = "torch._refs.nn.functional, as torch"
    module = "torch._refs.nn.functional"


def timm_layers(name: str) -> dict[str, Any]:
    """What a file of timm's layers defines; timm itself would import torchvision."""
    timm = importlib.metadata.distribution("timm")
    return runpy.run_path(str(timm.locate_file(f"timm/layers/{name}.py")))


class Timm(TorchArrays):
    """timm's drop block and stochastic depth."""

    name = "timm"
    package = "timm"
    call = "drop_block_2d(x, rate, size), drop_path(x, rate, True) of timm.layers.drop"

    def __init__(self) -> None:
        """Loads the file that has both."""
        self.torch: Any = importlib.import_module("torch")
        self.library = timm_layers("drop")

    def drop_block(self, key: Any, x: Any, rate: float, size: int) -> Any:
        """`drop_block_2d`."""
        self.seed(key)
        return self.library["drop_block_2d"](x, rate, size)

    def drop_path(self, key: Any, x: Any, rate: float) -> Any:
        """`drop_path(x, rate, True)`, in training mode."""
        self.seed(key)
        return self.library["drop_path"](x, rate, True)


class Torchvision(TorchArrays):
    """torchvision's drop block and stochastic depth."""

    name = "torchvision"
    package = "torchvision"
    module = "torchvision.ops"
    call = "drop_block2d(x, rate, size), stochastic_depth of torchvision.ops"

    def __init__(self) -> None:
        """Imports the library, also one that was built for another torch.

        Then its compiled operators are missing, which the two functions do not use;
        two of them have to be declared for the import.
        """
        try:
            super().__init__()
        except RuntimeError:
            self.declared = self.torch.library.Library("torchvision", "FRAGMENT")
            boxes = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            for name in ("nms", "qnms"):
                self.declared.define(name + boxes)
            super().__init__()

    def drop_block(self, key: Any, x: Any, rate: float, size: int) -> Any:
        """`drop_block2d`."""
        self.seed(key)
        return self.library.drop_block2d(x, rate, size)

    def drop_path(self, key: Any, x: Any, rate: float) -> Any:
        """`stochastic_depth` of rows, which are examples."""
        self.seed(key)
        return self.library.stochastic_depth(x, rate, "row")


class TensorFlow(Peer):
    """TensorFlow's stateless dropout, and gradient tapes."""

    name = "tensorflow"
    package = "tensorflow-cpu"
    call = "tf.nn.experimental.stateless_dropout(x, rate, seed=[seed, 0])"

    def __init__(self) -> None:
        """Imports the library, quietly."""
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        super().__init__()

    @property
    def version(self) -> str:
        """The installed version, whatever its distribution is called."""
        return str(self.library.__version__)

    def array(self, x: Any) -> Any:
        """A tensor."""
        return self.library.constant(x)

    def drop(self, key: Any, x: Any, rate: Any, *mode: bool, **options: Any) -> Any:
        """The function."""
        if mode:
            raise NotOffered("no flag")
        only(options, "broadcast_dims")
        return self.library.nn.experimental.stateless_dropout(
            x,
            rate,
            seed=None if key is None else [key, 0],
            noise_shape=noise_shape(x, options.get("broadcast_dims", ())),
        )

    def compile(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """By `tf.function`, of a tensor."""
        compiled = self.library.function(function, autograph=False)
        return lambda rate: compiled(self.library.constant(rate))

    def slope(self, function: Callable[[Any], Any], at: Any) -> Any:
        """By a gradient tape."""
        at = self.library.convert_to_tensor(at)
        with self.library.GradientTape() as tape:
            tape.watch(at)
            y = function(at)
        return tape.gradient(y, at)
