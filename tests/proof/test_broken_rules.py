"""The catalogue of broken rules is whole and fits the code; `make break` tries it out."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from billing_etl.pipeline.checks import CHECKS
from proof.break_rules import PAGE, ROOT, broken_text, is_caught, page, walked_in
from proof.broken_rules import BREAKS, Break

# What the delivery contract promises of every object; its other paragraphs say how.
PROMISES = {"Sealing", "Corrections", "Integrity", "Manifest"}

one_by_one = pytest.mark.parametrize(
    "entry", BREAKS, ids=lambda entry: f"{entry.rule}: {entry.broken}"
)


def headings(document: str, level: str) -> set[str]:
    """The first word of each heading of a level."""
    text = (ROOT / "docs" / document).read_text("utf-8")
    return set(re.findall(rf"^{level} (\w+)", text, re.MULTILINE))


def test_every_rule_invariant_promise_and_check_is_broken_somewhere() -> None:
    semantics = (ROOT / "docs" / "semantics.md").read_text("utf-8")
    invariants = re.findall(
        r"^(\d)\. ", semantics.split("## What must always hold")[1], re.MULTILINE
    )
    expected = {rule for rule in headings("semantics.md", "###") if re.fullmatch(r"[CR]\d+", rule)}
    assert len(expected) == 15 + 7
    assert headings("delivery-contract.md", "##") >= PROMISES
    expected |= {f"invariant-{number}" for number in invariants} | PROMISES
    expected |= {check.name for check in CHECKS}

    assert {entry.rule for entry in BREAKS} == expected


@one_by_one
def test_a_break_stands_in_one_place_and_is_still_a_program(entry: Break) -> None:
    whole = (ROOT / entry.file).read_text("utf-8")

    broken = broken_text(entry, whole)

    assert broken != whole
    if entry.file.endswith(".py"):
        ast.parse(broken)


def test_a_place_that_is_not_there_or_not_only_once_is_no_break() -> None:
    entry = BREAKS[0]
    for text in ("", 2 * entry.find):
        with pytest.raises(ValueError, match="once"):
            broken_text(entry, text)


@one_by_one
def test_the_test_that_catches_a_break_exists(entry: Break) -> None:
    path, _, name = entry.test.partition("::")

    assert name in functions(ROOT / path)


@cache
def functions(path: Path) -> set[str]:
    parsed = ast.parse(path.read_text("utf-8"))
    return {node.name for node in parsed.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(
    ("exit_code", "output", "caught"),
    [
        pytest.param(1, "E  assert 7 == 3\n1 failed, 2 passed in 3.10s", True, id="a failure"),
        pytest.param(0, "3 passed in 3.10s", False, id="no failure"),
        pytest.param(1, "1 error in 3.10s", False, id="an error around the test"),
        pytest.param(2, "ImportError: no name\n1 error in 0.50s", False, id="not collected"),
        pytest.param(
            1, 'E  database: syntax error at "or"\n1 failed in 3.10s', False, id="no SQL any more"
        ),
        pytest.param(1, "E  NameError: 'x'\n1 failed in 3.10s", False, id="no program any more"),
        pytest.param(4, "no such test", False, id="no test"),
    ],
)
def test_only_a_test_that_fails_on_what_the_code_does_catches(
    exit_code: int, output: str, caught: bool
) -> None:
    assert is_caught(exit_code, output) == caught


def test_the_table_in_the_docs_is_that_of_the_catalogue() -> None:
    """After a change: PYTHONPATH=tests python -m proof.break_rules --table"""
    text = PAGE.read_text("utf-8")

    assert text == page(walked_in(text))


def test_the_table_keeps_what_walks_noticed() -> None:
    tried = [entry for entry in BREAKS if not entry.no_walk]
    walked = {(entry.rule, entry.broken): at % 2 == 0 for at, entry in enumerate(tried[1:])}

    text = page(walked)

    assert walked_in(text) == walked
    assert walked_in(page({})) == {}
    assert text.count(" | not tried |") == 1
