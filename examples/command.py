"""What every command does around its work: signals, errors, the cache, provenance."""

import contextlib
import io
import os
import platform
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from examples.data import BadInput

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class Stopped(BaseException):
    """The command ends early: the message, and the exit status."""


class Interrupts:
    """Signals that end a command raise `Stopped`; those that are ignored stay so.

    Attributes:
      noted: The number of the signal that came while they were held back, or 0.
    """

    def __init__(self, name: str) -> None:
        """Notes the name of the command and which outputs are terminals."""
        self.noted = 0
        self._name, self._held_back = name, ""
        self._terminals = [fd for fd in (1, 2) if os.isatty(fd)]

    @contextlib.contextmanager
    def heeded(self) -> Iterator[None]:
        """Signals raise in this context."""
        before = {number: signal.getsignal(number) for number in SIGNALS}
        numbers = [n for n in SIGNALS if before[n] is not signal.SIG_IGN]
        try:
            for number in numbers:
                signal.signal(number, self._arrived)
            yield
        finally:
            for number in numbers:
                signal.signal(number, before[number])

    @contextlib.contextmanager
    def held_back(self, reason: str) -> Iterator[None]:
        """The first signal is only noted in this context; a second one raises."""
        self._held_back = reason
        try:
            yield
        finally:
            self._held_back = ""

    def _arrived(self, number: int, frame: Any) -> None:
        # A terminal that is gone must not fail what is still to be written.
        for fd in self._terminals:
            if not os.isatty(fd):
                os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
        name = signal.Signals(number).name
        if not self._held_back or self.noted:
            raise Stopped(f"interrupted by {name}", 128 + number)
        self.noted = number
        words = f"{self._name}: {name}: {self._held_back}; once more ends it at once\n"
        if 2 in self._terminals:
            # The cursor stands behind a bar.
            words = f"\n{words}"
        # Not print: the signal may have come in the middle of another one.
        with contextlib.suppress(OSError):
            os.write(2, words.encode())


def run(name: str, work: Callable[[Interrupts], None]) -> int:
    """Does the work of a command; returns its exit status, and says what went wrong."""
    # A path may hold what cannot be encoded.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    interrupts = Interrupts(name)
    try:
        with interrupts.heeded():
            work(interrupts)
        return 0
    except BadInput as error:
        message, status = str(error), 2
    except ImportError as error:
        needs = "pip install --group examples (pip 25.1 or newer) in the clone"
        message, status = f"{error}; the examples need {needs}", 2
    except Stopped as stop:
        message, status = stop.args
    # Nobody may be there to read it.
    with contextlib.suppress(OSError):
        print(f"{name}: error: {message}", file=sys.stderr)
    return status


def use_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache, unless JAX was told where."""
    import jax

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        jax.config.update("jax_compilation_cache_dir", os.path.join(home, "jdrop"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    # A cache that cannot be written to, or is broken, costs time and nothing else.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation")


def provenance(module: str, argv: Sequence[str], *packages: str) -> dict[str, Any]:
    """When and where `python -m module argv` runs, with which software."""
    import jax

    import jdrop

    return {
        "command": shlex.join(["python", "-m", module, *argv]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "stream": jdrop.STREAM,
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "versions": {
            "python": platform.python_version(),
            "jdrop": jdrop.__version__,
            **{name: version(name) for name in (*PACKAGES, *packages)},
        },
    }
