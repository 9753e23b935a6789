"""The ``billing-etl`` command: exit codes, one JSON document, one line per error, no secrets."""

import json
import signal
import socket
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from pipeline.harness import (
    DAY,
    HISTORY,
    TOKEN,
    A,
    Answer,
    Line,
    answer_of,
    balances,
    command,
    facts,
    findings,
    ledger,
    process,
    readings,
    row_versions,
    sample,
    snapshot,
    usage,
    worked_example,
)

from billing_etl.hours import Hour

HOUR_12 = ("--from", f"{DAY}T12", "--to", f"{DAY}T13")
SECRET = "s3cr3t-Pa55"
GONE = "postgresql://billing:s3cr3t-Pa55@127.0.0.1:1/billing"


@pytest.fixture
def served(line: Line) -> Line:
    line.serve(worked_example())
    return line


def run(line: Line, *arguments: str, **more: str) -> Answer:
    return command(line.environment(**more), *arguments)


def one_line(answer: Answer) -> str:
    """The only line on stderr."""
    assert answer.err.endswith("\n")
    assert answer.err.count("\n") == 1, answer.err
    return answer.err


# --- every command: success --------------------------------------------------------------------


def test_each_step_is_a_command_of_its_own(served: Line) -> None:
    assert run(served, "migrate").code == 0
    assert run(served, "collect", *HOUR_12).code == 0
    assert sum(usage(served).values()) == 170
    assert run(served, "rate", *HOUR_12).code == 0
    assert [entry.amount for entry in ledger(served)] == [Decimal(140)]
    assert run(served, "export", *HOUR_12).code == 0
    assert run(served, "reconcile", *HOUR_12).code == 0
    assert run(served, "reconcile", *HOUR_12, "--no-repair").code == 0


JSON_COMMANDS: dict[str, tuple[str, ...]] = {
    "migrate": ("migrate",),
    "collect": ("collect", *HOUR_12),
    "collect one source": ("collect", "--source", "jp-1", *HOUR_12),
    "rate": ("rate", *HOUR_12),
    "export": ("export", *HOUR_12),
    "reconcile": ("reconcile", *HOUR_12),
    "pipeline": ("pipeline", *HOUR_12),
    "price list": ("price", "list"),
    "credit": ("credit", "--account", A, "--amount", "1.50", "--reason", "thanks"),
    "close": ("close", "--period", "2026-03"),
    "statement": ("statement", "--day", DAY),
    "statement sign": ("statement", "--day", DAY, "--sign", "--despite", "S3 is off"),
    "statement verify": ("statement", "--day", DAY, "--verify"),
    "quarantine list": ("quarantine", "list"),
    "quarantine replay preview": ("quarantine", "replay", "--preview"),
    "quarantine replay": ("quarantine", "replay"),
    "findings list": ("findings", "list"),
    "findings list all": ("findings", "list", "--all"),
    "status": ("status",),
    "maintain": ("maintain",),
    "maintain dry run": ("maintain", "--dry-run"),
    "backfill": ("backfill", *HOUR_12),
    "backfill dry run": ("backfill", *HOUR_12, "--dry-run"),
}


def test_with_json_stdout_is_one_document_and_stderr_is_empty(served: Line) -> None:
    """Every command, on data that gives each something to show."""
    bad = worked_example()
    bad[2]["samples"].append(sample(A, -1, 0, "xhttp"))
    served.serve(bad)
    assert run(served, "pipeline", *HOUR_12).code == 0

    for name, arguments in JSON_COMMANDS.items():
        answer = run(served, *arguments, "--json")

        assert answer.code == 0, (name, answer.err)
        assert isinstance(answer.document, dict), name
        assert answer.out.count("\n") == 1, name
        assert answer.err == "", name


