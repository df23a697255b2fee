"""Public batteries on masks at rate 0.5: dieharder, and two of TestU01.

dieharder (Robert G. Brown) and libtestu01-0-dev (L'Ecuyer and Simard, 2007) are Debian
packages. CFLAGS and LDFLAGS say where TestU01 is if the compiler does not know.
"""

import functools
import itertools
import os
import re
import shlex
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.randomness.controls import Draw
from benchmarks.randomness.laws import BITS, Words
from jdrop import _stream, key_for

RATE = 0.5

CHUNK = 2**21
"""Words that are drawn at a time."""

NOISE_DOMAIN = (0x6A64726F, 0x6E000000)
"""Of section 6 of `docs/stream.md`; no function of the library draws from it yet."""

TIMEOUT_SECONDS = 1800
"""A battery that takes longer over a test is killed."""

CRUSH_SECONDS = 12 * 3600
"""The same for Crush, which is not fed test by test."""

DIEHARDER_TESTS = (
    *("0", "1", "2", "3", "4", "8", "9", "10", "11", "12", "13", "15", "16"),
    # Left to itself it reads 8 GB.
    "17 -p 20",
    *("100", "101", "102", "200 -n 1", "200 -n 2", "200 -n 4", "200 -n 8"),
    *("201 -n 2", "201 -n 5", "202 -n 2", "202 -n 5"),
    *("203 -n 0", "203 -n 1", "203 -n 7"),
    *("204", "205", "206", "207", "208", "209"),
)
"""All that dieharder calls good, by number, with a selection of tuples and lags."""

LIBRARIES = ("-ltestu01", "-ltestu01probdist", "-ltestu01mylib", "-lm")

SLOW = {"2", "11", "12", "13", "17", "201", "203"}
QUICK_TESTS = tuple(t for t in DIEHARDER_TESTS if t.split()[0] not in SLOW)

Outcome = tuple[str, str, list[float]]
"""A test, its size of tuples or lag if it has one, and its p-values."""


def along_columns(draw: Draw, key: jax.Array, chunk: jax.Array) -> jax.Array:
    """32 rows of 2^21 columns, each column from its first row to its last."""
    return draw(key, (1, BITS, CHUNK), jnp.float32(RATE), offset=chunk)


def along_rows(draw: Draw, key: jax.Array, chunk: jax.Array) -> jax.Array:
    """The same elements, each row from its first column to its last."""
    words = along_columns(draw, key, chunk).reshape(-1, BITS)
    place = np.arange(BITS, dtype=np.uint32)

    def pack_row(row: jax.Array) -> jax.Array:
        bits = (words >> row) & np.uint32(1)
        return (bits << place[None]).sum(axis=-1, dtype=jnp.uint32)

    return jax.lax.map(pack_row, place)


def across_outer(draw: Draw, key: jax.Array, chunk: jax.Array) -> jax.Array:
    """32 rows of one column of outer index 0, of outer index 1, and so on."""
    start = chunk * np.uint32(CHUNK)
    return draw(key, (CHUNK, BITS, 1), jnp.float32(RATE), offset=start)


def under_keys(
    derive: Callable[..., jax.Array], draw: Draw, key: jax.Array, chunk: jax.Array
) -> jax.Array:
    """The first 32 elements under `derive(key, 0)`, `derive(key, 1)`, and so on."""
    numbers = chunk * np.uint32(CHUNK) + jnp.arange(CHUNK, dtype=jnp.uint32)

    def first(number: jax.Array) -> jax.Array:
        return draw(derive(key, number), (BITS,), jnp.float32(RATE))

    return jax.vmap(first)(numbers)


def of_seed(key: jax.Array, number: jax.Array) -> jax.Array:
    """A key whose last word is the number, as of a seed."""
    _, constant = jax.random.key_data(key)
    return jax.random.wrap_key_data(jnp.stack([constant, number]))


