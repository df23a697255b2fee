"""Dropout and its family for JAX: explicit keys, packed masks, a stream of its own.

Functions take a key first and consume it:

- `dropout`, `alpha_dropout`: drop single units.
- `feature_dropout`, `feature_alpha_dropout`: drop whole channels.
- `drop_block`: drop regions of a map.
- `token_dropout`: remove tokens of a sequence.
- `drop_path`, `drop_path_rates`: drop the branches of residual blocks.
- `gaussian_dropout`, `gaussian_noise`: noise in place of a mask.
- `concrete_dropout`, `concrete_regulariser`: a rate that is learned.
- `drop_connect`: drop weights, in a tree of parameters.
- `zoneout`: units of a recurrent network that keep their state for a step.
- `attention_dropout`, `blockwise_attention`: drop attention weights.
- `sample_mask`, `apply_mask`, `Mask`: the packed mask, to hold or to share.
- `key_for`: a key for a layer, a step, a micro-batch, by name.
- `mc_predict`, `Prediction`: the mean and the doubt of many dropped-out predictions.

`jdrop.linen` and `jdrop.nnx` wrap them as Flax modules; import them explicitly.
`STREAM` names the bit stream that this version draws.
"""

from jdrop._keys import key_for
from jdrop._mask import Mask, apply_mask, sample_mask
from jdrop._ops.alpha import alpha_dropout, feature_alpha_dropout
from jdrop._ops.attention import attention_dropout, blockwise_attention
from jdrop._ops.blocks import drop_block
from jdrop._ops.concrete import concrete_dropout, concrete_regulariser
from jdrop._ops.features import drop_path, drop_path_rates, feature_dropout
from jdrop._ops.noise import gaussian_dropout, gaussian_noise
from jdrop._ops.recurrent import zoneout
from jdrop._ops.tokens import token_dropout
from jdrop._ops.units import dropout
from jdrop._ops.weights import drop_connect
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
    "concrete_dropout",
    "concrete_regulariser",
    "drop_block",
    "drop_connect",
    "drop_path",
    "drop_path_rates",
    "dropout",
    "feature_alpha_dropout",
    "feature_dropout",
    "gaussian_dropout",
    "gaussian_noise",
    "key_for",
    "mc_predict",
    "sample_mask",
    "token_dropout",
    "zoneout",
]
__version__ = "0.1.0.dev0"
