"""Tables at any width: what is a number or a name is whole."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from billing_etl.local.tables import print_table

UUID = "f4515312-8375-5c1f-9283-f4f3f9939328"
AMOUNT = "16.14660552"
USED = "987.65 GB"
WHY = "quota used up before, a gap of eight minutes kept, two sources of the same account"


def printed(width: int, *, is_terminal: bool) -> list[str]:
    console = Console(
        file=io.StringIO(), width=width, force_terminal=is_terminal, color_system=None
    )
    table = Table()
    for heading in ("account uuid", "why"):
        table.add_column(heading, overflow="fold")
    for heading in ("rated amount", "used"):
        table.add_column(heading, overflow="fold", justify="right")
    table.add_row(UUID, WHY, AMOUNT, USED)
    print_table(console, table)
    assert console.width == width
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [20, 80, 100])
def test_numbers_and_names_are_whole_on_any_terminal(width: int) -> None:
    lines = printed(width, is_terminal=True)
    assert any(UUID in line and AMOUNT in line and USED in line for line in lines)
    words = " ".join(lines).split()
    assert set(WHY.split()) <= set(words)


def test_a_table_that_fits_has_a_frame_and_fills_no_more_than_the_terminal() -> None:
    lines = printed(100, is_terminal=True)
    assert "─" in "".join(lines)
    assert max(map(len, lines)) <= 100


def test_a_table_that_does_not_fit_has_none() -> None:
    assert set("".join(printed(20, is_terminal=True))) & set("│─┃━") == set()


def test_what_is_no_terminal_gets_a_line_for_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert any(WHY in line and UUID in line for line in printed(80, is_terminal=False))


def test_what_is_no_terminal_may_be_told_its_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert max(map(len, printed(100, is_terminal=False))) <= 100
