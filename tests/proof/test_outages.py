"""Services that break under a running process, and come back: nothing lost, nothing twice."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
from pipeline.audited import assert_as_audited
from pipeline.harness import (
    DAY,
    TOKEN,
    Line,
    answer_of,
    facts,
    process,
)
from pipeline.test_crash import two_hours, until
from scripted_exporter import Asked, Reply, serving

from billing_etl.local.object_store import EmbeddedObjectStore
from billing_etl.local.postgres import EmbeddedPostgres
from billing_etl.local.processes import free_ports
from proof.crash_site import (
    POSTED,
    RECORDED,
    CrashSite,
    Services,
    Trap,
    assert_explained,
    errors_of,
    the_nth,
)
from proof.crashes import embedded_services

HOUR_12 = ("--from", f"{DAY}T12", "--to", f"{DAY}T13")


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    """Servers that may be broken: no other test uses them."""
    with embedded_services() as services:
        yield services


# --- the database ------------------------------------------------------------------------------


def break_down(server: EmbeddedPostgres) -> None:
    """Every process of the server ends at once and finishes nothing: an immediate shutdown."""
    with psycopg.connect(server.url("postgres")) as connection:
        postmaster = psutil.Process(connection.info.backend_pid).parent()
    assert postmaster is not None
    os.kill(postmaster.pid, signal.SIGQUIT)
    _, alive = psutil.wait_procs([postmaster], timeout=60)
    assert not alive


def bring_back_database(services: Services) -> None:
    services.postgres.stop()
    services.postgres.start()
    services.postgres_proxy.point_at(services.postgres.url("postgres"))


def test_the_database_restarted_under_load(site: CrashSite) -> None:
    """Three times, while two processes work on the same hours and the one waits for the other."""
    for wanted in (
        the_nth(2, "copy", "billing_core.facts"),
        the_nth(1, "commit_sent", POSTED),
        the_nth(2, "commit_sent", RECORDED),  # commits that do not wait for the disk
    ):
        trap = site.watch(Trap(wanted, lambda: break_down(site.services.postgres)))
        running = [process(site.environment, "pipeline", *site.hours) for _ in range(2)]
        answers = [answer_of(each) for each in running]
        bring_back_database(site.services)
        assert trap.sprung is not None
        for answer in answers:
            assert_explained(answer)

    site.assert_whole()


# --- the object store --------------------------------------------------------------------------


def kill_store(store: EmbeddedObjectStore) -> None:
    """The real server, with SIGKILL."""
    (server,) = [
        each
        for each in psutil.Process().children(recursive=True)
        if each.name() == "weed" and each.cwd() == str(store.data_dir)
    ]
    server.kill()
    _, alive = psutil.wait_procs([server], timeout=60)
    assert not alive


def bring_back_store(services: Services) -> None:
    """With the same data."""
    services.store.stop()
    services.store.start()
    services.s3_proxy.point_at(services.store.endpoint_url)


def test_the_object_store_killed_in_a_put_and_away_for_the_rest_of_the_run(site: CrashSite) -> None:
    """What does not need it is done all the same."""
    trap = site.watch(Trap(the_nth(2, "inside_put"), lambda: kill_store(site.services.store)))

    answer = answer_of(process(site.environment, "pipeline", *site.hours))

    bring_back_store(site.services)
    assert trap.sprung is not None
    assert_explained(answer)
    site.assert_whole()


def test_the_object_store_killed_in_a_put_and_back_before_the_next_attempt(site: CrashSite) -> None:
    def kill_and_bring_back() -> None:
        kill_store(site.services.store)
        bring_back_store(site.services)

    site.environment["BILLING_S3_CONCURRENCY"] = "1"  # no other PUT runs out of attempts meanwhile
    trap = site.watch(Trap(the_nth(2, "inside_put"), kill_and_bring_back))

    answer = answer_of(process(site.environment, "pipeline", *site.hours))

    assert trap.sprung is not None
    assert (answer.code, errors_of(answer)) == (0, [])
    site.assert_whole()


# --- an exporter -------------------------------------------------------------------------------


class RealExporter:
    """The command ``exporter`` as a process, behind a server that sees every question."""

    def __init__(self, store: Path) -> None:
        (port,) = free_ports(1)
        self._arguments = ("exporter", "--store", str(store), "--listen", f"127.0.0.1:{port}")
        self._base_url = f"http://127.0.0.1:{port}"
        self.start()

    def start(self) -> None:
        """Returns when it answers."""
        self._running = process({"EXPORTER_TOKEN": TOKEN}, *self._arguments)
        until(lambda: self._is_up())

    def kill(self) -> None:
        self._running.kill()
        answer_of(self._running)

    def _is_up(self) -> bool:
        assert self._running.poll() is None
        try:
            return httpx.get(f"{self._base_url}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def reply(self, asked: Asked) -> Reply:
        """Its own answer, or a connection that is cut."""
        try:
            given = httpx.get(
                self._base_url + asked.target,
                headers={"Authorization": asked.headers["Authorization"]},
            )
        except httpx.TransportError:
            return Reply(b"cut", cut_after=0)
        return Reply(given.content, given.status_code, given.headers["Content-Type"])


@pytest.mark.parametrize("comes_back", [False, True], ids=["away", "back"])
def test_an_exporter_killed_in_the_middle_of_an_hour(comes_back: bool, line: Line) -> None:
    """Either it is back before the attempts run out, or the next run finds all of it."""
    line.serve(two_hours())
    line.serve([each | {"node_id": "node-9"} for each in two_hours()], "us-1")
    exporter = RealExporter(line.directory / "jp-1.json")

    def respond(asked: Asked) -> Reply:
        if len(between.asked) == 3:  # two pages of the hour have been read
            exporter.kill()
            if comes_back:
                exporter.start()
            return Reply(b"cut", cut_after=0)
        return exporter.reply(asked)

    with serving(respond) as between:
        line.sources["jp-1"] |= {"base_url": between.base_url, "page_size": 20}
        answer = answer_of(process(line.environment(), "collect", *HOUR_12))
        if comes_back:
            assert (answer.code, errors_of(answer)) == (0, [])
        else:
            assert_explained(answer)
            assert {fact.node for fact in facts(line)} == {"node-9"}
            exporter.start()
        line.collected("12", "13")
        line.rate()
        exporter.kill()

    hours = ["12", "13"]
    served = {"jp-1": two_hours(), "us-1": [e | {"node_id": "node-9"} for e in two_hours()]}
    assert_as_audited(line, served, {"jp-1": hours, "us-1": hours})
