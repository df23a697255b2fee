"""The chips that are compiled for, and how JAX is told of one that is not there."""

import functools
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jax.experimental import topologies

TPUS = {"v4": "2x2x1", "v5e": "2x2", "v5p": "2x2x1", "v6e": "2x2"}
"""Topologies of four devices."""

TARGETS = (*TPUS, "h100")

H100 = Path(__file__).with_name("h100.txtpb")

ENVIRONMENT = {
    # The process itself computes on the CPU, whatever is there.
    "JAX_PLATFORMS": "cpu",
    "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
    # No server is asked which TPU this is, and two processes may compile at a time.
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}

"""Of every process."""


def environment(part: str, dump: str) -> dict[str, str]:
    """Of a process that compiles a part: read once, by jdrop and by libtpu.

    Args:
      part: Its name.
      dump: Folder for the schedules of a TPU's kernels.
    """
    if part != "kernel":
        return {"JDROP_KERNEL": "off"}
    asked = f"--xla_jf_dump_to={dump} --xla_jf_dump_llo_text=true"
    return {"JDROP_KERNEL": "on", "LIBTPU_INIT_ARGS": asked}


def missing(targets: Iterable[str]) -> list[str]:
    """The modules of compilers that are not installed."""
    needed = {"libtpu" if target in TPUS else "jax_cuda12_plugin" for target in targets}
    return sorted(name for name in needed if not find_spec(name))


@functools.cache
def devices(target: str) -> list[Any]:
    """Four devices of a kind, to compile for."""
    if target in TPUS:
        name = f"{target}:{TPUS[target]}"
        options = {"platform": "tpu", "topology_name": name}
    else:
        options = {"platform": "cuda", "topology_name": "1x1x4"}
        options |= {"topology": "1x1x4", "target_config": H100.read_text()}
    return list(topologies.get_topology_desc(**options).devices)
