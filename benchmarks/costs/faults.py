"""Whether a regime is what it says: pages that the kernel has to make for one call."""

import resource
from collections.abc import Iterator

import jax

from benchmarks.costs.operations import floor, normal
from benchmarks.costs.plan import SHAPES
from benchmarks.costs.regimes import Record, Settings
from benchmarks.costs.timing import jitted

# XLA frees late, so the heap takes some tens of calls to grow to its size.
SETTLED, CALLS = 40, 20


def run(settings: Settings) -> Iterator[Record]:
    """Counts the page faults of a call of `x * c` on the large array.

    Args:
      settings: The regime, and sizes.

    Yields:
      One record, on a CPU; none elsewhere.
    """
    if jax.default_backend() != "cpu":
        return
    first, *rest = SHAPES["large"]
    x = normal((settings.rows(first), *rest), "float32")
    entry = jitted("x * c", floor(0.1), jax.random.key(0), x)
    entry.run(SETTLED)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    entry.run(CALLS)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    yield {
        "kind": "faults",
        "regime": settings.regime,
        "mebibytes": x.nbytes / 2**20,
        "faults_per_call": (after - before) / CALLS,
    }
