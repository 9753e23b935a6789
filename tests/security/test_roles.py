"""The pipeline's role does the whole line and nothing else; so does that of account services."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from database_logins import address, grant
from pipeline.harness import (
    DAY,
    A,
    Answer,
    B,
    Line,
    command,
    facts,
    ledger,
    readings,
    sample,
    snapshot,
    worked_example,
)

from billing_etl.local.object_store import EmbeddedObjectStore
from billing_etl.store import roles

HOURS = ("--from", f"{DAY}T11", "--to", f"{DAY}T14")
AFTER = readings(("13:30:03", 10, 20), ("2026-04-08T14:00:03Z", 10, 20))
PROFILE = (
    "insert into account_read_model.account_billing_profiles (account_uuid, base_price_per_byte)"
    f" values ('{B}', 0.5) on conflict (account_uuid) do update set base_price_per_byte = 0.25"
)


@dataclass
class Site:
    """A line whose commands run as a member of the pipeline's role."""

    line: Line
    environment: dict[str, str]

    def run(self, *arguments: str, code: int = 0, **more: str) -> Answer:
        answer = command(self.environment | more, *arguments)
        assert answer.code == code, answer.out + answer.err
        return answer


@pytest.fixture
def site(
    line: Line, login: str, bucket: str, s3: object, object_store: EmbeddedObjectStore
) -> Site:
    grant(line.database_url, roles.PIPELINE, login)
    line.serve([*worked_example(), *AFTER])
    environment = line.environment(
        DATABASE_URL=address(line.database_url, login),
        BILLING_S3_ENABLED="true",
        BILLING_S3_BUCKET=bucket,
        BILLING_S3_ENDPOINT_URL=object_store.endpoint_url,
        BILLING_S3_FORMATS="jsonl,parquet",
        BILLING_PAYLOAD_RETENTION="1s",
        AWS_ACCESS_KEY_ID=object_store.access_key,
        AWS_SECRET_ACCESS_KEY=object_store.secret_key,
        AWS_REGION="us-east-1",
    )
    return Site(line, environment)


def test_the_pipeline_role_does_everything_that_the_commands_do(site: Site) -> None:
    line = site.line
    bad = snapshot("12:05:03", sample(A, -1, 5), sample(B, 7, 7))
    line.serve([*worked_example(), bad, *AFTER])
    site.run("pipeline", *HOURS)
    assert sum(fact.up + fact.down for fact in facts(line)) > 0

    # Late data changes what was sealed; marks changed by hand are restored.
    mended = snapshot("12:05:03", sample(A, 9, 16), sample(B, 7, 7))
    line.serve([*worked_example(("12:04:03", 8, 15)), mended, *AFTER])
    site.run("quarantine", "replay")
    site.run("pipeline", *HOURS)
    line.execute("update billing_core.facts set sealing = sealing + 1")
    site.run("reconcile", *HOURS)
    repaired = line.rows("select outcome from billing_core.repair_outcomes")
    assert repaired == [("repaired",)] * len(repaired) != []

    dearer = {"price_version": "own", "price_per_byte": "3", "scope": "account", "scope_key": A}
    prices = line.price_file(versions=[dearer], plan_members=[{"account_uuid": B, "plan": "gold"}])
    site.run("price", "preview", str(prices))
    site.run("price", "publish", str(prices))
    site.run("credit", "--account", A, "--amount", "5", "--reason", "goodwill")
    site.run("close", "--period", "2026-04")
    site.run("export", *HOURS)
    site.run("reconcile", *HOURS, "--deep")
    for command_line in (
        ("maintain",),
        ("maintain", "--dry-run"),
        ("status",),
        ("usage",),
        ("price", "list"),
        ("quarantine", "list"),
        ("findings", "list", "--all"),
        ("statement", "--day", DAY, "--sign", "--despite", "not final"),
        ("statement", "--day", DAY, "--verify"),
    ):
        site.run(*command_line)
    line.execute(
        "insert into billing_core.findings (kind, subject, message, run_id)"
        " values ('clock_ahead', 'x', 'x', 1)"
    )
    ((finding,),) = line.rows(
        "select finding_id from billing_core.findings where kind = 'clock_ahead'"
    )
    site.run("findings", "close", str(finding), "--reason", "known")
    entries = {entry.entry_type for entry in ledger(line)}
    assert entries == {"traffic_charge", "adjustment", "credit"}
    assert line.rows(
        "select base_price_per_byte from account_read_model.account_billing_profiles"
    ) == [(3.0,)]


