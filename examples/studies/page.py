"""What a study leaves: a table, a figure, its section of the page."""

import io
import re
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from examples import report

PAGE = Path("docs", "studies.md")
FILES = ("config.json", "rows.csv", "table.md", "figure.png")


def written(folder: Path, table: str, figure: Figure) -> list[str]:
    """Writes the table and the figure; returns what went wrong."""
    drawn, image = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    # 256 colours take a third of the space, and nothing is seen of it.
    Image.open(drawn).convert("RGB").quantize(256).save(image, "png", optimize=True)
    problems = [
        report.write(folder / "table.md", f"{table}\n".encode()),
        report.write(folder / "figure.png", image.getvalue()),
    ]
    return [*filter(None, problems)]


def put(name: str, table: str) -> list[str]:
    """Puts the table in the section of the study; returns what went wrong."""
    text, sections = re.subn(
        rf"(<!-- {name} -->\n).*?(<!-- end -->)",
        lambda match: f"{match[1]}\n{table}\n\n{match[2]}",
        PAGE.read_text(),
        flags=re.DOTALL,
    )
    if not sections:
        return [f"{PAGE} has no <!-- {name} --> and <!-- end --> to put the table in"]
    return [*filter(None, [report.write(PAGE, text.encode())])]


def printed(folder: Path, table: str) -> list[str]:
    """Prints the table; returns what went wrong."""
    try:
        print(f"{table}\n\nIn {folder}: {', '.join(FILES)}.", flush=True)
    except OSError as error:
        return [f"standard output could not be written to: {error.strerror}"]
    return []
