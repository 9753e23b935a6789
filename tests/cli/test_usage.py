"""``billing-etl usage``: the same numbers as a table with a chart, JSON and CSV."""

import csv
import io
import json
import os
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest
from analyst.world import APRIL, build
from pipeline.harness import ROOT, A, Answer, B, Line, command, sample, snapshot


@pytest.fixture
def world(line: Line) -> Line:
    build(line)
    return line


def usage(line: Line, *arguments: str, columns: int = 80) -> Answer:
    return command(line.environment(COLUMNS=str(columns)), "usage", *arguments)


def rows(line: Line, by: str, *arguments: str) -> list[tuple[Any, ...]]:
    """Key, bytes, included, rated and not rated bytes, amount."""
    answer = usage(line, *APRIL, "--by", by, *arguments, "--json")
    assert answer.code == 0, answer.err
    names = (by, "total_bytes", "included_bytes", "rated_bytes", "unrated_bytes", "amount")
    return [tuple(row[name] for name in names) for row in answer.document["rows"]]


def test_by_each_key(world: Line) -> None:
    assert rows(world, "hour") == [
        ("2026-04-07T10", 90, 90, 0, 0, "0"),
        ("2026-04-08T12", 230, 100, 130, 0, "300"),
        ("2026-04-08T13", 240, 0, 0, 240, None),
    ]
    assert rows(world, "day") == [
        ("2026-04-07", 90, 90, 0, 0, "0"),
        ("2026-04-08", 470, 100, 130, 240, "300"),
    ]
    assert rows(world, "month") == [("2026-04", 560, 190, 130, 240, "300")]
    assert rows(world, "account") == [
        (A, 470, 100, 130, 240, "300"),
        (B, 90, 90, 0, 0, "0"),
    ]
    assert rows(world, "region") == [
        ("jp", 510, 190, 80, 240, "200"),
        ("us", 50, 0, 50, 0, "100"),
    ]
    assert rows(world, "inbound") == [
        ("tcp", 540, 190, 110, 240, "220"),
        ("xhttp", 20, 0, 20, 0, "80"),
    ]


@pytest.mark.parametrize("by", ["hour", "day", "month", "account", "region", "inbound"])
def test_filters_and_total_are_the_same_by_any_key(world: Line, by: str) -> None:
    def total(*arguments: str) -> tuple[int, str]:
        found = usage(world, *APRIL, "--by", by, *arguments, "--json").document["total"]
        assert found["uplink_bytes"] + found["downlink_bytes"] == found["total_bytes"]
        return found["total_bytes"], found["amount"]

    assert total() == (560, "300")
    assert total("--limit", "1") == (560, "300")
    assert total("--account", A.upper()) == (470, "300")
    assert total("--region", "us") == (50, "100")
    assert total("--region", "jp", "--account", B) == (90, "0")
    assert total("--from", "2026-04-08T12", "--to", "2026-04-08T13") == (230, "300")


def test_an_account_is_named_as_everywhere_else(world: Line) -> None:
    document = usage(world, *APRIL, "--account", A.upper(), "--json").document
    assert (document["account_uuid"], document["total"]["total_bytes"]) == (A, 470)


def test_quota_where_it_belongs(world: Line) -> None:
    def quotas(by: str) -> list[tuple[int, int]]:
        document = usage(world, *APRIL, "--by", by, "--json").document
        return [(row["quota_bytes"], row["remaining_bytes"]) for row in document["rows"]]

    assert quotas("account") == [(100, 0), (100, 10)]
    assert quotas("month") == [(200, 10)]
    document = usage(world, *APRIL, "--account", B, "--json").document
    assert document["quotas"] == [
        {"account_uuid": B, "month": "2026-04", "quota_bytes": 100, "used_bytes": 90,
         "remaining_bytes": 10}
    ]  # fmt: skip


def test_a_limit_keeps_the_newest_and_the_largest(world: Line) -> None:
    assert [row[0] for row in rows(world, "hour", "--limit", "2")] == [
        "2026-04-08T12",
        "2026-04-08T13",
    ]
    assert [row[0] for row in rows(world, "account", "--limit", "1")] == [A]
    answer = usage(world, *APRIL, "--by", "account", "--limit", "1", "--json")
    assert answer.document["rows_left_out"] == 1
    assert "the total is of 1 more" not in usage(world, *APRIL, "--by", "account").out


def test_csv_is_exact(world: Line) -> None:
    answer = usage(world, *APRIL, "--by", "account", "--csv")
    assert answer.out.splitlines() == [
        "account,uplink_bytes,downlink_bytes,total_bytes,included_bytes,rated_bytes,"
        "unrated_bytes,amount,quota_bytes,remaining_bytes",
        f"{A},115,355,470,100,130,240,300,100,0",
        f"{B},10,80,90,90,0,0,0,100,10",
    ]
    by_hour = usage(world, *APRIL, "--by", "hour", "--csv").out
    assert by_hour.endswith("2026-04-08T13,80,160,240,0,0,240,\n")


