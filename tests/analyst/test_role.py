"""Analysts read every view through a role of their own, and can do nothing else."""

import uuid

import psycopg
import pytest
from database_logins import address, grant
from pipeline.harness import Line, command, worked_example
from psycopg import sql

from billing_etl.local.postgres import EmbeddedPostgres
from billing_etl.store import roles
from billing_etl.store.dictionary import READ_SCHEMAS, columns
from billing_etl.store.migrations import migrate

# Columns that tell the seconds until now.
UNTIL_NOW = {"source_status": ["lag_seconds"], "objectives": ["value"]}


@pytest.fixture
def analyst(line: Line, login: str) -> str:
    """The address of an analyst's login, on a database with everything in it."""
    line.serve(worked_example())
    line.collected("11", "12")
    line.rate()
    grant(line.database_url, roles.ANALYST, login)
    return address(line.database_url, login)


def test_an_analyst_reads_every_view_as_its_owner_does(line: Line, analyst: str) -> None:
    with psycopg.connect(line.database_url) as owner, psycopg.connect(analyst) as connection:
        relations = {(column.schema, column.relation) for column in columns(owner)}
        assert {schema for schema, _ in relations} == set(READ_SCHEMAS)
        for relation in sorted(relations):
            query = sql.SQL(
                "select to_jsonb(v) - %s::text[] from {} v"
                " order by (to_jsonb(v) - %s::text[])::text"
            ).format(sql.Identifier(*relation))
            until_now = UNTIL_NOW.get(relation[1], [])
            read = connection.execute(query, (until_now, until_now)).fetchall()
            assert read == owner.execute(query, (until_now, until_now)).fetchall(), relation
        assert connection.execute("select count(*) from billing.usage_minutes").fetchone() == (4,)


@pytest.mark.parametrize(
    "statement",
    [
        "delete from billing.usage_minutes",
        "update billing.ledger set amount = 0",
        "insert into account_read_model.account_billing_profiles"
        " (account_uuid, base_price_per_byte) values (gen_random_uuid(), 0)",
        "update account_read_model.account_billing_profiles set base_price_per_byte = 0",
        "delete from account_read_model.account_billing_profiles",
        "truncate account_read_model.account_billing_profiles",
        "create table billing.mine (a int)",
        "create view account_read_model.mine as select 1",
        "drop view billing.ledger",
        "select count(*) from billing_core.facts",
        "select billing_core.anchor_day()",
        "select count(*) from billing_core.price_versions",
    ],
)
def test_an_analyst_does_nothing_else(analyst: str, statement: str) -> None:
    with psycopg.connect(analyst) as connection, pytest.raises(psycopg.Error) as refused:
        connection.execute(statement.encode())
    assert refused.value.sqlstate in {"42501", "55000"}  # no privilege; no way into a join


def test_without_the_role_a_login_reads_nothing(line: Line, login: str) -> None:
    with (
        psycopg.connect(address(line.database_url, login)) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("select count(*) from billing.usage_days")


def test_the_role_lets_nobody_in_by_itself(line: Line) -> None:
    ((may_login, members),) = line.rows(
        "select rolcanlogin, (select count(*) from pg_auth_members m where m.roleid = r.oid)"
        " from pg_roles r where rolname = %s",
        roles.ANALYST.name,
    )
    assert (may_login, members) == (False, 0)


def test_a_view_that_is_new_can_be_read_after_migrating_again(line: Line, analyst: str) -> None:
    line.execute("create view billing.brand_new as select 1 as one")
    new = [f"rights of {role.name}" for role in (roles.PIPELINE, roles.ANALYST)]
    assert migrate(line.database_url) == new
    with psycopg.connect(analyst) as connection:
        assert connection.execute("select one from billing.brand_new").fetchone() == (1,)
    assert migrate(line.database_url) == []


def test_where_roles_may_not_be_made_migrate_says_what_to_run(
    postgres_server: EmbeddedPostgres,
    login: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A given database: its owner makes schemas, but no roles."""
    missing = f"analyst_{uuid.uuid4().hex}"
    monkeypatch.setattr(roles.let_in, "__defaults__", ((roles.renamed(roles.ANALYST, missing),),))
    database = f"given_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} owner {}").format(
                sql.Identifier(database), sql.Identifier(login)
            )
        )
        try:
            url = address(postgres_server.url(database), login)
            answer = command({"DATABASE_URL": url}, "migrate")
            assert answer.code == 0, answer.err
            (warning,) = [
                each.getMessage() for each in caplog.records if each.levelname == "WARNING"
            ]
            assert f"an administrator runs: create role {missing} nologin;" in warning

            connection.execute(sql.SQL("create role {} nologin").format(sql.Identifier(missing)))
            again = command({"DATABASE_URL": url}, "migrate", "--json")
            assert again.document == {"applied": [f"rights of {missing}"]}
            assert len([each for each in caplog.records if each.levelname == "WARNING"]) == 1
        finally:
            connection.execute(sql.SQL("drop database {}").format(sql.Identifier(database)))
            connection.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(missing)))


def test_the_role_is_made_where_it_may_be(
    postgres_server: EmbeddedPostgres, database_url: str
) -> None:
    fresh = f"analyst_{uuid.uuid4().hex}"
    role = roles.renamed(roles.ANALYST, fresh)
    with psycopg.connect(database_url) as connection:
        assert roles.let_in(connection, [role]) == [f"role {fresh}", f"rights of {fresh}"]
        assert roles.let_in(connection, [role]) == []
        connection.rollback()
