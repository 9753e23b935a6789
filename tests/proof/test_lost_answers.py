"""Money commands whose COMMIT is not answered: what they say is what is in the database.

Whoever reads "run again" gives a credit again, so that must not be said of one that may stand.
"""

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from decimal import Decimal
from threading import Thread

import psycopg
import pytest
from pipeline.harness import DAY, HISTORY, A, Line, command

from billing_etl.errors import RetryableError, TerminalError
from billing_etl.pipeline.accounts import Credit, add_credit
from billing_etl.store import database
from proof.postgres_proxy import PostgresProxy
from proof.side_by_side import wait_until_waiting

RATING = "select pg_advisory_xact_lock(hashtext('billing_etl rating'))"
CREDIT = "insert into billing_core.ledger_entries"


@contextmanager
def proxied(
    line: Line,
    kind: str,
    statement: str,
    strike: Callable[[PostgresProxy], bool],
    unremarkable: Collection[str] = HISTORY,
) -> Iterator[Line]:
    """The line as seen through a proxy; at the first such moment it strikes, and cuts if told to.

    ``transaction``: COMMIT is about to be sent; ``commit_sent``: its answer is about to be passed.
    """
    struck: list[str] = []

    def see(at: str, text: str) -> bool:
        if struck:
            return strike is answered_and_then_away and "update billing_core.runs" in text
        if at != kind or statement not in text:
            return False
        struck.append(text)
        return strike(proxy)

    with PostgresProxy(line.database_url, see, unremarkable) as proxy:
        name = psycopg.conninfo.conninfo_to_dict(line.database_url)["dbname"]
        seen = Line(proxy.url(str(name)), line.directory, line.stack)
        seen.sources = line.sources
        yield seen
    assert struck


def cut(proxy: PostgresProxy) -> bool:
    return True


def away_from_now_on(proxy: PostgresProxy) -> None:
    """No new connection reaches the server."""
    proxy.point_at("postgresql://127.0.0.1:1/none")


def cut_for_good(proxy: PostgresProxy) -> bool:
    away_from_now_on(proxy)
    return True


def answered_and_then_away(proxy: PostgresProxy) -> bool:
    """The record of the run that ends is the next thing that would be sent; it is cut, too."""
    away_from_now_on(proxy)
    return False


def give(line: Line) -> Credit:
    return add_credit(line.engine, A, Decimal(5), "voucher")


def given(line: Line) -> list[tuple[int, ...]]:
    return line.rows("select entry_id from billing_core.ledger_entries where entry_type = 'credit'")


def unknown(line: Line) -> str:
    ((run_id,),) = line.rows("select run_id from billing_core.runs where command = 'credit'")
    return (
        f"credit: not known whether it was given; look for run {run_id} in billing.ledger"
        " before giving it again"
    )


def test_a_credit_without_an_answer_is_found_while_another_run_rates(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LOCK_WAIT_SECONDS", 0.3)
    with psycopg.connect(line.database_url) as rater:

        def rate(proxy: PostgresProxy) -> bool:
            rater.execute(RATING)
            return True

        with proxied(line, "commit_sent", CREDIT, rate) as seen:
            credit = give(seen)

    assert given(line) == [(credit.entry_id,)]


def test_a_credit_that_a_long_rating_hides_is_not_said_to_be_missing(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rater gets the lock the moment the lost transaction ends, before anybody can look."""
    monkeypatch.setattr(database, "LOCK_WAIT_SECONDS", 0.3)
    with (
        psycopg.connect(line.database_url) as rater,
        psycopg.connect(line.database_url) as watch,
    ):
        queued = Thread(target=rater.execute, args=(RATING,))

        def queue(proxy: PostgresProxy) -> bool:
            queued.start()
            wait_until_waiting(watch, 1)
            return True

        with (
            proxied(line, "transaction", "COMMIT", queue) as seen,
            pytest.raises(TerminalError) as caught,
        ):
            give(seen)
        queued.join()

    assert (str(caught.value), given(line)) == (unknown(line), [])


def test_a_credit_that_is_certainly_not_given_may_be_given_again(line: Line) -> None:
    with (
        proxied(line, "transaction", "COMMIT", cut) as seen,
        pytest.raises(RetryableError, match=r"credit: not given, .*; run again"),
    ):
        give(seen)

    assert given(line) == []


def test_a_credit_is_not_known_while_the_database_stays_away(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    """The record of the run cannot be finished either; that takes no other error's place."""
    with (
        proxied(line, "commit_sent", CREDIT, cut_for_good) as seen,
        pytest.raises(TerminalError) as caught,
    ):
        give(seen)

    assert str(caught.value) == unknown(line)
    assert len(given(line)) == 1
    assert unrecorded(caplog) == ["failed"]


def test_a_credit_that_was_given_is_a_success_though_its_run_cannot_be_recorded(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    with proxied(line, "commit_sent", CREDIT, answered_and_then_away, unremarkable=()) as seen:
        credit = give(seen)

    assert given(line) == [(credit.entry_id,)]
    assert unrecorded(caplog) == ["success"]


def test_a_connection_lost_after_the_commit_takes_nothing_back(line: Line) -> None:
    """It is kept for the next step of the run; when that fails, the next step gets another."""
    with line.engine.run("test"):
        with line.engine.connect() as connection:
            connection.execute("create table billing_core.kept (n int)")
            connection.commit()
            with psycopg.connect(line.database_url, autocommit=True) as other:
                other.execute("select pg_terminate_backend(%s)", (connection.info.backend_pid,))
        with line.engine.connect() as connection:
            assert connection.execute("select count(*) from billing_core.kept").fetchone() == (0,)


def unrecorded(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The ends of runs that a warning says are not recorded."""
    return [
        record.getMessage().split("its end (")[1].split(")")[0]
        for record in caplog.records
        if record.levelno == logging.WARNING and "is not recorded" in record.getMessage()
    ]


def test_prices_published_without_an_answer_are_said_to_be_there(line: Line) -> None:
    version = {"price_version": "v2", "price_per_byte": "3", "from": f"{DAY}T00:00:00Z"}
    file = str(line.price_file(versions=[version]))
    with proxied(line, "commit_sent", "billing_core.price_versions", cut) as seen:
        lost = command(seen.environment(), "price", "publish", file)
    again = command(line.environment(), "price", "publish", file)

    assert (lost.code, again.code) == (1, 2)
    assert "nothing was written" not in lost.err
    assert "published already, perhaps by a run that lost its connection" in again.err


def test_a_period_closed_without_an_answer_is_said_to_be_closed(line: Line) -> None:
    close = ("close", "--period", "2026-03")
    with proxied(line, "commit_sent", "billing_core.closed_periods", cut) as seen:
        lost = command(seen.environment(), *close)
    again = command(line.environment(), *close)

    assert (lost.code, again.code) == (1, 2)
    assert "nothing was written" not in lost.err
    assert "closed already, perhaps by a run that lost its connection" in again.err
