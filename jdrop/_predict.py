"""Monte-Carlo prediction: the moments of a function over many keys."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jdrop._arguments import as_count, as_flag, as_key
from jdrop._calls import checked_call
from jdrop._keys import key_for
from jdrop._select import real_dtype


class Prediction(NamedTuple):
    """What `mc_predict` returns.

    Attributes:
      mean: Mean over the samples of the outputs or, with logits, of the probabilities.
      variance: Their unbiased variance, of the shape of the mean; 0 for one sample.
      entropy: Entropy of the mean, in nats, without the class axis: all uncertainty.
        None for values.
      mutual_information: `entropy` less the mean entropy of the samples: how much of it
        is doubt about the weights, which more data would remove. None for values.
    """

    mean: Any
    variance: Any
    entropy: Any = None
    mutual_information: Any = None


@checked_call
def mc_predict(
    apply: Callable[..., Any],
    key: jax.Array,
    n: int,
    *args: Any,
    outputs: Literal["values", "probabilities", "logits"] = "values",
    shared: bool = False,
    chunk_size: int | None = None,
) -> Prediction:
    """Predicts with dropout switched on, n times, and returns the moments.

    mean = 1 / n * sum over i < n of apply(key_for(key, "sample", i), *args), and for
    classes entropy = H[mean] and mutual information = H[mean] - mean of H[sample], with
    H[p] = -sum of p log p.

    It is one compiled program, and one more for each new `apply` or n. So pass a
    function that is defined once, and parameters in `args`: parameters that it closes
    over become constants, and a lambda made anew at each call is compiled anew.

    Args:
      apply: A function of a key and `args`, jittable and hashable. It returns an array
        of a floating-point dtype, or a pytree of them.
      key: One `jax.random` key of any implementation, or a legacy uint32 key. It is
        not consumed: sample i has the key `key_for(key, "sample", i)`, whatever n is.
      n: Number of samples, an integer, at least 1.
      *args: What `apply` takes after the key: parameters, then inputs.
      outputs: What `apply` returns: "values"; "probabilities", whose last axis runs
        over classes; or "logits", of which the softmax over that axis is taken.
      shared: Whether a sample is one sub-network for the whole batch. The last of
        `args` is then the batch, and each of its examples is run as a batch of one
        under the same key, and so under row 0 of every mask. By default a batch is run
        as it is, and each example has a mask of its own.
      chunk_size: Samples that are computed at once, an integer; the chunks follow one
        another, so that memory grows with their size and not with n. None for all n.
        Where it does not divide n, `apply` is compiled twice, once more for the rest.

    Returns:
      A `Prediction`, each part of the shape of an output, or a pytree of them; in
      float32 or wider.

    Raises:
      ValueError: If n or `chunk_size` is below 1, `outputs` is none of these, classes
        are wanted of an output that has no axis of two or more, or `shared` of an
        `apply` without a batch.
      TypeError: If `apply` is not a hashable function, the key is missing, `shared` is
        not a bool, or the outputs are not of a floating-point dtype.

    References:
      Gal and Ghahramani, 2016. Dropout as a Bayesian approximation.
      https://arxiv.org/abs/1506.02142
      Houlsby, Huszar, Ghahramani and Lengyel, 2011. Bayesian active learning for
      classification and preference learning. https://arxiv.org/abs/1112.5745 has the
      mutual information.

    Examples:
      >>> import jax, jax.numpy as jnp, jdrop
      >>> def apply(key, weights, x):
      ...     return jdrop.dropout(key, x, 0.5) @ weights
      >>> weights, x = jnp.ones((100, 3)).at[:, 1].set(1.2), jnp.ones((4, 100))
      >>> key = jax.random.key(0)
      >>> seen = jdrop.mc_predict(apply, key, 50, weights, x, outputs="logits")
      >>> seen.mean.shape, seen.entropy.shape
      ((4, 3), (4,))
      >>> bool(jnp.all(seen.entropy > seen.mutual_information))
      True
    """
    if not callable(apply):
        raise TypeError(
            "mc_predict(apply, key, n, *args) takes the function first; got "
            f"{type(apply).__name__}. Pass a function of a key and args."
        )
    try:
        hash(apply)
    except TypeError:
        raise TypeError(
            "apply is hashable, so that its program is compiled once; got an "
            f"unhashable {type(apply).__name__}. Pass a function, the object in args."
        ) from None
    if outputs not in _OUTPUTS:
        raise ValueError(
            f"outputs is one of {', '.join(map(repr, _OUTPUTS))}; got {outputs!r}. "
            "Pass 'logits' for a classifier without a softmax."
        )
    own = as_flag("shared", shared)
    if own and not args:
        raise ValueError(
            "with shared=True the last of args is the batch; got no args. Pass the "
            "inputs after n."
        )
    key = as_key(key)
    n = as_count("n", n)
    size = n
    if chunk_size is not None:
        size = min(n, as_count("chunk_size", chunk_size))
    return _predict(
        key,
        args,
        apply=apply,
        n=n,
        size=size,
        outputs=outputs,
        shared=own,
    )


_OUTPUTS = ("values", "probabilities", "logits")


class _Moments(NamedTuple):
    """What is known of some samples.

    Attributes:
      number: How many they are, a float32 scalar.
      mean: Their mean.
      squares: The sum of the squares of their distances from it.
      entropy: The mean of their entropies, or None.
    """

    number: jax.Array
    mean: Any
    squares: Any
    entropy: Any


@functools.partial(jax.jit, static_argnames=("apply", "n", "size", "outputs", "shared"))
def _predict(
    key: jax.Array,
    args: tuple[Any, ...],
    *,
    apply: Callable[..., Any],
    n: int,
    size: int,
    outputs: str,
    shared: bool,
) -> Prediction:
    """`mc_predict` after its checks, as one program."""
    run = functools.partial(_for_examples, apply) if shared else apply

    def sample(i: jax.Array) -> Any:
        y = run(key_for(key, "sample", i), *args)
        return jax.tree.map(functools.partial(_as_output, kind=outputs), y)

    def chunk(first: jax.Array, size: int) -> _Moments:
        samples = jax.vmap(sample)(first + jnp.arange(size, dtype=jnp.uint32))
        return _moments(samples, size, outputs)

    seen = _fold_chunks(chunk, n, size)
    variance = jax.tree.map(lambda squares: squares / max(n - 1, 1), seen.squares)
    if outputs == "values":
        return Prediction(seen.mean, variance)
    entropy = jax.tree.map(_entropy, seen.mean)
    information = jax.tree.map(
        # Rounding may leave the mean entropy above that of the mean.
        lambda whole, part: jnp.maximum(whole - part, 0),
        entropy,
        seen.entropy,
    )
    return Prediction(seen.mean, variance, entropy, information)


def _fold_chunks(
    chunk: Callable[[jax.Array, int], _Moments], n: int, size: int
) -> _Moments:
    """The moments of n samples, of which `size` are there at a time."""
    if size == n:
        return chunk(jnp.uint32(0), n)
    # Inside shard_map a carry has to vary over the mesh axes from the start.
    like = jax.eval_shape(lambda: chunk(jnp.uint32(0), size))
    nothing = jax.tree.map(jnp.zeros_like, like)

    def step(seen: _Moments, first: jax.Array) -> tuple[_Moments, None]:
        return _merge(seen, chunk(first, size)), None

    firsts = jnp.arange(0, n - size + 1, size, dtype=jnp.uint32)
    seen, _ = lax.scan(step, nothing, firsts)
    rest = n % size
    return _merge(seen, chunk(jnp.uint32(n - rest), rest)) if rest else seen


def _moments(samples: Any, size: int, outputs: str) -> _Moments:
    mean = jax.tree.map(lambda y: y.mean(axis=0), samples)
    squares = jax.tree.map(lambda y, m: ((y - m[None]) ** 2).sum(axis=0), samples, mean)
    entropy = None
    if outputs != "values":
        entropy = jax.tree.map(lambda p: _entropy(p).mean(axis=0), samples)
    return _Moments(jnp.float32(size), mean, squares, entropy)


def _merge(seen: _Moments, new: _Moments) -> _Moments:
    """The moments of all samples.

    Chan, Golub and LeVeque, 1983, "Algorithms for computing the sample variance": a
    difference of sums of squares would cancel.
    """
    number = seen.number + new.number
    share = new.number / number

    def mean(a: jax.Array, b: jax.Array) -> jax.Array:
        return a + (b - a) * share.astype(a.dtype)

    def squares(a: jax.Array, b: jax.Array, u: jax.Array, v: jax.Array) -> jax.Array:
        return a + b + (v - u) ** 2 * (seen.number * share).astype(a.dtype)

    return _Moments(
        number,
        jax.tree.map(mean, seen.mean, new.mean),
        jax.tree.map(squares, seen.squares, new.squares, seen.mean, new.mean),
        jax.tree.map(mean, seen.entropy, new.entropy),
    )


def _for_examples(apply: Callable[..., Any], key: jax.Array, *args: Any) -> Any:
    """Runs each example of the last argument as a batch of one under the same key."""
    *others, batch = args

    def run(example: Any) -> Any:
        one = jax.tree.map(lambda x: jnp.asarray(x)[None], example)
        return jax.tree.map(_only_row, apply(key, *others, one))

    return jax.vmap(run)(batch)


def _only_row(y: Any) -> jax.Array:
    if not np.ndim(y) or y.shape[0] != 1:
        raise ValueError(
            "with shared=True apply gets a batch of one and returns one; got an output "
            f"of shape {np.shape(y)}. Return outputs with a batch axis first."
        )
    return y[0]


def _as_output(y: Any, kind: str) -> jax.Array:
    """Returns an output, in float32 or wider; raises unless it is of its kind."""
    y = jnp.asarray(y)
    if not jnp.issubdtype(y.dtype, jnp.floating):
        raise TypeError(
            f"outputs have a mean, so they are floating-point; got dtype {y.dtype}. "
            "Return values, probabilities or logits, not labels."
        )
    y = y.astype(real_dtype(y))
    if kind == "values":
        return y
    if not y.ndim or y.shape[-1] < 2:
        raise ValueError(
            f"the last axis of {kind} runs over two classes or more; got an output of "
            f"shape {y.shape}. Give both classes of a binary output: jnp.stack([1 - p, "
            "p], axis=-1), or for a logit [0, z]."
        )
    return jax.nn.softmax(y) if kind == "logits" else y


def _entropy(p: jax.Array) -> jax.Array:
    """In nats, over the last axis; p log p is 0 at 0."""
    return jax.scipy.special.entr(p).sum(axis=-1)
