"""The data of the trainers: the split of the digits, and the way through TFDS."""

import hashlib
import importlib
import importlib.util
import io
import json
import socket
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from PIL import Image
from sklearn.datasets import load_digits

from examples import data
from examples.data import BadInput

# What the first one to import them warns of is theirs to mend.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tensorflow_datasets as tfds

NEEDS_TENSORFLOW = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="tensorflow not installed"
)
TRAIN, TEST = 60, 30


def upscaled(count: int, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Digits in the shape of MNIST."""
    digits = load_digits()
    images = digits.images[start : start + count].astype(np.uint8) * 15
    images = np.pad(images.repeat(3, 1).repeat(3, 2), ((0, 0), (2, 2), (2, 2)))
    return images[..., None], digits.target[start : start + count]


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image[:, :, 0]).save(file, format="png")
    return file.getvalue()


with tfds.core.registered.skip_registration():

    class SmallMnist(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
        """A small data set of the name, version and features of MNIST."""

        name = "mnist"
        VERSION = tfds.core.Version("3.0.1")
        # As bytes, an image is stored without TensorFlow.
        encode = staticmethod(png)

        def _info(self) -> Any:
            features = {
                "image": tfds.features.Image(shape=(28, 28, 1)),
                "label": tfds.features.ClassLabel(num_classes=10),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, manager: Any) -> dict[str, Any]:
            return {
                "train": self._generate_examples(TRAIN, 0),
                "test": self._generate_examples(TEST, TRAIN),
            }

        def _generate_examples(self, count: int, start: int) -> Iterator[Any]:
            images, labels = upscaled(count, start)
            for i, (image, label) in enumerate(zip(images, labels, strict=True)):
                yield i, {"image": self.encode(image), "label": int(label)}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which TFDS itself prepared a data set."""
    directory = tmp_path_factory.mktemp("tfds")
    builder = SmallMnist(data_dir=directory, file_format="array_record")
    builder.download_and_prepare()
    return directory


def read(name: str, data_dir: str) -> tuple[data.Split, data.Split, int]:
    """What TFDS holds, before it is put in order."""
    return data._tfds(name, data_dir, download=False, quiet=True)


def sorted_rows(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    rows = np.column_stack([labels, images.reshape(len(images), -1)])
    return rows[np.lexsort(rows.T)]


def test_the_digits_are_split_once_and_for_all() -> None:
    train, _, test, classes = data.load("digits")
    assert train.images.shape == (1197, 8, 8, 1)
    assert test.images.shape == (600, 8, 8, 1)
    assert classes == 10
    assert train.labels.dtype == np.int32
    labels = np.concatenate([train.labels, test.labels])
    whole = load_digits()
    np.testing.assert_array_equal(np.bincount(labels), np.bincount(whole.target))
    # Another split would change every published score: it must not happen unseen.
    order = data.stratified_order(whole.target).astype("<u2").tobytes()
    assert hashlib.sha256(order).hexdigest() == (
        "e49287e107005d7a0e22e4b215bb7a56b7bd7c4e8176121b391bd40da426c3e4"
    )


def test_no_digit_is_in_both_parts() -> None:
    order = data.stratified_order(load_digits().target)
    np.testing.assert_array_equal(np.sort(order), np.arange(1797))


@pytest.mark.parametrize("size", [10, 100, 200, 1000, 1197])
def test_every_prefix_is_stratified(size: int) -> None:
    target = load_digits().target
    prefix = np.bincount(target[data.stratified_order(target)][:size], minlength=10)
    # At the place p of the last one, a class of n has n p, up to 1; so the ten have
    # 1797 p up to 10, which is one more for each.
    assert np.abs(prefix - size * np.bincount(target) / 1797).max() <= 2


def test_a_smaller_training_set_is_part_of_a_larger_one() -> None:
    small, _, small_test, _ = data.load("digits", train_size=50)
    large, _, large_test, _ = data.load("digits")
    np.testing.assert_array_equal(small.labels, large.labels[:50])
    np.testing.assert_array_equal(small_test.labels, large_test.labels)


def test_images_are_standardised_by_the_training_set() -> None:
    train, _, test, _ = data.load("digits", train_size=300)
    # The mean of 19200 float32 numbers near 1 is known to 1e-6 or so.
    assert train.images.mean() == pytest.approx(0, abs=1e-5)
    assert train.images.std() == pytest.approx(1, abs=1e-5)
    assert train.images.dtype == test.images.dtype == np.float32
    # One affine map for both: black is the same number in both.
    assert train.images.min() == test.images.min()


def test_a_training_set_that_is_too_large_is_refused() -> None:
    with pytest.raises(BadInput, match="--train-size is at most 1197.*got 1198"):
        data.load("digits", train_size=1198)


def test_validation_examples_are_held_out_whatever_the_training_size() -> None:
    whole = data.load("digits")
    splits = data.load("digits", train_size=100, validation_size=200)
    assert splits.validation is not None
    assert splits.classes == 10
    np.testing.assert_array_equal(splits.train.labels, whole.train.labels[:100])
    np.testing.assert_array_equal(splits.validation.labels, whole.train.labels[-200:])
    np.testing.assert_array_equal(splits.test.labels, whole.test.labels)
    # A sixth, or what is left.
    sizes = {None: 199, 1100: 97, 1197: 0}
    for train_size, size in sizes.items():
        splits = data.load("digits", train_size=train_size, validation_size=None)
        assert splits.size("validation") == size
        assert splits.size("train") == (train_size or 998)
    with pytest.raises(BadInput, match="--train-size is at most 997.*with 200 held"):
        data.load("digits", train_size=998, validation_size=200)
    with pytest.raises(BadInput, match="--validation-size is at most 1196.*got 1197"):
        data.load("digits", validation_size=1197)


def test_the_digits_of_the_studies_are_a_split_of_their_own() -> None:
    train, test = data.digits(1400, 397)
    assert (len(train.labels), len(test.labels)) == (1400, 397)
    np.testing.assert_array_equal(test.labels, data.load("digits").test.labels[-397:])
    assert train.images.std() == pytest.approx(1, abs=1e-5)


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    # The command line says what to install.
    with pytest.raises(ImportError, match="sklearn"):
        data.load("digits")


def test_tfds_reads_what_it_prepared(prepared: Path) -> None:
    train, test, classes = read("mnist", str(prepared))
    assert classes == 10
    np.testing.assert_array_equal(sorted_rows(*train), sorted_rows(*upscaled(TRAIN, 0)))
    np.testing.assert_array_equal(
        sorted_rows(*test), sorted_rows(*upscaled(TEST, TRAIN))
    )


def test_a_data_set_is_stratified_and_standardised(prepared: Path) -> None:
    train, _, test, _ = data.load("mnist", data_dir=str(prepared), train_size=20)
    assert train.images.shape == (20, 28, 28, 1)
    assert test.images.shape == (TEST, 28, 28, 1)
    # The digits come nearly as 0 to 9 again and again.
    assert np.bincount(train.labels, minlength=10).min() >= 1
    assert train.images.std() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("mnist", (28, 28, 1)),
        ("fashion_mnist", (28, 28, 1)),
        ("cifar10", (32, 32, 3)),
    ],
)
def test_real_names_and_shapes(
    name: str, shape: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # mock_data fakes the reading, and makes preparing do nothing.
    monkeypatch.setattr(tfds.core.DatasetBuilder, "is_prepared", lambda self: True)
    with tfds.testing.mock_data(num_examples=40):
        train, _, test, classes = data.load(name, data_dir=str(tmp_path))
    assert train.images.shape == test.images.shape == (40, *shape)
    assert classes == 10
    assert set(train.labels) <= set(range(10))


def test_data_that_is_not_prepared(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as info:
        data.load("mnist", data_dir=str(tmp_path))
    message = str(info.value)
    # What was looked for, where, how to get it, and the offline default.
    for part in (
        "no prepared mnist",
        str(tmp_path / "mnist" / "3.0.1"),
        "--download",
        "--dataset digits",
    ):
        assert part in message


def test_preparing_without_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        data,
        "find_spec",
        lambda name: None if name in data.PREPARATION else find_spec(name),
    )
    message = r"needs tensorflow and importlib_resources: pip install --group tfds"
    with pytest.raises(BadInput, match=message):
        data.load("mnist", data_dir=str(tmp_path), download=True)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the hosts of data sets answer: a status, or an error."""
    answers: list[Any] = []

    def head(url: str, *, timeout: float) -> requests.Response:
        assert urlsplit(url).scheme in ("http", "https")
        assert timeout < 10
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        response = requests.Response()
        response.status_code = answer
        return response

    monkeypatch.setattr(requests, "head", head)
    monkeypatch.setattr(data, "PREPARATION", ())
    return answers


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (requests.ConnectTimeout(), r"cannot be reached \(ConnectTimeout\): see to"),
        (504, "answers with status 504: see to the network or to HTTPS_PROXY"),
    ],
)
def test_no_network(
    name: str,
    answer: Any,
    message: str,
    tmp_path: Path,
    answers: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # TFDS would try again and again.
    monkeypatch.delattr(tfds.core.DatasetBuilder, "download_and_prepare")
    answers.append(answer)
    with pytest.raises(BadInput, match=message) as info:
        data.load(name, data_dir=str(tmp_path), download=True)
    assert f"no prepared {name} in {tmp_path}" in str(info.value)
    assert "--dataset digits" in str(info.value)


def test_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as server:
        # Bound, so that nobody else takes the port, but not listening.
        server.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{server.getsockname()[1]}"
        urls = {f"http://{host}/images": None}
        builder = SimpleNamespace(data_dir=tmp_path / "mnist" / "1", url_infos=urls)
        problem = data._unreachable(builder)
    assert problem == f"{host} cannot be reached (ConnectionError)"


def test_what_was_downloaded_is_not_asked_for(
    tmp_path: Path, answers: list[Any]
) -> None:
    builder = tfds.builder("mnist", data_dir=tmp_path)
    *held, missing = builder.url_infos
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    for i, url in enumerate(held):
        (downloads / f"{i}.gz.INFO").write_text(json.dumps({"urls": [url]}))
    answers.append(200)
    assert data._unreachable(builder) == ""
    assert answers == []
    (downloads / "last.INFO").write_text(json.dumps({"urls": [missing]}))
    assert data._unreachable(builder) == ""


def test_a_download_that_fails(
    tmp_path: Path, answers: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(self: Any, **options: Any) -> None:
        raise ConnectionError("name resolution\nfailed")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", no_network)
    # A host that does not like to be asked may still deliver.
    answers.append(403)
    with pytest.raises(BadInput, match=r"could not be downloaded \(ConnectionError\)"):
        data.load("mnist", data_dir=str(tmp_path), download=True)


def test_without_tfds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match="tensorflow_datasets"):
        data.load("mnist")


def test_a_broken_data_set(prepared: Path, tmp_path: Path) -> None:
    broken = tmp_path / "mnist" / "3.0.1"
    broken.mkdir(parents=True)
    for file in (prepared / "mnist" / "3.0.1").iterdir():
        content = file.read_bytes()
        (broken / file.name).write_bytes(
            content[:100] if "array_record" in file.name else content
        )
    with pytest.raises(BadInput, match="could not read mnist in .*3.0.1") as info:
        data.load("mnist", data_dir=str(tmp_path))
    assert "\n" not in str(info.value)


def as_tfrecord(directory: Path) -> None:
    """Says of a prepared data set that it is a TFRecord."""
    info = directory / "mnist" / "3.0.1" / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))


def test_a_tfrecord_without_tensorflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SmallMnist(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    as_tfrecord(tmp_path)
    monkeypatch.setattr(data, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match="is a tfrecord, which needs tensorflow"):
        data.load("mnist", data_dir=str(tmp_path))


@pytest.mark.slow
@NEEDS_TENSORFLOW
def test_a_tfrecord_with_tensorflow(tmp_path: Path) -> None:
    SmallMnist(data_dir=tmp_path, file_format="tfrecord").download_and_prepare()
    train, _, classes = read("mnist", str(tmp_path))
    assert classes == 10
    np.testing.assert_array_equal(sorted_rows(*train), sorted_rows(*upscaled(TRAIN, 0)))


@pytest.mark.parametrize(
    "encode", [png, pytest.param(lambda image: image, marks=NEEDS_TENSORFLOW)]
)
def test_a_data_set_is_prepared_where_it_is_missing(
    encode: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def builder(name: str, data_dir: str) -> Any:
        return SmallMnist(data_dir=data_dir)

    if encode is not png:
        # Of what it says when a process first imports it, nothing is ours.
        importlib.import_module("tensorflow")
        capfd.readouterr()
    monkeypatch.setattr(SmallMnist, "encode", staticmethod(encode))
    monkeypatch.setattr(tfds, "builder", builder)
    monkeypatch.setattr(data, "PREPARATION", ())
    data.load("mnist", data_dir=str(tmp_path), download=True, quiet=True)
    # Quiet, as it was asked to be.
    assert capfd.readouterr() == ("", "")
    train, _, _ = read("mnist", str(tmp_path))
    np.testing.assert_array_equal(sorted_rows(*train), sorted_rows(*upscaled(TRAIN, 0)))
    # A format that is read without TensorFlow.
    assert list(tmp_path.glob("mnist/3.0.1/*.array_record*"))
