"""Which arrays are dropped: the shapes, dtypes and rates of the operations section."""

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.costs.regimes import Settings

RATES = (0.1, 0.25, 0.5)
DTYPES = ("float32", "bfloat16", "float16")
# Two odd factors away from 32 lanes: 4001 is prime, and 2000 is 62.5 words.
SHAPES = {
    "large": (4096, 4096),
    "odd": (4096, 4001),
    "cache": (1024, 1024),
    "small": (128, 512),
    "channel": (64, 32, 32, 64),
}
COLUMNS = 2000


@dataclass(frozen=True)
class Case:
    """One contest.

    Attributes:
      kind: What is computed: "forward", "gradient" (value and gradient of the sum),
        "pullback" (the output and the pullback of a cotangent), "alpha", "channel"
        or "parts" (the draw and the apply alone).
      name: What the shape is called in the tables.
      shape: Shape of x.
      dtype: Name of its dtype.
      rate: Probability of dropping.
      everyone: Whether all contestants take part, or the short list.
    """

    kind: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    rate: float
    everyone: bool = False

    @property
    def broadcast_dims(self) -> tuple[int, ...]:
        """The axes that share a bit: rows and columns of images."""
        return (1, 2) if self.kind == "channel" else ()

    def __str__(self) -> str:
        """Says what it is in a few words."""
        shape = "x".join(map(str, self.shape))
        return f"{self.kind} {self.dtype} {shape}, rate {self.rate}"


def cases(settings: Settings, backend: str) -> Iterator[Case]:
    """The contests of a process, in order.

    Args:
      settings: Regime, thoroughness and sizes.
      backend: The backend of JAX: "cpu", or an accelerator.

    Yields:
      Cases; their leading axes are divided by `settings.shrink`.
    """
    if backend != "cpu":
        chosen = _on_accelerator(settings)
    elif settings.regime == "warm":
        chosen = _on_warm_memory(settings)
    else:
        chosen = _on_fresh_pages(settings)
    for case in chosen:
        first, *rest = case.shape
        shape = (settings.rows(first), *rest)
        everyone = case.everyone and not settings.quick
        yield Case(case.kind, case.name, shape, case.dtype, case.rate, everyone)


def _on_warm_memory(settings: Settings) -> Iterator[Case]:
    def case(
        kind: str, name: str, rate: float, everyone: bool, dtype: str = "float32"
    ) -> Case:
        return Case(kind, name, SHAPES[name], dtype, rate, everyone)

    rates = (0.1, 0.5) if settings.quick else RATES
    for dtype in DTYPES[:2] if settings.quick else DTYPES:
        for rate in rates:
            everyone = rate == 0.1 and dtype != "float16"
            yield case("forward", "large", rate, everyone, dtype)
    for rate in rates:
        yield case("forward", "odd", rate, False)
    for name in ("cache", "small"):
        for rate in rates:
            yield case("forward", name, rate, rate == 0.1)
    yield case("gradient", "large", 0.1, True)
    if not settings.quick:
        yield case("pullback", "large", 0.1, False)
    yield case("alpha", "large", 0.1, True)
    yield case("channel", "channel", 0.1, True)
    for dtype in DTYPES[: 1 if settings.quick else 2]:
        for rate in rates:
            yield case("parts", "large", rate, False, dtype)


def _on_fresh_pages(settings: Settings) -> Iterator[Case]:
    for rate in RATES[:1] if settings.quick else RATES:
        yield Case("forward", "large", SHAPES["large"], "float32", rate, rate == 0.1)
    if not settings.quick:
        yield Case("forward", "large", SHAPES["large"], "bfloat16", 0.1)
        yield Case("gradient", "large", SHAPES["large"], "float32", 0.1)


def _on_accelerator(settings: Settings) -> Iterator[Case]:
    exponents = (6, 7) if settings.quick else (6, 7, 8, 9)
    for exponent in exponents:
        name, shape = f"1e{exponent}", (10**exponent // COLUMNS, COLUMNS)
        for dtype in DTYPES[:2] if settings.quick else DTYPES:
            for rate in RATES:
                everyone = rate == 0.1 and exponent == 8
                for kind in ("forward", "gradient"):
                    yield Case(kind, name, shape, dtype, rate, everyone)
                yield Case("parts", name, shape, dtype, rate)
        yield Case("alpha", name, shape, "float32", 0.1)
    yield Case("channel", "channel", SHAPES["channel"], "float32", 0.1)