def test_what_the_documents_say(served: Line) -> None:
    collected = run(served, "collect", *HOUR_12, "--json").document["results"]
    assert [(each["source_id"], each["hour"], each["outcome"]) for each in collected] == [
        ("jp-1", f"{DAY}T12", "collected")
    ]
    rated = run(served, "rate", *HOUR_12, "--json").document
    assert (rated["charges"], rated["amount"]) == (1, "140")
    credit = run(
        served, "credit", "--account", A, "--amount", "0.10", "--reason", "r", "--json"
    ).document
    assert (credit["amount"], credit["balance_after"]) == ("0.10", "-139.90")
    status = run(served, "status", "--json").document
    assert set(status) == {
        "sources", "coverage", "backlog", "open_findings", "delivery", "alerts",
    }  # fmt: skip
    (delivery,) = status["delivery"]
    assert (delivery["event_type"], delivery["state"]) == ("traffic_bytes", "off")
    (source,) = status["sources"]
    assert (source["source_id"], source["last_error"]) == ("jp-1", None)


def test_without_json_people_get_tables(served: Line) -> None:
    answer = run(served, "pipeline", *HOUR_12)

    assert answer.code == 0, answer.err
    for word in ("Collected", "Rated", "Delivered", "Reconciled", "jp-1", "140"):
        assert word in answer.out
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.out)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        pytest.param("2026-04-08T12", "2026-04-08T13", id="hours"),
        pytest.param("2026-04-08T12:00:00Z", "2026-04-08T13:00:00Z", id="RFC 3339"),
        pytest.param("2026-04-08T21:00:00+09:00", "2026-04-08T22:00:00+09:00", id="with offset"),
    ],
)
def test_hours_are_utc_and_ranges_half_open(start: str, end: str, served: Line) -> None:
    document = run(served, "collect", "--from", start, "--to", end, "--json").document

    assert [each["hour"] for each in document["results"]] == [f"{DAY}T12"]


# --- exit code 1: the work failed --------------------------------------------------------------


def test_a_running_day_may_be_collected_and_the_one_after_the_next_may_not(line: Line) -> None:
    line.serve([])
    hour = Hour.of(datetime.now(UTC))

    answer = run(line, "collect", "--from", str(hour), "--to", str(hour.next), "--json")
    (collected,) = answer.document["results"]
    assert (collected["hour"], collected["state"]) == (str(hour), "partial")

    ahead = Hour(hour.index + 24)
    answer = run(line, "collect", "--from", str(ahead), "--to", str(ahead.next), "--json")
    assert [each["state"] for each in answer.document["results"]] == ["partial"]

    later = Hour(hour.index + 26)  # also if the next hour has begun since
    answer = run(line, "collect", "--from", str(later), "--to", str(later.next))
    assert answer.code == 2
    assert "begun or do within 24 hours, so an end of at most" in one_line(answer)


def test_rating_takes_hours_of_the_coming_year_as_there_is_nothing_in_them(served: Line) -> None:
    run(served, "collect", *HOUR_12)
    end = Hour(Hour.of(datetime.now(UTC)).index + 366 * 24)

    answer = run(served, "rate", "--from", f"{DAY}T12", "--to", str(end), "--json")

    assert answer.code == 0
    assert answer.document["account_hours"] > 0


def test_a_failed_source_hour_is_exit_1_and_the_others_go_on(served: Line) -> None:
    served.serve(
        [each | {"node_id": "node-9"} for each in worked_example()],
        source_id="us-1",
        expected_node_id="node-2",
    )

    answer = run(served, "pipeline", *HOUR_12, "--json")

    assert answer.code == 1
    assert [each["source_id"] for each in answer.document["collect"]["failures"]] == ["us-1"]
    assert "us-1" in one_line(answer)
    assert {fact.node for fact in facts(served)} == {"node-1"}


@pytest.mark.parametrize("name", ["collect", "pipeline"])
def test_an_unreachable_database_is_exit_1_with_one_line_and_no_password(
    name: str, line: Line
) -> None:
    line.serve(worked_example())

    answer = run(line, name, *HOUR_12, DATABASE_URL=GONE)

    assert answer.code == 1
    assert "database" in one_line(answer)
    assert SECRET not in answer.err + answer.out


def test_a_database_without_schema_names_migrate(empty_database_url: str) -> None:
    answer = command({"DATABASE_URL": empty_database_url}, "status")

    assert answer.code == 1
    assert "billing-etl migrate" in one_line(answer)


