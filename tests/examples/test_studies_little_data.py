"""How the study of little data chooses a weight decay for the comparison."""

import pandas as pd

from examples.studies.little_data import DECAY, chosen

ROWS = pd.DataFrame(
    [
        # One seed beats every other, and its decay is not the best on average.
        ("weight decay 0.1", 0.1, 0.90),
        ("weight decay 0.1", 0.9, 0.90),
        ("weight decay 1", 0.3, 0.80),
        ("weight decay 1", 0.4, 0.85),
        ("none", 0.2, 0.99),
    ],
    columns=["method", "test_loss", "test_accuracy"],
)


def test_each_measure_has_the_decay_that_is_best_by_its_mean():
    assert chosen(ROWS, DECAY, "test_loss").tolist() == [0.3, 0.4]
    assert chosen(ROWS, DECAY, "test_accuracy").tolist() == [0.9, 0.9]
    assert chosen(ROWS, "none", "test_loss").tolist() == [0.2]
