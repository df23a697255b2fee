"""Dropout and its family for JAX: explicit keys, packed masks, a stream of its own.

Functions take a key first and consume it:

- `dropout`, `alpha_dropout`: drop single units.
- `sample_mask`, `apply_mask`, `Mask`: the packed mask, to hold or to share.
- `key_for`: a key for a layer, a step, a micro-batch, by name.

`jdrop.linen` and `jdrop.nnx` wrap them as Flax modules; import them explicitly.
"""

from jdrop._keys import key_for as key_for
from jdrop._mask import Mask as Mask
from jdrop._mask import apply_mask as apply_mask
from jdrop._mask import sample_mask as sample_mask
from jdrop._stream import STREAM as STREAM
from jdrop._units import alpha_dropout as alpha_dropout
from jdrop._units import dropout as dropout

__version__ = "0.1.0.dev0"
