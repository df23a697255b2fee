"""The libraries that `benchmarks.behaviour` looks at, one adapter each.

`base` is what a probe may ask; the other files answer for the libraries.
An adapter imports its library when it is made, so a missing one stops no other.
"""

from benchmarks.peers import jax_peers, keras_peers, tensorflow_peers, torch_peers
from benchmarks.peers.base import Peer

PEERS: dict[str, type[Peer]] = {
    peer.name: peer
    for peer in (
        jax_peers.Jdrop,
        jax_peers.FlaxLinen,
        jax_peers.FlaxNnx,
        jax_peers.Equinox,
        jax_peers.Haiku,
        keras_peers.Keras,
        torch_peers.Torch,
        tensorflow_peers.TensorFlow,
        jax_peers.JdropLinen,
        jax_peers.JdropNnx,
        torch_peers.TorchReference,
        torch_peers.Timm,
        torch_peers.Torchvision,
    )
}
"""Every adapter by the name of its column, in the order of the tables."""
