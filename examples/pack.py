"""A tree of arrays and typed keys as one array of bytes, and back."""

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Tree = Any


def layout(tree: Tree) -> list[str]:
    """Name, dtype and shape of each leaf, as in `params.logits.bias float32[10]`.

    Of a key, those of its data.
    """
    structs = jax.eval_shape(lambda tree: jax.tree.map(_data, tree), tree)
    return [
        f"{jax.tree_util.keystr(path, simple=True, separator='.')} "
        f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(structs)
    ]


def pack(tree: Tree) -> np.ndarray:
    """The bytes of all leaves, one after the other, copied to the host."""
    leaves = [np.asarray(_data(leaf)) for leaf in jax.tree.leaves(tree)]
    return np.concatenate([leaf.reshape(-1).view(np.uint8) for leaf in leaves])


def unpack(content: np.ndarray, like: Tree) -> Tree:
    """The tree of some bytes.

    Args:
      content: What `pack` made of a tree of this layout.
      like: A tree of `jax.ShapeDtypeStruct`; an array goes where its sharding says.

    Returns:
      A tree of `jax.Array`.
    """
    leaves, structure = jax.tree.flatten(like)
    return jax.tree.unflatten(structure, _arrays(content, leaves))


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _data(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _arrays(content: np.ndarray, like: list[Any]) -> Iterator[jax.Array]:
    for leaf in like:
        data = jax.eval_shape(_data, leaf)
        size = data.dtype.itemsize * math.prod(data.shape)
        part, content = np.split(content, [size])
        host = part.view(data.dtype).reshape(data.shape)
        # From NumPy an array may go to the devices of other processes too.
        array = jax.device_put(host, leaf.sharding)
        if _is_key(leaf):
            impl = jax.random.key_impl(jnp.empty((), leaf.dtype))
            array = jax.random.wrap_key_data(array, impl=impl)
        yield array
