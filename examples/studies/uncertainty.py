"""Do Monte-Carlo samples know what they do not know?

    python -m examples.studies.uncertainty

Four ways to predict: a network trained without dropout, one trained with it and then
switched off, the mean of 100 Monte-Carlo samples of that one (Gal and Ghahramani 2016,
https://arxiv.org/abs/1506.02142), and five networks without dropout (Lakshminarayanan
et al. 2017, https://arxiv.org/abs/1612.01474); on digits as they are, rotated, noised,
and with their pixels shuffled (after Ovadia et al. 2019,
https://arxiv.org/abs/1906.02530). About 3 minutes on two cores.
"""

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.ndimage import rotate

import jdrop
from examples.studies import study
from examples.studies.predictors import (
    BINS,
    MEMBERS,
    PREDICTORS,
    TRAIN_SIZE,
    networks,
    scores,
)
from jdrop import key_for

STEPS, SAMPLES = (300, 6000), 100
# Degrees; and the standard deviation of the noise, where that of the pixels is 1.
ROTATIONS, NOISE = (0, 15, 30, 45, 90), 1
SHIFTS = (
    "as they are",
    *(f"rotated by {degrees}" for degrees in ROTATIONS[1:]),
    f"noised by {NOISE}",
    "shuffled",
)
# Those of the table, the second of which has the reliability diagram.
SHOWN = (SHIFTS[0], "rotated by 30", "rotated by 90", *SHIFTS[-2:])
PERCENT = ("accuracy", "calibration_error", "detection", "confidence")
CURVES = {
    "accuracy": "Accuracy (%)",
    "loss": "Test loss (nats)",
    "calibration_error": "Expected calibration error (%)",
}
BARS = {
    "entropy": ("Entropy (nats)", SHOWN),
    "detection": ("Told apart from digits (%)", SHOWN[1:]),
}


def shifted(images: jax.Array) -> jax.Array:
    """The digits after each of the shifts: (shifts, examples, height, width, 1)."""
    key = jax.random.key(0)
    # Behind the corners lies the ground, the darkest pixel.
    turn = functools.partial(
        rotate, images, axes=(2, 1), reshape=False, order=1, cval=images.min()
    )
    flat = images.reshape(len(images), -1)
    shuffled = jax.random.permutation(
        key_for(key, "order"), flat, axis=1, independent=True
    )
    return jnp.stack(
        [
            *(jnp.asarray(turn(degrees)) for degrees in ROTATIONS),
            jdrop.gaussian_noise(key_for(key, "noise"), images, NOISE),
            shuffled.reshape(images.shape),
        ]
    )


def cells(options: study.Options) -> Iterator[study.Cell]:
    """Each way to predict: scores at two budgets, and bins at the last one."""
    budgets, samples = ((20, 40), 10) if options.quick else (STEPS, SAMPLES)
    images, labels = study.digits(TRAIN_SIZE)[1]
    images = shifted(images)

    def measure(what: str, way: str, steps: int, seeds: jax.Array) -> study.Values:
        params = networks(way in ("dropout", "Monte-Carlo"), steps, len(seeds))
        values, bins = scores(seeds, params, images, labels, way, samples)
        if what == "scores":
            names = "accuracy", "loss", "calibration_error", "entropy", "detection"
            return {name: values[name] for name in names} | {"step": range(len(SHIFTS))}
        turned = SHIFTS.index(SHOWN[1])
        of_turned = {name: value[:, turned] for name, value in bins._asdict().items()}
        return of_turned | {"step": range(BINS)}

    for steps, way in itertools.product(budgets, PREDICTORS):
        for what in ("scores", "bins") if steps == budgets[-1] else ("scores",):
            of_cell = {"what": what, "predictor": way, "steps": steps}
            yield study.Cell(of_cell, functools.partial(measure, what, way, steps))


