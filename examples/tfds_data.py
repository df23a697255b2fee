"""Image classification data sets of tensorflow-datasets (TFDS)."""

import importlib.util
import logging
import os
from typing import Any

import numpy as np

from examples.data import Split
from examples.errors import BadInput

OFFLINE = "or train offline with --dataset digits"
# What TFDS needs beside itself to encode images and to find checksums of downloads.
PREPARATION = ("tensorflow", "importlib_resources")


def load(name: str, data_dir: str | None, download: bool) -> tuple[Split, Split, int]:
    """Reads the splits "train" and "test" of a data set, prepared before or now.

    A set prepared as ArrayRecord is read without TensorFlow; a TFRecord needs it.

    Args:
      name: Name of the data set.
      data_dir: Where TFDS keeps its data sets; None is its default.
      download: Whether to download and prepare a set that is not there.

    Returns:
      Training examples, test examples, and the number of classes.

    Raises:
      BadInput: If the set is not there and may not be prepared, or an attempt to
        prepare or to read it failed.
    """
    _hush()
    try:
        import tensorflow_datasets as tfds
    except ModuleNotFoundError as error:
        raise BadInput(
            f"{name} is read by tensorflow-datasets, and {error.name} is not "
            f"installed: pip install 'jdrop[examples]', {OFFLINE}"
        ) from error
    where = data_dir or "the default directory"
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        where = builder.data_dir
        if not builder.is_prepared():
            _prepare(builder, download)
        splits = [_read(builder, split) for split in ("train", "test")]
        return splits[0], splits[1], builder.info.features["label"].num_classes
    except BadInput:
        raise
    # TFDS and what it stands on raise whatever a broken file, disk or network raises.
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise BadInput(
            f"tensorflow-datasets could not read {name} in {where}: "
            f"{type(error).__name__}: {reason[:300]}; remove what is there and add "
            f"--download, name another --data-dir, {OFFLINE}"
        ) from error


def _hush() -> None:
    """Silences the advice of absl, TensorFlow and urllib3; errors still show."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("absl", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _prepare(builder: Any, download: bool) -> None:
    """Downloads a data set and writes it as ArrayRecord, which needs no TensorFlow."""
    looked = f"no prepared {builder.name} in {builder.data_dir}"
    if not download:
        raise BadInput(
            f"{looked}: add --download to fetch it (needs a network and "
            f"jdrop[tfds]), name another --data-dir, {OFFLINE}"
        )
    missing = [name for name in PREPARATION if importlib.util.find_spec(name) is None]
    if missing:
        raise BadInput(
            f"{looked}, and to prepare it TFDS needs {' and '.join(missing)}: "
            f"pip install 'jdrop[tfds]', {OFFLINE}"
        )
    try:
        builder.download_and_prepare(file_format="array_record")
    except Exception as error:
        raise BadInput(
            f"{looked}, and it could not be downloaded ({type(error).__name__}): see "
            f"to the network and to the free disk space, {OFFLINE}"
        ) from error


def _read(builder: Any, split: str) -> Split:
    try:
        examples = builder.as_data_source(split)
    except NotImplementedError:
        # A format without random access, such as TFRECORD.
        examples = _tensorflow_examples(builder, split)
    pairs = [(example["image"], example["label"]) for example in examples]
    images, labels = zip(*pairs, strict=True)
    return Split(np.stack(images), np.asarray(labels))


def _tensorflow_examples(builder: Any, split: str) -> Any:
    if importlib.util.find_spec("tensorflow") is None:
        raise BadInput(
            f"{builder.name} in {builder.data_dir} is a "
            f"{builder.info.file_format.value}, which needs tensorflow: "
            f"pip install 'jdrop[tfds]', prepare it again as array_record, {OFFLINE}"
        )
    import tensorflow_datasets as tfds

    return tfds.as_numpy(builder.as_dataset(split=split))