def test_migrate_makes_the_schema_once(empty_database_url: str) -> None:
    environment = {"DATABASE_URL": empty_database_url}

    first, second = (command(environment, "migrate", "--json") for _ in range(2))

    assert (first.code, second.code) == (0, 0)
    assert "0001_dimensions" in first.document["applied"]
    assert second.document == {"applied": []}


def test_two_migrations_at_once(empty_database_url: str) -> None:
    environment = {"DATABASE_URL": empty_database_url}

    answers = [answer_of(each) for each in [process(environment, "migrate") for _ in range(2)]]

    assert [answer.code for answer in answers] == [0, 0], answers


def test_a_difference_left_by_reconcile_is_exit_1(served: Line) -> None:
    assert run(served, "pipeline", *HOUR_12).code == 0
    served.execute(
        "update billing_core.facts set uplink_quantity = uplink_quantity + 1 where minute % 60 = 2"
    )

    answer = run(served, "reconcile", *HOUR_12, "--no-repair", "--json")

    assert answer.code == 1
    assert answer.document["clean"] is False


def test_partial_hours_quarantine_and_findings_are_no_failure(line: Line) -> None:
    line.serve(
        [
            snapshot("12:00:03", sample(A, 10, 10), sample(A, 10, 10, "xhttp")),
            snapshot("12:01:03", sample(A, 5, 5), sample(A, 11, 11, "xhttp"), sample(A, -1, 1)),
        ]
    )

    answer = run(line, "collect", *HOUR_12, "--json")

    assert (answer.code, answer.err) == (0, "")
    (result,) = answer.document["results"]
    assert (result["state"], result["quarantined"]) == ("partial", 1)
    assert len(findings(line)) == 1


def test_shrunk_history_is_no_failure(served: Line) -> None:
    assert run(served, "collect", *HOUR_12).code == 0
    served.serve([])

    answer = run(served, "collect", *HOUR_12, "--json")

    assert answer.code == 0
    assert [each["outcome"] for each in answer.document["results"]] == ["history_shrunk"]


# --- exit code 2: bad usage or configuration ---------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((), id="no command"),
        pytest.param(("colect",), id="no such command"),
        pytest.param(("collect",), id="no hours"),
        pytest.param(("collect", "--from", "2026-04-08", "--to", "2026-04-09"), id="days"),
        pytest.param(
            ("collect", "--from", "2026-04-08T12:30:00Z", "--to", "2026-04-08T13"), id="half hours"
        ),
        pytest.param(("collect", *HOUR_12[:3], "2026-04-08T12"), id="an empty range"),
        pytest.param(("collect", *HOUR_12[:3], "2026-04-08T11"), id="a reversed range"),
        pytest.param(
            ("collect", "--from", "0001-01-01T00", "--to", "0001-01-01T01"), id="before all clocks"
        ),
        pytest.param(
            ("reconcile", "--from", "9999-12-31T22", "--to", "9999-12-31T23"), id="after them"
        ),
        *(
            pytest.param((step, "--from", f"{DAY}T12", "--to", "2199-01-01T00"), id=f"{step} ahead")
            for step in ("collect", "rate", "export", "reconcile", "pipeline", "backfill")
        ),
        pytest.param(("collect", "--source", "nobody", *HOUR_12), id="unknown source"),
        pytest.param(
            ("credit", "--account", "bob", "--amount", "1", "--reason", "r"), id="account"
        ),
        pytest.param(("credit", "--account", A, "--amount", "-1", "--reason", "r"), id="negative"),
        pytest.param(("credit", "--account", A, "--amount", "NaN", "--reason", "r"), id="NaN"),
        pytest.param(("credit", "--account", A, "--amount", "x", "--reason", "r"), id="text"),
        pytest.param(
            ("credit", "--account", A, "--amount", "1e200000", "--reason", "r"), id="no money"
        ),
        pytest.param(("credit", "--account", A, "--amount", "1", "--reason", " "), id="no reason"),
        pytest.param(("close", "--period", "April"), id="no period"),
        pytest.param(("close", "--period", "2199-01"), id="a period to come"),
        pytest.param(("close", "--period", "9999-12"), id="a period after all clocks"),
        pytest.param(("statement", "--month", "9999-12"), id="a month after them"),
        pytest.param(("statement", "--day", "9999-12-31"), id="a day after them"),
        pytest.param(("statement", "--day", "1969-12-31"), id="a day before them"),
        pytest.param(("explain", "--account", A, "--period", "9999-12"), id="a bill after them"),
        pytest.param(("findings", "close", "4711", "--reason", "r"), id="no such finding"),
        pytest.param(("price", "publish", "nowhere.json"), id="no such file"),
        pytest.param(
            ("exporter", "--store", "nowhere.json", "--listen", "127.0.0.1:0", "--token", "t"),
            id="no such store",
        ),
    ],
)
def test_bad_usage_is_exit_2_and_changes_nothing(arguments: tuple[str, ...], line: Line) -> None:
    line.serve(worked_example())
    before = row_versions(line, *HISTORY)

    answer = run(line, *arguments)

    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.splitlines()[-1].startswith("billing-etl")
    assert row_versions(line, *HISTORY) == before


