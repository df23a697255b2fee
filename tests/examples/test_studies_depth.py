"""The network of twenty layers: its parameters, and what it notes of its layers."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from examples.studies.depth import NETWORKS, Deep
from examples.studies.learning import network
from jdrop.linen import AlphaDropout


@pytest.mark.parametrize(("side", "parameters"), [(28, 271_410), (8, 199_410)])
def test_the_parameters_are_as_many_as_tutorials_say(side: int, parameters: int):
    deep = Deep(*NETWORKS["SELU, LeCun"], AlphaDropout, 0.2, 0.0)
    net = network(deep, (side, side, 1))
    params, _ = jax.eval_shape(net.init, jax.random.key(0))
    assert sum(math.prod(a.shape) for a in jax.tree.leaves(params)) == parameters


@pytest.mark.slow
def test_the_moments_are_those_of_each_layer():
    net = network(Deep(*NETWORKS["ReLU, He"], AlphaDropout, 0.0, 0.0))
    images = jax.random.normal(jax.random.key(0), (50, 8, 8, 1))
    params, stats = net.init(jax.random.key(1))
    _, stats = net.train(params, stats, images, jax.random.key(2))
    x, expected = images.reshape(50, 64), []
    first, others = params["Layer_0"], params["ScanLayer_0"]
    layers = [first] + [jax.tree.map(lambda a, i=i: a[i], others) for i in range(19)]
    for layer in layers:
        dense = layer["Dense_0"]
        x = nn.relu(x @ dense["kernel"] + dense["bias"][None])
        expected.append([x.mean(), x.var()])
    np.testing.assert_allclose(stats["moments"], jnp.array(expected), rtol=1e-4)
