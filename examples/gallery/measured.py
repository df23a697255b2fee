"""What an op keeps or learns, measured: a picture a page, of histograms and curves."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from jax import lax
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import jdrop


def canvas(columns: int) -> tuple[Figure, list[Axes]]:
    """A figure of plots side by side."""
    figure, axes = plt.subplots(1, columns, figsize=(9, 2.8), layout="constrained")
    for place in axes:
        place.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)


def histogram(place: Axes, y: jax.Array, title: str) -> None:
    """The share of numbers in each bin, and their moments."""
    numbers = np.asarray(y).ravel()
    place.hist(numbers, bins=61, weights=np.full(numbers.size, 1 / numbers.size))
    place.set_title(
        f"{title}\nmean {float(y.mean()):z.2f}, variance {y.var():.2f}", size=10
    )


def alpha_dropout(key: jax.Array) -> Figure:
    """Numbers of mean 0 and variance 1: what both kinds of dropout make of them."""
    keys = jax.random.split(key, 3)
    x = jax.random.normal(keys[0], (200, 1000))
    figure, places = canvas(3)
    histogram(places[0], x, "x")
    histogram(places[1], jdrop.dropout(keys[1], x, 0.3), "dropout, 0.3")
    histogram(places[2], jdrop.alpha_dropout(keys[2], x, 0.3), "alpha_dropout, 0.3")
    for place in places:
        place.set(xlim=(-4, 4), ylim=(0, 0.35), xlabel="value")
    return figure


def gaussian_dropout(key: jax.Array) -> Figure:
    """What becomes of ones: noise of the same mean and variance, of another kind."""
    keys, x = jax.random.split(key, 3), jnp.ones((200, 1000))
    figure, places = canvas(3)
    histogram(places[0], jdrop.dropout(keys[0], x, 0.2), "dropout, 0.2")
    y = jdrop.gaussian_dropout(keys[1], x, 0.2)
    histogram(places[1], y, "gaussian_dropout, 0.2")
    y = jdrop.gaussian_noise(keys[2], x, 0.5)
    histogram(places[2], y, "gaussian_noise, 0.5")
    for place in places:
        place.set(xlim=(-1, 3), xlabel="what x = 1 becomes")
    return figure


def zoneout(key: jax.Array) -> Figure:
    """Units that remember a 1, and one that follows a curve."""
    steps, units, rate = 40, 1000, 0.1
    keys = jax.vmap(lambda i: jdrop.key_for(key, "step", i))(jnp.arange(steps))
    target = jnp.sin(jnp.arange(steps) / 5)

    def forget(state: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = jdrop.dropout(key, state, rate)
        return state, (state != 0).mean()

    def hold(state: jax.Array, step: Any) -> tuple[jax.Array, jax.Array]:
        key, x = step
        state = jdrop.zoneout(key, jnp.full_like(state, x), state, 0.5)
        return state, state

    left = lax.scan(forget, jnp.ones(units), keys)[1]
    states = lax.scan(hold, jnp.zeros(2), (keys, target))[1]
    # At evaluation, the expectation: half of the new state and half of the one before.
    mean = lax.scan(lambda h, x: ((h + x) / 2,) * 2, jnp.float32(0), target)[1]
    figure, (first, second) = canvas(2)
    first.plot(left, label="a fresh mask at every step")
    first.axhline(1 - rate, color="C1", label="one mask for all steps")
    first.set(title="units that still hold what they held, rate 0.1", ylim=(0, 1.2))
    second.plot(target, "k:", label="new state")
    second.step(range(steps), states, where="mid", label=["one unit", "another"])
    second.plot(mean, "C3", label="deterministic=True")
    second.set(title="zoneout, 0.5")
    for place in (first, second):
        place.set_xlabel("step")
        place.legend(fontsize=8)
    return figure


def concrete_dropout(key: jax.Array) -> Figure:
    """The soft mask, and rates on their way to what the data ask for."""
    figure, (first, second) = canvas(2)
    for t in (0.1, 2 / 3):
        factor = jdrop.concrete_dropout(key, jnp.ones(100_000), 0.3, temperature=t)
        first.hist(
            1 - 0.7 * np.asarray(factor),
            bins=50,
            density=True,
            alpha=0.6,
            label=f"temperature {t:.2g}",
        )
    first.set(
        title="z at rate 0.3; where z is 1, x is dropped", xlabel="z", ylim=(0, 8)
    )
    for colour, examples in enumerate((30, 3000)):
        rates = jax.vmap(lambda start, n=examples: learned_rates(key, n, start))(
            jnp.array([0.05, 0.5])
        )
        label = [f"{examples} examples", None]
        second.plot(rates.T, color=f"C{colour}", label=label)
    second.set(title="the rate, learned", xlabel="step", ylim=(0, 0.6))
    for place in (first, second):
        place.legend(fontsize=8)
    return figure


def learned_rates(key: jax.Array, examples: int, start: jax.Array) -> jax.Array:
    """The rate at each step of a regression by 10 of 20 features, with noise."""
    keys = jax.random.split(key, 4)
    x = jax.random.normal(keys[0], (examples, 20))
    y = x[:, :10].sum(1) / 3 + jax.random.normal(keys[1], (examples,))
    scales = {"weight_scale": 1 / examples, "dropout_scale": 2 / examples}

    def loss(params: Any, key: jax.Array) -> jax.Array:
        rate = jax.nn.sigmoid(params["logit"])
        predicted = jdrop.concrete_dropout(key, x, rate) @ params["w"]
        squares = (params["w"] ** 2).sum()
        penalty = jdrop.concrete_regulariser(rate, squares, 20, **scales)
        return ((predicted - y) ** 2).mean() + penalty

    def step(state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        params, optimizer_state = state
        grads = jax.grad(loss)(params, key)
        updates, optimizer_state = optimizer.update(grads, optimizer_state)
        params = optax.apply_updates(params, updates)
        return (params, optimizer_state), jax.nn.sigmoid(params["logit"])

    optimizer = optax.adam(0.01)
    params = {
        "w": 0.1 * jax.random.normal(keys[2], (20,)),
        "logit": jax.scipy.special.logit(start),
    }
    state = (params, optimizer.init(params))
    return lax.scan(step, state, jax.random.split(keys[3], 1500))[1]


def mc_predict(key: jax.Array) -> Figure:
    """A curve, learned where there are data, and the doubt where there are none."""
    keys = jax.random.split(key, 4)
    x = jax.random.uniform(keys[0], (60, 1), minval=-1, maxval=1)
    y = jnp.sin(4 * x) + 0.1 * jax.random.normal(keys[1], x.shape)

    def apply(key: jax.Array | None, weights: Any, x: jax.Array) -> jax.Array:
        for i, (w, b) in enumerate(weights[:-1]):
            own = None if key is None else jdrop.key_for(key, i)
            x = jax.nn.relu(x @ w + b[None])
            x = jdrop.dropout(own, x, 0.1, deterministic=key is None)
        w, b = weights[-1]
        return x @ w + b[None]

    def step(state: Any, key: jax.Array) -> tuple[Any, None]:
        weights, optimizer_state = state
        grads = jax.grad(lambda w: ((apply(key, w, x) - y) ** 2).mean())(weights)
        updates, optimizer_state = optimizer.update(grads, optimizer_state)
        return (optax.apply_updates(weights, updates), optimizer_state), None

    sizes = (1, 64, 64, 1)
    weights = [
        (jax.random.normal(jdrop.key_for(keys[2], i), pair) * (2 / pair[0]) ** 0.5, b)
        for i, pair in enumerate(zip(sizes, sizes[1:], strict=False))
        for b in [jnp.zeros(pair[1])]
    ]
    optimizer = optax.adam(0.003)
    state = (weights, optimizer.init(weights))
    (weights, _), _ = lax.scan(step, state, jax.random.split(keys[3], 2000))

    at = jnp.linspace(-2, 2, 200)[:, None]
    seen = jdrop.mc_predict(apply, key, 200, weights, at)
    middle, spread = seen.mean[:, 0], 2 * jnp.sqrt(seen.variance[:, 0])
    figure, (first, second) = canvas(2)
    for i in range(12):
        one = apply(jdrop.key_for(key, "sample", i), weights, at)
        first.plot(at, one, "C0", linewidth=0.7, alpha=0.6)
    first.set_title("12 samples")
    second.fill_between(at[:, 0], middle - spread, middle + spread, alpha=0.3)
    second.plot(at, middle, label="mean, and two deviations")
    second.plot(at, apply(None, weights, at), "C3--", label="dropout off")
    second.set_title("200 samples")
    for place in (first, second):
        place.plot(x, y, "k.", markersize=3)
        place.set(ylim=(-4, 4), xlabel="x")
    second.legend(fontsize=8)
    return figure


PICTURES: dict[str, Callable[[jax.Array], Figure]] = {
    "alpha_dropout": alpha_dropout,
    "gaussian_dropout": gaussian_dropout,
    "zoneout": zoneout,
    "concrete_dropout": concrete_dropout,
    "mc_predict": mc_predict,
}
