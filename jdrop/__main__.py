"""`python -m jdrop`: whether this machine draws the masks that the stream promises."""

import argparse
import sys
from collections.abc import Sequence

from jdrop.selfcheck.report import check

DESCRIPTION = """\
Draws the golden vectors, masks and derived keys that came with the package, in
every way that this machine offers (eagerly, compiled, mapped, differentiated,
sharded, ...), and compares every packed word with what it must be.

The exit status is 0 if every word agrees and 1 if not.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m jdrop",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="only the commonest ways")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    return 0 if check(quick=options.quick, as_json=options.json) else 1


if __name__ == "__main__":
    sys.exit(main())
