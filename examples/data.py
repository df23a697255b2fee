"""Images and labels: the digits of scikit-learn, or a data set of TFDS."""

from typing import NamedTuple

import numpy as np

from examples.errors import BadInput

# Held out of the 1797 digits for the test; 1197 remain for training.
DIGITS_TEST_SIZE = 600
# Makes the order of the examples, and so the split, whatever the seed of a run.
SPLIT_SEED = 0


class Dataset(NamedTuple):
    """A data set, its images standardised by the mean and deviation of training.

    Attributes:
      train_images: Float32 array (examples, height, width, channels).
      train_labels: Class indices, int32 array (examples,).
      test_images: As for training.
      test_labels: As for training.
      classes: Number of classes.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: int


class Split(NamedTuple):
    """Raw pixels (examples, height, width, channels), and labels (examples,)."""

    images: np.ndarray
    labels: np.ndarray


def stratified_order(labels: np.ndarray) -> np.ndarray:
    """Shuffles examples such that every prefix has nearly the shares of the classes.

    The k-th of the n examples of a class, in random order, is put at (k + u) / n of
    the way, u uniform in [0, 1).

    Args:
      labels: Class indices (examples,).

    Returns:
      A permutation of the examples; the same in every run and every NumPy version.
    """
    # The stream of RandomState is frozen; that of numpy.random.Generator is not.
    random = np.random.RandomState(SPLIT_SEED)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        place[members] = (np.arange(len(members)) + random.rand()) / len(members)
    return np.argsort(place, kind="stable")


def load(
    name: str,
    *,
    train_size: int | None = None,
    data_dir: str | None = None,
    download: bool = False,
) -> Dataset:
    """Loads a data set.

    Args:
      name: "digits", or the name of an image classification data set of TFDS.
      train_size: Training examples to use, the same ones in every run and of every
        class its share; a smaller set is part of a larger one. None uses all.
      data_dir: Where TFDS keeps its data sets; None is its default.
      download: Whether TFDS may download and prepare what it does not find.

    Returns:
      The data set.

    Raises:
      BadInput: If the data set cannot be had, or has fewer training examples.
    """
    if name == "digits":
        train, test, classes = _digits()
    else:
        from examples import tfds_data

        train, test, classes = tfds_data.load(name, data_dir, download)
        order = stratified_order(train.labels)
        train = Split(train.images[order], train.labels[order])
    if train_size is not None and train_size > len(train.labels):
        raise BadInput(
            f"--train-size is at most {len(train.labels)}, the training examples of "
            f"{name}; got {train_size}."
        )
    return _standardised(Split(*(a[:train_size] for a in train)), test, classes)


def _digits() -> tuple[Split, Split, int]:
    """8x8 digits, split by one stratified order: first training, then test."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise BadInput(
            "the digits are bundled with scikit-learn, which is not installed: "
            "pip install 'jdrop[examples]'"
        ) from error
    digits = load_digits()
    order = stratified_order(digits.target)
    images, labels = digits.images[order, :, :, None], digits.target[order]
    size = len(labels) - DIGITS_TEST_SIZE
    return Split(images[:size], labels[:size]), Split(images[size:], labels[size:]), 10


def _standardised(train: Split, test: Split, classes: int) -> Dataset:
    mean, deviation = train.images.mean(), train.images.std()

    def standardise(images: np.ndarray) -> np.ndarray:
        shifted = images.astype(np.float32) - np.float32(mean)
        # A constant image set, as of a single black image, stays at zero.
        return shifted / np.float32(deviation or 1)

    return Dataset(
        standardise(train.images),
        train.labels.astype(np.int32),
        standardise(test.images),
        test.labels.astype(np.int32),
        classes,
    )
