"""Results for people on a terminal, or one JSON document; logs and errors go to stderr."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from billing_etl.local.tables import print_table


class Output:
    """Prints results; ``as_json`` prints one JSON document instead of tables."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        # What is shown comes from exporters, too: no markup, in tables neither.
        self._console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
        self._errors = Console(
            file=sys.stderr, highlight=False, markup=False, emoji=False, soft_wrap=True
        )

    @property
    def width(self) -> int:
        """Columns of the terminal; 80 where there is none."""
        return self._console.width

    def error(self, error: object) -> None:
        """One line for people on stderr."""
        self._errors.print(f"billing-etl: {_printable(str(error))}")

    def result(self, document: Any, text: str) -> None:
        """A document, or a line of text for people."""
        if self.as_json:
            print(json.dumps(document, default=_plain, ensure_ascii=False))
        else:
            self._console.print(text)

    def table(
        self, document: Any, title: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]
    ) -> None:
        """A document, or its rows as a table."""
        if self.as_json:
            self.result(document, "")
            return
        if not rows:
            self._console.print(f"{title}: nothing")
            return
        self._shown(Table(title=title, title_justify="left", header_style="bold"), columns, rows)

    def text(self, line: str) -> None:
        """One line for people; it wraps on a narrow terminal, nothing is cut off."""
        self._console.print(_printable(line), soft_wrap=True)

    def plain_table(
        self,
        title: str,
        columns: Sequence[str],
        rows: Sequence[Mapping[str, Any]],
        numbers: Sequence[str] = (),
    ) -> None:
        """Rows as one of several tables of a document, without a frame; none: not shown.

        Args:
            title, columns, rows: as of ``table``.
            numbers: columns whose values are numbers written as text.
        """
        if not rows:
            return
        self._console.print(title, style="bold")
        frameless = Table(header_style="dim", box=None, pad_edge=False, padding=(0, 2, 0, 0))
        self._shown(frameless, columns, rows, numbers)
        self._console.print()

    def _shown(
        self,
        table: Table,
        columns: Sequence[str],
        rows: Sequence[Mapping[str, Any]],
        numbers: Sequence[str] = (),
    ) -> None:
        for column in columns:
            cells = [row.get(column) for row in rows]
            is_number = column in numbers or any(_is_number(cell) for cell in cells)
            heading = column.replace("_", " ")  # may be broken between its words
            table.add_column(heading, justify="right" if is_number else "left", overflow="fold")
        for row in rows:
            table.add_row(*(_cell(row.get(column)) for column in columns))
        print_table(self._console, table)

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Callable[[], None]]:
        """A progress bar on a terminal, silent elsewhere; the function given advances it by one."""
        with Progress(
            console=self._errors, transient=True, disable=not sys.stderr.isatty() or self.as_json
        ) as bar:
            task = bar.add_task(title, total=total)
            yield lambda: bar.advance(task)


def widest(column: str, rows: Sequence[Mapping[str, Any]]) -> int:
    """Characters that a column needs, its name included."""
    return max(len(column), *(len(_cell(row[column])) for row in rows))


def grouped(value: int | str) -> str:
    """A number with its thousands apart; an amount keeps every digit."""
    number = str(value)
    sign = "-" if number.startswith("-") else ""
    whole, point, fraction = number.removeprefix("-").partition(".")
    return f"{sign}{int(whole):,}{point}{fraction}" if whole.isdigit() else number


def _is_number(value: object) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return _printable(str(value))


def _printable(text: str) -> str:
    """Text without what a terminal would obey; names are of exporters."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"no JSON form for {type(value).__name__}")
