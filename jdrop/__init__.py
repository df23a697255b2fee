"""Dropout and its family for JAX: explicit keys, packed masks, a stream of its own.

Functions take a key first and consume it:

- `dropout`, `alpha_dropout`: drop single units.
- `attention_dropout`, `blockwise_attention`: drop attention weights.
- `sample_mask`, `apply_mask`, `Mask`: the packed mask, to hold or to share.
- `key_for`: a key for a layer, a step, a micro-batch, by name.
- `mc_predict`, `Prediction`: the mean and the doubt of many dropped-out predictions.

`jdrop.linen` and `jdrop.nnx` wrap them as Flax modules; import them explicitly.
`STREAM` names the bit stream that this version draws.
"""

from jdrop._keys import key_for
from jdrop._mask import Mask, apply_mask, sample_mask
from jdrop._ops.attention import attention_dropout, blockwise_attention
from jdrop._ops.units import alpha_dropout, dropout
from jdrop._predict import Prediction, mc_predict
from jdrop._stream import STREAM

__all__ = [
    "STREAM",
    "Mask",
    "Prediction",
    "alpha_dropout",
    "apply_mask",
    "attention_dropout",
    "blockwise_attention",
    "dropout",
    "key_for",
    "mc_predict",
    "sample_mask",
]
__version__ = "0.1.0.dev0"
