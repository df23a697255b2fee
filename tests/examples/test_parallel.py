"""The trainer on several devices, in several processes, and in micro-batches."""

import json
import re
import socket
from pathlib import Path

import jax
import numpy as np
import pytest

from examples import build, config, loop, parallel, reproduce
from examples.data import BadInput
from examples.train import main

pytestmark = pytest.mark.usefixtures("trainer")

SHORT = "--quiet --train-size 64 --batch-size 32 --steps 4 --eval-every 2".split()
MODELS = {
    "mlp": "--batch-size 32",
    "alpha_mlp": "--batch-size 32 --model alpha_mlp --rate 0.1",
    "cnn": "--batch-size 32 --model cnn --channel-rate 0.2",
}


@pytest.mark.parametrize(
    "model",
    ["mlp", *(pytest.param(m, marks=pytest.mark.slow) for m in ("alpha_mlp", "cnn"))],
)
def test_masks_are_the_same_on_every_mesh_and_in_every_part(model: str) -> None:
    options = MODELS[model].split()
    alone = reproduce.masks(options, 1)
    assert len(alone) == {"mlp": 3, "alpha_mlp": 20, "cnn": 5}[model]
    assert all(len(np.unique(layer)) == 2 and len(layer) == 32 for layer in alone)
    for devices, parts in ((8, 1), (2, 4)):
        for layer, other in zip(
            alone, reproduce.masks(options, devices, parts), strict=True
        ):
            np.testing.assert_array_equal(layer, other)


@pytest.mark.slow
def test_losses_are_the_same_on_several_devices(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summaries = []
    for options in (["--devices", "1"], ["--devices", "8", "--accumulate", "2"]):
        assert main([*SHORT, *options, "--out", str(tmp_path / options[1])]) == 0
        summaries.append(json.loads(capsys.readouterr().out))
    one, other = summaries
    assert (one["devices"], other["devices"]) == (1, 8)
    for name in ("train_loss", "validation_loss", "test_loss"):
        assert other[name] == pytest.approx(one[name], rel=1e-4)


def test_devices_add_gradients_and_say_nothing_else() -> None:
    plan = build.build(config.parse(["--train-size", "64", "--devices", "8"]))
    state = loop.create_state(plan.method, plan.key(0))
    train = plan.on_devices(plan.splits.train)
    lowered = loop.train_steps.lower(state, train, plan.key(1), 2, 32)
    program = lowered.compile().as_text()
    said = set(
        re.findall(r" (all-[a-z-]+|collective-[a-z-]+|reduce-scatter)\(", program)
    )
    assert said == {"all-reduce"}
    # Nor does an epoch wait for the host.
    assert not re.search("callback|infeed|outfeed", program)


def test_a_mesh_has_as_many_devices_as_divide_a_micro_batch() -> None:
    for size, devices in ((32, 8), (12, 6), (7, 7), (3, 3), (40, 8)):
        mesh = parallel.make_mesh(None, size)
        assert mesh is not None
        assert mesh.size == devices
    assert parallel.make_mesh(None, 11) is None
    assert parallel.make_mesh(1, 32) is None
    for devices, size in ((9, 9), (5, 32)):
        with pytest.raises(BadInput, match=f"a divisor of the {size} .*got {devices}"):
            parallel.make_mesh(devices, size)


def test_nobody_coordinates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "PATIENCE", 0.3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(BadInput, match=f"{address}: nobody listens there"):
            parallel.connect(address, 2, 1)
    for address in ("nohost", "host:port", ":1"):
        with pytest.raises(BadInput, match=re.escape("HOST:PORT")):
            parallel.connect(address, 2, 1)


def test_two_processes_are_two_devices(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = reproduce.Trainer(tmp_path, SHORT)
    joined = trainer.run("joined", "--devices", "2", processes=2)
    assert main([*SHORT, "--devices", "2", "--out", str(tmp_path / "alone")]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert (joined.summary["processes"], alone["processes"]) == (2, 1)
    assert joined.sha256 == alone["params_sha256"]
    assert joined.summary["test_loss"] == alone["test_loss"]
    # One of them writes.
    lines = (tmp_path / "joined" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4]


@pytest.mark.slow
def test_reproduce_keeps_its_promises(capsys: pytest.CaptureFixture[str]) -> None:
    flags = jax.config.jax_num_cpu_devices
    assert (
        reproduce.main(["--steps", "8", "--eval-every", "2", "--train-size", "64"]) == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + reproduce.ROWS
    assert all(line.split()[-1] == "yes" for line in lines[1:])
    assert jax.config.jax_num_cpu_devices == flags
