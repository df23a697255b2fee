"""The package: its wheel, importing it without Flax, and the commands of make."""

import importlib.metadata
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import jdrop

ROOT = Path(__file__).parent.parent


def run(*command, cwd=ROOT, **environment):
    """Runs a command with no settings but those given."""
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def run_python(code, path):
    """Runs code in a fresh interpreter that finds jdrop in `path`."""
    return run(
        sys.executable, "-c", code, PYTHONPATH=str(path), JAX_PLATFORMS="cpu", cwd=path
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this tree, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    built = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    assert built.returncode == 0, built.stderr
    [path] = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


@pytest.fixture(scope="module")
def metadata(wheel):
    [path] = wheel.glob("*.dist-info")
    return importlib.metadata.PathDistribution(path).metadata


def requirements(metadata, extra=None):
    """Names that the package, or an extra of it, requires directly."""
    names = set()
    for entry in metadata.get_all("Requires-Dist"):
        requirement, _, marker = entry.partition(";")
        found = re.search(r"extra == '([\w-]+)'", marker)
        if (found and found[1]) == extra:
            names.add(re.match(r"[\w-]+(\[[\w,-]+\])?", requirement)[0])
    return names


def test_wheel_holds_the_library_and_nothing_else(wheel):
    top = {path.name for path in wheel.iterdir()}
    assert top == {"jdrop", f"jdrop-{jdrop.__version__}.dist-info"}
    expected = {
        path.relative_to(ROOT)
        for path in (ROOT / "jdrop").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {p.relative_to(wheel) for p in (wheel / "jdrop").rglob("*") if p.is_file()}
    assert packed == expected
    assert Path("jdrop/py.typed") in packed


def test_wheel_alone_drops_without_flax(wheel):
    code = """
import sys
sys.modules["flax"] = None
import jax, jdrop
print(jdrop.__file__)
print(sorted(set(jdrop.dropout(jax.random.key(0), jax.numpy.ones(99), 0.5).tolist())))
"""
    done = run_python(code, wheel)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{wheel / 'jdrop' / '__init__.py'}\n[0.0, 2.0]\n"


def test_importing_jdrop_does_not_import_flax():
    done = run_python("import jdrop, sys; print('flax' in sys.modules)", ROOT)
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize("module", ["linen", "nnx"])
def test_modules_without_flax_say_which_extra_to_install(module):
    code = f"import sys; sys.modules['flax'] = None; import jdrop.{module}"
    done = run_python(code, ROOT)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: jdrop.{module} needs Flax, which could not be imported: "
        'pip install "jdrop[flax]"'
    )


def test_metadata(metadata):
    assert metadata["Version"] == jdrop.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("Provides-Extra") == (
        "bench cuda dev docs examples flax test tfds tpu".split()
    )


def test_core_depends_on_jax_alone(metadata):
    assert requirements(metadata) == {"jax"}


def test_the_test_extra_has_what_tests_need_and_not_torch(metadata):
    required, pending = set(), {"test"}
    while pending:
        names = requirements(metadata, pending.pop())
        required |= names
        for name in names:
            if own := re.fullmatch(r"jdrop\[(.*)\]", name):
                pending |= set(own[1].split(","))
    assert {"pytest", "flax", "optax", "tensorflow-cpu"} <= required
    assert "torch" not in required
    assert "torch" in requirements(metadata, "bench")


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("train", ".venv/bin/python -m examples.train --rate 0.25"),
        ("test", ".venv/bin/python -m pytest"),
        ("test-slow", "-m slow"),
        ("lint", ".venv/bin/ruff check ."),
        ("format-check", ".venv/bin/ruff format --check ."),
        ("typecheck", ".venv/bin/mypy"),
    ],
)
def test_make_sets_up_then_runs(target, command):
    planned = run("make", "--dry-run", "--always-make", target, "ARGS=--rate 0.25")
    assert planned.returncode == 0, planned.stderr
    steps = [planned.stdout.index(step) for step in ("-m venv", "-m pip", command)]
    assert steps == sorted(steps)


def test_make_alone_lists_the_targets():
    listed = run("make").stdout
    for target in ("train", "test", "test-slow", "lint", "format", "check", "clean"):
        assert re.search(rf"^  make {target} +\S", listed, re.MULTILINE)


def test_make_refuses_an_old_python(tmp_path):
    old = tmp_path / "python3.10"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = run("make", "test", f"VENV={tmp_path / 'venv'}", f"PYTHON={old}")
    assert done.returncode == 2
    assert "jdrop needs Python 3.11 or newer: make PYTHON=python3.11" in done.stderr
    assert not (tmp_path / "venv").exists()
