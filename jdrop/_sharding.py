"""One way to run under meshes with explicit axes: let the compiler place the draw."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, auto_axes


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
      The function itself where no axis is explicit, else the function so wrapped.
    """
    sharding = jax.typeof(x).sharding
    mesh = sharding.mesh
    explicit = tuple(
        name
        for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True)
        if kind == AxisType.Explicit
    )
    if not explicit:
        return function
    return auto_axes(function, axes=explicit, out_sharding=sharding)
