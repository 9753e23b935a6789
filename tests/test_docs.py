"""The documents say all that is there, and nothing that is not."""

import argparse
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path

import psycopg
import pytest

from billing_etl.cli.arguments import build_parser
from billing_etl.settings import SETTINGS, SOURCE_KEYS, Source

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
COLLECTING = [f"C{number}" for number in range(1, 16)]
RATING = [f"R{number}" for number in range(1, 8)]
DAG_IDS = sorted(path.stem for path in (ROOT / "dags").glob("*.py"))
# What analysts read, by name; the file's comments name its schema.
VIEWS = {path.stem.partition("_")[2]: path for path in (ROOT / "sql/views").glob("*.sql")}
READ_SCHEMAS = ["billing", "account_read_model"]
STATEMENTS = sorted((ROOT / "sql").rglob("*.sql"))


def text_of(*documents: Path) -> str:
    return "\n".join(path.read_text("utf-8") for path in documents or DOCUMENTS)


def commands(parser: argparse.ArgumentParser, prefix: str = "billing-etl") -> Iterator[str]:
    """Every command as it is typed, with its subcommand."""
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    for group in groups:
        for name, command in group.choices.items():
            yield from commands(command, f"{prefix} {name}")
    if not groups:
        yield prefix


def table(document: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its two head lines."""
    section = text_of(ROOT / document).split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]]


# --- all that is there -------------------------------------------------------------------------


@pytest.mark.parametrize("command", sorted(commands(build_parser())))
def test_every_command_is_in_the_readme(command: str) -> None:
    assert re.search(rf"{command}\b", text_of(ROOT / "README.md"))


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_every_dag_is_in_the_readme(dag_id: str) -> None:
    assert f"`{dag_id}`" in text_of(ROOT / "README.md")


@pytest.mark.parametrize("view", sorted(VIEWS))
def test_every_view_is_in_the_data_model(view: str) -> None:
    assert f"`{view}`" in text_of(ROOT / "docs/architecture.md")


def test_the_settings_table_is_that_of_the_code() -> None:
    names = [row[0].strip("`") for row in table("docs/configuration.md", "Settings")]
    assert names == list(SETTINGS)


def test_the_table_of_source_keys_is_that_of_the_code() -> None:
    rows = {row[0].strip("`"): row[1] for row in table("docs/configuration.md", "Sources")}
    assert sorted(rows) == sorted(SOURCE_KEYS)
    for key in fields(Source):
        if key.name in {"token", "region"}:  # resolved from other settings
            continue
        assert rows[key.name] == shown(key.default), key.name


def shown(default: object) -> str:
    if default is MISSING or default is None:
        return "needed" if default is MISSING else "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


@pytest.mark.parametrize("rule", [*COLLECTING, *RATING])
def test_every_rule_has_a_paragraph_and_is_cited(rule: str) -> None:
    assert re.search(rf"^### {rule} \w", text_of(ROOT / "docs/semantics.md"), re.MULTILINE)
    code = [
        path
        for folder in ("billing_etl", "sql", "tests")
        for suffix in ("*.py", "*.sql")
        for path in (ROOT / folder).rglob(suffix)
        if path != Path(__file__)
    ]
    assert any(re.search(rf"\b{rule}\b", path.read_text("utf-8")) for path in code)


def test_the_code_cites_no_rule_that_is_not_there() -> None:
    code = [*(ROOT / "billing_etl").rglob("*.py"), *STATEMENTS]
    cited = {rule for path in code for rule in re.findall(r"\b[CR]\d+\b", path.read_text("utf-8"))}
    assert cited - {*COLLECTING, *RATING} == set()


def test_the_six_invariants_are_numbered() -> None:
    section = text_of(ROOT / "docs/semantics.md").split("## What must always hold")[1]
    assert re.findall(r"^(\d)\. ", section, re.MULTILINE) == list("123456")


def test_every_gauge_of_delivery_is_in_the_contract() -> None:
    source = text_of(ROOT / "plugins/billing_airflow/metrics.py")
    gauges = set(re.findall(r'"billing\.delivery\.(\w+)"', source))
    assert len(gauges) == 8
    rows = table("docs/delivery-contract.md", "Heartbeat")
    cells = " ".join(row[1] for row in rows if len(row) == 3)
    assert set(re.findall(r"`(\w+)`", cells)) == gauges


def test_the_walk_in_the_readme_is_that_of_the_walkthrough() -> None:
    """Whose commands a test runs."""
    section = (
        text_of(ROOT / "README.md").split("\n## A walk through it\n", 1)[1].split("\n## ", 1)[0]
    )
    listed = section.split("```sh\n", 1)[1].split("```", 1)[0].splitlines()
    commands = [line.partition("   #")[0].strip() for line in listed if not line.startswith("#")]
    walked = [line.strip() for line in text_of(ROOT / "docs/walkthrough.md").splitlines()]
    assert len(commands) > 8
    assert [command for command in commands if command not in walked] == []


# --- and nothing that is not -------------------------------------------------------------------


def test_every_command_in_the_documents_exists() -> None:
    known = set(commands(build_parser()))
    groups = {command.rsplit(" ", 1)[0] for command in known if command.count(" ") == 2}
    for written in re.findall(r"billing-etl(?: [a-z]+)+", text_of()):
        words = written.split()
        assert " ".join(words[:2]) in known | groups, written
        if " ".join(words[:2]) in groups and len(words) > 2:
            assert " ".join(words[:3]) in known, written


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8")):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}


def test_every_decision_is_listed() -> None:
    decisions = ROOT / "docs/decisions"
    listed = re.findall(r"\]\((.+?)\)", text_of(decisions / "README.md"))
    assert sorted(listed) == sorted(path.name for path in decisions.glob("20*.md"))


def test_files_named_in_the_documents_exist() -> None:
    roots = r"(?:billing_etl|dags|plugins|sql|tests|docs|benchmarks)"
    for name in re.findall(rf"`({roots}/[\w/.-]*)`", text_of()):
        assert (ROOT / name).exists(), name


# --- statements --------------------------------------------------------------------------------


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_statement_begins_with_its_purpose(statement: Path) -> None:
    assert re.match(r"-- Purpose: +\S", statement.read_text("utf-8"))


def test_every_view_and_column_has_a_comment(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        columns = connection.execute(
            "select table_schema, table_name, column_name from information_schema.columns"
            " where table_schema = any(%s)",
            (READ_SCHEMAS,),
        ).fetchall()
    assert {view for _, view, _ in columns} == set(VIEWS)
    for schema, view, column in columns:
        comments = VIEWS[view].read_text("utf-8")
        assert re.search(rf"comment on (view|table) {schema}\.{view} is '", comments)
        assert f"comment on column {schema}.{view}.{column} is '" in comments, f"{view}.{column}"


def test_every_test_that_shows_a_defence_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", text_of(ROOT / "SECURITY.md"))
    assert len(named) > 15
    assert [name for name in named if not (ROOT / name).is_file()] == []
