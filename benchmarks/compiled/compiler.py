"""Compiles one program for one chip, and reads what came out.

It runs in a process of its own, as a compiler may die, or not end. Such a process finds
what it runs by import, which a package's `__main__` does not allow.
"""

import functools
import math
import shutil
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jax.stages import Compiled

from benchmarks.compiled.digest import (
    hlo_figures,
    launched,
    sass_instructions,
    scheduled_bundles,
)
from benchmarks.compiled.programs import Program, drops, lowered
from benchmarks.compiled.targets import TPUS, devices
from benchmarks.family import MEMBERS
from jdrop._kernel import block_of
from jdrop._stream import Layout

KERNEL_CALL = 'custom_call_target="tpu_custom_call"'

cached_drops = functools.cache(drops)


def figures(target: str, program: Program, dump: str) -> dict[str, float]:
    """Compiles a program; the columns that it fills.

    Args:
      target: The chip.
      program: The program.
      dump: Where libtpu writes the schedules of kernels, if it does.
    """
    elements, chips = math.prod(program.shape), devices(target)
    shutil.rmtree(dump, ignore_errors=True)
    local = local_shape(program, len(chips))
    op = program.case if program.case in MEMBERS else ""
    drop = cached_drops()[op, program.contestant]
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {}
        if target not in TPUS:
            # There is no device on which to try algorithms.
            options = {"xla_dump_to": folder, "xla_gpu_autotune_level": 0}
        start = time.process_time()
        compiled = lowered(program, drop, chips).compile(options)
        seconds = round(time.process_time() - start, 2)
        found = read(compiled, elements) | {"seconds": seconds}
        if target not in TPUS:
            found |= gpu_figures(Path(folder), math.prod(local))
        elif Path(dump).exists():
            calls = (compiled.as_text() or "").count(KERNEL_CALL)
            found |= kernel_figures(Path(dump), local, calls)
    return found


def local_shape(program: Program, chips: int) -> tuple[int, ...]:
    """The shape of the array that one device drops from."""
    cut = [*(program.cut or ()), *[None] * len(program.shape)]
    sizes = zip(program.shape, cut, strict=False)
    return tuple(size // (chips if name else 1) for size, name in sizes)


def read(compiled: Compiled, elements: int) -> dict[str, float]:
    """What a compiled program itself can say, for any chip."""
    memory = compiled.memory_analysis()
    temporaries = {"temporaries": memory.temp_size_in_bytes} if memory else {}
    return hlo_figures(compiled.as_text() or "", elements) | temporaries


def kernel_figures(dump: Path, shape: tuple[int, ...], calls: int) -> dict[str, float]:
    """The kernels of a TPU's program, and their bundles in all steps of their grids.

    Args:
      dump: Where the schedules are.
      shape: The kernels are jdrop's, each of an array of this shape.
      calls: How many the program has; of equal ones the compiler schedules one.

    Raises:
      ValueError: If it is not known which of the kernels is called how often.
    """
    layout = Layout.of(shape)
    height, width = block_of("tpu", layout)
    steps = math.prod(layout.outer) * -(-math.prod(layout.rows) // height)
    steps *= -(-layout.columns // width)
    files = dump.glob("*-schedule-analysis_final_bundles.txt")
    # Another file of each program has the bundles that its kernels call.
    texts = [file.read_text() for file in files if "TLP" not in file.name]
    bundles = [scheduled_bundles(text) for text in texts if "tpu_custom_call" in text]
    if len(bundles) == 1:
        bundles *= calls
    if len(bundles) != calls:
        raise ValueError(f"{calls} calls of {len(bundles)} different kernels")
    return {"kernels": calls, "bundles": steps * sum(bundles)}


def gpu_figures(folder: Path, elements: int) -> dict[str, float]:
    """What is launched, and machine instructions of all threads to an element."""
    [thunks] = folder.glob("*thunk_sequence.txt")
    launches, kernels = launched(thunks.read_text())
    codes = {_kernel_name(ptx): ptx for ptx in folder.glob("*.ptx")}
    instructions = sum(n * _instructions(codes[name]) for name, n in kernels.items())
    found = {"kernels": len(kernels), "launches": launches}
    return found | {"instructions": round(instructions / elements, 3)}


def _kernel_name(ptx: Path) -> str:
    return ptx.read_text().partition(".entry ")[2].partition("(")[0]


def _instructions(ptx: Path) -> int:
    """The number of machine instructions that a file of PTX becomes."""
    cubin = ptx.with_suffix(".cubin")
    subprocess.run([_tool("ptxas"), "-arch=sm_90a", "-o", cubin, ptx], check=True)
    command = [_tool("nvdisasm"), "-c", str(cubin)]
    text = subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL)
    return sass_instructions(text)


def _tool(name: str) -> str:
    """A program that the CUDA wheels bring."""
    spec = find_spec("nvidia")
    for folder in spec.submodule_search_locations or () if spec else ():
        for found in Path(folder).glob(f"*/bin/{name}"):
            return str(found)
    raise FileNotFoundError(f"no {name}: install jax[cuda12] and nvidia-cuda-nvdisasm")
