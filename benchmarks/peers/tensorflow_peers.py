"""TensorFlow: a stateless function of a seed, and gradient tapes."""

import os
from typing import Any

import numpy as np

from benchmarks.peers.base import NotOffered, Peer, load


class TensorFlow(Peer):
    """TensorFlow's stateless dropout."""

    name = "tensorflow"
    package = "tensorflow-cpu"
    call = "tf.nn.experimental.stateless_dropout(x, rate, seed=[seed, 0])"

    def __init__(self) -> None:
        """Imports the library."""
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        self.tf = load("tensorflow")

    @property
    def version(self) -> str:
        """The installed version, whatever its distribution is called."""
        return str(self.tf.__version__)

    def drop(self, key: Any, x: Any, rate: Any, **options: Any) -> Any:
        """The function."""
        return self._drop(key, self._in(x), rate, **options).numpy()

    def slope(self, key: Any, x: Any, rate: Any) -> Any:
        """By a gradient tape."""
        x = self._in(x)
        with self.tf.GradientTape() as tape:
            tape.watch(x)
            y = self._drop(key, x, rate)
        return tape.gradient(y, x).numpy()

    def rate_slope(self, key: Any, x: Any, rate: float) -> Any:
        """By a gradient tape, with the rate as a tensor."""
        p = self.tf.constant(rate)
        with self.tf.GradientTape() as tape:
            tape.watch(p)
            y = self._drop(key, self._in(x), p)
        return tape.gradient(y, p).numpy()

    def traced_rate(self, key: Any, x: Any, rate: Any) -> Any:
        """Under `tf.function`."""
        drop = self.tf.function(lambda x, rate: self._drop(key, x, rate))
        return drop(self._in(x), self.tf.constant(rate, self._in(x).dtype)).numpy()

    def traced_rate_slope(self, key: Any, x: Any, rate: float) -> Any:
        """Under `tf.function`, by the gradients of its graph."""
        tf = self.tf
        slope = tf.function(
            lambda x, rate: tf.gradients(self._drop(key, x, rate), [x])[0]
        )
        return slope(self._in(x), tf.constant(rate)).numpy()

    def _drop(self, key: Any, x: Any, rate: Any, **options: Any) -> Any:
        if "deterministic" in options:
            raise NotOffered("no flag")
        shared = options.pop("broadcast_dims", ())
        if options:
            raise NotOffered("no option")
        if any(axis >= len(x.shape) for axis in shared):
            raise NotOffered("takes a shape, not axes")
        shape = [1 if i in shared else n for i, n in enumerate(x.shape)]
        seed = None if key is None else [key, 0]
        drop = self.tf.nn.experimental.stateless_dropout
        return drop(x, rate, seed=seed, noise_shape=shape if shared else None)

    def _in(self, x: Any) -> Any:
        return self.tf.constant(np.asarray(x))
