"""Writes the tables of `docs/versions.md` from what `nox -s versions` recorded.

python -m benchmarks.versions
"""

import pandas as pd

from benchmarks import records

PAGE = records.ROOT / "docs" / "versions.md"
RESULTS = records.RESULTS / "versions.csv"

PAIR = ["jax", "flax"]
CHECKS = ["golden", "transforms", "export", "auto", "explicit", "linen", "nnx"]
MASKS = ["jdrop", "flax.linen"]
WORKS = "works"


def tables(rows: pd.DataFrame) -> dict[str, str]:
    """The tables of the page."""
    # Also where nothing could be installed, or the probe died.
    judged = rows[~rows.what.isin(["python", "numpy", *MASKS])]
    failed = judged[judged.result != WORKS]
    return {
        "supported": f"**{supported(rows, failed)}.**",
        "checks": records.table(check_table(rows)),
        "failures": _failure_list(failed),
        "count": count_masks(rows),
        "masks": records.table(mask_table(rows)),
    }


def supported(rows: pd.DataFrame, failed: pd.DataFrame) -> str:
    """The oldest pair from which on all work; they are in order of age."""
    oldest, broken = "none", failed[PAIR].values.tolist()
    for jax, flax in reversed(rows[PAIR].drop_duplicates().values.tolist()):
        if [jax, flax] in broken:
            break
        oldest = f"jax >= {jax}, flax >= {flax}"
    return oldest


def check_table(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each pair, a column for each check."""
    found = rows[~rows.what.isin(MASKS)].pivot(
        index=PAIR, columns="what", values="result"
    )
    table = found.reindex(columns=["python", "numpy", *CHECKS])
    table[CHECKS] = table[CHECKS].map(lambda result: "✓" if result == WORKS else "✗")
    pairs = rows.drop_duplicates(PAIR).set_index(PAIR)
    return table.loc[pairs.index].assign(date=pairs.date).reset_index()


def mask_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Masks of one key: jdrop's of all settings together, flax.linen's of each."""
    ours, theirs = (rows[rows.what == name] for name in MASKS)
    table = theirs.pivot(index=PAIR, columns="setting", values="result")
    table = table[theirs.setting.unique()].add_prefix("flax.linen, ")
    drawn = ours.groupby(PAIR).result.agg(lambda masks: ", ".join(masks.unique()))
    table.insert(0, "jdrop, every setting", drawn)
    pairs = theirs.set_index(PAIR).index.drop_duplicates()
    return table.loc[pairs].fillna("–").reset_index()


def count_masks(rows: pd.DataFrame) -> str:
    """How many masks one key gives, over the versions with which jdrop works."""
    works = rows[rows.what == "jdrop"][PAIR].drop_duplicates()
    masks = rows[rows.what.isin(MASKS)].merge(works).groupby("what").result.nunique()
    return (
        f"Over the {len(works)} pairs with which jdrop draws and 4 settings, the masks "
        f"from this one key are **{masks['jdrop']} from jdrop and "
        f"{masks['flax.linen']} from flax.linen**."
    )


def _failure_list(failed: pd.DataFrame) -> str:
    """Why checks failed, those with one reason together."""
    groups = failed.groupby([*PAIR, "result"], sort=False, as_index=False)
    table = groups.what.agg(", ".join)
    return "\n".join(
        f"- jax {row.jax}, flax {row.flax}: {row.what}: `{row.result}`"
        for row in table.itertuples()
    )


def main() -> None:
    """Writes the page."""
    PAGE.write_text(records.fill(PAGE.read_text(), tables(records.read(RESULTS))))


if __name__ == "__main__":
    main()
