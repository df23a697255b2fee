"""The package: what is built, importing it without Flax, and the commands of make."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from pathlib import Path

import pytest

import jdrop

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def run(*command, cwd=ROOT, **environment):
    """Runs a command with no settings but those given."""
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def run_python(code, path):
    """Runs code in a fresh interpreter that finds jdrop in `path`."""
    return run(
        sys.executable, "-c", code, PYTHONPATH=str(path), JAX_PLATFORMS="cpu", cwd=path
    )


# 2026-01-01, for all that is in what is built.
EPOCH = 1767225600


def build(tree, folder):
    """Builds an sdist and a wheel of a tree; returns their paths, the sdist first."""
    done = run(
        *(sys.executable, "-m", "hatchling", "build"),
        *("-t", "sdist", "-t", "wheel", "-d", folder),
        cwd=tree,
        SOURCE_DATE_EPOCH=str(EPOCH),
    )
    assert done.returncode == 0, done.stderr
    return sorted(folder.iterdir(), key=lambda path: path.suffix)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist and the wheel of this tree."""
    return build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def sdist(built, tmp_path_factory):
    """The sdist of this tree, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(built[0]) as archive:
        archive.extractall(folder, filter="data")
    [unpacked] = folder.iterdir()
    return unpacked


@pytest.fixture(scope="module")
def wheel(built, tmp_path_factory):
    """The wheel of this tree, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(built[1]) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def metadata(wheel):
    [path] = wheel.glob("*.dist-info")
    return importlib.metadata.PathDistribution(path).metadata


def requirements(entries):
    """The names of what is required, normalised."""
    return {
        re.match(r"[\w.-]+", entry)[0].lower().replace("_", "-") for entry in entries
    }


def group(name):
    """What a dependency group of a clone installs, with the groups that it includes."""
    names = set()
    for entry in PROJECT["dependency-groups"][name]:
        included = isinstance(entry, dict)
        names |= group(entry["include-group"]) if included else requirements([entry])
    return names


def test_the_same_bytes_from_the_sdist_at_another_time(built, sdist, tmp_path):
    for path in sdist.rglob("*"):
        os.utime(path, (0, 0))
    again = build(sdist, tmp_path)
    assert [path.name for path in again] == [path.name for path in built]
    assert [path.read_bytes() for path in again] == [p.read_bytes() for p in built]


def test_what_is_built_is_of_the_time_that_is_asked_for(built):
    with tarfile.open(built[0]) as archive:
        assert {member.mtime for member in archive} == {EPOCH}
    with zipfile.ZipFile(built[1]) as archive:
        times = {member.date_time for member in archive.infolist()}
    assert times == {time.gmtime(EPOCH)[:6]}


def test_sdist_holds_what_tests_and_pages_need(sdist):
    folders = {"benchmarks", "docs", "examples", "jdrop", "tests"}
    files = {".gitignore", "CHANGELOG.md", "LICENSE", "Makefile", "PKG-INFO"}
    files |= {"README.md", "mkdocs.yml", "noxfile.py", "pyproject.toml"}
    assert {path.name for path in sdist.iterdir()} == folders | files
    for name in ("README.md", "docs/CITATION.cff", "benchmarks/compiled/h100.txtpb"):
        assert (sdist / name).read_bytes() == (ROOT / name).read_bytes()


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


def test_importing_jdrop_imports_two_modules_of_jax_and_its_own():
    """What keeps it quick: `import jax` takes ten times as long."""
    code = """
import sys
import jax, jax.extend.core, jax.experimental.custom_partitioning
before = set(sys.modules)
import jdrop
print({name.partition(".")[0] for name in set(sys.modules) - before})
print({"jdrop.linen", "jdrop.nnx", "jdrop.pallas", "jdrop.selfcheck"} & {*sys.modules})
"""
    done = run_python(code, ROOT)
    assert done.stdout == "{'jdrop'}\nset()\n", done.stderr


@pytest.mark.parametrize("module", ["linen", "nnx"])
def test_modules_without_flax_say_what_to_install(module):
    code = f"import sys; sys.modules['flax'] = None; import jdrop.{module}"
    done = run_python(code, ROOT)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: jdrop.{module} needs Flax, which could not be imported: "
        'pip install "flax>=0.11"'
    )


def test_metadata(metadata):
    assert metadata["Version"] == jdrop.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("Provides-Extra") == ["cuda", "flax", "tpu"]


def test_metadata_shows_the_page_and_the_licence(metadata, wheel):
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text("utf-8")
    [licence] = wheel.glob("*.dist-info/licenses/LICENSE")
    assert licence.read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_citation_is_of_this_version():
    lines = (ROOT / "docs" / "CITATION.cff").read_text("utf-8").splitlines()
    cited = dict(line.split(": ", 1) for line in lines if re.match(r"[\w-]+: \S", line))
    assert cited["version"] == jdrop.__version__
    assert cited["license"] == PROJECT["project"]["license"]
    [author] = PROJECT["project"]["authors"]
    assert f"  - name: {author['name']}" in lines


def test_core_depends_on_jax_alone(metadata):
    required = metadata.get_all("Requires-Dist")
    assert requirements(entry for entry in required if "extra" not in entry) == {"jax"}


# Modules that are called otherwise than what is installed.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cpuinfo": "py-cpuinfo",
    "haiku": "dm-haiku",
    "orbax": "orbax-checkpoint",
    "sklearn": "scikit-learn",
    "tensorflow": "tensorflow-cpu",
}
# NumPy comes with JAX, which has its types in its own.
BASE = {"jax", "jaxlib", "numpy"}


@pytest.mark.parametrize(
    ("folder", "declared"),
    [
        ("jdrop", {"flax"}),
        ("examples", group("examples") | group("tfds")),
        ("benchmarks", group("bench")),
        ("tests", group("test")),
    ],
)
def test_what_is_imported_is_declared(folder, declared):
    local = {path.name for path in ROOT.iterdir()}
    local |= {path.stem for path in (ROOT / "tests").rglob("*.py")}
    imported = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.split(".")[0])
    foreign = imported - sys.stdlib_module_names - local - BASE
    names = {DISTRIBUTIONS.get(name, name.replace("_", "-")) for name in foreign}
    assert names <= declared


def test_tests_do_not_need_torch():
    assert "torch" not in group("test")
    assert "torch" in group("bench")


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("train", ".venv/bin/python -m examples.train --rate 0.25"),
        ("test", ".venv/bin/python -m pytest"),
        ("test-slow", "-m slow"),
        ("mutants", "-m tests.mutants"),
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
    targets = "train test test-slow mutants versions lint format check clean"
    for target in targets.split():
        assert re.search(rf"^  make {target} +\S", listed, re.MULTILINE)


def test_make_refuses_an_old_python(tmp_path):
    old = tmp_path / "python3.10"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = run("make", "test", f"VENV={tmp_path / 'venv'}", f"PYTHON={old}")
    assert done.returncode == 2
    assert "jdrop needs Python 3.11 or newer: make PYTHON=python3.11" in done.stderr
    assert not (tmp_path / "venv").exists()
