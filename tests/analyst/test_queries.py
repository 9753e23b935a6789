"""docs/queries.md: each query as it stands, asked as an analyst, on a world of known numbers."""

import re
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from pipeline.harness import A, B, Line

from analyst.world import build
from billing_etl.store.roles import ANALYST

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/queries.md"
QUESTION = re.compile(r"^### (.+?)\n(?:(?!^### ).)*?```sql\n(.*?)```", re.MULTILINE | re.DOTALL)
QUERIES = dict(QUESTION.findall(DOCUMENT.read_text("utf-8")))


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-04-{text}:00+00:00")


MESSAGE = (
    f"prod/node-1 {B} tcp, hour 2026-04-08T12, 2026-04-08T12:02:03Z: was served twice for one "
    "instant with other totals; the larger ones, 90 bytes, were used"
)
EXPECTED: dict[str, list[tuple[Any, ...]]] = {
    "What did each account use and owe in a month?": [
        (A, 470, 100, 100, 0, 300, -200),
        (B, 90, 100, 90, 10, 0, 0),
    ],
    "What did one account use per hour of a day?": [
        (at("08 12:00"), 170, 40, 130, 300),
        (at("08 13:00"), 240, None, None, None),
    ],
    "How much per day?": [(at("07 00:00"), 2, 90, 0), (at("08 00:00"), 2, 470, 300)],
    "How much per region?": [("jp", 510, 80, 200), ("us", 50, 50, 100)],
    "How much per inbound?": [("tcp", 210, 220), ("xhttp", 20, 80)],
    "Which prices does the amount come from?": [("xhttp", 2, 1, 110, 220), ("xhttp", 2, 2, 20, 80)],
    "Why was an hour of an account charged as it was?": [
        (at("08 12:01"), "node-1", "tcp", 100, 40, 60, 2, 1, 120),
        (at("08 12:01"), "node-1", "xhttp", 20, 0, 20, 2, 2, 80),
        (at("08 12:01"), "node-2", "tcp", 50, 0, 50, 2, 1, 100),
    ],
    "Who has used most of the quota?": [(A, 100, 100, 100), (B, 90, 100, 90)],
    "Who is below zero, and since when?": [(A, -200.0, at("08 12:00"), "throttled")],
    "When was the peak of each region?": [
        ("jp", at("08 13:01"), 32),
        ("us", at("08 12:01"), Decimal("6.7")),
    ],
    "Whose usage moved most from one day to the next?": [(A, 60, 410, 350), (B, 30, 60, 30)],
    "What is not billed yet?": [(at("08 13:00"), A, 240, True)],
    "Which hours are not complete, and how many minutes are missing?": [
        ("us-1", at("08 12:00"), "partial", 2, 60, 58),
        ("jp-1", at("08 13:00"), "partial", 2, 60, 58),
    ],
    "What was corrected, why, and by how much?": [
        (A, at("08 12:00"), 0, 40, "prices changed"),
    ],
    "Does every hour's amount equal its ledger?": [],
    "What of each hour has not left yet?": [
        (at("08 12:00"), "traffic_bytes", "unsealed", 4),
        (at("08 13:00"), "traffic_bytes", "unsealed", 1),
    ],
    "What went wrong in an hour: bad samples, resets, gaps?": [
        (at("08 12:00"), "jp-1", "gap", "exporter_down", 1, 0),
        (at("08 12:00"), "jp-1", "quarantine", "total_negative", 1, None),
    ],
    "Which sources lag behind, and what did they say last?": [
        ("us-1", at("07 11:00"), None),
        ("jp-1", at("07 11:00"), None),
    ],
    "What needs a person?": [(1, "conflicting_samples", "jp-1", at("08 12:00"), MESSAGE)],
}


def test_every_question_has_an_answer_here() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert re.findall(r"^### (.+)$", text, re.MULTILINE) == list(QUERIES) == list(EXPECTED)
    assert text.count("```sql") == len(QUERIES)


@pytest.mark.parametrize("zone", ["UTC", "America/St_Johns", "Asia/Kathmandu"])
def test_each_query_gives_the_known_numbers(line: Line, zone: str) -> None:
    """In whatever zone a session is: the queries name their own."""
    build(line)
    with psycopg.connect(line.database_url, options=f"-c timezone={zone}") as connection:
        connection.execute(f"set role {ANALYST.name}".encode())
        found = {
            question: [
                tuple(str(value) if isinstance(value, UUID) else value for value in row)
                for row in cursor.fetchall()
            ]
            for question, query in QUERIES.items()
            for cursor in [connection.execute(query.encode())]
        }
    for question, rows in EXPECTED.items():
        assert found[question] == rows, question
