"""What `nox -s versions` runs inside an environment: does jdrop work, what is drawn.

    python -I benchmarks/versions_probe.py checks    whether everything works
    python -I benchmarks/versions_probe.py masks     short hashes of masks of one key

It prints CSV rows: what was looked at, and the result. Every import of jdrop and Flax
is inside a function: one that fails is a finding.
"""

import csv
import faulthandler
import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

SEED, SHAPE, RATE = 42, (64, 96), 0.1
TIMEOUT_SECONDS = 600


def key_and_input() -> tuple[jax.Array, jax.Array]:
    """A key, and an input whose output shows the mask."""
    return jax.random.key(SEED), jnp.ones(SHAPE, jnp.float32)


def drop(key: jax.Array, x: jax.Array) -> jax.Array:
    """The function that every check is about."""
    import jdrop

    return jdrop.dropout(key, x, RATE)


def equal(actual: Any, wanted: Any) -> None:
    """Raises unless two arrays agree bit for bit."""
    np.testing.assert_array_equal(np.asarray(actual), np.asarray(wanted))


def check_golden() -> None:
    """`python -m jdrop` draws the golden vectors."""
    command = [sys.executable, "-I", "-m", "jdrop", "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
    )
    if not done.stdout.startswith("{"):
        raise AssertionError((done.stderr.strip().splitlines() or ["silence"])[-1])
    for way in json.loads(done.stdout)["checks"]:
        if way["status"] not in ("agrees", "skipped"):
            raise AssertionError(f"{way['name']}: {way['reason'] or 'differs'}")


def check_transforms() -> None:
    """Under jit, vmap, scan, remat, grad and with a traced rate: the plain call."""
    import jdrop

    key, x = key_and_input()
    keys = jax.random.split(key, 3)
    wanted = jnp.stack([drop(key, x) for key in keys])
    equal(jax.jit(drop)(keys[0], x), wanted[0])
    equal(jax.vmap(drop, (0, None))(keys, x), wanted)
    equal(jax.lax.scan(lambda c, key: (c, drop(key, x)), 0, keys)[1], wanted)
    equal(jax.checkpoint(drop)(keys[0], x), wanted[0])
    equal(jax.grad(lambda x: drop(keys[0], x).sum())(x), wanted[0])
    equal(jax.jit(jdrop.dropout)(keys[0], x, jnp.float32(RATE)), wanted[0])


def check_export() -> None:
    """A program that was exported, serialised and read again draws the same."""
    from jax import export

    (_, x), legacy = key_and_input(), jax.random.PRNGKey(SEED)
    exported = export.export(jax.jit(drop))(legacy, x)
    equal(export.deserialize(exported.serialize()).call(legacy, x), drop(legacy, x))


def check_auto(kind: str = "Auto") -> None:
    """All devices of a mesh, left to the compiler, draw the mask that one draws."""
    axis_types = (getattr(jax.sharding.AxisType, kind),)
    mesh = jax.make_mesh((len(jax.devices()),), ("d",), axis_types=axis_types)
    key, x = key_and_input()
    for spec in (PartitionSpec("d"), PartitionSpec(None, "d")):
        sharded = jax.device_put(x, NamedSharding(mesh, spec))
        y = jax.jit(drop)(key, sharded)
        equal(y, drop(key, x))
        assert y.sharding.is_equivalent_to(sharded.sharding, y.ndim), y.sharding


def check_explicit() -> None:
    """The same where the axes of the mesh are part of an array's type."""
    check_auto("Explicit")


def check_linen() -> None:
    """The linen module is the function."""
    import jdrop.linen

    key, x = key_and_input()
    module = jdrop.linen.Dropout(RATE, deterministic=False)
    equal(module.apply({}, x, rng=key), drop(key, x))


def check_nnx() -> None:
    """The nnx module is the function, and a model switches it."""
    from flax import nnx

    import jdrop.nnx

    key, x = key_and_input()
    module = jdrop.nnx.Dropout(RATE, rngs=nnx.Rngs(SEED))
    equal(module(x, rngs=key), drop(key, x))
    assert (module(x) != module(x)).any(), "a key was used twice"
    module.eval()
    equal(module(x), x)
    module.train()
    equal(nnx.jit(lambda module, x: module(x, rngs=key))(module, x), drop(key, x))


def checks() -> Iterator[tuple[str, str]]:
    """Whether each check works, or the first line of what went wrong."""
    yield "python", platform.python_version()
    yield "numpy", np.__version__
    every: tuple[Callable[[], None], ...] = (check_golden, check_transforms)
    every += (check_export, check_auto, check_explicit, check_linen, check_nnx)
    for check in every:
        result = "works"
        try:
            check()
        except Exception as error:
            first = (str(error).strip().splitlines() or [""])[0]
            # Where a module was found is of no interest: the environment goes away.
            result = f"{type(error).__name__}: {first.partition(' (/')[0]}"
        yield check.__name__.removeprefix("check_"), result


def masks() -> Iterator[tuple[str, str]]:
    """First 8 hexadecimal digits of the SHA-256 of each mask, packed to bits."""
    import flax.linen

    key, x = key_and_input()
    module: Any = flax.linen.Dropout(RATE, deterministic=False)
    for name, draw in {
        "jdrop": lambda: drop(key, x),
        "flax.linen": lambda: module.apply({}, x, rng=key),
    }.items():
        try:
            kept = np.packbits(np.asarray(draw()) != 0)
        except Exception:
            continue
        yield name, hashlib.sha256(kept.tobytes()).hexdigest()[:8]


if __name__ == "__main__":
    faulthandler.dump_traceback_later(2 * TIMEOUT_SECONDS, exit=True)
    rows = {"checks": checks, "masks": masks}[sys.argv[1]]()
    csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
