"""Dropout and its family for JAX: explicit keys, packed masks, a stream of its own.

Functions take a key first and consume it:

- `dropout`, `alpha_dropout`: drop single units.
- `sample_mask`, `apply_mask`, `Mask`: the packed mask, to hold or to share.
- `key_for`: a key for a layer, a step, a micro-batch, by name.

`jdrop.linen` and `jdrop.nnx` wrap them as Flax modules; import them explicitly.
`STREAM` names the bit stream that this version draws.
"""

from jdrop._keys import key_for
from jdrop._mask import Mask, apply_mask, sample_mask
from jdrop._ops.units import alpha_dropout, dropout
from jdrop._stream import STREAM

__all__ = [
    "STREAM",
    "Mask",
    "alpha_dropout",
    "apply_mask",
    "dropout",
    "key_for",
    "sample_mask",
]
__version__ = "0.1.0.dev0"
