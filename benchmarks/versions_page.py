"""`docs/versions.md`: what `benchmarks.versions` measured, as tables."""

from collections.abc import Iterable, Sequence
from typing import Any

Environment = dict[str, Any]

CHECKS = ("transforms", "export", "auto", "explicit", "linen", "nnx")
NOTHING = "–"

PREFACE = """\
# Versions of JAX and Flax

*Supported* is every release from the oldest row of this table from which all checks
pass, up to the newest:

**{oldest}.**

No release of JAX or Flax loses its support in the first twelve months after it came
out. JAX itself removes what it has deprecated after three months at the earliest, and
may change what `jax.random` draws from a key in any release, with no deprecation
([API compatibility](https://docs.jax.dev/en/latest/api_compatibility.html)), so jdrop
uses public functions alone and draws bits of its own. For Python and NumPy it follows
JAX, which supports the releases of at least the last 45 and 24 months
([version support](https://docs.jax.dev/en/latest/deprecation.html)).

## What works

Each row is a fresh virtual environment with a wheel of jdrop and whatever else pip
chooses, on two virtual CPU devices. *Golden* counts the ways in which `python -m jdrop`
drew the golden vectors, of those that this JAX has. *Transforms* are jit, vmap, scan,
remat, grad and a traced rate; *export* is a program serialised and read again; *auto*
and *explicit* are an array cut along each axis, over a mesh whose axes are left to the
compiler or are part of the type; *linen* and *nnx* are the modules, bit for bit what
the function is.
"""

MASKS = """\
## One key, one mask

The first 8 digits of the SHA-256 of a mask of shape (64, 96) at rate 0.1, packed to
bits, for `jax.random.key(42)`. The settings are `jax_threefry_partitionable`, which is
on by default since JAX 0.5, and `jax_enable_x64`. `flax.linen.Dropout` is given this
very key as `rng`, and draws with `jax.random.bernoulli`.

Where jdrop works, over all versions and settings, the masks from this one key are
{jdrop} from jdrop and {linen} from flax.linen.
"""

STREAMS = """\
## Keys that Flax makes

An nnx module takes its keys from a stream, here `nnx.Rngs(dropout=jax.random.key(42))`.
Flax decides which key that is, so jdrop cannot promise this mask. It promises the one
of a key that the call is given, `module(x, rngs=key)`, as in the table above; and
`jdrop.key_for` derives keys in the same way in every version.

Where jdrop.nnx works, over all versions and settings, the masks from this stream are
{jdrop} from jdrop.nnx and {nnx} from flax.nnx.
"""

IMPLEMENTATIONS = """\
## Other kinds of keys

`jax.random.key(42, impl=...)`. What jdrop draws depends on the words of the key alone,
so the two kinds whose words are equal draw the same.
"""

COMMAND = """\
## How this was measured

    python -m benchmarks.versions

On {date}, `{wheel}`, {hardware}.
All that was measured: `benchmarks/results/versions-{date}.json`.
"""


def works(environment: Environment) -> bool:
    """Whether everything passed in an environment."""
    return not failures(environment)


def failures(environment: Environment) -> dict[str, str]:
    """What failed in an environment, and why, by the name of the check."""
    if environment["install"]:
        return {"install": environment["install"]}
    reasons = {"golden": environment["golden"]["failure"], **environment["checks"]}
    for kind in _kinds([environment]):
        if len(_hashes([environment], "jdrop", kind)) > 1:
            reasons["masks"] = f"the mask of a {kind} key depends on a setting"
    return {name: why for name, why in reasons.items() if why}


def oldest(report: dict[str, Any]) -> Environment | None:
    """The first environment from which on all work; they are in order of age."""
    found = None
    for environment in reversed(report["environments"]):
        if not works(environment):
            break
        found = environment
    return found


def render(report: dict[str, Any]) -> str:
    """The page."""
    environments = report["environments"]
    found = oldest(report)
    name = f"jax >= {found['jax']}, flax >= {found['flax']}" if found else "none"
    blocks = [
        PREFACE.format(oldest=name),
        _check_table(environments),
        *_failure_list(environments),
        MASKS.format(**_compare(environments, jdrop="jdrop", linen="flax.linen")),
        _settings_table(environments, "jdrop", "flax.linen"),
        STREAMS.format(**_compare(environments, jdrop="jdrop.nnx", nnx="flax.nnx")),
        _settings_table(environments, "jdrop.nnx", "flax.nnx"),
        IMPLEMENTATIONS,
        _implementation_table(environments),
        COMMAND.format(**report),
    ]
    return "\n".join(blocks)


