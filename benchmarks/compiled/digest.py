"""The figures of a compiled program, read from its texts: HLO, schedules, SASS."""

import math
import re
from collections import Counter
from collections.abc import Iterator

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*\{$", re.MULTILINE)
_INSTRUCTION = re.compile(r"^ *(?:ROOT )?%?[\w.-]+ = (\(.*?\)|\S+) ([\w-]+)\(", re.M)
_CALLED = re.compile(r" fusion\(.* calls=%?([\w.-]+)")
# Custom calls that only name memory.
_NAMING = re.compile(r'custom_call_target="(?:ConcatBitcast|AllocateBuffer)"')
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_THUNK = re.compile(r"^ *\d+: k(\w+)\s+\[.*?\]\s+(\S*)(.*)$", re.MULTILINE)
_LAUNCH = re.compile(r"grid: \[([\d, ]+)\] threads: \[([\d, ]+)\]")
_BUNDLES = re.compile(r"^.*total scheduled bundles:\s+(\d+)", re.MULTILINE)
# An address and an instruction, with its predicate before it.
_SASS = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?\w+ )?(\w+)", re.MULTILINE)

COLLECTIVES = ["all-gather", "all-reduce", "all-to-all", "collective-permute"]
COLLECTIVES += ["reduce-scatter", "ragged-all-to-all", "collective-broadcast"]
MOVES, PASSES = ("copy", "transpose"), ("reshape", "convert", "broadcast")
"""What moves an array, and what is a pass over it where it stands outside fusions."""

UNCOUNTED = ("while", "custom-call", "rng-bit-generator")
"""What the cost model of a TPU's compiler counts once, or as nothing."""

# Thunks that put no work on the device's queue themselves.
_HOLDERS = ("Sequential", "While", "Conditional", "CommandBuffer")


def hlo_figures(text: str, elements: int) -> dict[str, int]:
    """What optimised HLO says.

    Args:
      text: The HLO.
      elements: The number of elements of the array that is dropped from.

    Returns:
      cycles: the sum of the compiler's estimates, 0 where it makes none. uncounted:
      instructions that these leave out, whole or in part. whiles: loops. collectives:
      exchanges between devices. copies: copies and transposes of so many elements or
      more; outside fusions also their reshapes, conversions and broadcasts.
    """
    opcodes: Counter[str] = Counter()
    copies = 0
    for fused, opcode, size in _instructions(text):
        opcodes[opcode.removesuffix("-start")] += 1
        # A copy-start fetches what is needed anyway, ahead of its use.
        moves = opcode in MOVES or (opcode in PASSES and not fused)
        copies += moves and size >= elements
    return {
        "cycles": sum(map(int, _CYCLES.findall(text))),
        "uncounted": sum(opcodes[n] for n in UNCOUNTED) - len(_NAMING.findall(text)),
        "whiles": opcodes["while"],
        "collectives": sum(opcodes[name] for name in COLLECTIVES),
        "copies": copies,
    }


def launched(thunks: str) -> tuple[int, dict[str, int]]:
    """What a GPU is given to do, by XLA's text of what the host does in order.

    Returns:
      The number of launches: kernels, copies and calls of libraries. And the threads of
      each kernel, by its name, in all its launches.
    """
    launches, threads = 0, Counter[str]()
    for kind, name, about in _THUNK.findall(thunks):
        launches += kind not in _HOLDERS
        if launch := _LAUNCH.search(about):
            sizes = ",".join(launch.groups()).split(",")
            threads[name] += math.prod(map(int, sizes))
    return launches, dict(threads)


def scheduled_bundles(text: str) -> int:
    """The bundles of instructions in the final schedule of a TPU's kernel.

    Raises:
      ValueError: If the text is not such a schedule's.
    """
    found = _BUNDLES.findall(text)
    if len(found) != 1:
        raise ValueError(f"one number of scheduled bundles is wanted; got {found}")
    return int(found[0])


def sass_instructions(text: str) -> int:
    """Machine instructions of a kernel, without those that only fill its last line."""
    return sum(opcode != "NOP" for opcode in _SASS.findall(text))


def _instructions(text: str) -> Iterator[tuple[bool, str, int]]:
    """Of each instruction: is it in a fusion, its opcode, its largest result's size."""
    fusions = set(_CALLED.findall(text))
    _, *parts = _COMPUTATION.split(text)
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        for result, opcode in _INSTRUCTION.findall(body):
            shapes = re.findall(r"\w+\[([\d,]*)\]", result)
            sizes = [math.prod(map(int, filter(None, s.split(",")))) for s in shapes]
            yield name in fusions, opcode, max(sizes, default=0)
