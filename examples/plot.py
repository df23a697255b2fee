"""The curves of a run as a picture."""

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from examples.loop import Epoch

# Okabe and Ito's blue and vermilion: told apart with any colour vision.
COLORS = {"train": "#0072B2", "test": "#D55E00"}


def curves(history: Sequence[Epoch], title: str) -> bytes:
    """Draws loss and accuracy over the epochs, in training and in test.

    Args:
      history: The epochs, at least one.
      title: Shown above both plots.

    Returns:
      A PNG file.
    """
    figure = Figure(figsize=(10, 4.2), dpi=150, layout="constrained")
    figure.suptitle(title, fontsize=12)
    losses, accuracies = figure.subplots(1, 2)
    _plot(losses, history, "loss", scale=1, form="{:.4f}")
    losses.set(ylabel="cross-entropy (nats)", yscale="log")
    _plot(accuracies, history, "accuracy", scale=100, form="{:.1f} %")
    accuracies.set(ylabel="accuracy (%)", ylim=(None, 100.5))
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _plot(
    axes: Axes, history: Sequence[Epoch], field: str, *, scale: float, form: str
) -> None:
    epochs = range(1, len(history) + 1)
    for part, color in COLORS.items():
        values = [
            scale * float(getattr(getattr(epoch, part), field)) for epoch in history
        ]
        # A dot, or the curve of a single epoch would not be seen.
        marker = "o" if len(history) == 1 else None
        label = f"{part}, {form.format(values[-1])} at the end"
        axes.plot(epochs, values, color=color, label=label, marker=marker, lw=1.8)
    axes.set_title(f"{field}, evaluated without dropout", fontsize=10)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
