"""The Grafana dashboard: every panel asks a documented view, and an analyst may ask it."""

import json
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
from database_logins import address, grant
from pipeline.harness import Line, worked_example

from billing_etl.store.roles import ANALYST

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "docs/grafana/billing.json").read_text("utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
EACH_PANEL = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
VIEWS = {path.stem.partition("_")[2] for path in (ROOT / "sql/views").glob("*.sql")}


def statement(panel: dict[str, Any]) -> str:
    """The question of a panel with Grafana's macro resolved, as Grafana 11 does it."""
    (target,) = panel["targets"]
    assert target["rawQuery"] is True
    return re.sub(
        r"\$__timeFilter\((\w+)\)",
        r"\1 BETWEEN '2026-04-01T00:00:00Z' AND '2100-01-01T00:00:00Z'",
        target["rawSql"],
    )


def test_it_is_a_dashboard_that_grafana_imports() -> None:
    # Version 39 is that of Grafana 11; later ones bring it up to date themselves.
    assert DASHBOARD["schemaVersion"] == 39
    assert {"title", "uid", "panels", "time", "templating", "annotations"} <= DASHBOARD.keys()
    assert DASHBOARD["timezone"] == "utc"
    (source,) = DASHBOARD["__inputs"]
    expected = {"type": source["pluginId"], "uid": f"${{{source['name']}}}"}
    for panel in PANELS:
        assert panel["datasource"] == panel["targets"][0]["datasource"] == expected
    required = {each["id"] for each in DASHBOARD["__requires"] if each["type"] == "panel"}
    assert required == {panel["type"] for panel in PANELS}
    ids = [panel["id"] for panel in PANELS]
    assert len(set(ids)) == len(ids)


@EACH_PANEL
def test_options_are_of_the_types_that_grafana_publishes(panel: dict[str, Any]) -> None:
    """Of the whole file they were held against @grafana/schema 11.0.0; this is what it found."""
    options = panel["options"]
    assert isinstance(options.get("footer", {}).get("fields", []), list)
    if "legend" in options:
        assert {"displayMode", "placement", "showLegend", "calcs"} <= options["legend"].keys()


def test_panels_lie_side_by_side() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        taken |= cells


@EACH_PANEL
def test_a_panel_asks_documented_views_only(panel: dict[str, Any]) -> None:
    asked = set(re.findall(r"\b(?:from|join) ([\w.]+)", statement(panel)))
    assert asked
    assert {name.removeprefix("billing.") for name in asked} <= VIEWS
    assert all(name.startswith("billing.") for name in asked)
    assert "$" not in statement(panel)


def test_an_analyst_may_ask_every_panel_and_gets_what_it_shows(line: Line, login: str) -> None:
    bad = worked_example(("12:59:03", 10, 20))
    bad[2]["samples"].append({"uuid": "nobody"})
    line.serve(bad)
    line.collected("12")
    line.rate()
    grant(line.database_url, ANALYST, login)
    empty = []
    with psycopg.connect(address(line.database_url, login)) as connection:
        for panel in PANELS:
            cursor = connection.execute(statement(panel).encode())
            columns = [column.name for column in cursor.description or ()]
            rows = cursor.fetchall()
            if panel["targets"][0]["format"] == "time_series":
                assert columns[0] == "time", panel["title"]
                assert len(columns) > 1
            if not rows:
                empty.append(panel["title"])
    # Of these there is nothing: no alert, no reconciliation, no finding.
    assert empty == [
        "Alerts: what, since when, what to do", "Reconciliation: checks by result", "Open findings",
    ]  # fmt: skip
