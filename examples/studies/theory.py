"""What does theory say of dropout, and does it hold?

    python -m examples.studies.theory

Four claims, each measured over up to 10,000 draws against what it predicts: least
squares on noisy inputs is ridge regression (Bishop 1995,
https://doi.org/10.1162/neco.1995.7.1.108); with dropout it is ridge regression with a
penalty weighted by the variance of each feature (Wager, Wang and Liang 2013,
https://arxiv.org/abs/1307.1493; Srivastava et al. 2014, section 9); dropout keeps the
expectation, E[x'] = x; and a network with scaled weights predicts what its sub-networks
predict on average (Srivastava et al. 2014, section 7.5,
https://jmlr.org/papers/v15/srivastava14a.html). About 3 minutes on two cores.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import lax
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import jdrop
from examples.studies import study
from examples.studies.subnetworks import averages, make
from jdrop import key_for

DRAWS: tuple[int, ...] = (1, 10, 100, 1000, 10_000)
# Least squares: 200 examples of 10 features, the largest 16 times the smallest.
EXAMPLES, SCALES = 200, jnp.geomspace(0.25, 4, 10)
OPS = {
    "input noise": lambda key, x: jdrop.gaussian_noise(key, x, 1.0),
    "dropout 0.5": lambda key, x: jdrop.dropout(key, x, 0.5),
    "gaussian dropout 0.5": lambda key, x: jdrop.gaussian_dropout(key, x, 0.5),
    "drop block 0.25": lambda key, x: jdrop.drop_block(key, x, 0.25, block_size=3),
    "alpha dropout 0.05": lambda key, x: jdrop.alpha_dropout(key, x, 0.05),
}
RIDGE = ("input noise", "dropout 0.5", "gaussian dropout 0.5")
MEAN = ("dropout 0.5", "drop block 0.25", "alpha dropout 0.05")
# Networks on 500 digits, after two budgets of steps. The last number of samples is
# drawn, and the others divide it.
TRAIN_SIZE, STEPS = 500, (300, 6000)
SAMPLES: tuple[int, ...] = (1, 2, 10, 100, 1000)
# Columns of the rows: what they are called, their scale and digits, and their line.
MEASURES: dict[str, tuple[str, float, int, str]] = {
    "predicted": ("from the ridge predicted (%)", 100, 2, "-"),
    "other": ("from the other one (%)", 100, 2, "--"),
    "error": ("from x (%)", 100, 2, "-"),
    "scaled": ("loss, scaled weights", 1, 4, "-"),
    "mean": ("loss, mean", 1, 4, "-"),
    "pairs": ("loss, mean of antithetic pairs", 1, 4, "--"),
    "geometric": ("loss, geometric mean", 1, 4, "-."),
    "scaled_accuracy": ("accuracy (%), scaled weights", 100, 1, ""),
    "mean_accuracy": ("accuracy (%), mean", 100, 1, ""),
    "variance": ("variance, pairs / independent (%)", 100, 1, ""),
}
AXES = {
    "ridge": ("Least squares on noisy copies", "copies", "distance of the weights (%)"),
    "mean": ("The mean of x'", "draws", "distance from x (%)"),
}


def running_means(
    draw: Callable[[jax.Array], Any], key: jax.Array, counts: Sequence[int]
) -> Any:
    """The means of the first of many draws, as many as `counts` says: (counts, ...)."""

    def add(i: jax.Array, total: Any) -> Any:
        return jax.tree.map(jnp.add, total, draw(key_for(key, i)))

    def part(carry: tuple[jax.Array, Any], last: jax.Array) -> Any:
        total = lax.fori_loop(carry[0], last, add, carry[1])
        means = jax.tree.map(lambda t: t / last.astype(t.dtype), total)
        return (last, total), means

    like = jax.eval_shape(draw, key)
    nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), like)
    return lax.scan(part, (jnp.int32(0), nothing), jnp.array(counts))[1]


def regress(seed: jax.Array, op: str, draws: Sequence[int]) -> study.Values:
    """Least squares on noisy copies: its distances from what theory may predict.

    They are relative to the weights of plain least squares.
    """
    key = jax.random.key(seed)
    x = jax.random.normal(key_for(key, "x"), (EXAMPLES, len(SCALES))) * SCALES
    weights = jax.random.normal(key_for(key, "weights"), SCALES.shape)
    y = x @ weights + jax.random.normal(key_for(key, "y"), (EXAMPLES,))

    def moments(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        noisy = OPS[op](key, x)
        return noisy.T @ noisy, noisy.T @ y

    def ridge(penalty: jax.Array) -> jax.Array:
        return jnp.linalg.solve(x.T @ x + jnp.diag(penalty), x.T @ y)

    # The penalty is the variance of the noise, summed over the examples: of dropout at
    # rate 0.5 that is the square of x. The other one has the same for all features.
    squares = (x**2).sum(axis=0)
    none, all_alike = jnp.zeros_like(squares), jnp.full_like(squares, squares.mean())
    penalties = {"predicted": squares, "other": all_alike}
    if op == "input noise":
        penalties = {"predicted": jnp.full_like(squares, EXAMPLES), "other": none}
    grams, products = running_means(moments, key_for(key, "noise"), draws)
    found, plain = jax.vmap(jnp.linalg.solve)(grams, products), ridge(none)

    def distance(penalty: jax.Array) -> jax.Array:
        gap = jnp.linalg.norm(found - ridge(penalty)[None], axis=-1)
        return gap / jnp.linalg.norm(plain)

    return jax.tree.map(distance, penalties)


def expect(seed: jax.Array, op: str, draws: Sequence[int]) -> study.Values:
    """How far the mean of the draws is from x: root mean square, relative to x."""
    x = jax.random.normal(jax.random.key(0), (64, 8, 8, 1))
    means = running_means(lambda key: OPS[op](key, x), jax.random.key(seed), draws)
    squares = ((means - x[None]) ** 2).mean(axis=(1, 2, 3, 4))
    return {"error": jnp.sqrt(squares / (x**2).mean())}


def cells(options: study.Options) -> Iterator[study.Cell]:
    """The claims on least squares and on the mean, then those on trained networks."""
    draws, budgets, counts = DRAWS, STEPS, SAMPLES
    if options.quick:
        draws, budgets, counts = DRAWS[:2], (20, 40), SAMPLES[:3]

    def linear(one: Any, op: str, seeds: jax.Array) -> study.Values:
        of_seed = functools.partial(one, op=op, draws=draws)
        return {**jax.jit(functools.partial(lax.map, of_seed))(seeds), "step": draws}

    def trained(steps: int, seeds: jax.Array) -> study.Values:
        split = study.digits(TRAIN_SIZE)
        params, _ = study.trained(make, {}, split, seeds, steps=steps)
        # One seed after another: a thousand samples of one are large enough.
        of_seeds = lax.map(lambda s: averages(*s, split[1], counts), (seeds, params))
        return {**of_seeds, "step": counts}

    for claim, one, op in (
        *(("ridge", regress, op) for op in RIDGE),
        *(("mean", expect, op) for op in MEAN),
    ):
        labels = {"claim": claim, "case": op}
        yield study.Cell(labels, functools.partial(linear, one, op))
    for steps in budgets:
        labels = {"claim": "network", "case": f"{steps} steps"}
        yield study.Cell(labels, functools.partial(trained, steps))


def show(rows: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """What was measured against the number of draws: a table, and a panel a claim."""
    figure, lines = Figure(figsize=(10, 8.4), layout="constrained"), []
    panels = rows.claim.where(rows.claim != "network", rows.case)
    axes = dict(zip(panels.unique(), figure.subplots(2, 2).flat, strict=True))
    for panel, ax in axes.items():
        ax.set_prop_cycle(color=study.COLORS)
        of_network = f"Sub-networks after {panel}", "samples", "test loss (nats)"
        title, xlabel, ylabel = AXES.get(panel, of_network)
        ax.set(title=title, xlabel=xlabel, ylabel=ylabel, xscale="log")
        ax.set_yscale("log" if panel in AXES else "linear")
    long = rows.assign(panel=panels).melt(
        ["panel", "claim", "case", "seed", "step"], [*MEASURES], "measured"
    )
    groups = long.dropna().groupby(["panel", "claim", "case", "measured"], sort=False)
    for (panel, claim, case, measured), part in groups:
        words, scale, digits, line = MEASURES[measured]
        by_count = part.groupby("step").value
        texts = {
            f"{count:,}": study.mean_and_error(values, scale, digits)
            for count, values in by_count
            if count in DRAWS
        }
        lines.append({"claim": claim, "case": case, "measured": words, **texts})
        if line:
            label = words if claim == "network" else f"{case}, {measured}"
            draw(axes[panel], scale * by_count.agg(["mean", "sem"]), line, label)
    draws = np.unique(rows.step[rows.claim == "mean"])
    axes["mean"].plot(draws, 100 / draws**0.5, "k:", label="1 / sqrt(draws)")
    for ax in axes.values():
        # Below the panel, where no curve runs.
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.15)}
        ax.legend(frameon=False, fontsize=8, ncols=2, **place)
    return pd.DataFrame(lines).fillna(""), figure


def draw(ax: Axes, seen: pd.DataFrame, line: str, label: str) -> None:
    """The mean over seeds and, as a band, its standard error."""
    (curve,) = ax.plot(seen.index, seen["mean"], line, label=label)
    low, high = seen["mean"] - seen["sem"], seen["mean"] + seen["sem"]
    ax.fill_between(seen.index, low, high, color=curve.get_color(), alpha=0.2, lw=0)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25)


if __name__ == "__main__":
    settings = {"steps": STEPS, "draws": DRAWS, "samples": SAMPLES}
    raise SystemExit(study.main("theory", cells, show, settings=settings))
