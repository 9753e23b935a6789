"""The connection to the database cut at any moment of a run, and errors of the database in it."""

import itertools
from collections.abc import Callable

import pytest
from pipeline.harness import command

from billing_etl.hours import parse_hour
from proof.crash_site import (
    COLLECTED,
    POSTED,
    RECORDED,
    SEALED,
    CrashSite,
    Moment,
    Trap,
    Wanted,
    assert_explained,
    the_nth,
)

WRITES = ("insert into ", "update ", "delete from ", "COMMIT")
# Of a failure this is written on purpose.
NOTED = ("failed_source_hours", "sources")


def the_nth_write(number: int) -> Wanted:
    """Before the ``number``-th writing statement, or COMMIT, of transactions that have written."""
    left = [number]

    def wanted(moment: Moment) -> bool:
        if moment.kind == "transaction" and any(each in moment.text for each in WRITES):
            left[0] -= 1
        return left[0] == 0

    return wanted


def cut_between_any_two_writes(
    site: CrashSite, wanted: Callable[[int], Wanted], *arguments: str
) -> int:
    """Runs a command that works in one transaction until it comes through; gives how often.

    Each time the connection is cut one write later, and nothing must be left of it.
    """
    before = site.fingerprints(*NOTED)
    for number in itertools.count(1):
        trap = site.watch(Trap(wanted(number)))
        answer = command(site.environment, *arguments)
        if trap.sprung is None:
            assert answer.code == 0, answer.err
            assert site.fingerprints(*NOTED) != before
            return number - 1
        assert_explained(answer)
        assert site.fingerprints(*NOTED) == before, trap.sprung
    raise AssertionError


def sealing_only(number: int) -> Wanted:
    """As ``the_nth_write``, up to the end of the first sealing."""
    wanted, is_sealed = the_nth_write(number), []

    def before_sending(moment: Moment) -> bool:
        if moment.kind == "commit_sent" and SEALED in moment.text:
            is_sealed.append(moment)
        return not is_sealed and wanted(moment)

    return before_sending


def test_the_connection_cut_between_any_two_writes(site: CrashSite) -> None:
    """Of collecting, of rating, and of sealing an hour: all of it is written, or nothing."""
    hour = parse_hour(site.hours[1])
    hours = ("--from", str(hour), "--to", str(hour.next))
    # What is made ahead for an hour is committed before its exporter is asked.
    collect = ("collect", "--source", site.world.sources[0]["source_id"], *hours)
    prepared = site.watch(Trap(the_nth(1, "transaction", "insert into billing_core.series")))
    assert command(site.environment, *collect).code == 1
    assert prepared.sprung is not None

    assert cut_between_any_two_writes(site, the_nth_write, *collect) > 5
    assert cut_between_any_two_writes(site, the_nth_write, "rate", *hours) > 2
    assert cut_between_any_two_writes(site, sealing_only, "export", *hours) > 2

    site.assert_whole()


def test_the_answers_to_commits_are_lost(site: CrashSite) -> None:
    """The process lives, says that it failed, and does not say that nothing was written."""
    for step, written in (
        ("collect", COLLECTED),
        ("rate", POSTED),
        ("export", SEALED),
        ("export", RECORDED),
    ):
        trap = site.watch(Trap(the_nth(1, "commit_sent", written)))

        answer = command(site.environment, step, *site.hours)

        assert trap.sprung is not None
        assert_explained(answer)
        assert "nothing was written" not in answer.err

    site.assert_whole()


def test_a_credit_whose_commit_was_not_answered_is_given_once(site: CrashSite) -> None:
    """Whoever gave it would give it again: it is found instead, and reported as given."""
    account = "3f2b0a1c-0000-4000-8000-00000000000a"
    trap = site.watch(Trap(the_nth(1, "commit_sent", POSTED)))

    answer = command(
        site.environment, "credit", "--account", account, "--amount", "5", "--reason", "x", "--json"
    )

    assert trap.sprung is not None
    assert answer.code == 0, answer.err
    with site.connect() as connection:
        given = connection.execute(
            "select entry_id, amount from billing_core.ledger_entries"
            " join billing_core.accounts using (account_key) where account_uuid = %s",
            (account,),
        ).fetchall()
    assert given == [(answer.document["entry_id"], 5)]


# --- errors of the database --------------------------------------------------------------------

SPOIL = """
create function spoil() returns trigger language plpgsql as $$
begin raise exception using errcode = '{code}', message = '{message}'; end $$;
create trigger spoil before insert on billing_core.{table} for each row execute function spoil()
"""


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("40001", "could not serialize access"),
        ("40P01", "deadlock detected"),
        ("53100", "could not extend file"),
    ],
    ids=["serialization", "deadlock", "full disk"],
)
def test_errors_of_the_database_while_writing(code: str, message: str, site: CrashSite) -> None:
    """In collecting, then in rating, then in sealing: one line says it, and the next run works."""
    for table in ("facts", "ledger_entries", "batches"):
        before = count_of(site, table)
        execute(site, SPOIL.format(code=code, message=message, table=table))

        answer = command(site.environment, "pipeline", *site.hours)

        assert_explained(answer)
        assert message in answer.err
        assert count_of(site, table) == before
        execute(site, "drop function spoil() cascade")

    site.recover()
    site.assert_equal_to_the_oracle()


def count_of(site: CrashSite, table: str) -> object:
    with site.connect() as connection:
        return connection.execute(f"select count(*) from billing_core.{table}".encode()).fetchone()


def execute(site: CrashSite, statement: str) -> None:
    with site.connect() as connection:
        connection.execute(statement.encode())