def _check_table(environments: Sequence[Environment]) -> str:
    header = ["jax", "of", "flax", "Python", "numpy", "golden", *CHECKS, "supported"]
    return _table(header, map(_check_row, environments))


def _check_row(environment: Environment) -> list[str]:
    failed = failures(environment)
    row = [environment[name] for name in ("jax", "released", "flax", "python")]
    if "install" in failed:
        return [*row, "not installed", *[NOTHING] * (len(CHECKS) + 1), "no"]
    checks, report = environment["checks"], environment["golden"]["report"]
    # A probe that died left no checks.
    bad = [name in failed or name not in checks for name in CHECKS]
    ticks = ["✗" if wrong else "✓" for wrong in ("golden" in failed, *bad)]
    if report:
        ways = [way["status"] for way in report["checks"]]
        ticks[0] += f" {ways.count('agrees')} of {len(ways) - ways.count('skipped')}"
    return [*row, environment["numpy"], *ticks, "no" if failed else "yes"]


def _failure_list(environments: Sequence[Environment]) -> list[str]:
    """Why checks failed, those with one reason together."""
    lines = []
    for environment in environments:
        by_reason: dict[str, list[str]] = {}
        for name, why in failures(environment).items():
            by_reason.setdefault(why, []).append(name)
        for why, names in by_reason.items():
            where = f"jax {environment['jax']}, flax {environment['flax']}"
            lines.append(f"- {where}: {', '.join(names)}: `{why}`")
    return ["What failed, and why:\n", "\n".join(lines) + "\n"] if lines else []


def _compare(environments: Sequence[Environment], **contestants: str) -> dict[str, int]:
    """How many masks each contestant drew, where all of them drew one."""
    shared = [
        environment
        for environment in environments
        if all(_hashes([environment], name) for name in contestants.values())
    ]
    return {short: len(_hashes(shared, name)) for short, name in contestants.items()}


def _settings_table(environments: Sequence[Environment], ours: str, theirs: str) -> str:
    """Masks of the threefry key: ours of all settings together, theirs of each."""
    installed = _installed(environments)
    settings = list(installed[0]["masks"]) if installed else []
    header = ["jax", "flax", f"{ours}, every setting"]
    rows = (
        [environment["jax"], environment["flax"], _together([environment], ours)]
        + [_hash(environment, setting, theirs) or NOTHING for setting in settings]
        for environment in installed
    )
    return _table([*header, *(f"{theirs}, {name}" for name in settings)], rows)


def _implementation_table(environments: Sequence[Environment]) -> str:
    """Masks of every kind of key, of all versions and settings together."""
    installed = _installed(environments)
    rows = (
        [
            kind,
            _span([e["jax"] for e in installed if _hashes([e], "flax.linen", kind)]),
            *(_together(installed, name, kind) for name in ("jdrop", "flax.linen")),
        ]
        for kind in _kinds(installed)
    )
    return _table(["impl", "in jax", "jdrop", "flax.linen"], rows)


def _installed(environments: Sequence[Environment]) -> list[Environment]:
    return [environment for environment in environments if not environment["install"]]


def _span(versions: Sequence[str]) -> str:
    """The first and the last of some versions."""
    return " to ".join(dict.fromkeys([*versions[:1], *versions[-1:]])) or NOTHING


def _kinds(environments: Sequence[Environment]) -> list[str]:
    """The implementations of keys that were tried."""
    tried = (e["masks"]["default"].get("jdrop", ()) for e in environments)
    return list(dict.fromkeys(kind for kinds in tried for kind in kinds))


def _together(
    environments: Sequence[Environment], contestant: str, kind: str = "threefry2x32"
) -> str:
    return ", ".join(_hashes(environments, contestant, kind)) or NOTHING


def _hashes(
    environments: Sequence[Environment], contestant: str, kind: str = "threefry2x32"
) -> list[str]:
    """The different masks over all versions and settings, in order of appearance."""
    drawn = (
        _hash(environment, setting, contestant, kind)
        for environment in _installed(environments)
        for setting in environment["masks"]
    )
    return list(dict.fromkeys(filter(None, drawn)))


def _hash(
    environment: Environment, setting: str, contestant: str, kind: str = "threefry2x32"
) -> str | None:
    """A hash, or None where this version did not draw it."""
    return environment["masks"][setting].get(contestant, {}).get(kind)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