MALFORMED: dict[str, dict[str, str]] = {
    "DATABASE_URL": {"DATABASE_URL": f"mysql://root:{SECRET}@127.0.0.1/billing"},
    "EXPORTER_SOURCES_JSON": {"EXPORTER_SOURCES_JSON": '[{"source_id": "jp-1"'},
    "base_url": {"EXPORTER_SOURCES_JSON": '[{"source_id": "jp-1"}]'},
    "user name": {
        "EXPORTER_SOURCES_JSON": json.dumps(
            [{"source_id": "jp-1", "base_url": f"https://user:{SECRET}@host"}]
        )
    },
    "key 'token'": {
        "EXPORTER_SOURCES_JSON": json.dumps(
            [{"source_id": "jp-1", "base_url": "https://host", "token": SECRET}]
        )
    },
    "allow_http": {
        "EXPORTER_SOURCES_JSON": json.dumps(
            [{"source_id": "jp-1", "base_url": "http://exporter.example.com"}]
        )
    },
    "JP_TOKEN": {
        "EXPORTER_SOURCES_JSON": json.dumps(
            [{"source_id": "jp-1", "base_url": "https://host", "token_env": "JP_TOKEN"}]
        )
    },
    "INTERNAL_SERVICE_TOKEN": {"INTERNAL_SERVICE_TOKEN": ""},
    "PRICE_PER_BYTE": {"PRICE_PER_BYTE": "cheap"},
    "INITIAL_INCLUDED_QUOTA_BYTES": {"INITIAL_INCLUDED_QUOTA_BYTES": "1.5"},
    "INITIAL_BALANCE": {"INITIAL_BALANCE": "1,000"},
    "COLLECT_INTERVAL": {"COLLECT_INTERVAL": "2h"},
    "BILLING_PERIOD_ANCHOR_DAY": {"BILLING_PERIOD_ANCHOR_DAY": "31"},
    "BILLING_S3_ENABLED": {"BILLING_S3_ENABLED": "maybe"},
    "BILLING_S3_BUCKET": {"BILLING_S3_ENABLED": "true"},
    "BILLING_ENV": {"BILLING_ENV": "production"},
    "BILLING_S3_MAX_EVENTS": {"BILLING_S3_MAX_EVENTS": "0"},
    "BILLING_SEAL_GRACE": {"BILLING_SEAL_GRACE": "soon"},
    "BILLING_PAYLOAD_RETENTION": {"BILLING_PAYLOAD_RETENTION": "5w"},
}


