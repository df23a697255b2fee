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
MASK = "core/test_mask.py"
CONTRACT = "ops/test_contract.py::"
PLACES = "ops/test_places.py::test_inside[scan]"
LAW = "ops/test_law.py::test_values_are_those_of_the_equation"
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

    name: str
    file: str
    old: str
    new: str
    test: str


MUTANTS = [
    # The cipher and the seed.
    Mutant("rotation", "_stream.py", "(13, 15, 26, 6,", "(13, 15, 26, 7,", STREAM),
    Mutant("parity", "_stream.py", "0x1BD11BDA", "0x1BD11BDB", STREAM),
    Mutant("rounds", "_stream.py", "ROUNDS = 20", "ROUNDS = 16", WORDS),
    Mutant(
        "key schedule",
        "_stream.py",
        "schedule[(group + 1) % 3] +",
        "schedule[(group + 2) % 3] +",
        STREAM,
    ),
    Mutant(
        "number of key words not absorbed",
        "_stream.py",
        "domain[1] + count",
        "domain[1]",
        WORDS,
    ),
    Mutant(
        "odd key padded with itself",
        "_stream.py",
        "else jnp.uint32(0)\n        seed",
        "else words[i]\n        seed",
        WORDS,
    ),
    # The rate.
    Mutant(
        "rate rounded half up",
        "_stream.py",
        "xp.round(p * np.float32(2**digits))",
        "xp.floor(p * np.float32(2**digits) + np.float32(0.5))",
        "core/test_limits.py::test_ties_go_to_even",
    ),
    Mutant(
        "16 digits too soon",
        "_stream.py",
        "p >= np.float32(2**-8)",
        "p >= np.float32(2**-9)",
        STREAM,
    ),
    Mutant(
        "rate not clamped",
        "_stream.py",
        "xp.clip(asked, np.float32(0), np.float32(1))",
        "asked",
        TRACED_ENDS,
    ),
    Mutant(
        "last pair of digits not counted",
        "_stream.py",
        "np.arange(0, 32, 2,",
        "np.arange(0, 30, 2,",
        STREAM,
    ),
    # The layout.
    Mutant(
        "batch axis joins the row",
        "_stream.py",
        "while axis > 1",
        "while axis > 0",
        CONTRACT + "test_parts_of_a_batch_get_their_rows",
    ),
    Mutant(
        "rows of 32 elements joined",
        "_stream.py",
        "math.prod(shape[axis:]) < LANES",
        "math.prod(shape[axis:]) <= LANES",
        STREAM,
    ),
    Mutant(
        "row numbers of several axes",
        "_stream.py",
        "math.prod(rows[axis + 1 :])",
        "math.prod(rows[axis:])",
        DRAW,
    ),
    Mutant(
        "words share counters",
        "_stream.py",
        "word * np.uint32(PAIRS)",
        "word * np.uint32(PAIRS // 2)",
        DRAW,
    ),
    Mutant(
        "offset dropped",
        "_stream.py",
        "index = index + offset",
        "index = index + offset * np.uint32(0)",
        PLACES,
    ),
    Mutant(
        "offset moves a shared row",
        "_mask.py",
        "np.uint32(0) if 0 in dims else offset",
        "offset",
        CONTRACT + "test_offset_leaves_a_shared_row_alone",
    ),
    Mutant(
        "lane shifted",
        "_mask.py",
        "(words[..., None] >> bit)",
        "(words[..., None] >> (bit ^ np.uint32(1)))",
        MASK,
    ),
    Mutant(
        "lanes backwards",
        "_mask.py",
        "(words[..., None] >> bit)",
        "(words[..., None] >> (np.uint32(31) - bit))",
        PLACES,
    ),
    Mutant(
        "wrong axis of a broadcast dim",
        "_mask.py",
        "1 if axis in dims else size",
        "1 if len(shape) - 1 - axis in dims else size",
        CONTRACT + "test_broadcast_dims_share_a_bit",
    ),
    Mutant(
        "negative broadcast dim",
        "_arguments.py",
        "{axis % ndim for axis in axes}",
        "{abs(axis) % ndim for axis in axes}",
        CONTRACT + "test_broadcast_dims_share_a_bit",
    ),
    # The draw.
    Mutant(
        "digit order in a pair",
        "_draw.py",
        "kept = _fold(kept, low, below)\n        return _fold(kept, high,",
        "kept = _fold(kept, high, below)\n        return _fold(kept, low,",
        WORDS,
    ),
    Mutant(
        "digit order in turns",
        "_draw.py",
        "pair = (pairs - 1 - i)",
        "pair = (0 * pairs + i)",
        WORDS,
    ),
    Mutant(
        "digit order at once",
        "_draw.py",
        "in reversed(range(pairs))",
        "in range(pairs)",
        DRAW,
    ),
    Mutant("fold", "_draw.py", "(zero & (kept | digit))", "(zero & digit)", WORDS),
    Mutant(
        "loop dissolved",
        "_draw.py",
        "lax.optimization_barrier(turns)",
        "turns",
        MATERIALISED,
    ),
    Mutant("draw out of its loop", "_draw.py", "pair + i,", "pair,", MATERIALISED),
    Mutant(
        "carry that does not vary",
        "_draw.py",
        "undrawn | varying",
        "undrawn",
        SHARD_MAP + "test_shard_map_whose_arguments_vary_or_do_not",
    ),
    # The law.
    Mutant(
        "scale by the requested rate",
        "_mask.py",
        "keep = 1 - mask.rate.astype(real_dtype(x))",
        "keep = 1 - (mask.rate * 1000).round().astype(real_dtype(x)) / 1000",
        LAW,
    ),
    Mutant(
        "rate 1 scaled",
        "_mask.py",
        "jnp.where(keep == 0, nothing, 1 / keep)",
        "1 / keep",
        TRACED_ENDS,
    ),
    Mutant(
        "rate 1 scaled in alpha dropout",
        "_ops/units.py",
        "jnp.where(q == 0, 0 * q, 1 / jnp.sqrt(q * (1 + p * saturation**2)))",
        "1 / jnp.sqrt(q * (1 + p * saturation**2))",
        TRACED_ENDS,
    ),
    Mutant(
        "dropped value of alpha dropout",
        "_ops/units.py",
        "select(mask, x, a, b, a * saturation * q)",
        "select(mask, x, a, b, a * saturation)",
        LAW,
    ),
    Mutant(
        "alpha dropout of complex x",
        "_ops/units.py",
        'Op("alpha_dropout", _alpha_law)',
        'Op("alpha_dropout", _alpha_law, complex_ok=True)',
        CONTRACT + "test_complex",
    ),
    Mutant(
        "multiply for select",
        "_mask.py",
        "jnp.where(bits, kept, dropped)",
        "kept * bits.astype(kept.dtype) + dropped * (~bits).astype(kept.dtype)",
        CONTRACT + "test_what_is_dropped_cannot_spoil_anything",
    ),
    Mutant(
        "scale rounded to the dtype of x",
        "_mask.py",
        "x if jnp.finfo(x.dtype).bits >= 32 else x.astype(jnp.float32)",
        "x",
        DTYPE,
    ),
    Mutant(
        "output left in float32",
        "_mask.py",
        "return y if y.dtype == x.dtype else y.astype(x.dtype)",
        "return y",
        DTYPE,
    ),
    Mutant(
        "weak type lost",
        "_mask.py",
        "(lax.full_like(wide, value) for",
        "(jnp.asarray(value).astype(wide.dtype) for",
        CONTRACT + "test_weak_type_stays",
    ),
    # The frame.
    Mutant("residual kept", "_mask.py", "    @jax.checkpoint\n", "", RESIDUAL),
    Mutant(
        "mask drawn twice in backward",
        "_op.py",
        "y = op.law(noise, *arrays)",
        "place = shared(arrays[0].shape, dims, offset)\n"
        "        law = lambda *xs: op.law(op.draw(key, *place, rate), *xs)\n"
        "        y = jax.checkpoint(law)(*arrays)",
        RESIDUAL,
    ),
    Mutant(
        "traced mode ignored",
        "_op.py",
        "lax.select_n(at_rest, y, op.at_rest(rate.value, *arrays))",
        "y",
        CONTRACT + "test_traced_deterministic",
    ),
    Mutant(
        "rate 0 draws",
        "_op.py",
        "mode is True or is_known(realised.value, 0)",
        "mode is True",
        CONTRACT + "test_leaves_x_itself_alone_without_a_key",
    ),
    Mutant(
        "rate 1 asks for a key",
        "_op.py",
        "None if is_known(realised.value, 1) else consume(key)",
        "consume(key)",
        RATE_ONE,
    ),
    Mutant(
        "key not consumed",
        "_keys.py",
        "jax.random.bits(key, ())",
        "jax.random.key_data(key)",
        CONTRACT + "test_a_key_is_used_once",
    ),
    Mutant(
        "every device draws every word",
        "_sharding.py",
        "if not explicit or _axes(sharding.mesh, AxisType.Manual):",
        "if True:",
        MESH,
    ),
    Mutant(
        "explicit axes beside manual ones",
        "_sharding.py",
        "if not explicit or _axes(sharding.mesh, AxisType.Manual):",
        "if not explicit:",
        SHARD_MAP + "test_grad_of_shard_map_over_one_axis_of_two",
    ),
    Mutant(
        "name and number of one key",
        "_keys.py",
        "jnp.uint32(part), jnp.uint32(_INTEGER)",
        "jnp.uint32(part), jnp.uint32(0)",
        "core/test_keys.py::test_pinned",
    ),
    Mutant(
        "named keys in the domain of words",
        "_keys.py",
        "seed_words(key, KEY_DOMAIN)",
        "seed_words(key, (KEY_DOMAIN[0], 0x70000000))",
        "core/test_keys.py::test_pinned",
    ),
    # The modules.
    Mutant(
        "linen module draws another key",
        "linen.py",
        "if rng is None else rng,",
        "if rng is None else jax.random.fold_in(rng, 0),",
        MODULE,
    ),
    Mutant(
        "linen module draws from another collection",
        "linen.py",
        "self.make_rng(self.rng_collection)",
        'self.make_rng("dropout")',
        LINEN,
    ),
    Mutant(
        "linen module forgets its axes",
        "linen.py",
        "broadcast_dims=self.broadcast_dims",
        "broadcast_dims=()",
        MODULE,
    ),
    Mutant(
        "nnx module draws another key",
        "nnx.py",
        "return rngs()",
        "return jax.random.fold_in(rngs(), 0)",
        NNX,
    ),
    Mutant(
        "nnx module changes a key that is given",
        "nnx.py",
        "isinstance(rngs, jax.Array):\n            return rngs",
        "isinstance(rngs, jax.Array):\n            return jax.random.fold_in(rngs, 0)",
        MODULE,
    ),
    Mutant(
        "nnx module takes keys from its neighbours",
        "nnx.py",
        "return rngs.fork()",
        "return rngs",
        NNX,
    ),
    Mutant(
        "nnx module cannot be overridden",
        "nnx.py",
        "self.deterministic if deterministic is None else deterministic",
        "self.deterministic",
        NNX_MODE,
    ),
]


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