def of_cipher(
    domains: Sequence[tuple[int, int]], draw: Draw, key: jax.Array, chunk: jax.Array
) -> jax.Array:
    """All 32 words of the counters of a column, then of the next; of domains in turn.

    The law of a rate folds these digits into one word. No mask shows them one by one,
    so they come from the cipher that the library draws with.
    """
    del draw
    sizes = (1, CHUNK // BITS)
    index = [jax.lax.broadcasted_iota(jnp.uint32, sizes, axis) for axis in (0, 1)]
    counter, column = _stream.counters(index, (chunk, None), sizes)
    pair = np.arange(_stream.PAIRS, dtype=np.uint32)[None, None]
    seeds = [_stream.seed_words(key, domain) for domain in domains]
    blocks = [
        _stream.threefry2x32(*seed, counter[..., None] + pair, column[..., None])
        for seed in seeds
    ]
    return jnp.stack([*itertools.chain(*zip(*blocks, strict=True))], axis=-1)


LAYOUTS: dict[str, Callable[[Draw, jax.Array, jax.Array], jax.Array]] = {
    "columns": along_columns,
    "rows": along_rows,
    "outer": across_outer,
    "keys": functools.partial(under_keys, jax.random.fold_in),
    "names": functools.partial(under_keys, key_for),
    "seeds": functools.partial(under_keys, of_seed),
    "digits": functools.partial(of_cipher, (_stream.WORDS_DOMAIN,)),
    "noise": functools.partial(of_cipher, (_stream.WORDS_DOMAIN, NOISE_DOMAIN)),
}
"""A chunk of words from a draw, a key and the number of the chunk, by name."""


def stream(layout: str, draw: Draw, seed: int) -> Iterator[Words]:
    """Endless chunks of words in a layout, of one key after the other.

    A key is done after 2^28 words, all that some layouts have under it.
    """
    chunks = _stream.MAX_FIRST // CHUNK
    make = jax.jit(functools.partial(LAYOUTS[layout], draw))
    for number in itertools.count():
        key = jax.random.key(seed + number // chunks)
        chunk = np.uint32(number % chunks)
        yield np.asarray(make(key, chunk)).ravel()


def dieharder(test: str, chunks: Iterable[Words] | None) -> Outcome:
    """Runs a test of `DIEHARDER_TESTS` on words, or on dieharder's own AES for None.

    AES takes its key from the clock, so no two runs of it are the same.
    """
    source = "205" if chunks is None else "200"
    report = feed(["dieharder", "-g", source, "-d", *test.split()], chunks or ())
    lines = [
        [field.strip() for field in line.split("|")] for line in report.split("\n")
    ]
    found = [line for line in lines if len(line) == 6 and line[1].isdigit()]
    if not found:
        raise RuntimeError(f"dieharder -d {test} has no result:\n{report}")
    tuples = list(dict.fromkeys(line[1] for line in found))
    parameter = tuples[0] if len(tuples) == 1 else f"{tuples[0]} to {tuples[-1]}"
    return found[0][0], parameter, [float(line[4]) for line in found]


def build_testu01(folder: Path) -> Path:
    """Compiles the program that runs batteries of TestU01 on its standard input."""
    program = folder / "testu01"
    linked = ["-o", str(program), *shlex.split(os.environ.get("LDFLAGS", ""))]
    command = [*_compiler(), "-O2", *linked, *LIBRARIES]
    subprocess.run(command, check=True, timeout=TIMEOUT_SECONDS)
    return program


def testu01(program: Path, battery: str, chunks: Iterable[Words]) -> list[Outcome]:
    """Runs SmallCrush or Crush on words; `build_testu01` compiled the program.

    The parameter of an outcome is the number of its test: names occur twice in Crush.
    """
    seconds = CRUSH_SECONDS if battery == "Crush" else TIMEOUT_SECONDS
    report = feed([str(program), battery], chunks, seconds)
    lines = [line.split("\t") for line in report.split("\n")]
    return [
        (line[1], line[2], [float(line[3])]) for line in lines if line[0] == "p-value"
    ]


def version(battery: str) -> str:
    """Of dieharder, or of TestU01 by its headers."""
    dieharder = battery == "dieharder"
    asked = ["dieharder", "-l"] if dieharder else [*_compiler(), "-E", "-dM"]
    said = subprocess.check_output(asked, text=True, timeout=TIMEOUT_SECONDS)
    (found,) = re.findall(r'(?:dieharder version |PACKAGE_VERSION ")([\d.]+)', said)
    return str(found)


def combine(p_values: Sequence[float]) -> float:
    """One p-value that is small where one of several is near 0 or 1 (Bonferroni)."""
    nearest = min(min(p, 1 - p) for p in p_values)
    return min(1.0, 2 * nearest * len(p_values))


def feed(
    command: Sequence[str], chunks: Iterable[Words], seconds: float = TIMEOUT_SECONDS
) -> str:
    """What a program prints that reads words for as long as it wants.

    Raises:
      CalledProcessError: If it fails, or is killed after so many seconds.
    """
    # A pipe would hold up a program that prints more than fits while it still reads.
    with tempfile.TemporaryFile("w+") as report:
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=report) as process:
            assert process.stdin is not None
            deadline = threading.Timer(seconds, process.kill)
            deadline.start()
            write(process.stdin.fileno(), chunks)
        deadline.cancel()
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        report.seek(0)
        return report.read()


def write(pipe: int, chunks: Iterable[Words]) -> None:
    """Writes chunks, as little-endian words, until the reader closes its end."""
    try:
        for chunk in chunks:
            octets = memoryview(chunk.astype("<u4", copy=False).tobytes())
            while octets:
                octets = octets[os.write(pipe, octets) :]
    except BrokenPipeError:
        pass


def _compiler() -> list[str]:
    """The compiler, with its flags, on the source."""
    source = Path(__file__).with_name("testu01.c")
    flags = shlex.split(os.environ.get("CFLAGS", ""))
    return [*shlex.split(os.environ.get("CC", "cc")), *flags, str(source)]
