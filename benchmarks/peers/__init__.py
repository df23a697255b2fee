"""One adapter over each library that has dropout, jdrop's own included.

`base` is what may be asked; the other files answer for the libraries. An adapter
imports its library when it is made, so that a missing one stops no other.
"""

from benchmarks.peers import jax_libraries, others
from benchmarks.peers.base import Peer

PEERS: dict[str, type[Peer]] = {
    peer.name: peer
    for peer in (
        jax_libraries.Jdrop,
        jax_libraries.FlaxLinen,
        jax_libraries.FlaxNnx,
        jax_libraries.Equinox,
        jax_libraries.Haiku,
        jax_libraries.Keras,
        others.Torch,
        others.TensorFlow,
        jax_libraries.JdropLinen,
        jax_libraries.JdropNnx,
        others.TorchReference,
        others.Timm,
        others.Torchvision,
    )
}
"""Every adapter by its name."""
