"""Killed anywhere on the way into the archive: again ends the same, nothing lost, nothing twice."""

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from pipeline.harness import DAY, Answer, answer_of, command, process
from proof.s3_proxy import Kind, S3Proxy

from billing_etl.errors import MismatchError, RetryableError
from billing_etl.pipeline import archive as archiving
from maintenance.archived import PREFIX, Archive, environment

STEP = ("maintain", "--step", "archive")
# What is locked, and what was done before the run comes to it.
MOMENTS = {
    "before the freeze": ("billing_core.archives", "share"),
    "frozen, nothing is written": ("billing_core.source_regions", "access exclusive"),
    "between the object and its record": ("billing_core.archive_objects", "share"),
    "recorded, before the drop": ("billing_core.archived_hours", "share"),
    "while the facts are dropped": ("billing_core.archived_accounts", "share"),
    "in the very drop": ("billing_core.facts", "access share"),
}


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 240
    while not (found := condition()):
        assert time.monotonic() < deadline, "this never happened"
        time.sleep(0.005)
    return found


def waits(archive: Archive, table: str) -> bool:
    return bool(
        archive.line.rows(
            "select 1 from pg_locks l join pg_stat_activity a using (pid)"
            " where not l.granted and a.datname = current_database()"
            " and l.relation = %s::regclass",
            table,
        )
    )


def no_one_else(archive: Archive) -> bool:
    """The killed run's backends have ended: what they held is free."""
    return not archive.line.rows(
        "select 1 from pg_stat_activity where datname = current_database()"
        " and strpos(application_name, 'billing_etl') = 1"
    )


def kill_at(archive: Archive, moment: str) -> None:
    table, mode = MOMENTS[moment]
    with psycopg.connect(archive.line.database_url) as holder:
        holder.execute(f"lock table {table} in {mode} mode".encode())
        running = process(environment(archive), *STEP)
        until(lambda: waits(archive, table))
        running.kill()
        assert answer_of(running).code == -9
    until(lambda: no_one_else(archive))


def finished(archive: Archive, totals: tuple[Any, ...]) -> None:
    """Everything lies in the archive once, and is on record; nothing is here."""
    assert archive.facts_here() == 0
    assert list(archive.objects()) == [f"{PREFIX}part-00001.parquet"]
    rows = list(archive.rows())
    assert (len(rows), sum(row["uplink_bytes"] for row in rows)) == totals[:2]
    assert sum(row["amount"] for row in rows) == totals[5]
    assert archive.line.rows(
        "select facts, uplink_bytes, downlink_bytes, amount, objects, state from billing.archives"
    ) == [(totals[0], totals[1], totals[2], totals[5], 1, "archived")]
    for table, rows_wanted in (("archived_hours", 24), ("archived_accounts", 1)):
        found = archive.line.rows(f"select count(*) from billing_core.{table}")
        assert found == [(rows_wanted,)], table
    document = archive.settled.document()
    assert (document["balanced"], document["final"]) == (True, True)


@pytest.mark.parametrize("moment", ["recorded, before the drop", "in the very drop"])
def test_killed_and_run_again(archive: Archive, moment: str) -> None:
    totals, signed = archive.totals(), archive.settled.sign()

    kill_at(archive, moment)

    assert archive.facts_here() == totals[0]
    assert command(environment(archive), *STEP).code == 0
    finished(archive, totals)
    assert archive.settled.verify(code=0)["root_now"] == signed["root"]


def test_killed_at_every_moment_one_after_the_other(archive: Archive) -> None:
    totals = archive.totals()
    for moment in MOMENTS:
        kill_at(archive, moment)
        assert archive.facts_here() == totals[0]

    assert command(environment(archive), *STEP).code == 0
    finished(archive, totals)


def test_killed_with_another_library_and_written_again(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object of other bytes with the same facts was left unrecorded: it is taken as it is."""
    import pyarrow.parquet as pq

    totals = archive.totals()
    kill_at(archive, "between the object and its record")
    (left,) = archive.objects().values()
    whole = pq.write_table
    monkeypatch.setattr(
        pq, "write_table", lambda *a, **k: whole(*a, **{**k, "compression": "gzip"})
    )

    assert command(environment(archive), *STEP).code == 0

    assert list(archive.objects().values()) == [left]
    finished(archive, totals)


@pytest.mark.parametrize("kind", ["before_put", "inside_put"])
def test_the_store_breaks_between_two_objects(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    """The first object is recorded; the facts stay until the second is, too."""
    monkeypatch.setattr(archiving, "FACTS_PER_OBJECT", 3)
    totals = archive.totals()
    endpoint_url = str(archive.line.settings["s3_endpoint_url"])

    def breaks(seen: Kind, path: str) -> bool:
        return seen == kind and path.endswith("part-00002.parquet")

    with S3Proxy(endpoint_url, breaks) as proxy:
        archive.line.settings["s3_endpoint_url"] = proxy.url
        with pytest.raises(RetryableError, match=r"part-00002\.parquet: put got no answer"):
            archive.run()
        recorded = archive.line.rows("select ordinal::int from billing_core.archive_objects")
        assert (recorded, archive.facts_here()) == ([(1,)], totals[0])

        proxy.see = lambda seen, path: False
        archive.archive()
    assert list(archive.objects()) == [f"{PREFIX}part-0000{number}.parquet" for number in (1, 2)]
    rows = list(archive.rows())
    assert (len(rows), sum(row["amount"] for row in rows)) == (totals[0], totals[5])


def test_an_object_that_went_before_its_day_did_keeps_the_day(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "FACTS_PER_OBJECT", 3)
    with S3Proxy(
        str(archive.line.settings["s3_endpoint_url"]),
        lambda seen, path: path.endswith("part-00002.parquet"),
    ) as proxy:
        own, archive.line.settings["s3_endpoint_url"] = (
            archive.line.settings["s3_endpoint_url"], proxy.url,
        )  # fmt: skip
        with pytest.raises(RetryableError):
            archive.run()
    archive.line.settings["s3_endpoint_url"] = own
    (first,) = archive.objects()
    archive.s3.delete_object(Bucket=archive.bucket, Key=first)
    facts = archive.facts_here()

    with pytest.raises(MismatchError, match=r"part-00001\.parquet: .*it was verified before"):
        archive.run()
    assert archive.facts_here() == facts


def test_two_runs_at_once_archive_it_once(archive: Archive) -> None:
    totals = archive.totals()
    answers: list[Answer] = []
    runs = [process(environment(archive), *STEP) for _ in range(2)]
    threads = [
        threading.Thread(target=lambda run=run: answers.append(answer_of(run))) for run in runs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # The slower one may find the day gone under its hands; it says so, and nothing is lost.
    assert 0 in {answer.code for answer in answers}, answers
    assert all(answer.err.count("\n") <= 1 for answer in answers), answers
    assert DAY in "".join(answer.out for answer in answers)
    finished(archive, totals)
