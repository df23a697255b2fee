"""Images and labels: the digits of scikit-learn, or a data set of TFDS."""

import contextlib
import io
import logging
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

# Held out of the 1797 digits for the test; 1197 remain for training.
DIGITS_TEST_SIZE = 600
# What TFDS needs beside itself to encode images and to find checksums of downloads.
PREPARATION = ("tensorflow", "importlib_resources")
REQUEST_SECONDS = 5
INSTALL = "pip install --group tfds (pip 25.1 or newer) in the clone"
OFFLINE = "or train offline with --dataset digits"


class BadInput(Exception):
    """The run cannot start: what was asked for, and what to do instead."""


class Split(NamedTuple):
    """Images (examples, height, width, channels), and labels (examples,)."""

    images: np.ndarray
    labels: np.ndarray


class Splits(NamedTuple):
    """What `load` returns; without a validation set, that is None."""

    train: Split
    validation: Split | None
    test: Split
    classes: int

    def size(self, name: str) -> int:
        """How many examples a split has, by its name."""
        split = getattr(self, name)
        return 0 if split is None else len(split.labels)


def load(
    name: str,
    *,
    train_size: int | None = None,
    validation_size: int | None = 0,
    data_dir: str | None = None,
    download: bool = False,
    quiet: bool = False,
) -> Splits:
    """Loads "digits", or an image classification data set of TFDS by its name.

    Args:
      name: The data set.
      train_size: How many training examples, the same in every run and of every class
        its share; a smaller set is part of a larger one. None is all.
      validation_size: How many of the training examples to hold out; the same in every
        run, whatever `train_size` is. None is a sixth, 10,000 at most, or what
        `train_size` leaves.
      data_dir: Where TFDS keeps its data sets; None is its default.
      download: Whether TFDS may download and prepare what it does not find.
      quiet: Whether TFDS says nothing about it.

    Returns:
      The splits: float32 images, standardised by the training pixels, int32 labels.

    Raises:
      BadInput: If the data set cannot be had, or has fewer training examples.
    """
    if name == "digits":
        train, test, classes = (*_digits(DIGITS_TEST_SIZE), 10)
    else:
        # What TFDS says while it prepares; its bar is switched off below.
        with contextlib.redirect_stdout(io.StringIO() if quiet else sys.stdout):
            train, test, classes = _tfds(name, data_dir, download, quiet)
        order = stratified_order(train.labels)
        train = Split(train.images[order], train.labels[order])
    examples = len(train.labels)
    if validation_size is None:
        unused = max(examples - (train_size or 0), 0)
        validation_size = min(examples // 6, 10_000, unused)
    left = examples - validation_size
    if left < 1:
        raise BadInput(
            f"--validation-size is at most {examples - 1}, one less than the training "
            f"examples of {name}; got {validation_size}. Pass 0 for none"
        )
    if train_size is not None and train_size > left:
        held_out = f" with {validation_size} held out" if validation_size else ""
        raise BadInput(
            f"--train-size is at most {left}, the training examples of {name}"
            f"{held_out}; got {train_size}. Leave it out to use all"
        )
    validation = Split(*(array[left:] for array in train)) if validation_size else None
    train = Split(*(array[:left][:train_size] for array in train))
    return Splits(*_standardised(train, validation, test), classes)


def digits(train_size: int, test_size: int) -> tuple[Split, Split]:
    """The first and the last of the 1797 digits, as `load` returns them."""
    train, test = _digits(test_size)
    train, _, test = _standardised(
        Split(*(array[:train_size] for array in train)), None, test
    )
    return train, test


def _standardised(
    train: Split, validation: Split | None, test: Split
) -> tuple[Split, Split | None, Split]:
    """Subtracts the mean of the training pixels, and divides by their deviation."""
    # A constant image set, as of a single black image, stays at zero.
    mean, deviation = train.images.mean(), train.images.std() or 1

    def standardised(split: Split) -> Split:
        shifted = split.images.astype(np.float32) - np.float32(mean)
        return Split(shifted / np.float32(deviation), split.labels.astype(np.int32))

    held_out = validation and standardised(validation)
    return standardised(train), held_out, standardised(test)


def stratified_order(labels: np.ndarray) -> np.ndarray:
    """Shuffles examples such that every prefix has nearly the shares of the classes.

    The k-th of the n examples of a class, in random order, is put at (k + u) / n of
    the way, u uniform in [0, 1). The order is the same in every run.
    """
    # The stream of RandomState is frozen; that of numpy.random.Generator is not.
    random = np.random.RandomState(0)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        place[members] = (np.arange(len(members)) + random.rand()) / len(members)
    return np.argsort(place, kind="stable")


def _digits(test_size: int) -> tuple[Split, Split]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = stratified_order(digits.target)
    images, labels = digits.images[order, :, :, None], digits.target[order]
    size = len(labels) - test_size
    return Split(images[:size], labels[:size]), Split(images[size:], labels[size:])


def _tfds(
    name: str, data_dir: str | None, download: bool, quiet: bool
) -> tuple[Split, Split, int]:
    # The advice of TensorFlow, absl and urllib3 is silenced; errors still show.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for logger in ("absl", "urllib3"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    import tensorflow_datasets as tfds

    if quiet:
        tfds.disable_progress_bar()
    where = data_dir or "the default directory"
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        where = builder.data_dir
        if not builder.is_prepared():
            _prepare(builder, download)
        train, test = _read(builder, "train"), _read(builder, "test")
        return train, test, builder.info.features["label"].num_classes
    except BadInput:
        raise
    # TFDS and what it stands on raise whatever a broken file, disk or network raises.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:300]
        raise BadInput(
            f"tensorflow-datasets could not read {name} in {where}: "
            f"{type(error).__name__}: {reason}; remove what is there and add "
            f"--download, name another --data-dir, {OFFLINE}"
        ) from error


def _prepare(builder: Any, download: bool) -> None:
    looked = f"no prepared {builder.name} in {builder.data_dir}"
    if not download:
        raise BadInput(
            f"{looked}: add --download to fetch it (needs a network and what "
            f"{INSTALL} brings), name another --data-dir, {OFFLINE}"
        )
    missing = [name for name in PREPARATION if find_spec(name) is None]
    if missing:
        needs = " and ".join(missing)
        raise BadInput(
            f"{looked}, and to prepare it TFDS needs {needs}: {INSTALL}, {OFFLINE}"
        )
    if problem := _unreachable(builder):
        raise BadInput(
            f"{looked}, and it cannot be downloaded, as {problem}: see to the network "
            f"or to HTTPS_PROXY, name another --data-dir, {OFFLINE}"
        )
    try:
        # A set in this format is read without TensorFlow.
        builder.download_and_prepare(file_format="array_record")
    except Exception as error:
        raise BadInput(
            f"{looked}, and it could not be downloaded ({type(error).__name__}): see "
            f"to the network and to the free disk space, {OFFLINE}"
        ) from error


def _unreachable(builder: Any) -> str:
    """Why a file that is still to be fetched cannot be; TFDS would try for minutes."""
    import requests

    downloads = Path(builder.data_dir).parents[1] / "downloads"
    held = "".join(path.read_text() for path in downloads.glob("*.INFO"))
    for url in builder.url_infos or ():
        if url not in held:
            host = urlsplit(url).netloc
            try:
                status = requests.head(url, timeout=REQUEST_SECONDS).status_code
            except requests.RequestException as error:
                return f"{host} cannot be reached ({type(error).__name__})"
            return f"{host} answers with status {status}" if status >= 500 else ""
    return ""


def _read(builder: Any, split: str) -> Split:
    try:
        examples = builder.as_data_source(split)
    # A format without random access, such as TFRecord.
    except NotImplementedError:
        if find_spec("tensorflow") is None:
            raise BadInput(
                f"{builder.name} in {builder.data_dir} is a "
                f"{builder.info.file_format.value}, which needs tensorflow: {INSTALL}, "
                f"prepare it again as array_record, {OFFLINE}"
            ) from None
        examples = builder.as_dataset(split=split).as_numpy_iterator()
    pairs = [(example["image"], example["label"]) for example in examples]
    images, labels = zip(*pairs, strict=True)
    return Split(np.stack(images), np.asarray(labels))
