"""Tables: in the terminal as ``benchmarks.report`` prints its own, and in ``docs/scaling.md``."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.stage import PROJECT

DOCUMENT: Final = PROJECT / "docs" / "scaling.md"
_WIDTH: Final = 160  # where no terminal says how wide it is


@dataclass(frozen=True, slots=True)
class Table:
    """What is printed.

    Attributes:
        name: where it stands in the document: between two comments that bear it.
        title: for the terminal; the document says it in its own words.
    """

    name: str
    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    def is_number(self, at: int) -> bool:
        """Whether all cells of a column begin with a digit, or are empty."""
        return all(row[at][:1].isdigit() or not row[at] for row in self.rows)

    def markdown(self) -> str:
        rules = ["---:" if self.is_number(at) else "---" for at in range(len(self.headings))]
        return "".join(f"| {' | '.join(row)} |\n" for row in (self.headings, rules, *self.rows))


def show(table: Table) -> None:
    shown = RichTable(title=table.title, title_justify="left")
    for at, heading in enumerate(table.headings):
        shown.add_column(heading, justify="right" if table.is_number(at) else "left")
    for row in table.rows:
        shown.add_row(*row)
    _console().print(shown, highlight=False)


def say(text: str) -> None:
    _console().print(text, highlight=False)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH)


def put(name: str, content: str, document: Path = DOCUMENT) -> None:
    """Writes a table, or a line, into its place in the document.

    Raises:
        ValueError: the document has no such place.
    """
    text = document.read_text("utf-8")
    before, _, after = _place(text, name)
    document.write_text(before + content + after, "utf-8")


def printed(name: str, document: Path = DOCUMENT) -> str:
    """What stands in a place of the document."""
    return _place(document.read_text("utf-8"), name)[1]


def _place(text: str, name: str) -> tuple[str, str, str]:
    pattern = rf"(?s)(.*<!-- printed: {re.escape(name)} -->\n)(.*?)(<!-- end -->.*)"
    found = re.fullmatch(pattern, text)
    if found is None:
        raise ValueError(f"expected a place <!-- printed: {name} --> ... <!-- end -->, got none")
    before, content, after = found.groups()
    return before, content, after


def measured_on(about: dict[str, Any]) -> str:
    machine, postgres = about["machine"], about["postgres"]
    return (
        f"measured {about['made_at'][:16]}Z on {machine['cores']} cores ({machine['processor']}), "
        f"load {machine['load_average_before']:.1f} before, Python {machine['python']}, PostgreSQL "
        f"{postgres['server_version']}"
    )


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    if seconds < 3 * 86_400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:,.0f} d"


def size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.1f} PB"


def percent(share: float) -> str:
    return f"{100 * share:.0f}%"