@pytest.mark.parametrize("columns", [40, 60])
@pytest.mark.parametrize("by", ["hour", "day", "month", "account", "region", "inbound"])
def test_where_there_is_little_room_no_number_is_folded(line: Line, by: str, columns: int) -> None:
    line.settings["price_per_byte"] = Decimal("0.0001")
    line.serve(
        [
            snapshot(at, *(sample(account, up, 0, "a-tag-" * 9) for account in (A, B)))
            for at, up in (("11:59:03", 0), ("12:00:03", 987_654_321_987))
        ],
        region="a-region-" * 9,
        max_bits_per_second=10**18,
    )
    line.collected("12")
    line.rate()
    answer = usage(line, *APRIL, "--by", by, columns=columns)
    assert answer.code == 0, answer.err
    shown = [text.split() for text in answer.out.splitlines()]
    document = usage(line, *APRIL, "--by", by, "--json").document
    for row in document["rows"]:
        key = f"{A[:8]}…" if by == "account" else row[by][:10]
        (found,) = [words for words in shown if words and words[0].startswith(key)][:1]
        wanted = ["1.98", "TB"] if len(document["rows"]) == 1 else ["987.65", "GB"]
        assert found[1:3] == wanted
        assert found[3] == f"{Decimal(row['amount']):,.2f}"
        assert "█" in found[-1] or columns == 40


def test_an_account_is_shown_whole_where_there_is_room(world: Line) -> None:
    def shown(columns: int) -> str:
        return usage(world, *APRIL, "--by", "account", columns=columns).out

    assert A in shown(200)
    assert A not in shown(100)


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
@pytest.mark.parametrize("by", ["hour", "day", "month", "account", "region", "inbound"])
def test_a_table_fits_its_terminal(world: Line, by: str, columns: int) -> None:
    answer = usage(world, *APRIL, "--by", by, columns=columns)
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert max(map(len, lines)) <= columns
    assert "not rated" in answer.out
    assert ("down" in lines[1]) == (columns >= 100 and by not in {"account", "month"})
    # One line per row: title, columns, rows and their total; no cell wrapped.
    shown = lines[: lines.index("")] if "" in lines else lines
    document = usage(world, *APRIL, "--by", by, "--json").document
    assert len(shown) == 2 + len(document["rows"]) + (len(document["rows"]) > 1)
    bars = [line.count("█") for line in lines if "█" in line]
    assert max(bars) >= 5


def test_the_chart_is_as_long_as_the_bytes(world: Line) -> None:
    out = usage(world, *APRIL, "--by", "region").out.splitlines()
    jp, us = (next(line for line in out if line.startswith(name)) for name in ("jp", "us"))
    assert jp.count("█") > 8 * us.count("█") > 0
    assert jp.split()[1:3] == ["510", "B"]


@pytest.mark.parametrize("tag", ["a\rb", "a\nb", 'a"b', "a,b", "é\u2028", ""])
def test_any_name_is_one_field_of_csv_and_of_json(line: Line, tag: str) -> None:
    line.serve(
        [snapshot(at, sample(A, up, 0, tag)) for at, up in (("11:59:03", 0), ("12:00:03", 5))]
    )
    line.collected("12")
    arguments = ("usage", *APRIL, "--by", "inbound")
    environment = line.environment(PYTHONIOENCODING="ascii", PATH=os.defpath)

    def told(how: str) -> str:
        run = [sys.executable, "-m", "billing_etl", *arguments, *([how] if how else [])]
        done = subprocess.run(run, env=environment, capture_output=True, check=True, cwd=ROOT)
        return done.stdout.decode()

    (row,) = csv.DictReader(io.StringIO(told("--csv"), newline=""), strict=True)
    assert (row["inbound"], row["total_bytes"]) == (tag, "5")
    assert [row["inbound"] for row in json.loads(told("--json"))["rows"]] == [tag]
    assert "5 B" in told("")


def test_names_of_an_exporter_are_text_and_no_orders(line: Line) -> None:
    tags = ("[/tcp]", "[bold]", ":warning:", "\x1b[31mred")
    line.serve(
        [
            snapshot(at, *(sample(A, up, 0, tag) for tag in tags))
            for at, up in (("11:59:03", 0), ("12:00:03", 5))
        ]
    )
    line.collected("12")

    answer = usage(line, *APRIL, "--by", "inbound")

    assert answer.code == 0, answer.err
    assert all(name in answer.out for name in (*tags[:3], "?[31mred"))


def test_without_a_range_it_is_the_running_period(world: Line) -> None:
    answer = usage(world)
    assert answer.code == 0
    assert answer.out.rstrip().endswith("UTC: nothing")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--json", "--csv"), "expected --json or --csv, got both"),
        (("--account", "alice"), "expected an account uuid, got 'alice'"),
        (("--limit", "0"), "expected a limit of 1 or more, got 0"),
        (("--limit", str(2**63)), "expected a limit of 1 or more, got 9223372036854775808"),
        (("--from", "2026-04-08T13", "--to", "2026-04-08T12"), "2026-04-08T13"),
        (("--by", "week"), "invalid choice"),
    ],
)
def test_bad_usage_is_said_in_one_line(line: Line, arguments: tuple[str, ...], said: str) -> None:
    answer = usage(line, *arguments)
    assert answer.code == 2
    assert said in answer.err
