"""Breaks the library on purpose, one place at a time: do the tests notice?

    python -m tests.mutants             all of them, some minutes
    python -m tests.mutants offset      those with this word in their name

Each mutant is applied to a copy of the tree, where the tests that should catch it run.
Prints a line a mutant; ends with status 1 if one survives.
"""

import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
NEEDED = ("jdrop", "tests", "docs", "README.md", "pyproject.toml")
# Seconds for the tests of one mutant; on a quiet machine they take ten.
TIMEOUT = 300

WORDS = "core/test_words.py::test_every_kind_of_key[jit]"
DRAW = "core/test_draw.py"
STREAM = "core/test_stream.py"
CONTRACT = "ops/test_contract.py::"
PLACES = "ops/test_places.py::test_inside[scan]"
LAW = CONTRACT + "test_rates_of_every_type_in_one_trace"
RESIDUAL = "ops/test_program.py::test_packed_words_are_the_only_residual"
MATERIALISED = "ops/test_program.py::test_the_draw_is_materialised"
RATE_ONE = CONTRACT + "test_rate_one_is_zeros_with_zero_gradient"
TRACED_ENDS = CONTRACT + "test_traced_rates_are_clamped_and_nan_gives_nan"
DTYPE = CONTRACT + "test_dtype_stays_and_does_not_change_the_mask"
MESH = "ops/test_mesh.py::test_the_same_without_a_word_between_devices"
SHARD_MAP = "ops/test_shard_map.py::"
MODULE = "flax/test_modules.py::test_module_equals_function_bit_for_bit"
LINEN = "flax/test_linen.py::test_key_comes_from_the_named_collection_or_from_params"
NNX = "flax/test_nnx.py::test_module_draws_from_a_fork_of_the_stream_it_is_given"
NNX_MODE = "flax/test_nnx.py::test_mode_of_the_call_comes_first"


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change that has to be noticed: `old`, once in `file`, becomes `new`."""

    file: str
    name: str
    old: str
    new: str
    test: str


BY_FILE = {
    "_stream.py": [
        ("rotation", "(13, 15, 26, 6,", "(13, 15, 26, 7,", STREAM),
        ("parity", "0x1BD11BDA", "0x1BD11BDB", STREAM),
        ("rounds", "ROUNDS = 20", "ROUNDS = 16", WORDS),
        (
            "key schedule",
            "schedule[(group + 1) % 3] +",
            "schedule[(group + 2) % 3] +",
            STREAM,
        ),
        ("number of key words not absorbed", "domain[1] + count", "domain[1]", WORDS),
        (
            "odd key padded with itself",
            "else jnp.uint32(0)\n        seed",
            "else words[i]\n        seed",
            WORDS,
        ),
        (
            "rate rounded half up",
            "xp.round(p * np.float32(2**digits))",
            "xp.floor(p * np.float32(2**digits) + np.float32(0.5))",
            "core/test_limits.py::test_ties_go_to_even",
        ),
        (
            "16 digits too soon",
            "p >= np.float32(2**-8)",
            "p >= np.float32(2**-9)",
            STREAM,
        ),
        (
            "rate not clamped",
            "xp.clip(asked, np.float32(0), np.float32(1))",
            "asked",
            TRACED_ENDS,
        ),
        (
            "last pair of digits not counted",
            "np.arange(0, 32, 2,",
            "np.arange(0, 30, 2,",
            STREAM,
        ),
        (
            "batch axis joins the row",
            "while axis > 1",
            "while axis > 0",
            CONTRACT + "test_parts_of_a_batch_get_their_rows",
        ),
        (
            "rows of 32 elements joined",
            "math.prod(shape[axis:]) < LANES",
            "math.prod(shape[axis:]) <= LANES",
            STREAM,
        ),
        (
            "row numbers of several axes",
            "math.prod(rows[axis + 1 :])",
            "math.prod(rows[axis:])",
            DRAW,
        ),
        (
            "words share counters",
            "word * np.uint32(PAIRS)",
            "word * np.uint32(PAIRS // 2)",
            DRAW,
        ),
        (
            "offset dropped",
            "index = index + offset",
            "index = index + offset * np.uint32(0)",
            PLACES,
        ),
    ],
    "_mask.py": [
        (
            "offset moves a shared row",
            "np.uint32(0) if 0 in dims else offset",
            "offset",
            CONTRACT + "test_offset_leaves_a_shared_row_alone",
        ),
        (
            "lane shifted",
            "(words[..., None] >> bit)",
            "(words[..., None] >> (bit ^ np.uint32(1)))",
            PLACES,
        ),
        (
            "lanes backwards",
            "(words[..., None] >> bit)",
            "(words[..., None] >> (np.uint32(31) - bit))",
            PLACES,
        ),
        (
            "wrong axis of a broadcast dim",
            "1 if axis in dims else size",
            "1 if len(shape) - 1 - axis in dims else size",
            CONTRACT + "test_broadcast_dims_share_a_bit",
        ),
        (
            "scale by the requested rate",
            "keep = 1 - mask.rate.astype(real_dtype(x))",
            "keep = 1 - (mask.rate * 1000).round().astype(real_dtype(x)) / 1000",
            LAW,
        ),
        (
            "rate 1 scaled",
            "jnp.where(keep == 0, nothing, 1 / keep)",
            "1 / keep",
            TRACED_ENDS,
        ),
        (
            "multiply for select",
            "jnp.where(bits, kept, dropped)",
            "jnp.where(bits, kept, dropped + 0 * kept)",
            CONTRACT + "test_what_is_dropped_cannot_spoil_anything",
        ),
        (
            "scale rounded to the dtype of x",
            "x if jnp.finfo(x.dtype).bits >= 32 else x.astype(jnp.float32)",
            "x",
            DTYPE,
        ),
        (
            "output left in float32",
            "return y if y.dtype == x.dtype else y.astype(x.dtype)",
            "return y",
            DTYPE,
        ),
        (
            "weak type lost",
            "(lax.full_like(wide, value) for",
            "(jnp.asarray(value).astype(wide.dtype) for",
            CONTRACT + "test_weak_type_stays",
        ),
        ("residual kept", "    @jax.checkpoint\n", "", RESIDUAL),
    ],
    "_arguments.py": [
        (
            "negative broadcast dim",
            "{axis % ndim for axis in axes}",
            "{abs(axis) % ndim for axis in axes}",
            CONTRACT + "test_broadcast_dims_share_a_bit",
        ),
    ],
    "_draw.py": [
        (
            "digit order in a pair",
            "kept = _fold(kept, low, below)\n        return _fold(kept, high,",
            "kept = _fold(kept, high, below)\n        return _fold(kept, low,",
            WORDS,
        ),
        (
            "digit order in turns",
            "pair = (pairs - 1 - i)",
            "pair = (0 * pairs + i)",
            WORDS,
        ),
        ("digit order at once", "in reversed(range(pairs))", "in range(pairs)", DRAW),
        ("fold", "(zero & (kept | digit))", "(zero & digit)", WORDS),
        ("loop dissolved", "lax.optimization_barrier(turns)", "turns", MATERIALISED),
        (
            "carry that does not vary",
            "undrawn | varying",
            "undrawn",
            SHARD_MAP + "test_shard_map_whose_arguments_vary_or_do_not",
        ),
    ],
    "_ops/units.py": [
        (
            "rate 1 scaled in alpha dropout",
            "jnp.where(q == 0, 0 * q, 1 / jnp.sqrt(q * (1 + p * saturation**2)))",
            "1 / jnp.sqrt(q * (1 + p * saturation**2))",
            TRACED_ENDS,
        ),
        (
            "dropped value of alpha dropout",
            "select(mask, x, a, b, a * saturation * q)",
            "select(mask, x, a, b, a * saturation)",
            LAW,
        ),
        (
            "alpha dropout of complex x",
            'Op("alpha_dropout", _alpha_law)',
            'Op("alpha_dropout", _alpha_law, complex_ok=True)',
            CONTRACT + "test_complex",
        ),
    ],
    "_op.py": [
        (
            "mask drawn twice in backward",
            "y = op.law(noise, *arrays)",
            "place = shared(arrays[0].shape, dims, offset)\n"
            "    law = lambda *xs: op.law(op.draw(key, *place, rate), *xs)\n"
            "    y = jax.checkpoint(law)(*arrays)",
            RESIDUAL,
        ),
        (
            "traced mode ignored",
            "lax.select_n(is_at_rest, y, op.at_rest(rate.value, *arrays))",
            "y",
            CONTRACT + "test_traced_deterministic",
        ),
        (
            "rate 0 draws",
            "mode is True or is_known(realised.value, 0)",
            "mode is True",
            CONTRACT + "test_leaves_x_itself_alone_without_a_key",
        ),
        (
            "rate 1 asks for a key",
            "if is_known(realised.value, 1):",
            "if False:",
            RATE_ONE,
        ),
    ],
    "_keys.py": [
        (
            "key not consumed",
            "jax.random.bits(checked, ())",
            "jax.random.key_data(checked)",
            CONTRACT + "test_a_key_is_used_once",
        ),
        (
            "name and number of one key",
            "jnp.uint32(part), jnp.uint32(_INTEGER)",
            "jnp.uint32(part), jnp.uint32(0)",
            "core/test_keys.py::test_pinned",
        ),
        (
            "named keys in the domain of words",
            "seed_words(key, KEY_DOMAIN)",
            "seed_words(key, (KEY_DOMAIN[0], 0x70000000))",
            "core/test_keys.py::test_pinned",
        ),
    ],
    "_sharding.py": [
        (
            "every device draws every word",
            "if not explicit or _axes(sharding.mesh, AxisType.Manual):",
            "if True:",
            MESH,
        ),
        (
            "mask that is not placed as x is",
            "reshard(mask, NamedSharding(sharding.mesh, PartitionSpec(*spec)))",
            "mask",
            SHARD_MAP + "test_grad_of_shard_map_over_one_axis_of_two",
        ),
        (
            "explicit axes beside manual ones",
            "if not explicit or _axes(sharding.mesh, AxisType.Manual):",
            "if not explicit:",
            SHARD_MAP + "test_grad_of_shard_map_over_one_axis_of_two",
        ),
    ],
    "linen.py": [
        (
            "linen module of another function",
            "staticmethod(units.alpha_dropout)",
            "staticmethod(units.dropout)",
            MODULE,
        ),
        (
            "linen module draws another key",
            "if rng is None else rng,",
            "if rng is None else jax.random.fold_in(rng, 0),",
            MODULE,
        ),
        (
            "linen module draws from another collection",
            "self.make_rng(self.rng_collection)",
            'self.make_rng("dropout")',
            LINEN,
        ),
        (
            "linen module forgets its axes",
            "broadcast_dims=self.broadcast_dims",
            "broadcast_dims=()",
            MODULE,
        ),
    ],
    "nnx.py": [
        (
            "nnx module draws another key",
            "return rngs()",
            "return jax.random.fold_in(rngs(), 0)",
            NNX,
        ),
        (
            "nnx module changes a key that is given",
            "Array):\n            return rngs",
            "Array):\n            return jax.random.fold_in(rngs, 0)",
            MODULE,
        ),
        (
            "nnx module takes keys from its neighbours",
            "return rngs.fork()",
            "return rngs",
            NNX,
        ),
        (
            "nnx module cannot be overridden",
            "self.deterministic if deterministic is None else deterministic",
            "self.deterministic",
            NNX_MODE,
        ),
    ],
}
MUTANTS = [Mutant(file, *row) for file, rows in BY_FILE.items() for row in rows]


def run_tests(tree: Path, tests: set[str], timeout: float) -> tuple[str, float]:
    """Whether tests pass in a tree, fail, hang or do not even run; and the seconds."""
    options = ["-n", "0", "-x", "-q", "-p", "no:cacheprovider", "--durations=0"]
    paths = [f"tests/{test}" for test in tests]
    start = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *paths],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.DEVNULL,
            timeout=timeout,
        )
        outcome = {0: "passed", 1: "failed"}.get(done.returncode, "did not run")
    except subprocess.TimeoutExpired:
        outcome = "hung"
    return outcome, time.monotonic() - start


def try_out(mutant: Mutant, tree: Path) -> tuple[str, float]:
    """Runs the tests of a mutant in a tree, which is left as it was."""
    path = tree / "jdrop" / mutant.file
    source = path.read_text("utf-8")
    path.write_text(source.replace(mutant.old, mutant.new), "utf-8")
    try:
        return run_tests(tree, {mutant.test}, TIMEOUT)
    finally:
        path.write_text(source, "utf-8")


def main(words: list[str]) -> int:
    """Tries out the mutants whose names hold one of the words, or all."""
    chosen = [m for m in MUTANTS if not words or any(w in m.name for w in words)]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in NEEDED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, tree / name)
        outcome, seconds = run_tests(tree, {m.test for m in chosen}, 5 * TIMEOUT)
        print(f"{outcome:16}{seconds:4.0f} s  the library as it is", flush=True)
        if outcome != "passed":
            return 1
        survivors = 0
        for mutant in chosen:
            outcome, seconds = try_out(mutant, tree)
            caught = outcome in ("failed", "hung")
            survivors += not caught
            verdict = f"caught ({outcome})" if caught else "SURVIVED"
            print(f"{verdict:16}{seconds:4.0f} s  {mutant.name}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
