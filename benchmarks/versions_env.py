"""A throw-away virtual environment with given versions and a wheel of this tree."""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check")


def build_wheel(root: Path, folder: Path) -> Path:
    """Builds the working tree, as a user gets it, so that no source tree leaks in.

    Args:
      root: The root of the project.
      folder: Where to put the wheel.

    Returns:
      The path of the wheel.
    """
    out = folder / "wheel"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, *PIP, "wheel", "--no-deps", "-w", str(out), str(root)]
    subprocess.run(command, check=True)
    [wheel] = out.glob("*.whl")
    return wheel


@contextlib.contextmanager
def environment(
    folder: Path, oldest: str, packages: tuple[str, ...], wheel: Path, *, keep: bool
) -> Iterator[Path | str]:
    """Makes an environment that vanishes afterwards, unless it is to be kept.

    The wheel goes in without its requirements: with a version of JAX that these rule
    out, what fails is then jdrop, and not the installer.

    Args:
      folder: Where to make it.
      oldest: The oldest Python that will do, such as "3.12".
      packages: What pip installs.
      wheel: The wheel to check.
      keep: Whether to leave the folder, and to use one that is there.

    Yields:
      The path of its Python, or why it could not be made.
    """
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    stamp = folder / "packages.txt"
    try:
        if not stamp.exists() or stamp.read_text() != "\n".join(packages):
            failure = create(folder, oldest) or install(python, *packages)
            if failure:
                yield failure
                return
            stamp.write_text("\n".join(packages))
        yield install(python, "--force-reinstall", "--no-deps", str(wheel)) or python
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def create(folder: Path, oldest: str) -> str | None:
    """Makes an empty environment; returns None, or why it could not."""
    running = sys.version_info >= tuple(map(int, oldest.split(".")))
    python = sys.executable if running else f"python{oldest}"
    command = [python, "-m", "venv", "--clear", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return f"needs python{oldest}, which is not on the PATH"
    return None


def install(python: Path, *words: str) -> str | None:
    """Runs pip; returns None, or what it says in a line."""
    command = [str(python), *PIP, "install", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    print(done.stderr, file=sys.stderr)
    for line in done.stderr.splitlines():
        if line.startswith(("ERROR: No matching", "ERROR: Cannot install")):
            return line.removeprefix("ERROR: ")
    return f"pip ended with status {done.returncode}"


def versions(python: Path) -> dict[str, str]:
    """The versions of Python and NumPy."""
    code = "import platform, numpy; print(platform.python_version(), numpy.__version__)"
    command = [str(python), "-I", "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(zip(("python", "numpy"), done.stdout.split(), strict=True))
