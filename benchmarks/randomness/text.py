"""The prose of the page `docs/statistics.md`."""

INTRODUCTION = """
# Statistical evidence

The masks of jdrop are meant to be independent bits, 1 with the probability that the
rate says, whatever the key and the position. `docs/stream.md` says how they are made;
this page says how they were tested, with what result, and what that leaves open. It is
written by `python -m benchmarks.randomness report` from the results in
`benchmarks/results/`. A short version of the laws, with the same code, is part of the
test suite.
"""

LAWS = """
## Laws of independent bits

At each of the rates 0.5, 0.1, 0.25, 1/3, 0.9, 1/256 and 1e-3, {keys} masks of shape
{shape} are drawn under keys from consecutive `fold_in`s, and {small_keys} masks of
shape {small_shape} in each of three ways to derive keys: from consecutive seeds, from
consecutive `fold_in`s, and from one `split`. What is expected follows from the
*realised* rate alone; nothing is estimated.

- *Counts*: dropped elements in all (exact binomial); and whether counts in words of 32
  elements, rows, columns, whole masks, and at each position over all keys scatter as
  binomial counts do (two-sided chi-square, scaled to its exact mean and variance where
  few bits are 1).
- *Pairs*: whether both elements of a pair are of the rarer kind with probability p^2.
  Pairs are disjoint, so that the count is exactly binomial. Lags along a row are 1 to
  64 and on in powers of two, lags across rows 1 to 63, diagonals one row and 1 to 32
  columns apart; pairs of lanes are all 496 within a word, pairs of positions all
  523776 within a mask of 1024 elements.
- *Runs*: whether a run of dropped, or of kept, elements goes on with the same
  probability at each of its first 16 lengths.
- *Keys*: the same counts, pairs of positions, and pairs at lags of 1 to 16 keys and on
  in powers of two, for each way to derive keys; masks of two keys that differ in one
  bit, for each of 64 bits; masks of two rows whose numbers differ in one bit, for each
  of 32 bits; and whether any aligned block of 64 elements occurs twice among all
  these small masks, as it would if their counters overlapped (rate 0.5; Poisson).

A law that looks at many places takes its smallest p-value times their number
(Bonferroni); so many p-values are near 1. Then all tests together are held to one
family-wise level (Holm).
"""

CONTROLS = """
### The laws can fail

Each control breaks the draw on purpose, and goes through the same laws at the same
level. Most of them need far less data than the library was given: {keys} masks of shape
{shape}, and {small_keys} of shape {small_shape} for each way to derive keys. Too few
rounds are a subtler fault, and get the full amount. A control that fails no test marks
the limit of what the laws see.
"""

BROKEN = {
    "4 rounds": "the block cipher has 4 rounds instead of 20",
    "8 rounds": "the same with 8 rounds",
    "12 rounds": "the same with 12 rounds",
    "repeated lane": "lane 20 of every word repeats lane 3",
    "shifted lanes": "every second word is the one before it, rotated by 7 lanes",
    "antithetic words": "every second word takes 1 - U for the U of the one before it",
    "shared keys": "the lowest bit of the key is ignored",
    "8-digit rate": "the rate is rounded to 8 binary digits",
}
"""What each control does."""

SENSITIVITY = """
### How large a fault would be seen

With the full amount of data, a fault of the following size would be as likely as not to
fail its test: an absolute error of the rate in the law of the count in all, and a
correlation of pairs at one lag along a row.
"""

BATTERY = """
## dieharder

Masks at rate 0.5, as streams of raw bits, go through all tests that dieharder lists as
good, with a selection of tuple sizes and lags: `rgb_bitdist` 1, 2, 4, 8,
`rgb_minimum_distance` 2 and 5, `rgb_permutations` 2 and 5, `rgb_lagged_sum` 0, 1, 7.
`marsaglia_tsang_gcd` takes 20 samples instead of 100, which would read 8 GB. Left out
are the tests that dieharder itself calls suspect (OPSO, OQSO, DNA) or not to be used
(sums). Every test gets a fresh stream under a key of its own. The layouts:

- `row`: rows of 2^26 elements, each from its first element to its last;
- `rows`: the first 32 elements of row 0, row 1, row 2, ...;
- `keys`: the first 32 elements under `fold_in(key, 0)`, `fold_in(key, 1)`, ...;
- `seeds`: the first 32 elements under keys whose last word counts up, as consecutive
  seeds give them;
- `lanes`: one lane of 2^21 words of a row, then the next lane of the same words;
- `digits`: all 32 digits of every word of a row, of which a rate uses the first few.

dieharder calls a p-value WEAK below 0.005 or above 0.995, and FAILED below 1e-6 or
above 1 - 1e-6. The 30 p-values of `sts_serial` come from the same data. To see how
often a generator beyond doubt is WEAK, dieharder's own AES goes through the same tests.
"""

RERUNS = """
A test with a p-value that was not PASSED was run again under other keys, until all its
p-values were, or three times. These are the p-values that were not PASSED under some
key, with their values under all the keys that were tried; a fault of the stream would
show under each of them.
"""

TESTU01 = """
## TestU01, and how many rounds it takes

The batteries of TestU01 (L'Ecuyer and Simard 2007,
<https://doi.org/10.1145/1268776.1268777>) read masks at rate 0.5 in the layouts above,
drawn with the 20 rounds of the stream and with fewer. *fail* is a p-value within 1e-10
of 0 or 1, a clear failure by the authors' own rule; *weak* is one within 1e-3, of which
one in 500 p-values is by chance. An empty cell was not run.
"""

LIMITS = """
## What this cannot show

- Passing is not a proof. It bounds faults of the kinds that were looked for, of the
  sizes above; a pattern that no test asks about, or a weaker one, stays unseen.
- dieharder reads some gigabytes of each layout. A key has up to 2^28 words a row and
  2^32 rows. Larger batteries (Crush, BigCrush, PractRand) were not run here; Salmon
  et al. (2011, <https://doi.org/10.1145/2063384.2063405>) report that the cipher passes
  BigCrush with 13 rounds and more.
- Keys were derived as programs derive them, from seeds, `fold_in` and `split` of
  threefry2x32 keys. Keys of other implementations enter through their words alone, as
  `docs/stream.md` says; how well `jax.random` splits them is not tested here.
- Rates between the seven are made from the same digits, but were not tested themselves.
- Everything ran on a CPU. Other devices draw the same bits, which `python -m jdrop`
  checks; it is not a question for statistics.
- Nothing here is about secrecy. The stream is not a cipher to hide anything with.
"""

P_VALUES = """
## All p-values of the first runs of dieharder

Test, tuple size or lag, and number of the p-value where a test reports several.
"""
