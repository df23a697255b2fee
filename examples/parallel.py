"""Devices and processes: who they are, and what each of them holds."""

import socket
import time
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from examples.data import BadInput

# Seconds that processes wait for one another at the start.
PATIENCE = 60


def connect(coordinator: str, processes: int | None, process: int | None) -> None:
    """Connects processes to one program, before anything else uses JAX.

    Args:
      coordinator: HOST:PORT of process 0, or "auto": Slurm, Cloud TPU and the others
        that `jax.distributed.initialize` knows say all three.
      processes: How many there are.
      process: The number of this one.

    Raises:
      BadInput: If they do not go together, or the others do not come.
    """
    given = None if coordinator == "auto" else coordinator
    if given and (processes is None or process is None or process >= processes):
        raise BadInput(
            "--coordinator HOST:PORT needs --num-processes, and --process-id below it; "
            f"got {processes} and {process}. Pass 2 and 0 to the first of two"
        )
    if given and process:
        _wait_for(given)
    try:
        jax.distributed.initialize(
            given, processes, process, initialization_timeout=PATIENCE
        )
    # What it raises depends on what it asks: the environment, a socket, a service.
    except (RuntimeError, ValueError, OSError) as error:
        raise BadInput(
            f"--coordinator {coordinator}: {error}; start all processes within "
            f"{PATIENCE} seconds, or leave it out"
        ) from error


def _wait_for(coordinator: str) -> None:
    """Waits until process 0 listens: JAX kills a process that finds nobody."""
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal():
        raise BadInput(
            f"--coordinator is HOST:PORT; got {coordinator}. Pass localhost:9876"
        )
    limit = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > limit:
                raise BadInput(
                    f"--coordinator {coordinator}: nobody listens there ({error}); "
                    f"start process 0 within {PATIENCE} seconds of the others"
                ) from error
            time.sleep(0.1)


def make_mesh(devices: int | None, size: int) -> Mesh | None:
    """A mesh with the axis "data" over the first devices; None of a single one.

    Args:
      devices: How many; None for as many as divide a micro-batch.
      size: Of the micro-batch.

    Raises:
      BadInput: If there are fewer, or they do not divide it.
    """
    found = jax.device_count()
    if devices is None:
        local = jax.local_device_count()
        # Each process takes part with as many as the others.
        shares = (n for n in range(local, 0, -1) if size % (n * found // local) == 0)
        devices = found // local * next(shares, 1)
    if devices > found or size % devices or devices % jax.process_count():
        raise BadInput(
            f"--devices is at most {found}, those that JAX finds, a divisor of the "
            f"{size} examples of a micro-batch and a multiple of the processes, "
            f"{jax.process_count()}; got {devices}. Leave it out"
        )
    if devices == 1:
        return None
    each = devices // jax.process_count()
    own: dict[int, list[jax.Device]] = {}
    for device in jax.devices():
        own.setdefault(device.process_index, []).append(device)
    chosen = [device for mine in own.values() for device in mine[:each]]
    return Mesh(np.asarray(chosen), ("data",))


def everywhere(mesh: Mesh | None, tree: Any) -> Any:
    """Arrays that every process has alike, as JAX's, whole on every device."""
    if mesh is None:
        return jax.tree.map(jax.numpy.asarray, tree)
    place = NamedSharding(mesh, P())

    def placed(array: np.ndarray) -> jax.Array:
        return jax.make_array_from_callback(array.shape, place, lambda i: array[i])

    return jax.tree.map(placed, tree)


def leads() -> bool:
    """Whether this process is the one that prints and writes."""
    return jax.process_index() == 0


def largest(number: int) -> int:
    """The largest of the numbers that the processes have."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.int32(number)).max())
