"""Installed as users install it: in clean environments, by pip and by uv.

What an environment needs comes from the package index that pip and uv are set up with.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import jdrop

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DROPS = """
import jax, jdrop
y = jdrop.dropout(jax.random.key(0), jax.numpy.ones((64, 99)), 0.5)
print(jdrop.__version__, sorted(set(y.ravel().tolist())))
"""
DROPS_IN_FLAX = """
import jax, jdrop, jdrop.linen, jdrop.nnx
from flax import nnx
x, key = jax.numpy.ones((64, 99)), jax.random.key(0)
y = jdrop.linen.Dropout(0.5).apply({}, x, False, key)
z = jdrop.nnx.Dropout(0.5)(x, rngs=key)
print(jax.numpy.array_equal(y, z), jax.numpy.array_equal(y, jdrop.dropout(key, x, 0.5)))
"""

# A line that mypy has nothing to say of is an error too, where it is told to ignore it.
USER = '''
"""A file of a user's, in the strict mode of mypy."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jdrop
import jdrop.linen
import jdrop.nnx


def drop(key: jax.Array, x: jax.Array, rate: float | jax.Array) -> jax.Array:
    first, second, third = jax.random.split(key, 3)
    x = jdrop.dropout(first, x, rate, broadcast_dims=(0,), offset=4)
    x = jdrop.alpha_dropout(lambda: second, x, np.float32(0.1))
    return jdrop.dropout(third, x, 0.5, deterministic=jnp.asarray(False))


def twice(key: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    mask: jdrop.Mask = jdrop.sample_mask(key, x.shape, 0.1)
    words: jax.Array = mask.words
    assert words.dtype == jnp.uint32
    return jdrop.apply_mask(mask, x), jdrop.apply_mask(~mask, x)


class Linen(nn.Module):
    rate: float = 0.1

    @nn.compact
    def __call__(self, x: jax.Array, training: bool) -> jax.Array:
        x = nn.Dense(4)(x)
        y: jax.Array = jdrop.linen.Dropout(self.rate, deterministic=not training)(x)
        return y


class Nnx(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.dropout = jdrop.nnx.Dropout(0.1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y: jax.Array = self.dropout(x)
        return y


def wrong(key: jax.Array, x: jax.Array) -> None:
    jdrop.dropout(key, x, "0.5")  # type: ignore[arg-type]
    jdrop.dropout(0, x, 0.5)  # type: ignore[arg-type]
    jdrop.dropout(key, x)  # type: ignore[call-arg]
    jdrop.dropout(key, x, 0.5, True)  # type: ignore[call-arg]
    jdrop.dropout(key, x, 0.5, training=True)  # type: ignore[call-arg]
    jdrop.sample_mask(key, 4, 0.5)  # type: ignore[arg-type]
    jdrop.apply_mask(x, x)  # type: ignore[arg-type]
    jdrop.linen.Dropout("0.5")  # type: ignore[arg-type]
    jdrop.nnx.Dropout("0.5")  # type: ignore[arg-type]
'''


def run(*command, cwd, ok=True):
    """Runs a command that no setting of this process's Python reaches."""
    kept = {name: v for name, v in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=kept | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return done


def files(python):
    """What is installed of jdrop: the bytes of each file."""
    [package] = python.parents[1].glob("lib/python*/site-packages/jdrop")
    paths = [path for path in package.rglob("*") if path.suffix != ".pyc"]
    return {p.relative_to(package): p.read_bytes() for p in paths if p.is_file()}


@pytest.fixture(scope="module")
def without_flax(tmp_path_factory):
    """The Python of an environment into which pip installed a wheel."""
    folder = tmp_path_factory.mktemp("pip")
    run(
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-t",
        "wheel",
        "-d",
        folder,
        cwd=ROOT,
    )
    [wheel] = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel, cwd=folder)
    return python


@pytest.fixture(scope="module")
def with_flax(tmp_path_factory):
    """The Python of an environment into which uv installed the tree, with Flax."""
    folder = tmp_path_factory.mktemp("uv")
    python, uv = folder / "venv" / "bin" / "python", (sys.executable, "-m", "uv")
    run(*uv, "venv", "--quiet", "--python", sys.executable, folder / "venv", cwd=ROOT)
    run(*uv, "pip", "install", "--quiet", "--python", python, ".[flax]", cwd=ROOT)
    return python


def test_a_wheel_alone_drops_and_passes_the_self_check(without_flax, tmp_path):
    done = run(without_flax, "-I", "-c", DROPS, cwd=tmp_path)
    assert done.stdout == f"{jdrop.__version__} [0.0, 2.0]\n"
    checked = run(without_flax, "-I", "-m", "jdrop", "--quick", cwd=tmp_path)
    assert f"This machine draws the masks of {jdrop.STREAM}." in checked.stdout


@pytest.mark.parametrize("module", ["linen", "nnx"])
def test_without_flax_the_modules_say_what_to_install(without_flax, module, tmp_path):
    done = run(
        without_flax, "-I", "-c", f"import jdrop.{module}", cwd=tmp_path, ok=False
    )
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: jdrop.{module} needs Flax, which could not be imported: "
        'pip install "flax>=0.11"'
    )


def test_pip_installs_flax_where_it_is_asked_for(without_flax, tmp_path_factory):
    # Into an environment of its own: the others are to stay without.
    folder = tmp_path_factory.mktemp("extra")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", ".[flax]", cwd=ROOT)
    assert run(python, "-I", "-c", DROPS_IN_FLAX, cwd=folder).stdout == "True True\n"
    assert files(python) == files(without_flax)


def test_uv_installs_what_pip_does(without_flax, with_flax, tmp_path):
    done = run(with_flax, "-I", "-c", DROPS_IN_FLAX, cwd=tmp_path)
    assert done.stdout == "True True\n"
    assert files(with_flax) == files(without_flax)


def test_types_of_a_user_are_checked_against_what_is_installed(with_flax, tmp_path):
    (tmp_path / "user.py").write_text(USER)
    strict = ("--strict", "--python-executable", with_flax, "user.py")
    done = run(sys.executable, "-m", "mypy", *strict, cwd=tmp_path)
    assert done.stdout == "Success: no issues found in 1 source file\n"
