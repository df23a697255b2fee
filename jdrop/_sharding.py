"""Two ways to run under meshes with explicit axes, so that no value moves."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec, auto_axes, reshard


def sharded_like(
    x: jax.Array, function: Callable[..., jax.Array]
) -> Callable[..., Any]:
    """Makes a function place its result as x is placed, and its own work with it.

    Where the mesh of x has explicit axes, every array made inside would be replicated,
    so each device would draw every word. With these axes automatic inside, the
    placement of the result flows back to the draw, and each device draws its own.

    Args:
      x: An argument of the function, of the shape of its result.
      function: Takes and returns arrays.

    Returns:
      The function itself where no axis is explicit, or where others are manual, else
      the function so wrapped.
    """
    sharding = jax.typeof(x).sharding
    explicit = _axes(sharding.mesh, AxisType.Explicit)
    # Beside manual axes JAX refuses the residuals of auto_axes
    # (test_grad_of_shard_map_over_one_axis_of_two).
    if not explicit or _axes(sharding.mesh, AxisType.Manual):
        return function
    return auto_axes(function, axes=explicit, out_sharding=sharding)


def placed_like(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Places a mask as x is placed, along the axes that both have.

    It is where x is already, but under explicit axes beside manual ones: there each
    device drew the words of all explicit axes, and takes its part of them.
    """
    if not is_explicit(x):
        return mask
    sharding = jax.typeof(x).sharding
    spec = [
        name if size == whole else None
        for name, size, whole in zip(sharding.spec, mask.shape, x.shape, strict=True)
    ]
    return reshard(mask, NamedSharding(sharding.mesh, PartitionSpec(*spec)))


def is_explicit(x: jax.Array) -> bool:
    """Whether the type of x says how it is placed, along some axis of a mesh."""
    return bool(_axes(jax.typeof(x).sharding.mesh, AxisType.Explicit))


def is_manual(x: jax.Array) -> bool:
    """Whether x is the part of a device, inside shard_map."""
    return bool(_axes(jax.typeof(x).sharding.mesh, AxisType.Manual))


def is_partly_manual(x: jax.Array) -> bool:
    """Whether some axes of the mesh of x are manual, and others are not."""
    mesh = jax.typeof(x).sharding.mesh
    return 0 < len(_axes(mesh, AxisType.Manual)) < len(mesh.axis_names)


def _axes(mesh: Any, kind: AxisType) -> tuple[str, ...]:
    named = zip(mesh.axis_names, mesh.axis_types, strict=True)
    return tuple(name for name, axis_type in named if axis_type == kind)
