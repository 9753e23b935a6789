"""The Billing page's files and data, on a real database."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import psycopg
import pytest
from page import world
from page.served import serving

from billing_etl.hours import Hour
from billing_etl.http.page import FILES

NOW = Hour.of(datetime.now(UTC))
SOURCES = 40
WEEK = 168


@pytest.fixture
def client(database_url: str) -> Iterator[httpx.Client]:
    """A site of 40 sources, of which two are still in the settings, with a new one."""
    ids = world.fill(database_url, NOW, sources=SOURCES, accounts=30)
    with serving(database_url, ids[0], ids[1], "new-1") as client:
        yield client


@pytest.fixture
def empty(database_url: str) -> Iterator[httpx.Client]:
    with serving(database_url) as client:
        yield client


# --- files -----------------------------------------------------------------------------------


def test_the_page_and_every_file_it_names_are_open_and_hold_no_data(empty: httpx.Client) -> None:
    empty.headers.pop("Authorization")
    page = empty.get("/")
    assert page.status_code == 200
    named = re.findall(r'(?:src|href)="(page/[^"]+)"', page.text)
    assert len(named) >= 6
    modules = {
        f"page/js/{name}"
        for path in (FILES / "js").glob("*.js")
        for name in re.findall(r'from "\./([^"]+)"', path.read_text("utf-8"))
    }
    for name in [*named, *sorted(modules)]:
        answer = empty.get(f"/{name}")
        assert answer.status_code == 200, name
        kind = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
        assert answer.headers["Content-Type"].startswith(kind[name.rpartition(".")[2]]), name
        again = empty.get(f"/{name}", headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_nothing_is_loaded_from_elsewhere_and_no_script_stands_in_the_page(
    empty: httpx.Client,
) -> None:
    page = empty.get("/")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'self'" in policy
    assert re.findall(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", page.text) == []
    for path in FILES.rglob("*.*"):
        if "vendor" not in path.parts and path.suffix in {".js", ".css", ".html"}:
            hosts = re.findall(r"https?://(?!www\.w3\.org/2000/svg)", path.read_text("utf-8"))
            assert hosts == [], path.name


@pytest.mark.parametrize(
    "name",
    ["../app.py", "..%2fapp.py", "%2e%2e/page.py", "vendor/../../app.py", "", "js", "README.md"],
)
def test_only_files_of_the_page_are_served(empty: httpx.Client, name: str) -> None:
    assert empty.get(f"/page/{name}").status_code == 404


def test_what_is_shipped_of_others_names_its_version_and_licence() -> None:
    vendor = FILES / "vendor"
    for library in vendor.iterdir():
        assert (library / "LICENSE").is_file()
        note = (library / "README.md").read_text("utf-8")
        version = re.search(r"\d+\.\d+\.\d+", note)
        assert version is not None
        scripts = [path.read_text("utf-8") for path in library.glob("*.js")]
        assert any(f"v{version[0]}" in script[:200] for script in scripts)


# --- who may ---------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ["coverage", "usage", "work", "hour?source=a&hour=2026-04-08T12"])
def test_data_needs_the_token(empty: httpx.Client, route: str) -> None:
    assert empty.get(f"/v1/page/{route}").status_code == 200
    empty.headers["Authorization"] = "Bearer wrong"
    assert empty.get(f"/v1/page/{route}").status_code == 401


# --- coverage --------------------------------------------------------------------------------


def test_every_source_has_one_letter_for_every_hour(client: httpx.Client) -> None:
    answer = client.get("/v1/page/coverage").json()
    assert len(answer["sources"]) == answer["total_sources"] == SOURCES
    assert {len(source["states"]) for source in answer["sources"]} == {WEEK}
    assert datetime.fromisoformat(answer["to_hour"]) == NOW.end
    assert datetime.fromisoformat(answer["from_hour"]) == NOW.end - timedelta(hours=WEEK)
    assert answer["can_collect"] is True
    assert (answer["never"], answer["run_link"]) == (["new-1"], None)
    assert "new-1" in answer["collectable"]


def test_the_letters_say_what_the_tables_hold(client: httpx.Client, database_url: str) -> None:
    found = {s["source_id"]: s for s in client.get("/v1/page/coverage").json()["sources"]}
    with psycopg.connect(database_url) as connection:
        stored = connection.execute(
            "select source_id, extract(epoch from hour)::int / 3600, left(state, 1)"
            " from billing.source_hours h where content_hash <> ''"
        ).fetchall()
        failed = connection.execute(
            "select source_id, hour from billing_core.failed_source_hours"
            " join billing_core.sources using (source_key)"
        ).fetchall()
    assert len(stored) > SOURCES * 100
    assert len(failed) > 4
    first = NOW.index - WEEK + 1
    for source_id, hour, letter in stored:
        assert found[source_id]["states"][hour - first] == letter
    for source_id, hour in failed:
        assert found[source_id]["states"][hour - first] == "f"
    # Of a source that failed, hours that were never tried are late, and the running one is not.
    behind = found[failed[0][0]]["states"]
    assert re.fullmatch(r"[cpl]+f+d{4}w", behind) or re.fullmatch(r"[cpl]+f+d{3}ww", behind)
    # Before its first hour nothing is expected of a source.
    assert [s for s in found.values() if re.match(r"\.{60}[^.]", s["states"])]
    # Failed, open and lost hours come first.
    assert "f" in next(iter(found.values()))["states"]


def test_a_failed_collection_shows_although_an_earlier_one_stored_the_hour(
    client: httpx.Client, database_url: str
) -> None:
    at = NOW.index - 20
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "update billing_core.source_hours set state = 'complete' where source_key = 1"
        )
        connection.execute(
            "insert into billing_core.failed_source_hours values (1, %s, 'refused', now(), 1)",
            (at,),
        )
        (source_id,) = connection.execute(
            "select source_id from billing_core.sources where source_key = 1"
        ).fetchone() or ("",)
    found = client.get("/v1/page/coverage", params={"hours": 30}).json()
    states = {source["source_id"]: source["states"] for source in found["sources"]}[source_id]
    assert (states[-21], states[-22]) == ("f", "c")
    details = client.get("/v1/page/hour", params={"source": source_id, "hour": str(Hour(at))})
    known = details.json()["known"]
    assert (known["state"], known["error"]) == ("complete", "refused")


def test_a_disabled_source_is_not_late(client: httpx.Client, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("update billing_core.sources set enabled = false")
    sources = client.get("/v1/page/coverage").json()["sources"]
    assert {letter for source in sources for letter in source["states"]} <= set("cplf.")


def test_a_window_may_lie_in_the_past(client: httpx.Client) -> None:
    until = Hour(NOW.index - 24)
    answer = client.get("/v1/page/coverage", params={"hours": 24, "until": str(until)}).json()
    assert datetime.fromisoformat(answer["to_hour"]) == until.start
    assert {len(source["states"]) for source in answer["sources"]} == {24}


@pytest.mark.parametrize(
    ("route", "parameters"),
    [
        ("coverage", {"hours": "0"}),
        ("coverage", {"hours": "169"}),
        ("usage", {"hours": "99999999"}),
        ("usage", {"hours": "-1"}),
        ("work", {"hours": "1.5"}),
        ("work", {"until": "2026-04-08T12:30:00Z"}),
        ("coverage", {"until": "1970-01-01T05"}),
        ("coverage", {"until": "2900-01-01T00"}),
        ("coverage", {"days": "7"}),
        ("hour", {"source": "a"}),
        ("hour", {"hour": "2026-04-08T12"}),
        ("hour", {"source": "a" * 201, "hour": "2026-04-08T12"}),
        ("hour", {"source": "a\0", "hour": "2026-04-08T12"}),
    ],
)
def test_bad_parameters_are_one_line(
    empty: httpx.Client, route: str, parameters: dict[str, str]
) -> None:
    answer = empty.get(f"/v1/page/{route}", params=parameters)
    assert answer.status_code == 400
    assert "\n" not in answer.json()["detail"]


# --- usage and work --------------------------------------------------------------------------


def test_usage_adds_up_to_what_the_views_say(client: httpx.Client, database_url: str) -> None:
    answer = client.get("/v1/page/usage", params={"hours": 48}).json()
    with psycopg.connect(database_url) as connection:
        total, accounts, stale = connection.execute(
            "select sum(quantity)::bigint, count(distinct account_key),"
            " sum(quantity) filter (where stale)::bigint"
            " from billing_core.account_hours where hour > %s",
            (NOW.index - 48,),
        ).fetchone() or (0, 0, 0)
    assert sum(hour["total_bytes"] for hour in answer["hours"]) == total
    assert sum(hour["unrated_bytes"] for hour in answer["hours"]) == stale
    assert {account["total"] for account in answer["accounts"]} == {accounts}
    assert len(answer["accounts"]) == 10
    amounts = [float(account["amount"]) for account in answer["accounts"]]
    assert amounts == sorted(amounts, reverse=True)
    assert all(isinstance(hour["amount"], str) for hour in answer["hours"])
    assert answer["unrated"]["account_hours"] > 0


def test_work_is_bounded_and_says_how_much_there_is(
    client: httpx.Client, database_url: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "insert into billing_core.findings (kind, source_key, subject, message, run_id)"
            " select 'rate_exceeded', 1, n::text, repeat('x', 5000), 1"
            " from generate_series(1, 70) n"
        )
    answer = client.get("/v1/page/work").json()
    assert len(answer["findings"]) == 50
    assert {finding["total"] for finding in answer["findings"]} == {77}
    assert max(len(finding["message"]) for finding in answer["findings"]) == 1000
    (delivery,) = answer["delivery"]
    assert delivery["pending_objects"] == sum(row["objects"] for row in answer["waiting"]) == 12
    assert {row["last_error"] for row in answer["waiting"]} == {
        "put: expected 200, got 503 SlowDown"
    }
    assert {check["check_name"] for check in answer["checks"]} >= {"facts_ratings"}
    assert {row["kind"] for row in answer["notable"]} == {"node_restart", "exporter_down"}


def test_an_empty_database_gives_empty_answers(empty: httpx.Client) -> None:
    coverage = empty.get("/v1/page/coverage").json()
    assert (coverage["sources"], coverage["total_sources"], coverage["never"]) == ([], 0, [])
    usage = empty.get("/v1/page/usage").json()
    assert (usage["hours"], usage["accounts"]) == ([], [])
    assert usage["unrated"] == {"account_hours": 0, "oldest_hour": None}
    work = empty.get("/v1/page/work").json()
    assert (work["waiting"], work["checks"], work["findings"], work["notable"]) == ([], [], [], [])
    hour = empty.get("/v1/page/hour", params={"source": "jp-1", "hour": "2026-04-08T12"}).json()
    assert (hour["known"], hour["nodes"], hour["failed_log_link"]) == (None, [], None)


def test_a_database_that_is_away_is_one_line() -> None:
    with serving("postgresql://nobody@127.0.0.1:9/none") as client:
        for route in ("coverage", "usage", "work"):
            answer = client.get(f"/v1/page/{route}")
            assert answer.status_code == 503
            assert answer.json()["detail"].startswith("database: ")


# --- one hour --------------------------------------------------------------------------------


def test_an_hour_names_the_minutes_that_are_missing(client: httpx.Client) -> None:
    source = client.get("/v1/page/coverage").json()["sources"][-1]["source_id"]
    answer = client.get(
        "/v1/page/hour", params={"source": source, "hour": str(Hour(NOW.index - 3))}
    ).json()
    (node,) = answer["nodes"]
    assert (node["snapshots"], node["missing"], node["slot_minutes"]) == (57, [12, 13, 14], 1)
    known = answer["known"]
    counted = known["used"] + known["duplicates"] + known["baselines"] + known["quarantined"]
    assert known["samples"] == counted == 600
    assert known["external_id"] == f"collect_and_rate {world.RUN} collect"


def test_an_hour_of_a_source_with_another_interval_has_slots(
    client: httpx.Client, database_url: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("update billing_core.sources set interval_seconds = 300")
    source = client.get("/v1/page/coverage").json()["sources"][-1]["source_id"]
    hour = {"source": source, "hour": str(Hour(NOW.index - 3))}
    (node,) = client.get("/v1/page/hour", params=hour).json()["nodes"]
    assert (node["missing"], node["slot_minutes"]) == ([], 5)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "delete from billing_core.node_instants where hour = %s"
            " and instant_ns / 60000000000 %% 60 between 25 and 34",
            (NOW.index - 3,),
        )
    (node,) = client.get("/v1/page/hour", params=hour).json()["nodes"]
    assert node["missing"] == [25, 30]


def test_a_failed_hour_says_when_and_why(client: httpx.Client) -> None:
    worst = client.get("/v1/page/coverage").json()["sources"][0]
    at = NOW.index - WEEK + 1 + worst["states"].index("f")
    known = client.get(
        "/v1/page/hour", params={"source": worst["source_id"], "hour": str(Hour(at))}
    ).json()["known"]
    assert known["error"] == "expected an answer within 10 s, got none; is the exporter up?"
    assert known["state"] is None
    assert known["failed_external_id"] == f"collect_and_rate {world.RUN} collect"
