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

from benchmarks.compiled.digest import hlo_figures, launched, sass_instructions
from benchmarks.compiled.programs import Drop, Program, drops, lowered, programs
from benchmarks.compiled.targets import TPUS, devices

READY = "ready\n"
"""The line that says that the chip is known, and the libraries are there."""


def figures(
    program: Program, drop: Drop, target: str, chips: list[Any]
) -> dict[str, Any]:
    """Compiles a program; the columns it fills, or why it does not compile."""
    elements = math.prod(program.shape)
    start = time.process_time()
    with tempfile.TemporaryDirectory() as name:
        folder, options = Path(name), dict[str, Any]()
        if target not in TPUS:
            # There is no device on which to try algorithms.
            options = {"xla_dump_to": name, "xla_gpu_autotune_level": 0}
        try:
            compiled = lowered(program, drop, chips).compile(options)
        except Exception as error:
            reason = (str(error).strip().splitlines() or [""])[0]
            return {"failure": f"{type(error).__name__}: {reason}"}
        found = read(compiled, elements) | {"seconds": time.process_time() - start}
        if target not in TPUS:
            found |= gpu_figures(folder, elements // (len(chips) if program.cut else 1))
    return found


def read(compiled: Compiled, elements: int) -> dict[str, float]:
    """What a compiled program itself can say, for any chip."""
    memory = compiled.memory_analysis()
    temporaries = {"temporaries": memory.temp_size_in_bytes} if memory else {}
    return hlo_figures(compiled.as_text() or "", elements) | temporaries


def gpu_figures(folder: Path, elements: int) -> dict[str, float]:
    """What is launched, and machine instructions of all threads to an element."""
    [thunks] = folder.glob("*thunk_sequence.txt")
    launches, kernels = launched(thunks.read_text())
    codes = {
        ptx.read_text().partition(".entry ")[2]: ptx for ptx in folder.glob("*.ptx")
    }
    files = {head.partition("(")[0]: ptx for head, ptx in codes.items()}
    instructions = sum(n * disassembled(files[name]) for name, n in kernels.items())
    found = {"kernels": len(kernels), "launches": launches}
    return found | {"instructions": instructions / elements}


def disassembled(ptx: Path) -> int:
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


def main(target: str, first: int) -> None:
    """Compiles all programs from one on."""
    chips, every = devices(target), drops()
    print(READY, end="", flush=True)
    for program in list(programs())[first:]:
        found = figures(program, every[program.contestant], target, chips)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
