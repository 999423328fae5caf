"""A fit on one page that needs no other file: its quality first, then tables and pictures."""

import base64
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pullback._files import atomic_write_text, printable
from pullback._saved import REPORT
from pullback.runs import number

from ._png import png
from ._store import check_own
from ._words import WORDS


class Table(NamedTuple):
    """A table; whoever reads the page can sort it by a column.

    Attributes:
        title: of its section; "" goes on with the one before.
        head: of the columns.
        rows: cells: text, numbers, or None for an empty one.
        caption: what the table shows, in a sentence or two.
        marked: rows and columns of cells that stand out.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""
    marked: frozenset[tuple[int, int]] = frozenset()

    @property
    def numeric(self) -> list[bool]:
        """Of each column whether it holds numbers."""
        kinds = [[row[k] for row in self.rows if row[k] is not None] for k in range(len(self.head))]
        return [bool(cells) and all(isinstance(c, int | float) for c in cells) for cells in kinds]


class Picture(NamedTuple):
    """A figure.

    Attributes:
        title: of its section; "" goes on with the one before.
        figure: of Matplotlib.
        caption: what it shows, and what would be bad to see.
    """

    title: str
    figure: Any
    caption: str

    @property
    def source(self) -> str:
        """The figure as an address that holds it."""
        return "data:image/png;base64," + base64.b64encode(png(self.figure)).decode()


class Check(NamedTuple):
    """Something that should be so.

    Attributes:
        good: whether it is.
        sentence: what was found, and where it is not good what to do.
    """

    good: bool
    sentence: str


class Report(NamedTuple):
    """What stands on the page of a fit.

    Attributes:
        title: what the data are called and what was fitted.
        heading: what the data are called.
        lead: what was fitted to what, in a sentence.
        quality: how good it is on data that took no part, beside others; None where nothing says.
        notes: what was done and who wins, in sentences.
        checks: what should be so.
        parts: tables and pictures.
        words: those of the glossary that the page uses.
    """

    title: str
    heading: str
    lead: str
    quality: Table | None
    notes: Sequence[str]
    checks: Sequence[Check]
    parts: Sequence[Table | Picture]
    words: Sequence[str]


def write_page(report: Report, folder: Path, commands: Sequence[str]) -> Path:
    """Write `report.html`, whole or not at all.

    Args:
        report: what stands on it.
        folder: of the saved model.
        commands: what to do with the model.

    Returns:
        The page.

    Raises:
        ModelError: there is a page, and no task wrote it.
    """
    check_own(folder, REPORT)
    files = [file.name for file in sorted(folder.iterdir()) if file.is_file()]
    text = _template().render(
        report=report,
        parts=[(part, isinstance(part, Picture)) for part in report.parts],
        commands=commands,
        files=[name for name in files if name != REPORT and not name.startswith(".")],
        words={word: WORDS[word] for word in report.words},
    )
    page = folder / REPORT
    atomic_write_text(page, printable(text))
    return page


@functools.cache
def _template() -> Any:
    import jinja2

    loaders = [jinja2.PackageLoader(f"pullback.{room}", ".") for room in ("tasks", "runs")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"number": number}
    return environment.get_template("_report.html.jinja")