@pytest.mark.parametrize(("named", "wrong"), MALFORMED.items(), ids=MALFORMED)
def test_a_malformed_setting_is_named_in_one_line_without_secrets(
    named: str, wrong: dict[str, str]
) -> None:
    environment = {
        "DATABASE_URL": GONE,
        "EXPORTER_SOURCES_JSON": '[{"source_id": "jp-1", "base_url": "https://host"}]',
        "INTERNAL_SERVICE_TOKEN": SECRET,
    }

    answer = command({**environment, **wrong}, "pipeline", *HOUR_12, "--json")

    assert answer.code == 2
    assert named in one_line(answer)
    assert answer.out == ""
    assert SECRET not in answer.err


@pytest.mark.parametrize("missing", ["DATABASE_URL", "EXPORTER_SOURCES_JSON"])
def test_a_missing_setting_is_named_in_one_line(missing: str, line: Line) -> None:
    line.serve(worked_example())

    answer = run(line, "collect", *HOUR_12, **{missing: ""})

    assert answer.code == 2
    assert one_line(answer).startswith(f"billing-etl: {missing}: expected")


@pytest.mark.parametrize(
    "address",
    [
        pytest.param(f"postgresql://billing:{SECRET}@127.0.0.1:notaport/billing", id="port"),
        pytest.param(f"postgresql://billing:{SECRET}@127.0.0.1:1/x?nonsense=1", id="parameter"),
        pytest.param(f"postgresql://billing:{SECRET}@[127.0.0.1:1/x", id="bracket"),
        pytest.param(f"postgresql://billing:%zz{SECRET}@127.0.0.1:1/x", id="escape"),
    ],
)
def test_a_database_address_that_cannot_be_read_is_exit_2_without_the_password(
    address: str,
) -> None:
    answer = command({"DATABASE_URL": address}, "status")

    assert SECRET not in answer.err
    assert (answer.code, answer.err.count("\n")) == (2, 1), answer.err
    assert "DATABASE_URL" in answer.err


# --- exporters that fail -----------------------------------------------------------------------


def test_a_wrong_token_is_exit_1_and_never_shown(served: Line) -> None:
    answer = run(served, "collect", *HOUR_12, INTERNAL_SERVICE_TOKEN=SECRET)

    assert answer.code == 1
    line = one_line(answer)
    for word in ("jp-1", f"{DAY}T12", "401", "token"):
        assert word in line
    for secret in (SECRET, TOKEN):
        assert secret not in answer.err + answer.out
        assert not served.rows(
            "select 1 from billing_core.runs where error like %s or counts::text like %s",
            f"%{secret}%",
            f"%{secret}%",
        )


def test_emails_reach_neither_output_nor_tables(served: Line) -> None:
    bad = worked_example()
    bad[2]["samples"].append(sample(A, -1, 0, "xhttp"))
    served.serve(bad)

    answers = [run(served, "pipeline", *HOUR_12, "-v"), run(served, "quarantine", "list", "--json")]

    assert [answer.code for answer in answers] == [0, 0]
    assert "example.com" not in "".join(answer.out + answer.err for answer in answers)
    assert "example.com" not in json.dumps(row_versions(served))


# --- what needs a person -----------------------------------------------------------------------


@pytest.fixture
def troubled(line: Line) -> Line:
    """An hour with one bad sample, and one finding."""
    line.serve(troubles(bad_total=-1))
    assert run(line, "collect", *HOUR_12).code == 0
    return line


def troubles(bad_total: int) -> list[dict[str, Any]]:
    return [
        snapshot("12:00:03", sample(A, 0, 0), sample(A, 9, 9, "x"), sample(A, 9, 9, "y")),
        snapshot("12:01:03", sample(A, bad_total, 5), sample(A, 1, 1, "x"), sample(A, 9, 9, "y")),
    ]


def test_quarantine_is_listed_and_replayed(troubled: Line) -> None:
    (row,) = run(troubled, "quarantine", "list", "--json").document["quarantine"]
    assert (row["source_id"], row["reason"], row["account_uuid"]) == ("jp-1", "total_negative", A)
    assert row["collected_at"].startswith(f"{DAY}T12:01:03")

    still = run(troubled, "quarantine", "replay", "--json")
    assert [each["outcome"] for each in still.document["results"]] == ["unchanged"]
    troubled.serve(troubles(bad_total=4))
    mended = run(troubled, "quarantine", "replay", "--json")

    assert [each["quarantined"] for each in mended.document["results"]] == [0]
    assert run(troubled, "quarantine", "list", "--json").document == {"quarantine": []}
    assert usage(troubled) == {"12:01": 4 + 5 + 1 + 1}


