"""Damage of every kind is found with its exact difference; what is safe is repaired, with a record.

The table in docs/reconciliation.md says what becomes of each damage; here it is tried.
"""

import os
import re
from pathlib import Path
from typing import Any

import pytest
from proof.invariants import fingerprints

from reconciliation.damages import DAMAGES, Damage
from reconciliation.line import Line

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reconciliation.md"
# Where `make damage` gathers the rows of the table.
ROWS_FILE = "DAMAGE_ROWS"


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_damage_is_found_and_what_is_safe_is_repaired(line: Line, damage: Damage) -> None:
    assert line.reconcile(deep=True).clean
    before = line.state()
    damage.harm(line)
    damaged = fingerprints(line.rows.connection)

    # A dry run says what is wrong and what it would do, and changes nothing but findings.
    if damage.needs_deep:
        assert line.reconcile(repair=False).clean
    dry = line.reconcile(repair=False, deep=damage.needs_deep)
    assert not dry.clean
    assert {"findings"} == _changed(damaged, fingerprints(line.rows.connection))
    found = line.findings()
    assert found[0]["check_name"] == damage.check
    assert all(finding["needs_deep"] == damage.needs_deep for finding in found)
    told = [text for check in dry.checks for text in check.repairable]
    assert line.repairs() == []

    # The run repairs what is safe, and fails when anything is left.
    result = line.reconcile(deep=damage.needs_deep)
    assert result.clean == damage.is_repaired
    run_id = line.rows.one("select max(run_id) from billing_core.runs where command = 'reconcile'")
    done = line.repairs()
    _assert_recorded(line, damage, found, run_id)

    # The next run finds the same, or nothing.
    again = line.reconcile(deep=True)
    assert again.clean == damage.is_repaired
    if damage.is_repaired:
        assert told
        assert {repair["outcome"] for repair in done} == {"repaired"}
        assert line.findings() == []
        assert len(line.repairs()) == len(done)
        if damage.restores:
            assert line.state() == before
    else:
        still = {finding["finding_id"] for finding in line.findings()}
        assert {finding["finding_id"] for finding in found} <= still
    _keep_row(_table_row(line, damage, found, done))


def _changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in after if after[name] != before[name]}


def _assert_recorded(line: Line, damage: Damage, found: list[dict[str, Any]], run_id: int) -> None:
    """Every finding is still open, or says how and by which run it was repaired."""
    numbers = {finding["finding_id"] for finding in found}
    now = [each for each in line.findings("true") if each["finding_id"] in numbers]
    assert len(now) == len(found)
    for finding in now:
        assert (finding["closed_at"] is not None) == damage.is_repaired
        assert finding["difference"]
        if damage.is_repaired:
            assert finding["since"] < finding["closed_at"]
        if finding["repaired_by_run"] is not None:
            assert finding["repaired_by_run"] == run_id
            assert finding["repair"]
    assert damage.is_repaired == any(finding["repaired_by_run"] for finding in now)


# --- the table ---------------------------------------------------------------------------------


def _table_row(
    line: Line, damage: Damage, found: list[dict[str, Any]], done: list[dict[str, Any]]
) -> str:
    first = _plain(line, found[0]["message"])
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    how = "`--deep`" if damage.needs_deep else "every run"
    repair = "none, stays open"
    if damage.is_repaired:
        said = dict.fromkeys(_plain(line, each["detail"]) for each in done)
        repair = "; ".join(said)
    return f"| {damage.name} | {how} | {first}{more} | {repair} |"


def _plain(line: Line, text: str) -> str:
    """Without what varies, or says nothing to a reader."""
    text = text.replace(line.bucket, "usage").replace(" 2026-04-08T12:", "", 1)
    # A manifest's digest varies with the bucket that it names; others tell a reader no more.
    text = re.sub(r"\b[0-9a-f]{32,}\b", "…", text)
    return re.sub(r"(s3://)?[^\s/]*/\S*/([^/\s]+?)(-[0-9a-f]{12})?(\.jsonl?)", r"`\2\4`", text)


def _keep_row(row: str) -> None:
    path = os.environ.get(ROWS_FILE)
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(row + "\n")
        return
    assert row in PAGE.read_text("utf-8").splitlines(), row


def test_the_table_has_every_damage_once() -> None:
    page = PAGE.read_text("utf-8").splitlines()
    for damage in DAMAGES:
        assert sum(row.startswith(f"| {damage.name} |") for row in page) == 1, damage.name
