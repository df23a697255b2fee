"""Drop connect: dropout of weights, in a tree of parameters."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jdrop._arguments import Key, describe
from jdrop._calls import checked_call
from jdrop._keys import consume, key_for
from jdrop._mask import scale_kept
from jdrop._op import Op, apply

_WEIGHTS = ("kernel", "weight", "w")


@checked_call
def drop_connect(
    key: Key,
    params: Any,
    rate: ArrayLike,
    *,
    where: Callable[[str], bool] | None = None,
    deterministic: bool | jax.Array = False,
) -> Any:
    """Dropout of the weights in a tree of parameters.

    params' = m * params / keep, with m ~ Bernoulli(keep) for each weight, so that
    E[params'] = params, and the inputs of every layer keep their mean.

    Call it on the parameters and then the model on what it returns. The key of a leaf
    is derived from its path by `key_for`, so masks stay where they are when other
    layers come or go. All examples of a batch see the same weights; the paper draws for
    each example, which `jax.vmap` over keys does.

    Args:
      key: As in `dropout`.
      params: A tree of parameters: of Flax, haiku, equinox or plain dictionaries. An
        array by itself is one weight.
      rate: As in `dropout`.
      where: Which leaves are dropped from: takes a path such as "Dense_0/kernel" and
        returns a bool. By default, leaves of two axes or more whose name is
        "kernel", "weight" or "w": no biases, no scales, no embeddings.
      deterministic: True returns the parameters. A bool, concrete or traced.

    Returns:
      A tree like `params`, with the leaves that are not chosen as they are.

    Raises:
      ValueError: As in `dropout`, or if no leaf is chosen.
      TypeError: As in `dropout`, of a leaf that is chosen; or if `where` is no
        function.

    References:
      Wan, Zeiler, Zhang, LeCun and Fergus, 2013. Regularization of neural networks
      using DropConnect. https://proceedings.mlr.press/v28/wan13.html

    Examples:
      >>> import jax, jax.numpy as jnp, jdrop
      >>> params = {"kernel": jnp.ones((20, 50)), "bias": jnp.ones(50)}
      >>> dropped = jdrop.drop_connect(jax.random.key(0), params, 0.5)
      >>> print(jnp.unique(dropped["kernel"]), jnp.unique(dropped["bias"]))
      [0. 2.] [1.]
    """
    if where is not None and not callable(where):
        raise TypeError(
            "where is a function of the path of a leaf, or None for the weights; got "
            f"{describe(where)}. Pass where=lambda path: path.endswith('kernel')."
        )
    leaves, tree = jax.tree_util.tree_flatten_with_path(params)
    paths = [_name(path) for path, _ in leaves]
    chosen = [
        where(path) if where else _is_weight(path, leaf)
        for path, (_, leaf) in zip(paths, leaves, strict=True)
    ]
    if not any(chosen):
        raise ValueError(
            "drop_connect drops weights, and chose none: "
            f"got the paths {', '.join(paths)[:200] or 'of an empty tree'}. "
            "Pass where=lambda path: ..., True for those to drop from."
        )
    whole_key = functools.cache(lambda: consume(key() if callable(key) else key))

    def drop(path: str, leaf: Any) -> jax.Array:
        return apply(
            _DROP_CONNECT,
            lambda: key_for(whole_key(), path),
            (leaf,),
            rate,
            deterministic=deterministic,
        )

    dropped = [
        drop(path, leaf) if is_chosen else leaf
        for path, (_, leaf), is_chosen in zip(paths, leaves, chosen, strict=True)
    ]
    return jax.tree.unflatten(tree, dropped)


def _name(path: tuple[Any, ...]) -> str:
    """The names along a path; of Flax's nnx without that of what a variable holds."""
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    return name.removesuffix("/value")


def _is_weight(path: str, leaf: Any) -> bool:
    return not path or path.split("/")[-1] in _WEIGHTS and jnp.ndim(leaf) > 1


_DROP_CONNECT = Op("drop_connect", scale_kept, complex_ok=True)
