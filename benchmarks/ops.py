"""One dropout at a time: which arrays, what is computed on them, and its contests."""

import dataclasses
import functools
import math
import resource
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

import jdrop
from benchmarks.contestants import (
    FLAX,
    FLOOR,
    JDROP,
    OF_TIMM,
    OF_TORCH,
    SHORT_LIST,
    TIMM,
    TORCH,
    absent,
    floor,
    gather,
    torch_entry,
)
from benchmarks.family import MEMBERS
from benchmarks.peers.base import NotOffered
from benchmarks.records import host_bytes
from benchmarks.table import Row, Settings, quartile_rows, row
from benchmarks.timing import Entry, compete, compiling, eager, jitted

Shape = tuple[int, ...]
Function = Callable[..., Any]

RATES = (0.1, 0.25, 0.5)
DTYPES = ("float32", "bfloat16", "float16")
LARGE, CACHE, SMALL, IMAGES = (4096, 4096), (1024, 1024), (128, 512), (64, 32, 32, 64)
# Few rows and few columns: 100 are no multiple of a vector, 8 rows fill a quarter of a
# word.
NARROW, LOW = (128, 100), (8, 4096)
# As many elements as in the large array, nearly: 4001 is prime, 2000 is 62.5 times 32,
# and 28 x 28 rows are 24.5 words.
IMAGE_ROWS = (640, 28, 28, 32)
UNEVEN = ((4096, 4001), (8192, 2000), IMAGE_ROWS)
COLUMNS = 2000
# Calls of a dropout in a program that is compiled as a whole.
CALLS = 24
SIZES = [10**n for n in range(4, 10)]
# The peers are followed as far as they do not take most of the benchmark's time.
PEER_LIMIT = 10**8
# Float32: x, y and a second y while the first is being freed; for the peers also the
# random words, the uniforms and the mask.
OWN_BYTES, PEER_BYTES = 12, 24


@dataclasses.dataclass(frozen=True)
class Case:
    """One contest.

    Attributes:
      kind: What is computed: "forward", "gradient" (value and gradient of the sum),
        "pullback" (the output and the pullback of a cotangent), "alpha", "channel" (one
        mask over rows and columns of images), "parts" (the draw and the apply alone),
        "eager" (forward, dispatched eagerly), "call" (the same, beside a `fold_in`),
        "key" (`key_for`, beside it), "compile" (one dropout) or "compile 24 calls",
        "... rates", "... shapes" (of one rate and shape, or of so many). Or a name of
        `benchmarks.family`.
      shape: Shape of x.
      dtype: Name of its dtype.
      rate: Probability of dropping.
      field: Who takes part: "all", the "short" list, or jdrop "alone".
    """

    kind: str
    shape: Shape = LARGE
    dtype: str = "float32"
    rate: float = 0.1
    field: str = "short"


FOLD_IN = "jax.random.fold_in"
# What differs between the calls of a program.
MANY = ("calls", "rates", "shapes")


def _forward(shape: Shape, dtype: str = "float32", field: str = "all") -> list[Case]:
    """Forward passes at each rate; beyond the short list at rate 0.1 alone."""
    fields = (field, "short", "short")
    pairs = zip(RATES, fields, strict=True)
    return [Case("forward", shape, dtype, rate, field) for rate, field in pairs]