def test_findings_are_listed_closed_and_stay_closed(troubled: Line) -> None:
    (row,) = run(troubled, "findings", "list", "--json").document["findings"]
    assert (row["kind"], row["source_id"]) == ("single_series_reset", "jp-1")

    closing = ("findings", "close", str(row["finding_id"]), "--reason", "known")
    assert run(troubled, *closing).code == 0

    assert run(troubled, "findings", "list", "--json").document == {"findings": []}
    assert run(troubled, *closing).code == 2
    assert run(troubled, "collect", *HOUR_12).code == 0
    assert run(troubled, "findings", "list", "--json").document == {"findings": []}
    (row,) = run(troubled, "findings", "list", "--all", "--json").document["findings"]
    assert row["resolution"] == "known"


def test_status_shows_checkpoint_lag_backlog_and_findings(troubled: Line) -> None:
    troubled.serve(troubles(bad_total=-1) + readings(("14:30:03", 1, 1)))
    assert run(troubled, "collect", *HOUR_12).code == 0

    document = run(troubled, "status", "--json").document

    (source,) = document["sources"]
    assert source["checkpoint"].startswith(f"{DAY}T13:00:00")
    assert source["lag_seconds"] > 0
    assert {row["state"]: row["hours"] for row in document["coverage"]} == {"complete": 1}
    assert [(row["kind"], row["count"]) for row in document["open_findings"]] == [
        ("single_series_reset", 1)
    ]
    assert run(troubled, "status").code == 0


def test_status_shows_the_last_error_until_it_is_mended(served: Line) -> None:
    run(served, "collect", *HOUR_12, INTERNAL_SERVICE_TOKEN="another")
    ((source,),) = [run(served, "status", "--json").document["sources"]]
    assert "401" in source["last_error"]

    run(served, "collect", *HOUR_12)

    ((source,),) = [run(served, "status", "--json").document["sources"]]
    assert source["last_error"] is None


def test_a_disabled_source_is_collected_only_by_name(served: Line) -> None:
    served.sources["jp-1"]["enabled"] = False

    assert run(served, "collect", *HOUR_12, "--json").document["results"] == []
    assert facts(served) == []


# --- prices, credits, periods ------------------------------------------------------------------


def test_prices_are_previewed_published_and_listed(served: Line) -> None:
    assert run(served, "pipeline", *HOUR_12).code == 0
    path = str(
        served.price_file(
            versions=[
                {
                    "price_version": "dear",
                    "from": "2026-04-08T12:05:00Z",
                    "price_per_byte": "3",
                    "included_quota_bytes": 100,
                }
            ]
        )
    )

    preview = run(served, "price", "preview", path, "--json").document
    assert [each["price_version"] for each in versions(served)] == ["initial"]
    publish = run(served, "price", "publish", path, "--json").document

    assert preview == publish
    (published,) = publish["versions"]
    assert (published["included_quota_bytes"], published["quota_as_before"]) == (100, False)
    (account,) = publish["accounts"]
    assert (account["account_uuid"], account["amount"]) == (A, "10")
    assert (account["balance_before"], account["balance_after"]) == ("-140", "-150")
    assert (account["arrears_before"], account["arrears_after"]) == ("140", "150")
    assert [each["price_version"] for each in versions(served)] == ["initial", "dear"]
    assert versions(served)[1]["from"] == "2026-04-08T12:05:00Z"
    assert run(served, "price", "publish", path).code == 2


def versions(line: Line) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = run(line, "price", "list", "--json").document["versions"]
    return listed