def show(rows: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """A table of some shifts at both budgets; a figure of all after the last one."""
    early, late = rows.steps.min(), rows.steps.max()
    rows = rows.assign(**{column: 100 * rows[column] for column in PERCENT})
    text, thousandths = study.mean_and_error, {"digits": 3}
    lines = []
    for shift, way in itertools.product(SHOWN, PREDICTORS):
        these = rows[(rows.step == SHIFTS.index(shift)) & (rows.predictor == way)]
        these = these[these.what == "scores"]
        first, last = these[these.steps == early], these[these.steps == late]
        lines.append(
            {
                "digits": shift,
                "predictor": way,
                f"loss at {early}": text(first.loss, **thousandths),
                f"loss at {late}": text(last.loss, **thousandths),
                f"accuracy (%) at {late}": text(last.accuracy),
                "calibration error (%)": text(last.calibration_error),
                "entropy (nats)": text(last.entropy, **thousandths),
                "told apart (%)": text(last.detection),
            }
        )
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots(2, 3)
    for i, way in enumerate(PREDICTORS):
        of_way = rows[(rows.steps == late) & (rows.predictor == way)]
        style = {"color": study.COLORS[i], "label": way, "capsize": 2}
        draw(axes, of_way, np.arange(len(SHOWN)) + 0.2 * i, style)
    dress(axes)
    figure.suptitle(f"After {late} steps on {TRAIN_SIZE} digits")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return pd.DataFrame(lines), figure


def draw(axes: np.ndarray, rows: pd.DataFrame, places: Any, style: Any) -> None:
    """One way to predict in all panels, with standard errors over the seeds."""
    seen = rows[rows.what == "scores"].groupby("step")[[*CURVES, *BARS]]
    mean, error = seen.mean(), seen.sem()
    dots, turns = {"marker": "o", "markersize": 3, **style}, range(len(ROTATIONS))
    for ax, column in zip(axes[0], CURVES, strict=True):
        ax.errorbar(ROTATIONS, mean[column][turns], error[column][turns], **dots)
    for ax, (column, (_, shown)) in zip(axes[1, 1:], BARS.items(), strict=True):
        kinds = [SHIFTS.index(shift) for shift in shown]
        at = places[: len(kinds)]
        ax.bar(at, mean[column][kinds], 0.2, yerr=error[column][kinds], **style)
    # All seeds have a part in a bin; the error is that of a ratio of their sums.
    bins = rows[(rows.what == "bins") & (rows.examples > 0)]
    share = bins.examples / bins.groupby("step").examples.transform("sum")
    accuracy = (share * bins.accuracy).groupby(bins.step).sum()
    confidence = (share * bins.confidence).groupby(bins.step).sum()
    gaps = share * (bins.accuracy - accuracy[bins.step].values)
    axes[1, 0].errorbar(
        confidence, accuracy, (gaps**2).groupby(bins.step).sum() ** 0.5, **dots
    )


def dress(axes: np.ndarray) -> None:
    """Titles and scales."""
    for ax, title in zip(axes[0], CURVES.values(), strict=True):
        ax.set(title=title, xlabel="rotated by (degrees)", xticks=ROTATIONS)
    axes[0, 1].set(yscale="log", yticks=(0.1, 0.3, 1, 3, 10, 30))
    axes[0, 1].yaxis.set_major_formatter("{x:g}")
    axes[0, 1].minorticks_off()
    axes[1, 0].plot([0, 100], [0, 100], ":", color="0.3")
    axes[1, 0].set(xlabel="confidence (%)", title=f"Accuracy (%), {SHOWN[1]}")
    for ax, (title, shown) in zip(axes[1, 1:], BARS.values(), strict=True):
        words = [shift.replace(" ", "\n", 1) for shift in shown]
        ax.set_xticks(np.arange(len(shown)) + 0.3, words)
        ax.set(title=title)
    axes[1, 2].axhline(50, linestyle=":", color="0.3")
    for ax in axes.flat:
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    settings = {"steps": STEPS, "samples": SAMPLES, "members": MEMBERS}
    raise SystemExit(study.main("uncertainty", cells, show, settings=settings, seeds=6))
