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
STREAM = "core/test_stream.py"
LAYOUT = "core/test_stream.py::test_layout"
SCHEDULE = "core/test_draw.py::test_every_schedule_draws_the_same_words"
ONE_PAIR = SCHEDULE + "[0.5]"
EIGHT_PAIRS = SCHEDULE + "[0.100006103515625]"
OTHERS = "core/test_draw.py::test_schedules_of_other_platforms_draw_the_same_words"
LAST_OUTER = "core/test_limits.py::test_last_counters[outer]"
LAST_ROWS = "core/test_limits.py::test_last_counters[rows]"
LAST_COLUMNS = "core/test_limits.py::test_last_counters[columns]"
BEYOND = "core/test_limits.py::test_beyond_the_counters"
WITHIN = "core/test_limits.py::test_within_the_counters"
PARTS = "core/test_oracle.py::test_windows"
PINNED = "core/test_keys.py::test_pinned"
CONTRACT = "ops/test_contract.py::"
PLACES = "ops/test_places.py::test_inside[masks-scan]"
LAW = CONTRACT + "test_rates_of_every_type_in_one_trace"
RESIDUAL = "ops/test_program.py::test_packed_words_are_the_only_residual"
MATERIALISED = "ops/test_program.py::test_the_draw_is_materialised"
RATE_ONE = CONTRACT + "test_rate_one_is_its_limit_with_zero_gradient"
NOISE = "core/test_oracle.py::test_any_noise"
TRACED_ENDS = CONTRACT + "test_traced_rates_are_clamped_and_nan_gives_nan"
DTYPE = CONTRACT + "test_dtype_stays_and_does_not_change_the_mask"
MESH = "ops/test_mesh.py::test_the_same_without_a_word_between_devices"
SHARD_MAP = "ops/test_shard_map.py::"
KERNEL = "ops/test_kernel.py::"
MODULE = "flax/test_modules.py::test_module_equals_function_bit_for_bit"
MODULE_PARTS = "flax/test_modules.py::test_micro_batches_are_parts_of_the_batch"
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
            "batch counts among the rows",
            "is_at_least(math.prod(before[axis:]), BITS,",
            "is_at_least(math.prod(before), BITS,",
            LAYOUT,
        ),
        (
            "32 rows are too few",
            "is_at_least(math.prod(before[axis:]), BITS,",
            "is_at_least(math.prod(before[axis:]), BITS + 1,",
            LAYOUT,
        ),
        (
            "longest run of rows",
            "in range(len(before) - 1, 0, -1)",
            "in range(1, len(before))",
            LAYOUT,
        ),
        (
            "batch never among the rows",
            "return cls((), tuple(before), columns)",
            "return cls(tuple(before[:1]), tuple(before[1:]), columns)",
            LAYOUT,
        ),
        (
            "row numbers of several axes",
            "math.prod(self.rows[i + 1 :])",
            "math.prod(self.rows[i:])",
            LAST_ROWS,
        ),
        (
            "counters swapped",
            "return places[0] * np.uint32(PAIRS), other",
            "return other * np.uint32(PAIRS), places[0]",
            WORDS,
        ),
        (
            "words share counters",
            "return places[0] * np.uint32(PAIRS), other",
            "return places[0] * np.uint32(PAIRS // 2), other",
            ONE_PAIR,
        ),
        (
            "words numbered in Fortran order",
            "math.prod(whole[axis + 1 :])",
            "math.prod(whole[1:axis])",
            ONE_PAIR,
        ),
        (
            "words numbered in the part",
            "math.prod(whole[axis + 1 :])",
            "math.prod([i.size for i in index[axis + 1 :]])",
            LAST_COLUMNS,
        ),
        (
            "offset dropped",
            "i if start is None else i + start",
            "i",
            LAST_OUTER,
        ),
    ],
    "_window.py": [
        (
            "offset moves a shared row",
            "np.uint32(0) if i in dims else n for",
            "n for",
            CONTRACT + "test_offset_leaves_a_shared_row_alone",
        ),
        (
            "wrong axis of a broadcast dim",
            "1 if axis in dims else size",
            "1 if len(shape) - 1 - axis in dims else size",
            CONTRACT + "test_broadcast_dims_share_a_bit",
        ),
        (
            "half a word is aligned",
            "int(n) * step % BITS == 0",
            "int(n) * step % (BITS // 2) == 0",
            ONE_PAIR,
        ),
        (
            "traced offset is aligned",
            "not is_traced(n) and int(n) * step",
            "is_traced(n) or int(n) * step",
            PLACES,
        ),
        (
            "alignment of other axes than rows",
            "index[len(layout.outer) :]",
            "index",
            PARTS,
        ),
        (
            "limit by the last row",
            "first + shape[0] if shape",
            "first + shape[0] - 1 if shape",
            BEYOND,
        ),
        (
            "row numbers wrap",
            "word = word + i // np.uint32(BITS) * step\n"
            "        bit = bit + i % np.uint32(BITS) * step",
            "bit = bit + i * step",
            LAST_ROWS,
        ),
        (
            "no carry to the first word row",
            "word + bit // np.uint32(BITS), bit",
            "word, bit",
            LAST_ROWS,
        ),
        (
            "last word row not drawn",
            "last + BITS - 1",
            "last",
            ONE_PAIR,
        ),
        (
            "columns of a part from 0 on",
            "word_row, index[after])",
            "word_row, None)",
            LAST_COLUMNS,
        ),
        ("rows of this word lost", "return low | high", "return high", ONE_PAIR),
        ("rows of the next word lost", "return low | high", "return low", ONE_PAIR),
        (
            "gathered as if rows were neighbours",
            "in enumerate(steps):",
            "in enumerate(layout.steps):",
            PARTS,
        ),
        (
            "gathered surplus comes first",
            "(0, count * BITS - bits.shape[-2])",
            "(count * BITS - bits.shape[-2], 0)",
            PARTS,
        ),
    ],
    "_mask.py": [
        (
            "scale by the requested rate",
            "keep = 1 - mask.rate.astype(real_dtype(x))",
            "keep = 1 - (mask.rate * 1000).round().astype(real_dtype(x)) / 1000",
            LAW,
        ),
        (
            "rate 1 scaled",
            "jnp.where(keep == 0, jnp.ones_like(keep), keep)",
            "keep",
            TRACED_ENDS,
        ),
    ],
    "_select.py": [
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
            "kept, dropped = kept.astype(x.dtype), dropped.astype(x.dtype)",
            "pass",
            DTYPE,
        ),
        (
            "weak type lost",
            "(lax.full_like(wide, value) for",
            "(jnp.asarray(value).astype(wide.dtype) for",
            CONTRACT + "test_weak_type_stays",
        ),
    ],
    "_arguments.py": [
        (
            "long double rounded twice",
            "np.float32(np.asarray(rate).astype(np.float32))",
            "np.float32(float(rate))",
            "core/test_limits.py::test_a_long_double_is_rounded_once",
        ),
    ],
    "_calls.py": [
        (
            "name that is not taken goes unsaid",
            "if name not in taken:",
            "if name is None:",
            "core/test_errors.py::test_a_name_from_elsewhere_says_what_it_is_here",
        ),
        (
            "missing argument goes unsaid",
            "if not missing:",
            "if True:",
            "core/test_errors.py::test_a_call_of_another_form_says_how_it_is_called",
        ),
    ],
    "_axes.py": [
        (
            "negative broadcast dim",
            "{axis % ndim for axis in axes}",
            "{abs(axis) % ndim for axis in axes}",
            CONTRACT + "test_broadcast_dims_share_a_bit",
        ),
        (
            "symbol taken for few rows",
            "except jax.errors.InconclusiveDimensionOperation:",
            "except jax.errors.InconclusiveDimensionOperation:\n        return False",
            CONTRACT + "test_a_size_that_leaves_the_layout_open_names_its_constraint",
        ),
        (
            "window must end before the end",
            "if end > limit:",
            "if end >= limit:",
            LAST_COLUMNS,
        ),
        (
            "last word of the first axis refused",
            "first > max_first or",
            "first >= max_first or",
            WITHIN,
        ),
        (
            "last word of the others refused",
            "others > max_others:",
            "others >= max_others:",
            WITHIN,
        ),
    ],
    "_draw.py": [
        (
            "digit order in a pair",
            "kept = _fold(kept, low, below)\n    return _fold(kept, high,",
            "kept = _fold(kept, high, below)\n    return _fold(kept, low,",
            WORDS,
        ),
        (
            "digit order in turns on a CPU",
            "first = ((turns - 1 - i) *",
            "first = (i *",
            WORDS,
        ),
        (
            "digit order at once on a CPU",
            "in reversed(range(group)):",
            "in range(group):",
            EIGHT_PAIRS,
        ),
        (
            "digit order in turns elsewhere",
            "pair = (np.int32(_stream.PAIRS - 1) - i)",
            "pair = i",
            OTHERS,
        ),
        (
            "digit order at once elsewhere",
            "in reversed(range(pairs)):\n        at = counter + np.uint32(pair)\n"
            "        kept = fold(",
            "in range(pairs):\n        at = counter + np.uint32(pair)\n"
            "        kept = fold(",
            OTHERS,
        ),
        (
            "digit order in a kernel",
            "in reversed(range(pairs)):\n        at = counter + np.uint32(pair)\n"
            "        kept = fold_pair(",
            "in range(pairs):\n        at = counter + np.uint32(pair)\n"
            "        kept = fold_pair(",
            KERNEL + "test_the_bits_of_xla",
        ),
        (
            "one block for all turns on a CPU",
            "at = of_pairs[pair] + first",
            "at = of_pairs[pair]",
            WORDS,
        ),
        (
            "one block at once on a CPU",
            "at = of_pairs[pair] + first",
            "at = of_pairs[0] + first",
            EIGHT_PAIRS,
        ),
        ("fold", "(zero & (kept | digit))", "(zero & digit)", WORDS),
        (
            "loop dissolved",
            "lax.optimization_barrier((turns, jnp.uint32(0)))",
            "(1, jnp.uint32(0))",
            MATERIALISED,
        ),
        (
            "words counted along other axes",
            "number // step % np.uint32(size)",
            "number // step",
            OTHERS + "[cuda]",
        ),
        (
            "carry that does not vary",
            "seed | nothing, jnp.full(sizes, ALL_KEPT, jnp.uint32) | nothing",
            "seed, jnp.full(sizes, ALL_KEPT, jnp.uint32)",
            SHARD_MAP + "test_shard_map_whose_arguments_vary_or_do_not",
        ),
        (
            "traced rate 1 keeps all",
            "words if rate.pairs else words & undrawn",
            "words",
            OTHERS + "[cuda]",
        ),
    ],
    "_kernel.py": [
        (
            "first word of a block for all of its rows",
            "kept[start // BITS : start // BITS + 1]",
            "kept[:1]",
            KERNEL + "test_the_bits_of_xla",
        ),
        (
            "every block draws the words of the first",
            "pl.program_id(1) * words[0]",
            "0 * pl.program_id(1)",
            KERNEL + "test_the_bits_of_xla",
        ),
        (
            "kernel drops to zero",
            "jnp.where(is_kept, value, dropped)",
            "jnp.where(is_kept, value, 0 * dropped)",
            KERNEL + "test_alpha_dropout",
        ),
    ],
    "_part.py": [
        (
            "every device takes the part of the first",
            "places[axis] + number * np.uint32(x.shape[axis])",
            "places[axis] + 0 * number",
            KERNEL + "test_meshes",
        ),
        (
            "a cut within a word is aligned",
            "is_aligned and step % BITS == 0",
            "is_aligned",
            KERNEL + "test_a_cut_between_the_bits_of_a_word",
        ),
    ],
    "_fused.py": [
        (
            "a tangent has the dropped value",
            "jnp.zeros_like(scalars[0])",
            "scalars[1]",
            KERNEL + "test_alpha_dropout",
        ),
        (
            "a TPU's kernel where its compiler partitions",
            'getattr(axes, "num_devices", 1) == 1',
            "True",
            KERNEL + "test_a_tpu_has_its_kernel_where_nothing_is_partitioned",
        ),
    ],
    "pallas.py": [
        (
            "tiles begin at the first row",
            "row // np.uint32(BITS) + lax",
            "0 * row + lax",
            "ops/test_pallas.py::test_dropout_inside_attention",
        ),
    ],
    "_jet.py": [
        ("residual kept", "jax.checkpoint(law)", "law", RESIDUAL),
    ],
    "_unpack.py": [
        (
            "rows of a word backwards",
            "_is_set(words[..., None, :], bit)",
            "_is_set(words[..., None, :], np.uint32(31) - bit)",
            LAST_COLUMNS,
        ),
        (
            "gathered rows shifted",
            "lax.expand_dims(rows % np.uint32(BITS), axes)",
            "lax.expand_dims((rows + np.uint32(1)) % np.uint32(BITS), axes)",
            PLACES,
        ),
        (
            "row number not of the word",
            "lax.expand_dims(rows % np.uint32(BITS), axes)",
            "lax.expand_dims(rows, axes)",
            LAST_OUTER,
        ),
        (
            "rows of a word backwards by word",
            "law(_bits(words), *arrays)",
            "law(_bits(words)[..., ::-1, :], *arrays)",
            OTHERS + "[tpu]",
        ),
        (
            "by word whatever is shared",
            "shape == x.shape and _divides(layout)",
            "_divides(layout)",
            "ops/test_mesh.py::test_sharded_broadcast_axis[auto]",
        ),
    ],
    "_noise.py": [
        ("half of another block", "bit // np.uint32(2)", "bit", NOISE),
        (
            "halves of a block swapped",
            "np.uint32(2) == 0, first, second",
            "np.uint32(2) == 0, second, first",
            NOISE,
        ),
        ("noise that reaches its end", ">> np.uint32(7) | 1", ">> np.uint32(7)", NOISE),
    ],
    "_ops/alpha.py": [
        (
            "rate 1 scaled in alpha dropout",
            "jnp.where(q == 0, 0 * q, jnp.sqrt(tau / (safe_q * spread)))",
            "jnp.sqrt(tau / (q * spread))",
            TRACED_ENDS,
        ),
        ("dropped value of alpha dropout", "a * q * (_SAT", "a * (_SAT", LAW),
        (
            "alpha dropout of complex x",
            'Op("alpha_dropout", _law)',
            'Op("alpha_dropout", _law, complex_ok=True)',
            CONTRACT + "test_complex",
        ),
        (
            "fixed point at another mean",
            "b = nu - a * (q * nu +",
            "b = -a * (q * nu +",
            LAW,
        ),
    ],
    "_ops/features.py": [
        (
            "paths of the batch",
            '1 if mode == "sample" else 0',
            '0 if mode == "sample" else 1',
            CONTRACT + "test_axes_that_are_named_are_axes_that_share",
        ),
    ],
    "_gamma.py": [
        (
            "gamma of a traced rate",
            "mean_power(more) <= keep",
            "mean_power(more) < keep - is_inside",
            "ops/test_blocks.py::test_gamma_is_solved_alike_for_a_number_and_a_traced_rate",
        ),
    ],
    "_ops/blocks.py": [
        (
            "blocks that keep the sum",
            "total / jnp.maximum(count, 1)",
            "1 / jnp.maximum(total, 1)",
            "ops/test_blocks.py::test_whole_blocks_are_dropped_and_the_rest_makes_up",
        ),
    ],
    "_ops/tokens.py": [
        (
            "tokens in the order of their numbers",
            "jnp.sort(best.astype(jnp.int32), axis=1)",
            "best.astype(jnp.int32)",
            "ops/test_tokens.py::test_the_greatest_numbers_are_kept_in_order",
        ),
    ],
    "_ops/weights.py": [
        (
            "one key for all weights",
            "key_for(whole_key(), path)",
            'key_for(whole_key(), "")',
            "ops/test_weights.py"
            "::test_each_weight_is_dropout_under_the_key_of_its_path",
        ),
    ],
    "_ops/recurrent.py": [
        (
            "expectation of zoneout swapped",
            "(1 - p) * wide + p * before",
            "p * wide + (1 - p) * before",
            CONTRACT + "test_traced_deterministic",
        ),
    ],
    "_ops/noise.py": [
        (
            "spread of gaussian dropout",
            "jnp.sqrt(p / safe_keep)",
            "p / safe_keep",
            LAW,
        ),
    ],
    "_ops/concrete.py": [
        ("concrete keeps what it drops", "sigmoid(-logits", "sigmoid(logits", LAW),
    ],
    "_blockwise.py": [
        (
            "the same bits for all blocks",
            "(*self.start.index, *others, first)",
            "(*self.start.index, *others, None)",
            "ops/test_attention.py::test_blockwise_draws_the_very_mask",
        ),
        (
            "blocks kept for backward",
            "functools.partial(jax.checkpoint, prevent_cse=False)",
            "jax.jit",
            "ops/test_attention.py::test_no_residual_is_quadratic",
        ),
    ],
    "_predict.py": [
        (
            "one sample again and again",
            'run(key_for(key, "sample", i), *args)',
            'run(key_for(key, "sample", 0), *args)',
            "core/test_predict.py::test_values_are_those_of_a_loop",
        ),
        (
            "chunks merged without their distance",
            "a + b + (v - u) ** 2 *",
            "a + b + 0 * (v - u) *",
            "core/test_predict.py::test_values_are_those_of_a_loop",
        ),
    ],
    "_op.py": [
        (
            "mask drawn twice in backward",
            "y = op.law(noise, *arrays)",
            "law = lambda *xs: op.law(op.draw(key, shape, start, rate), *xs)\n"
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
            "if is_known(realised.value, 0):",
            "if False:",
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
            "return part, np.uint32(_INTEGER)",
            "return part, np.uint32(0)",
            PINNED,
        ),
        (
            "named keys in the domain of words",
            "seed_words(key, KEY_DOMAIN)",
            "seed_words(key, (KEY_DOMAIN[0], 0x70000000))",
            PINNED,
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
            "staticmethod(alpha.alpha_dropout)",
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
            "linen module forgets its fields",
            "**fields | replaced",
            "rate=self.rate",
            "flax/test_modules.py::test_module_shares_axes",
        ),
        (
            "linen module forgets the offset of a micro-batch",
            "if offset is not None:",
            "if False:",
            MODULE_PARTS,
        ),
    ],
    "nnx.py": [
        (
            "nnx module forgets the offset of a micro-batch",
            "if offset is not None:",
            "if False:",
            MODULE_PARTS,
        ),
        (
            "nnx module draws another key",
            "return rngs()",
            "return jax.random.fold_in(rngs(), 0)",
            NNX,
        ),
        (
            "nnx module changes a key that is given",
            "return jnp.asarray(rngs)",
            "return jax.random.fold_in(rngs, 0)",
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
    # The slow rows of a table of cases too.
    options += ["-m", "slow or not slow"]
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