def test_a_preview_says_in_words_which_quota_there_will_be(served: Line) -> None:
    assert run(served, "pipeline", *HOUR_12).code == 0
    may = {"from": "2026-05-01T00:00:00Z", "price_per_byte": "3"}
    path = served.price_file(
        versions=[
            {"price_version": "kept"} | may,
            {"price_version": "gold", "scope": "plan", "scope_key": "gold"} | may,
            may | {"price_version": "none", "included_quota_bytes": 0, "from": f"{DAY}T13:00:00Z"},
        ]
    )

    lines = run(served, "price", "preview", str(path)).out.splitlines()

    assert lines[:3] == [
        "none: default, from 2026-04-08T13:00:00Z, 3 per byte, 0 bytes included",
        "kept: default, from 2026-05-01T00:00:00Z, 3 per byte, 0 bytes included, as before",
        "gold: plan gold, from 2026-05-01T00:00:00Z, 3 per byte, bytes included as the next wider "
        "scope has it",
    ]


def test_a_credit_may_open_an_account(line: Line) -> None:
    arguments = ("credit", "--account", A.upper(), "--amount", "12.345678901234567890")

    assert run(line, *arguments, "--reason", "prepaid", INITIAL_BALANCE="1").code == 0

    assert balances(line) == {A: Decimal("13.345678901234567890")}
    assert [(entry.entry_type, entry.reason) for entry in ledger(line)] == [("credit", "prepaid")]


def test_a_period_is_closed_once(served: Line) -> None:
    assert run(served, "pipeline", *HOUR_12).code == 0

    closing = [run(served, "close", "--period", "2026-04", "--json") for _ in range(2)]

    assert [answer.code for answer in closing] == [0, 2]
    assert closing[0].document["period"] == "2026-04"
    assert "closed already" in one_line(closing[1])


# --- processes ---------------------------------------------------------------------------------


def test_the_module_and_the_script_are_the_same_command(line: Line) -> None:
    script = Path(sys.executable).with_name("billing-etl")
    environment = {"DATABASE_URL": line.database_url}

    answers = [
        answer_of(process(environment, "status", "--json")),
        answer_of(process(environment, "status", "--json", program=[str(script)])),
    ]

    assert [answer.code for answer in answers] == [0, 0], answers
    assert answers[0].document == answers[1].document


def test_logs_go_to_stderr_and_the_document_stays_alone_on_stdout(served: Line) -> None:
    answer = answer_of(process(served.environment(), "reconcile", *HOUR_12, "--json", "-v"))

    assert set(answer.document) == {"clean", "payloads_dropped", "checks"}
    assert "INFO" in answer.err


def test_a_failure_of_a_process_is_one_line_on_stderr(served: Line) -> None:
    served.sources["jp-1"]["expected_node_id"] = "node-2"

    answer = answer_of(process(served.environment(), "collect", *HOUR_12))

    assert answer.code == 1
    assert one_line(answer).startswith("billing-etl: source jp-1")


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[tuple[str, Any]]:
    """The `exporter` command on a free port, answering."""
    store = tmp_path / "store.json"
    store.write_text(json.dumps(worked_example()))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    running = process(
        {"EXPORTER_TOKEN": "from-the-environment"},
        *("exporter", "--store", str(store), "--listen", address),
    )
    deadline = time.monotonic() + 30
    while True:
        try:
            httpx.get(f"http://{address}/healthz").raise_for_status()
            break
        except httpx.ConnectError:
            assert running.poll() is None, answer_of(running)
            assert time.monotonic() < deadline
            time.sleep(0.02)
    yield f"http://{address}", running
    running.kill()
    running.communicate()


def test_the_exporter_command_serves_until_it_is_stopped(
    exporter: tuple[str, Any], line: Line
) -> None:
    base_url, running = exporter
    line.sources["jp-1"] = {"source_id": "jp-1", "base_url": base_url}

    refused = httpx.get(f"{base_url}/v1/snapshots/window", headers={"Authorization": "Bearer x"})
    answer = run(line, "collect", *HOUR_12, INTERNAL_SERVICE_TOKEN="from-the-environment")

    assert refused.status_code == 401
    assert answer.code == 0, answer.err
    assert sum(usage(line).values()) == 170
    running.send_signal(signal.SIGTERM)
    assert answer_of(running).code == 0
