"""Draw and apply as one operation, which a platform's kernel may compute.

JAX sees a primitive: linear in x but for a shift, and its own derivative and transpose.
It takes the packed words too, for platforms without a kernel; where there is one they
are of no use, and XLA does not draw them. The choice is made when a program is lowered.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir

from jdrop import _kernel, _select, _stream
from jdrop._part import Part, fuse, fuse_in_parts, takes
from jdrop._sharding import is_explicit, is_manual, is_partly_manual
from jdrop._stream import Rate
from jdrop._window import Start


class Source(NamedTuple):
    """What the words of a mask were drawn from.

    Attributes:
      seed: Two words.
      start: Where the mask begins in that of a larger array.
      rate: The realised rate.
    """

    seed: jax.Array
    start: Start
    rate: Rate


def part_of(source: Source, shape: tuple[int, ...], x: jax.Array) -> Part | None:
    """What a kernel may compute, or None where none will.

    A process that has no such device does not ask: a program that may be partitioned
    by a rule of our own cannot be lowered for a mesh without devices.
    """
    kernels = _kernel.KERNELS
    if not kernels or (not _kernel.ASKED and jax.default_backend() not in kernels):
        return None
    if not source.rate.pairs or shape != x.shape or x.ndim < 2:
        return None
    if is_explicit(x) or is_partly_manual(x):
        return None
    start, pairs = source.start, source.rate.pairs
    if not all(isinstance(size, int) for size in (*shape, *(start.within or ()))):
        return None
    part = Part(start.within or shape, start.is_aligned, pairs)
    return part if any(takes(name, part, x) for name in kernels.values()) else None


def affine(
    part: Part, source: Source, words: jax.Array, x: jax.Array, *scalars: jax.Array
) -> jax.Array:
    """Computes scale * x + shift where a bit is 1, `dropped` elsewhere."""
    index = [jnp.uint32(0 if i is None else i) for i in source.start.index]
    index += [jnp.uint32(0)] * (x.ndim - len(index))
    numbers = jnp.stack([s.astype(jnp.float32) for s in scalars])
    threshold = jnp.asarray(_stream.threshold(source.rate.value))
    drawn = jnp.concatenate([source.seed, threshold[None]])
    return _bind(part, drawn, jnp.stack(index), numbers, words, x)


def _plain(
    part: Part,
    drawn: jax.Array,
    index: jax.Array,
    scalars: jax.Array,
    words: jax.Array,
    x: jax.Array,
) -> jax.Array:
    """Without a kernel, and of words that were drawn."""
    return _select.affine(part.layouts(x.shape)[1], x.shape, words, x, *scalars)


_PRIMITIVE = Primitive("jdrop_affine")


def _bind(part: Part, *operands: jax.Array) -> jax.Array:
    """The primitive, with what is partitioned in sight of JAX, which looks for it."""
    x = operands[-1]
    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in operands]
    kernels = {
        platform: functools.partial(_with, kernel, part)
        for platform, kernel in _kernel.KERNELS.items()
        if platform != "tpu" and takes(kernel, part, x)
    }
    # In shard_map each device has its part already.
    programs = [
        None
        if is_manual(x)
        else jax.make_jaxpr(functools.partial(kernel, fuse_in_parts))(*shapes)
        for kernel in kernels.values()
    ]
    y: jax.Array = _PRIMITIVE.bind(
        *operands, part=part, platforms=tuple(kernels), programs=tuple(programs)
    )
    return y


def _with(
    kernel: str, part: Part, compute: Callable[..., jax.Array], *operands: jax.Array
) -> jax.Array:
    """With a kernel, which needs no words."""
    drawn, index, scalars, _, x = operands
    columns = jnp.asarray(_kernel.column_numbers(kernel, x))
    return compute(kernel, part, drawn, index, scalars, columns, x)


def _impl(
    *operands: jax.Array, part: Part, platforms: Sequence[str], programs: Sequence[Any]
) -> jax.Array:
    def branch(platform: str, program: Any) -> Callable[..., jax.Array]:
        if program is None:
            return functools.partial(_with, _kernel.KERNELS[platform], part, fuse)
        return lambda *operands: jaxpr_as_fun(program)(*operands)[0]

    branches = {n: branch(n, p) for n, p in zip(platforms, programs, strict=True)}
    default = functools.partial(_plain, part)
    y: jax.Array = lax.platform_dependent(*operands, **branches, default=default)
    return y


def _lower_for_tpu(
    context: mlir.LoweringRuleContext, *operands: Any, part: Part, **how: Any
) -> Any:
    """JAX partitions nothing by rules for a TPU (jax-ml/jax, issue 38196)."""
    axes = context.module_context.axis_context
    if isinstance(axes, mlir.SPMDAxisContext):
        is_alone = set(axes.manual_axes) == set(axes.mesh.axis_names)
    else:
        is_alone = getattr(axes, "num_devices", 1) == 1
    function = functools.partial(_plain, part)
    if is_alone and takes("tpu", part, context.avals_in[-1]):
        function = functools.partial(_with, "tpu", part, fuse)
    return mlir.lower_fun(function, multiple_results=False)(context, *operands)


def _jvp(
    primals: Sequence[jax.Array], tangents: Sequence[Any], *, part: Part, **how: Any
) -> tuple[jax.Array, Any]:
    drawn, index, scalars, words, x = primals
    *_, of_scalars, _, of_x = tangents
    y = _PRIMITIVE.bind(*primals, part=part, **how)
    total: Any = ad.Zero(jax.typeof(x).to_tangent_aval())
    if not isinstance(of_x, ad.Zero):
        # A tangent is scaled alone: no shift, and nothing where it is dropped.
        scale = jnp.stack([scalars[0], jnp.zeros_like(scalars[0])])
        total = _bind(part, drawn, index, scale, words, of_x)
    if not isinstance(of_scalars, ad.Zero):

        def plain(scalars: jax.Array) -> jax.Array:
            return _plain(part, drawn, index, scalars, words, x)

        _, along = jax.jvp(plain, (scalars,), (of_scalars,))
        total = along if isinstance(total, ad.Zero) else total + along
    return y, total


def _transpose(cotangent: Any, *operands: Any, part: Part, **how: Any) -> Sequence[Any]:
    *others, x = operands
    assert ad.is_undefined_primal(x)
    if isinstance(cotangent, ad.Zero):
        return [*[None] * len(others), ad.Zero(x.aval)]
    y = _PRIMITIVE.bind(*others, cotangent, part=part, **how)
    return [*[None] * len(others), y]


def _batch(
    operands: Sequence[jax.Array], axes: Sequence[Any], *, part: Part, **how: Any
) -> tuple[jax.Array, int]:
    return jax.vmap(functools.partial(_plain, part), tuple(axes))(*operands), 0


_PRIMITIVE.def_impl(_impl)
_PRIMITIVE.def_abstract_eval(lambda *operands, **_: operands[-1])
ad.primitive_jvps[_PRIMITIVE] = _jvp
ad.primitive_transposes[_PRIMITIVE] = _transpose
batching.primitive_batchers[_PRIMITIVE] = _batch
mlir.register_lowering(_PRIMITIVE, mlir.lower_fun(_impl, multiple_results=False))
if "tpu" in _kernel.KERNELS:
    mlir.register_lowering(_PRIMITIVE, _lower_for_tpu, platform="tpu")