# By section and state of memory.
PLAN = {
    ("ops", "warm"): [
        *_forward(LARGE),
        *_forward(LARGE, "bfloat16"),
        *_forward(LARGE, "float16", field="short"),
        *(case for shape in UNEVEN for case in _forward(shape, field="short")),
        *_forward(CACHE),
        *_forward(SMALL),
        *_forward(NARROW, field="short"),
        *_forward(LOW, field="short"),
        Case("gradient", field="all"),
        Case("pullback"),
        Case("alpha"),
        Case("channel", IMAGES, field="all"),
        *(Case("parts", LARGE, dtype, rate) for dtype in DTYPES[:2] for rate in RATES),
    ],
    ("ops", "fresh"): [
        *_forward(LARGE),
        *_forward(LARGE, "bfloat16", field="short"),
        Case("gradient"),
        Case("alpha"),
    ],
    ("calls", "warm"): [
        Case("eager", SMALL, field="all"),
        Case("call", SMALL),
        Case("key", SMALL),
        Case("compile", rate=0.1),
        Case("compile", rate=0.5),
        *(Case(f"compile {CALLS} {what}", (256, 512)) for what in MANY),
    ],
    ("growth", "warm"): [
        Case(
            "forward",
            (n // COLUMNS, COLUMNS),
            field="short" if n <= PEER_LIMIT else "alone",
        )
        for n in SIZES
    ],
    ("family", "warm"): [Case(name, op.shape) for name, op in MEMBERS.items()],
}


def cases(settings: Settings) -> Iterator[Case]:
    """The contests of a section in one state of memory, in order."""
    for case in PLAN[settings.section, settings.memory]:
        if settings.quick:
            if case.rate == 0.25 or case.dtype == "float16" or case.field == "alone":
                continue
            case = dataclasses.replace(case, field="short")
        yield case


def run(settings: Settings) -> Iterator[Row]:
    """Times the cases of a section that fit into memory."""
    if settings.section == "ops" and jax.default_backend() == "cpu":
        yield faults()
    for case in cases(settings):
        each = OWN_BYTES if case.field == "alone" else PEER_BYTES
        if enough_memory(math.prod(case.shape) * each, case):
            yield from contest(case, settings)


def enough_memory(needed: int, what: object) -> bool:
    """Whether bytes fit into three quarters of the memory; says so if they do not."""
    stats = jax.devices()[0].memory_stats() or {}
    if needed <= 0.75 * stats.get("bytes_limit", host_bytes()):
        return True
    print(f"left out, not enough memory: {what}", file=sys.stderr)
    return False


def contest(case: Case, settings: Settings) -> Iterator[Row]:
    """Times one case."""
    x = normal(case.shape, case.dtype)
    entries = ENTRIES.get(case.kind, _whole)(case, x)
    reference, (rounds, turn_seconds) = entries[0].name, settings.pace
    is_compiled = case.kind.startswith("compile")
    if case.kind == "eager" or is_compiled:
        flax_is_here = any(entry.name == FLAX for entry in entries)
        reference = FLAX if flax_is_here else JDROP
    if is_compiled:
        turn_seconds = 0
    if math.prod(case.shape) > PEER_LIMIT or case.kind.endswith(MANY):
        # They take seconds, and vary less than the ratio they are read for.
        rounds = min(rounds, 3)
    results = compete(entries, reference, rounds, turn_seconds)
    about = {"case": case.kind, "dtype": case.dtype, "rate": case.rate}
    return quartile_rows(results, reference, shape=case.shape, **about)


def faults() -> Row:
    """Whether memory is in the state it is said to be in: page faults of one call."""
    entry = jitted(FLOOR, floor(0.1), jax.random.key(0), normal(LARGE, "float32"))
    # XLA frees late, so the heap takes some tens of calls to grow to its size.
    entry.run(40)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    entry.run(20)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    about = {"case": "faults", "shape": LARGE, "dtype": "float32"}
    return row(FLOOR, "page faults", (after - before) / 20, "a call", **about)


def normal(shape: Shape, dtype: str) -> jax.Array:
    """Normal numbers, the same row again and again, so that they are had quickly."""
    line = jax.random.normal(jax.random.key(0), shape[-1:], jnp.float32).astype(dtype)
    return jax.jit(lambda line: jnp.broadcast_to(line, shape))(line)


def _whole(case: Case, x: jax.Array) -> list[Entry]:
    enter = {"eager": eager}.get(case.kind, jitted)
    enter = compiling if case.kind.startswith("compile") else enter
    # The cotangent is read from memory, as the gradient of the layer above is.
    arrays = (x, x + 1) if case.kind == "pullback" else (x,)
    entries = []
    for name, key, function in _functions(case):
        try:
            entries.append(enter(name, _computed(case, function), key, *arrays))
        except NotOffered:  # Not every library shares a mask between rows and columns.
            continue
    with_torch = enter is not compiling and case.field != "alone"
    if with_torch and TORCH not in absent():
        entries.append(torch_entry(case.kind, case.shape, case.dtype, case.rate))
    return entries


def _functions(case: Case) -> Iterator[tuple[str, jax.Array, Function]]:
    """The contestants of JAX: name, key, and a function of a key, x, and a rate."""
    key, default = jax.random.key(1), case.rate
    yield FLOOR, key, lambda key, x, rate=default: floor(rate)(key, x)
    if case.kind == "alpha":
        yield JDROP, key, lambda key, x: jdrop.alpha_dropout(key, x, default)
        return
    options = {"broadcast_dims": (1, 2)} if case.kind == "channel" else {}
    names = {"short": SHORT_LIST, "alone": (JDROP,)}
    if jax.default_backend() != "cpu":
        # The cheapest of JAX's keys there, and the dearest on a CPU.
        names["short"] = (*SHORT_LIST, "flax.linen, rbg")
    for name, key, drop in gather():
        if name in names.get(case.field, (name,)):
            yield (
                name,
                key,
                lambda key, x, rate=default, drop=drop: drop(key, x, rate, **options),
            )


def _computed(case: Case, function: Function) -> Function:
    """What a case computes with a dropout: an output, its gradient, or many outputs."""
    if case.kind == "gradient":
        return lambda key, x: jax.value_and_grad(lambda x: function(key, x).sum())(x)
    if case.kind.endswith(MANY):

        def many(key: Any, x: Any) -> Any:
            outputs = []
            for i, own in enumerate(jax.random.split(key, CALLS)):
                part = x[: len(x) - i] if case.kind.endswith("shapes") else x
                more = 0.01 * i if case.kind.endswith("rates") else 0
                outputs.append(function(own, part, case.rate + more))
            return outputs

        return many
    if case.kind == "pullback":

        def output_and_pullback(key: Any, x: Any, cotangent: Any) -> Any:
            y, pullback = jax.vjp(lambda x: function(key, x), x)
            return y, pullback(cotangent)

        return output_and_pullback
    return function


def _parts(case: Case, x: jax.Array) -> list[Entry]:
    """The two halves of jdrop's dropout beside the whole: which one is the limit."""
    key, rate, shape = jax.random.key(1), case.rate, case.shape
    mask = jdrop.sample_mask(key, shape, rate)
    return [
        jitted(FLOOR, floor(rate), key, x),
        jitted(JDROP, lambda k, x: jdrop.dropout(k, x, rate), key, x),
        jitted("draw", lambda k: jdrop.sample_mask(k, shape, rate).words, key),
        jitted("apply", jdrop.apply_mask, mask, x),
    ]


def _call(case: Case, x: jax.Array) -> list[Entry]:
    """An eager dropout beside the least that a user does with a key."""
    key = jax.random.key(1)
    return [_fold_in(key), eager(JDROP, jdrop.dropout, key, x, case.rate)]


def _key(case: Case, x: jax.Array) -> list[Entry]:
    key, path = jax.random.key(1), ("encoder", "dropout", 17)
    return [_fold_in(key), eager(JDROP, jdrop.key_for, key, *path)]


def _fold_in(key: jax.Array) -> Entry:
    return eager(FOLD_IN, jax.random.fold_in, key, 17)


def _family(case: Case, x: jax.Array) -> list[Entry]:
    """An op of the family, beside the same by hand and that of torch or timm."""
    key, arrays = jax.random.key(1), family_arrays(case)
    entries = [
        jitted(
            name, lambda key, *given, own=own: own(key, *given, case.rate), key, *arrays
        )
        for name, own in MEMBERS[case.kind].contestants.items()
    ]
    for library, kinds in ((TORCH, {*OF_TORCH}), (TIMM, {*OF_TIMM})):
        if case.kind in kinds and not {TORCH, library}.intersection(absent()):
            entries.append(torch_entry(case.kind, case.shape, case.dtype, case.rate))
    return entries


def family_arrays(case: Case) -> tuple[Any, ...]:
    """What an op of the family takes."""
    make = functools.partial(normal, dtype=case.dtype)
    return MEMBERS[case.kind].arrays(make, case.shape)


ENTRIES = {"parts": _parts, "call": _call, "key": _key}
ENTRIES |= dict.fromkeys(MEMBERS, _family)