FORBIDDEN = {
    "change the ledger": "update billing_core.ledger_entries set amount = 0",
    "delete from the ledger": "delete from billing_core.ledger_entries",
    "empty the ledger": "truncate billing_core.ledger_entries",
    "change a price": "update billing_core.price_versions set price_per_unit = 0",
    "change a rate": "update billing_core.rates set price_per_unit = 0",
    "change a statement": "update billing_core.statements set is_balanced = true",
    "change a repair": "update billing_core.repairs set wrong = ''",
    "change how a repair ended": "delete from billing_core.repair_outcomes",
    "open a closed period": "delete from billing_core.closed_periods",
    "delete a balance": "delete from billing_core.account_balances",
    "delete what was sealed": "delete from billing_core.batches",
    "delete the record of runs": "delete from billing_core.runs",
    "delete suspensions": "delete from billing_core.suspensions",
    "pretend that a day is archived": "insert into billing_core.archives (day) values (1)",
    "put other objects on record": "update billing_core.archive_objects set facts = 0",
    "change what is kept of archived hours": "delete from billing_core.archived_hours",
    "delete findings": "delete from billing_core.findings",
    "delete coverage": "delete from billing_core.source_hours",
    "record an erasure": "insert into billing_core.erasures (account_key) values (1)",
    "forget an erasure": "delete from billing_core.erasures",
    "rename an account": "update billing_core.accounts set account_uuid = gen_random_uuid()",
    "take back a migration": "delete from billing_core.migrations",
    "seed a setting again": "update billing_core.seeded_settings set value = '0'",
    "write a profile": PROFILE,
    "make a table": "create table billing_core.mine (a int)",
    "make a view": "create view billing.mine as select 1",
    "drop a table": "drop table billing_core.facts",
    "drop a trigger": "drop trigger ledger_append_only on billing_core.ledger_entries",
    "put triggers aside": "alter table billing_core.ledger_entries disable trigger all",
    "replay without triggers": "set session_replication_role = replica",
    "become the owner": "set role postgres",
    "make a role": "create role mine",
    "read server files": "select pg_read_file('postgresql.conf')",
    "run a program": "copy (select 1) to program 'true'",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_the_pipeline_role_may_not(site: Site, what: str) -> None:
    with (
        psycopg.connect(site.environment["DATABASE_URL"]) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(FORBIDDEN[what].encode())


def test_the_pipeline_role_has_a_say_on_every_table(line: Line) -> None:
    """A new table fails here until somebody decides what the pipeline may do to it."""
    tables = {
        f"billing_core.{name}"
        for (name,) in line.rows(
            "select relname from pg_class where relnamespace = 'billing_core'::regnamespace"
            " and relkind in ('r', 'p') and not relispartition"
        )
    }
    read_only = {
        "meters", "migrations", "erasures", "erased_events", "archives", "archived_usage",
        "archived_accounts",
    }  # fmt: skip
    assert tables == set(roles.PIPELINE.writes) | {f"billing_core.{name}" for name in read_only}


def test_what_runs_with_the_rights_of_the_owner_looks_nowhere_else(line: Line) -> None:
    """A caller's objects stand for none of ours, whatever the caller's search path is."""
    functions = line.rows(
        "select p.proname, p.proconfig from pg_proc p"
        " join pg_namespace n on n.oid = p.pronamespace"
        " where n.nspname in ('billing_core', 'billing', 'account_read_model') and p.prosecdef"
    )
    assert len(functions) > 10
    assert [
        name for name, settings in functions
        if "search_path=pg_catalog, pg_temp" not in (settings or [])
    ] == []  # fmt: skip


def test_nobody_else_has_anything(line: Line) -> None:
    """Neither the public, nor by a partition's own rights, nor by what new ones would get."""
    line.serve([*worked_example(), *AFTER])
    line.collected("11", "12", "13")
    ours = "in ('billing_core', 'billing', 'account_read_model')"
    granted = line.rows(
        "select c.relname, r.rolname from pg_class c"
        f" join pg_namespace n on n.oid = c.relnamespace and n.nspname {ours}"
        " cross join lateral aclexplode(c.relacl) a left join pg_roles r on r.oid = a.grantee"
        " where a.grantee <> c.relowner and (c.relispartition or r.rolname is null)"
    )
    assert granted == []
    assert line.rows("select from pg_class where relispartition and relkind = 'r'") != []
    assert line.rows("select from pg_default_acl") == []
    assert line.rows("select from pg_class where relnamespace = 'public'::regnamespace") == []
    assert line.rows(
        f"select n.nspname from pg_namespace n cross join lateral aclexplode(n.nspacl) a"
        f" where n.nspname {ours} and a.grantee = 0"
    ) == []  # fmt: skip


APPEND_ONLY = (
    "ledger_entries", "price_versions", "rates", "statements", "repairs", "repair_outcomes",
    "closed_periods", "suspensions",
)  # fmt: skip


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("verb", ["update", "delete", "truncate"])
def test_not_even_the_owner_changes_what_is_append_only(line: Line, table: str, verb: str) -> None:
    line.serve([*worked_example(), *AFTER])
    line.collected("11", "12", "13")
    line.rate()
    line.execute(
        "insert into billing_core.closed_periods (period_hour, run_id) values (1, 1);"
        " insert into billing_core.repairs (hour, check_name, subject, wrong, action, run_id)"
        " values (1, 'c', 's', 'w', 'a', 1);"
        " insert into billing_core.repair_outcomes (repair_id, outcome, detail)"
        " select repair_id, 'repaired', '' from billing_core.repairs;"
        " insert into billing_core.statements (span, label, start_hour, end_hour, root,"
        " is_balanced, is_final, document, inputs, run_id)"
        " values ('day', 'd', 0, 24, '', true, true, '{}', '{}', 1);"
        " insert into billing_core.suspensions (account_key, state, effective_at, balance, reason)"
        " values (1, 'active', now(), 0, '')"
    )
    ((column,),) = line.rows(
        "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0"
        " and attgenerated = '' and attidentity = '' and not attisdropped order by attnum limit 1",
        f"billing_core.{table}",
    )
    statement = {
        "update": f"update billing_core.{table} set {column} = {column}",
        "delete": f"delete from billing_core.{table}",
        "truncate": f"truncate billing_core.{table} cascade",
    }[verb]
    with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
        line.execute(statement)


@pytest.fixture
def service(line: Line, login: str) -> str:
    """The address of an account service."""
    line.serve([*worked_example(), *AFTER])
    line.collected("11", "12", "13")
    line.rate()
    grant(line.database_url, roles.ACCOUNTS, login)
    return address(line.database_url, login)


def test_an_account_service_reads_its_schema_and_writes_profiles(line: Line, service: str) -> None:
    relations = line.rows(
        "select relname from pg_class where relnamespace = 'account_read_model'::regnamespace"
        " and relkind in ('r', 'v')"
    )
    with psycopg.connect(service, options="-c search_path=account_read_model") as connection:
        for (name,) in relations:
            query = f"select count(*) from {name}".encode()
            assert connection.execute(query).fetchone() is not None
        assert connection.execute("select count(*) from billing_ledger").fetchone() == (1,)
        connection.execute(PROFILE.encode())
        connection.execute(PROFILE.encode())
    versions: list[Any] = line.rows(
        "select price_per_unit from billing_core.price_versions where scope = 'account'"
        " order by price_version_id"
    )
    assert versions == [(Decimal("0.5"),), (Decimal("0.25"),)]


@pytest.mark.parametrize(
    "statement",
    [
        "delete from account_read_model.account_billing_profiles",
        "truncate account_read_model.account_billing_profiles",
        "update account_read_model.billing_ledger set amount_delta = 0",
        "insert into account_read_model.account_quota_states (arrears) values (false)",
        "delete from account_read_model.traffic_minute_buckets",
        "select count(*) from billing.usage_minutes",
        "select count(*) from billing_core.price_versions",
        "insert into billing_core.price_versions (price_version) values ('mine')",
        "select billing_core.ensure_day_partition(1)",
        "create table account_read_model.mine (a int)",
        "alter table account_read_model.account_billing_profiles disable trigger all",
    ],
)
def test_an_account_service_may_not(service: str, statement: str) -> None:
    with psycopg.connect(service) as connection, pytest.raises(psycopg.Error) as refused:
        connection.execute(statement.encode())
    assert refused.value.sqlstate in {"42501", "55000"}  # no privilege; no way into a join
