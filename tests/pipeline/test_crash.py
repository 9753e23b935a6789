"""Stopping anywhere and starting again ends in the same facts, ledger and events."""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from scripted_exporter import Asked, Reply, serving

from billing_etl.batches import decompress
from billing_etl.local.exporter_server import Store, answer
from billing_etl.local.object_store import EmbeddedObjectStore
from billing_etl.local.postgres import EmbeddedPostgres
from billing_etl.pipeline.collect import CollectSummary
from pipeline.harness import (
    DAY,
    HISTORY,
    JSON,
    A,
    B,
    Line,
    answer_of,
    command,
    facts,
    process,
    row_versions,
    sample,
    snapshot,
    states,
    usage,
)

HOURS = ("--from", f"{DAY}T12", "--to", f"{DAY}T14")


def two_hours() -> list[JSON]:
    """A restart at 12:30, and B from 13:10 on."""
    return [
        snapshot(
            f"{11 + (minute + 60) // 60:02}:{minute % 60:02}:03",
            sample(A, 5 * (minute % 30), 7 * (minute % 30)),
            *([sample(B, minute, minute)] if minute >= 70 else []),
        )
        for minute in range(-1, 121)
    ]


def environment(line: Line, store: EmbeddedObjectStore, bucket: str) -> dict[str, str]:
    """Delivers below a prefix of its own."""
    return line.environment(
        BILLING_S3_ENABLED="1",
        BILLING_S3_BUCKET=bucket,
        BILLING_S3_PREFIX=uuid.uuid4().hex,
        BILLING_S3_ENDPOINT_URL=store.endpoint_url,
        AWS_ACCESS_KEY_ID=store.access_key,
        AWS_SECRET_ACCESS_KEY=store.secret_key,
        AWS_REGION="us-east-1",
    )


def events(line: Line, s3: Any, environment: dict[str, str]) -> list[JSON]:
    """Every event that lies in the bucket, without ids, which are checked to be different."""
    bucket, prefix = environment["BILLING_S3_BUCKET"], environment["BILLING_S3_PREFIX"]
    found = []
    for entry in s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", ()):
        if entry["Key"].endswith(".jsonl"):
            body = s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            found += [json.loads(text) for text in body.splitlines()]
    assert len({event["id"] for event in found}) == len(found)
    sealed = line.rows("select payload from billing_core.batches where kind = 'events'")
    lines = sorted(text for (payload,) in sealed for text in decompress(payload).splitlines())
    assert len(lines) == len(found)
    return sorted(({**event, "id": ""} for event in found), key=json.dumps)


def waiting_backends(line: Line) -> list[int]:
    """Processes of the server that wait for a lock in this database."""
    return [
        pid
        for (pid,) in line.rows(
            "select l.pid from pg_locks l join pg_stat_activity a using (pid)"
            " where not l.granted and a.datname = current_database()"
        )
    ]


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < deadline, "this never happened"
        time.sleep(0.005)
    return found


@pytest.fixture
def undisturbed(line: Line, s3: Any, bucket: str, object_store: EmbeddedObjectStore) -> Any:
    """Compares a line with what one run from beginning to end leaves."""
    line.serve(two_hours())

    def assert_same(disturbed: Line, of: dict[str, str]) -> None:
        own = environment(line, object_store, bucket)
        result = command(own, "pipeline", *HOURS)
        assert result.code == 0, result.err
        assert states(disturbed) == states(line)
        assert events(disturbed, s3, of) == events(line, s3, own)

    return assert_same


@pytest.fixture
def crashing(
    postgres_server: EmbeddedPostgres, migrated_template: str, tmp_path: Path, line: Line
) -> Iterator[Line]:
    """A second line with a database of its own."""
    name = f"crashing_{uuid.uuid4().hex}"
    postgres_server.create_database(name, migrated_template)
    other = Line(postgres_server.url(name), tmp_path / "crashing", line.stack)
    other.directory.mkdir()
    other.serve(two_hours())
    yield other
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)".encode())


# The tables in the order in which a run first writes to them; sealing and delivering come last.
MOMENTS = ("facts", "node_instants", "source_hours", "account_hours", "ledger_entries", "batches")


