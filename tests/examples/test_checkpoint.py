"""Checkpoints: what is read is what was saved; what was saved outlives failures."""

import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from examples.checkpoint import CheckpointError, Checkpoints
from examples.data import BadInput

ROOT = Path(__file__).parents[2]
FACTS = {"config": {"rate": (0.5, 0.25), "steps": 8}, "stream": "jdrop-1"}
DEADLINE = 60


def small(step: int) -> dict[str, Any]:
    # What cannot be compressed is in a file of its own.
    w = np.random.RandomState(step).rand(64, 40).astype("float32")
    return {"w": w, "step": np.array(step, "int32")}


def like(tree: Any) -> Any:
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), tree)


def save(directory: Path, *steps: int) -> Checkpoints:
    with Checkpoints(directory) as checkpoints:
        for step in steps:
            checkpoints.save(step, small(step), FACTS)
    return checkpoints


def restored(checkpoints: Checkpoints) -> int:
    """The step of what is restored, which has to be whole."""
    tree, facts = checkpoints.restore(like(small(0)), FACTS)
    step = int(tree["step"])
    np.testing.assert_array_equal(tree["w"], small(step)["w"])
    assert facts["config"] == {"rate": [0.5, 0.25], "steps": 8}
    return step


def bits(leaf: jax.Array) -> tuple[Any, bytes]:
    key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return leaf.dtype, np.asarray(jax.random.key_data(leaf) if key else leaf).tobytes()


def test_what_is_restored_is_what_was_saved_bit_for_bit(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mesh = Mesh(jax.devices(), "x")
    params = {
        "dense": {"kernel": jnp.arange(128.0).reshape(16, 8), "bias": jnp.zeros(8)},
        # A NaN with a payload, minus zero, infinity, a denormal number.
        "odd": jnp.array([0x7FC12345, 0x80000000, 0x7F800000, 1], "uint32").view("f"),
        "half": jnp.array([1.5, -2.0, 3.0], jnp.bfloat16),
        "mask": jnp.array([True, False]),
    }
    optimizer = optax.adamw(optax.cosine_decay_schedule(1e-3, 10))
    tree = {
        "params": params,
        "optimizer": optimizer.init(params["dense"]),
        "stats": {},
        "step": jnp.int32(2**31 - 1),
        "keys": [jax.random.key(7), jax.random.key(1, impl="rbg")[None]],
    }
    place = {(16, 8): PartitionSpec("x"), (): PartitionSpec()}
    shardings = jax.tree.map(
        lambda a: NamedSharding(mesh, place[a.shape]) if a.shape in place else None,
        tree,
    )
    tree = jax.tree.map(
        lambda a, sharding: a if sharding is None else jax.device_put(a, sharding),
        tree,
        shardings,
        is_leaf=lambda x: x is None,
    )
    structs = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), tree
    )
    before = jax.tree.map(bits, tree)
    with Checkpoints(tmp_path) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, tree, FACTS | {"history": [{"loss": 0.1 + step}]})
            # As a donated buffer that is used again.
            tree["params"]["dense"]["bias"].delete()
            tree["params"]["dense"]["bias"] = jnp.zeros(8)
    assert {path.name for path in checkpoints.directory.iterdir()} == {"2", "3"}
    again, facts = checkpoints.restore(structs, {"stream": "jdrop-1"})
    assert jax.tree.map(bits, again) == before
    assert jax.tree.structure(again) == jax.tree.structure(tree)
    for array, struct in zip(*map(jax.tree.leaves, (again, structs)), strict=True):
        assert array.sharding.is_equivalent_to(struct.sharding, array.ndim)
    assert facts["history"] == [{"loss": 3.1}]
    assert capfd.readouterr() == ("", "")


def test_where_there_is_none(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "run")
    assert checkpoints.latest() is None
    with pytest.raises(BadInput, match=r"no checkpoint in .*run/checkpoints: start"):
        restored(checkpoints)
    checkpoints.close()
    # Looking wrote nothing.
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("tree", "expect", "message"),
    [
        (small(0), {"stream": "jdrop-2"}, "stream was jdrop-1, now jdrop-2"),
        (
            small(0),
            {"config": {"rate": [0.5, 0.5], "steps": 8}},
            r"of another run \(config.rate was \[0.5, 0.25\], now \[0.5, 0.5\]\)",
        ),
        (
            small(0) | {"w": np.zeros((64, 4), "float32")},
            FACTS,
            r"has w float32\[64, 40\]; this run has w float32\[64, 4\]",
        ),
        (
            small(0) | {"new": np.zeros(3, "float32")},
            FACTS,
            r"has nothing more; this run has new float32\[3\]",
        ),
    ],
)
def test_a_foreign_checkpoint(
    tree: Any, expect: Any, message: str, tmp_path: Path
) -> None:
    checkpoints = save(tmp_path, 1)
    with pytest.raises(BadInput, match=message):
        checkpoints.restore(like(tree), expect)
    assert restored(checkpoints) == 1


