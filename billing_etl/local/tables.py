"""Tables on a terminal: half an amount is another amount, so no cell is broken within a word."""

import os
from typing import Final

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

_UNBOUND: Final = 100_000


def print_table(console: Console, table: Table) -> None:
    """Prints a table, texts broken between words only, and numbers, names and hours never.

    One that does not fit the terminal so loses its frame, and then goes beyond the edge. What is
    neither a terminal nor told its COLUMNS has no edge: a row is a line there.
    """
    has_edge = console.is_terminal or "COLUMNS" in os.environ
    edge = console.width if has_edge else _UNBOUND
    if _narrowest(console, table) > edge:
        table.box, table.pad_edge, table.padding = None, False, (0, 2, 0, 0)
    frame = _frame(console, table)
    room = max(edge, _narrowest(console, table)) - frame
    needed = [_of_column(console, table, index) for index in range(len(table.columns))]
    widths = [each.maximum for each in needed]
    while sum(widths) > room:
        # The widest of those that can still give way.
        able = [index for index, each in enumerate(needed) if widths[index] > each.minimum]
        widths[max(able, key=lambda index: widths[index])] -= 1
    for column, width in zip(table.columns, widths, strict=True):
        column.width = width
    usual = console.width
    console.width = max(usual, sum(widths) + frame)
    try:
        console.print(table)
    finally:
        console.width = usual


def _of_column(console: Console, table: Table, index: int) -> Measurement:
    """What a column must have, and what it would fill; a number keeps its unit beside it."""
    column = table.columns[index]
    options = console.options.update(max_width=_UNBOUND)
    header = Measurement.get(console, options, column.header)
    cells = [Measurement.get(console, options, text) for text in column.cells]
    is_whole = column.justify == "right"
    must = (each.maximum if is_whole else each.minimum for each in cells)
    return Measurement(
        max(header.minimum, *must), max(header.maximum, *(each.maximum for each in cells))
    )


def _frame(console: Console, table: Table) -> int:
    """Characters of a line that are of no column: edges and the space between two."""
    options = console.options.update(max_width=_UNBOUND)
    whole = Measurement.get(console, options, table).maximum
    columns = (_of_column(console, table, index) for index in range(len(table.columns)))
    return whole - sum(each.maximum for each in columns)


def _narrowest(console: Console, table: Table) -> int:
    columns = (_of_column(console, table, index) for index in range(len(table.columns)))
    return sum(each.minimum for each in columns) + _frame(console, table)
