"""Compiles programs for one chip, and prints a line of JSON for each.

    python -m benchmarks.compiled.worker v5e 0

A process of its own: a compiler may die, or not end. The number is that of the program
to begin with.
"""

import json
import math
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jax.stages import Compiled

from benchmarks.compiled.digest import gpu_figures, hlo_figures
from benchmarks.compiled.programs import Drop, Program, drops, lowered, programs
from benchmarks.compiled.targets import TPUS, devices

READY = "ready\n"
"""The line that says that the chip is known, and the libraries are there."""


def figures(
    program: Program, drop: Drop, target: str, chips: list[Any]
) -> dict[str, Any]:
    """Compiles a program; what it is made of, or why it does not compile."""
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {}
        if target not in TPUS:
            # There is no device on which to try algorithms.
            options = {"xla_dump_to": folder, "xla_gpu_autotune_level": 0}
        try:
            compiled = lowered(program, drop, chips).compile(options)
        except Exception as error:
            return {"failure": f"{type(error).__name__}: {str(error).strip()}"}
        found: dict[str, Any] = {"seconds": time.process_time() - start}
        found |= read(compiled, math.prod(program.shape))
        if target not in TPUS:
            [thunks] = Path(folder).glob("*thunk_sequence.txt")
            sass = dict(map(disassembled, Path(folder).glob("*.ptx")))
            elements = math.prod(program.shape) // (len(chips) if program.cut else 1)
            found |= gpu_figures(thunks.read_text(), sass, elements)
    return found


def read(compiled: Compiled, elements: int) -> dict[str, int]:
    """What a compiled program itself can say, for any chip."""
    memory = compiled.memory_analysis()
    temporaries = {"temporaries": memory.temp_size_in_bytes} if memory else {}
    return hlo_figures(compiled.as_text() or "", elements) | temporaries


def disassembled(ptx: Path) -> tuple[str, str]:
    """The name of the kernel in a file of PTX, and its machine code as text."""
    name = ptx.read_text().partition(".entry ")[2].partition("(")[0]
    if not name:  # Constants alone.
        return "", ""
    cubin = ptx.with_suffix(".cubin")
    subprocess.run([_tool("ptxas"), "-arch=sm_90a", "-o", cubin, ptx], check=True)
    code = [str(_tool("nvdisasm")), "-c", str(cubin)]
    return name, subprocess.check_output(code, text=True, stderr=subprocess.DEVNULL)


def _tool(name: str) -> Path:
    """A program that the CUDA wheels bring."""
    spec = find_spec("nvidia")
    for folder in spec.submodule_search_locations or () if spec else ():
        for found in Path(folder).glob(f"*/bin/{name}"):
            return found
    raise FileNotFoundError(f"no {name}: install jax[cuda12] and nvidia-cuda-nvdisasm")


def main(target: str, first: int) -> None:
    """Compiles all programs from one on."""
    chips, every = devices(target), drops()
    print(READY, end="", flush=True)
    for program in list(programs())[first:]:
        found = figures(program, every[program.contestant], target, chips)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