def flipped(content: bytes, place: int, bit: int = 0) -> bytes:
    changed = content[place] ^ (1 << bit)
    return content[:place] + bytes([changed]) + content[place + 1 :]


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("ocdbt.process_0/d/*", lambda content: flipped(content, len(content) // 2)),
        ("manifest.ocdbt", lambda content: None),
        ("../_CHECKPOINT_METADATA", lambda content: b""),
        (
            "../_CHECKPOINT_METADATA",
            lambda content: content.replace(b'"steps": 8', b'"steps": 9'),
        ),
    ],
)
def test_a_corrupt_checkpoint(
    file: str, change: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoints = save(tmp_path, 1, 2)
    folder = checkpoints.directory / "2"
    path = max(folder.glob(f"state/{file}"), key=lambda path: path.stat().st_size)
    content = change(path.read_bytes())
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(BadInput) as info:
        checkpoints.restore(like(small(0)), {})
    message = str(info.value)
    assert f"{folder} is corrupt (" in message
    assert message.endswith("remove it to go on from step 1, the one before")
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")
    folder.rename(tmp_path / "elsewhere")
    assert restored(checkpoints) == 1


def test_the_only_checkpoint_is_corrupt(tmp_path: Path) -> None:
    checkpoints = save(tmp_path, 1)
    # A folder of another step is not this checkpoint.
    (checkpoints.directory / "1").rename(checkpoints.directory / "5")
    with pytest.raises(BadInput, match="5 is corrupt .*SHA-256.*remove it to start an"):
        restored(checkpoints)


@pytest.mark.slow
def test_no_changed_byte_changes_what_is_restored(tmp_path: Path) -> None:
    checkpoints = save(tmp_path, 1)
    chance = random.Random(0)
    refused = 0
    for path in filter(Path.is_file, (checkpoints.directory / "1").rglob("*")):
        content = path.read_bytes()
        for _ in range(30):
            place = chance.randrange(len(content))
            path.write_bytes(flipped(content, place, chance.randrange(8)))
            try:
                assert restored(checkpoints) == 1
            except BadInput as error:
                assert "corrupt" in str(error)
                refused += 1
        path.write_bytes(content)
    assert refused > 50
    assert restored(checkpoints) == 1


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow beyond a few bytes; Python ignores the signal that says so."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("seen_by", ["save", "close"])
def test_a_full_disk(
    seen_by: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoints = save(tmp_path, 1, 2)
    with full_disk(), pytest.raises(CheckpointError) as info:
        checkpoints.save(3, small(3), FACTS)
        if seen_by == "save":
            checkpoints.save(4, small(4), FACTS)
        checkpoints.close()
    message = f"step 3 could not be written to {checkpoints.directory}: File too large"
    assert f"{message}; that of step 2 remains" in str(info.value)
    checkpoints.close()
    # What was begun takes no space.
    assert {path.name for path in checkpoints.directory.iterdir()} == {"1", "2"}
    assert restored(checkpoints) == 2
    # Space again.
    save(tmp_path, 3)
    assert {path.name for path in checkpoints.directory.iterdir()} == {"2", "3"}
    assert restored(checkpoints) == 3
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_cannot_be_made(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoints").write_text("in the way")
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(CheckpointError, match="step 1 .*(directory|exists); there is"):
        checkpoints.save(1, small(1), FACTS)
        checkpoints.close()
    checkpoints.close()
    assert capfd.readouterr() == ("", "")


def test_steps_go_forwards(tmp_path: Path) -> None:
    checkpoints = save(tmp_path, 3)
    # The same step of the same run is the same.
    checkpoints.save(3, small(0), FACTS)
    assert restored(checkpoints) == 3
    with pytest.raises(CheckpointError, match="of step 3, later than step 2: resume"):
        checkpoints.save(2, small(2), FACTS)


def test_what_was_begun_is_ignored_and_removed(tmp_path: Path) -> None:
    checkpoints = save(tmp_path, 1)
    begun = checkpoints.directory / "9.orbax-checkpoint-tmp"
    (checkpoints.directory / "1").rename(begun)
    assert checkpoints.latest() is None
    save(tmp_path, 2)
    assert [path.name for path in checkpoints.directory.iterdir()] == ["2"]
    assert restored(checkpoints) == 2


SAVES_FOREVER = f"""
import itertools, pathlib, sys
import numpy as np
from examples.checkpoint import Checkpoints
with Checkpoints(pathlib.Path(sys.argv[1])) as checkpoints:
    for step in itertools.count(1 + (checkpoints.latest() or 0)):
        w = np.random.RandomState(step).rand(64, 40).astype("float32")
        tree = {{"w": w, "step": np.array(step, "int32")}}
        checkpoints.save(step, tree, {FACTS})
"""


@pytest.mark.parametrize("kills", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_killed_while_saving(kills: int, tmp_path: Path) -> None:
    chance = random.Random(kills)
    checkpoints, step = Checkpoints(tmp_path), 0
    for _ in range(kills):
        command = [sys.executable, "-c", SAVES_FOREVER, str(tmp_path)]
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as child:
            deadline = time.monotonic() + DEADLINE
            while (checkpoints.latest() or 0) < step + 2:
                assert child.poll() is None, child.stderr and child.stderr.read()
                assert time.monotonic() < deadline
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.2))
            child.send_signal(signal.SIGKILL)
            _, said = child.communicate(timeout=DEADLINE)
        assert said == b""
        last, step = step, restored(checkpoints)
        assert step >= last + 2