def test_killed_at_several_moments_and_run_again(
    crashing: Line, undisturbed: Any, object_store: EmbeddedObjectStore, bucket: str
) -> None:
    """Each kill finds the run inside the first statement that writes to a table: it is locked."""
    of = environment(crashing, object_store, bucket)
    for table in MOMENTS:
        with psycopg.connect(crashing.database_url) as holder:
            holder.execute(f"lock table billing_core.{table} in share mode".encode())
            running = process(of, "pipeline", *HOURS)
            until(lambda: waiting_backends(crashing))
            running.kill()
            assert answer_of(running).code == -9

    again = command(of, "pipeline", *HOURS)

    assert again.code == 0, again.err
    undisturbed(crashing, of)


def test_killed_while_the_exporter_answers(
    crashing: Line, undisturbed: Any, object_store: EmbeddedObjectStore, bucket: str
) -> None:
    """In the first page of an hour, and in a later one."""
    of = environment(crashing, object_store, bucket)
    store = Store(crashing.directory / "jp-1.json", "nanosecond")
    for pages in (1, 4):
        reached, killed = threading.Event(), threading.Event()
        left = [pages]

        def respond(
            asked: Asked,
            left: list[int] = left,
            reached: threading.Event = reached,
            killed: threading.Event = killed,
        ) -> Reply:
            left[0] -= 1
            if left[0] <= 0:
                reached.set()
                killed.wait(60)
            served = answer(store, "any", asked.target, "Bearer any")
            return Reply(served.body, served.status, served.content_type)

        with serving(respond) as slow:
            source = {"source_id": "jp-1", "base_url": slow.base_url, "page_size": 20}
            running = process(
                of | {"EXPORTER_SOURCES_JSON": json.dumps([source])}, "pipeline", *HOURS
            )
            assert reached.wait(60)
            running.kill()
            killed.set()
            assert answer_of(running).code == -9
        assert facts(crashing) == []

    assert command(of, "pipeline", *HOURS).code == 0

    undisturbed(crashing, of)


# --- the database fails while writing ----------------------------------------------------------


def one_line_of(summary: CollectSummary) -> str:
    """The one failure's text, which names source and window."""
    ((source_id, hour, error),) = summary.failures
    assert (source_id, str(hour)) == ("jp-1", f"{DAY}T12")
    assert "\n" not in error
    assert "jp-1" in error
    assert f"{DAY}T12" in error
    return error


def collect_while_the_connection_is_lost(line: Line) -> CollectSummary:
    """Collects hour 12; the server ends the first connection that writes its coverage."""
    summaries: list[CollectSummary] = []
    with psycopg.connect(line.database_url) as holder:
        holder.execute(b"lock table billing_core.source_hours in share mode")
        running = threading.Thread(target=lambda: summaries.append(line.collect("12")))
        running.start()
        (writer,) = until(lambda: waiting_backends(line))
        holder.execute("select pg_terminate_backend(%s)", (writer,))
        holder.rollback()
        running.join()
    return summaries[0]


def test_a_connection_lost_while_writing_writes_nothing_and_the_next_run_works(
    line: Line,
) -> None:
    line.serve(two_hours())

    summary = collect_while_the_connection_is_lost(line)

    assert not any(states(line).values())
    line.collected("12")
    assert len(usage(line)) == 58  # idle at 12:00 and 12:30
    assert "lost" in one_line_of(summary)


def test_a_full_disk_writes_nothing_and_the_next_run_works(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.serve(two_hours())
    line.collected("12")
    before = row_versions(line, *HISTORY, "failed_source_hours")
    served = two_hours()
    served.insert(20, snapshot("12:18:40", sample(A, 5 * 18 + 1, 7 * 18 + 1)))
    line.serve(served)
    write, written = psycopg.Copy.write, []

    def write_until_the_disk_is_full(copy: Any, data: Any) -> None:
        written.append(data)
        if len(written) > 4:
            raise psycopg.errors.DiskFull("could not extend file: No space left on device")
        write(copy, data)

    with monkeypatch.context() as patched:
        patched.setattr(psycopg.Copy, "write", write_until_the_disk_is_full)
        summary = line.collect("12")

    assert row_versions(line, *HISTORY, "failed_source_hours") == before
    line.collected("12")
    assert "12:18" in usage(line)
    assert sum(usage(line).values()) == (5 + 7) * (29 + 29)
    assert "space" in one_line_of(summary)


def test_other_sources_go_on_when_one_lost_its_connection(line: Line) -> None:
    line.serve(two_hours())
    line.serve([each | {"node_id": "node-9"} for each in two_hours()], source_id="us-1")

    summary = collect_while_the_connection_is_lost(line)

    assert [source_id for source_id, _, _ in summary.failures] == ["jp-1"]
    assert {fact.node for fact in facts(line)} == {"node-9"}
