"""Erasing a person's identifiers: they are nowhere, and every amount and byte is where it was."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from database_logins import PASSWORD, address, grant
from pipeline.harness import (
    DAY,
    HISTORY,
    A,
    Answer,
    B,
    Line,
    command,
    readings,
    row_versions,
    sample,
    snapshot,
    worked_example,
)
from psycopg import sql

from billing_etl.local.object_store import EmbeddedObjectStore
from billing_etl.local.postgres import EmbeddedPostgres
from billing_etl.store import roles

HOURS = ("--from", f"{DAY}T11", "--to", f"{DAY}T14")
OTHER = readings(("12:01:03", 50, 60), ("12:30:03", 55, 65), account=B)
AFTER = readings(("13:30:03", 10, 20), ("2026-04-08T14:00:03Z", 10, 20))
# Three bad samples: one names the account in capitals, and twice, one without hyphens.
BAD = snapshot(
    "13:40:03",
    sample(A, -1, 5),
    sample(A.upper(), "7", 7) | {"note": f"of {A} and someone\\u0040example.com"},
    sample(A.replace("-", ""), 8, 8),
)
ANY_SPELLING = A.replace("-", "-?")
NAMES = ("usage_minutes", "usage_hours", "usage_days", "account_months", "ledger")
ERASE = ("erase", "--account", A, "--reason", "asked on paper, someone@example.com", "--yes")


@dataclass
class Site:
    """A line with an object store; its commands run as the owner."""

    line: Line
    environment: dict[str, str]
    s3: Any
    bucket: str

    def run(self, *arguments: str, code: int = 0, **more: str) -> Answer:
        answer = command(self.environment | more, *arguments)
        assert answer.code == code, answer.out + answer.err
        return answer

    def document(self, *arguments: str) -> Any:
        return self.run(*arguments, "--json").document

    def serve(self, *late: tuple[str, int, int], more: list[Any] | None = None) -> None:
        self.line.serve([*worked_example(*late), *OTHER, *AFTER, *(more or [])])

    def settle(self) -> None:
        """Everything that is due, and nothing may differ; bodies are read too."""
        self.run("pipeline", *HOURS)
        self.run("reconcile", *HOURS, "--deep", "--no-repair")

    def erase(self) -> Any:
        return self.document(*ERASE)

    def events(self) -> dict[str, dict[str, Any]]:
        """What a consumer keeps: each event id once."""
        listed = self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", ())
        bodies = [
            self.s3.get_object(Bucket=self.bucket, Key=entry["Key"])["Body"].read()
            for entry in listed
            if entry["Key"].endswith(".jsonl")
        ]
        return {
            (event := json.loads(each))["id"]: event
            for body in bodies
            for each in body.split(b"\n")
            if each
        }

    def amounts(self, account: str) -> dict[str, Any]:
        """All that views say of an account, without its name and what counts seconds."""
        names = "array['account_uuid', 'reason']"
        return {
            view: [
                list(row)
                for row in self.line.rows(
                    f"select (to_jsonb(v) - {names})::text from billing.{view} v"
                    " where account_uuid = %s order by 1",
                    account,
                )
            ]
            for view in NAMES
        }

    def places(self, text: str) -> list[str]:
        """Tables with a row that has the text, however it is spelled."""
        with psycopg.connect(self.line.database_url) as connection:
            tables = connection.execute(
                "select n.nspname, c.relname from pg_class c"
                " join pg_namespace n on n.oid = c.relnamespace"
                " where n.nspname in ('billing_core', 'account_read_model', 'billing')"
                " and c.relkind in ('r', 'p', 'v')"
            ).fetchall()
            assert len(tables) > 50
            return [
                f"{schema}.{name}"
                for schema, name in tables
                if connection.execute(
                    sql.SQL("select 1 from {} t where t::text ~* %s limit 1").format(
                        sql.Identifier(schema, name)
                    ),
                    (text,),
                ).fetchone()
            ]


@pytest.fixture
def site(line: Line, bucket: str, s3: Any, object_store: EmbeddedObjectStore) -> Site:
    line.serve([*worked_example(), *OTHER, *AFTER])
    environment = line.environment(
        BILLING_S3_ENABLED="true",
        BILLING_S3_BUCKET=bucket,
        BILLING_S3_ENDPOINT_URL=object_store.endpoint_url,
        BILLING_S3_FORMATS="jsonl,parquet",
        AWS_ACCESS_KEY_ID=object_store.access_key,
        AWS_SECRET_ACCESS_KEY=object_store.secret_key,
        AWS_REGION="us-east-1",
    )
    return Site(line, environment, s3, bucket)


def test_the_person_is_nowhere_and_every_amount_is_where_it_was(site: Site) -> None:
    site.serve(more=[BAD])
    site.settle()
    own = {"price_version": f"of {A}", "price_per_byte": "3", "scope": "account", "scope_key": A}
    prices = site.line.price_file(
        versions=[own | {"from": "2026-04-08T12:09:00Z"}],
        plan_members=[{"account_uuid": A, "plan": "gold"}],
    )
    site.run("price", "publish", str(prices))
    site.run("credit", "--account", A, "--amount", "5", "--reason", "sorry, someone@example.com")
    site.settle()
    before, events = site.amounts(A), site.events()
    assert all(before.values())
    found = site.places(ANY_SPELLING)
    assert {"billing_core.quarantine", "billing_core.price_versions", "billing_core.runs"} < {
        *found
    }

    preview = site.document("erase", "--account", A, "--preview")
    assert site.places(ANY_SPELLING) == found
    erased = site.erase()

    new = erased["account_uuid"]
    assert site.places(ANY_SPELLING) == []
    assert site.places("someone") == []
    # The price names the account, too.
    assert site.amounts(new) == json.loads(json.dumps(before).replace(A, new))
    assert site.events() == events
    same = {"hours", "first_hour", "last_hour", "sealed_facts", "sealed_objects", "left"}
    assert {name: erased[name] for name in same} == {name: preview[name] for name in same}
    assert erased["left"] == {}
    assert sum(erased["replaced"].values()) == sum(preview["replaced"].values()) > 5
    # Nothing of it is left to find, repair or send.
    site.run("reconcile", *HOURS, "--deep", "--no-repair")
    assert site.line.rows(
        "select count(*) from billing_core.findings where kind = 'reconciliation'"
    ) == [(0,)]
    assert site.document("export", *HOURS)["results"][0]["events"] in {0, 4}
    assert site.events() == events


def test_collecting_again_brings_nothing_back(site: Site) -> None:
    site.serve(more=[BAD])
    site.settle()
    new = site.erase()["account_uuid"]
    before = row_versions(site.line, *HISTORY)

    results = site.document("collect", *HOURS)["results"]
    assert {each["outcome"] for each in results} == {"unchanged"}
    assert row_versions(site.line, *HISTORY) == before
    site.settle()
    assert site.places(ANY_SPELLING) == []
    quarantined = site.line.rows("select account_uuid, raw_text from billing_core.quarantine")
    assert [account for account, _ in quarantined] == [new, new, None]
    assert all(new in text for _, text in quarantined)


def test_usage_goes_on_under_the_other_name(site: Site) -> None:
    site.settle()
    new = site.erase()["account_uuid"]
    later = readings(("13:50:03", 110, 220), ("2026-04-08T15:00:03Z", 110, 220))
    site.serve(more=later)
    site.settle()
    assert site.places(ANY_SPELLING) == []
    assert site.line.rows(
        "select account_uuid::text, total_bytes from billing.usage_minutes"
        " where minute = '2026-04-08 13:50Z'"
    ) == [(new, 300)]
    assert site.line.rows("select count(*) from billing_core.accounts") == [(2,)]


def test_a_correction_names_the_event_that_was_sent(site: Site) -> None:
    site.settle()
    sent = site.events()
    new = site.erase()["account_uuid"]
    site.serve(("12:04:03", 8, 15))
    site.settle()

    added = {key: event for key, event in site.events().items() if key not in sent}
    assert {event["properties"]["resource_id"] for event in added.values()} == {new}
    (correction,) = (e for e in added.values() if e["properties"]["revision"] == 2)
    former = sent[correction["properties"]["corrects"]]
    assert former["properties"]["resource_id"] == A
    assert former["timestamp"] == correction["timestamp"] == "2026-04-08T12:09:00Z"
    usage = sum(event["properties"]["usage"] for event in site.events().values())
    assert site.line.rows("select sum(total_bytes)::bigint from billing.usage_minutes") == [
        (usage,)
    ]
    # A second correction follows the first, which has an id of the new name.
    site.serve(("12:04:03", 8, 15), ("12:06:03", 9, 17))
    site.settle()
    (second,) = (e for e in site.events().values() if e["properties"]["revision"] == 3)
    assert second["properties"]["corrects"] == correction["id"]


def test_all_events_of_a_fact_have_one_correlation_id(site: Site) -> None:
    site.environment["BILLING_ENVELOPE"] = "usage_event"
    site.settle()
    site.erase()
    keys = site.line.rows("select count(*) from billing_core.batches where object_key ~ %s", A)
    assert keys[0][0] > 0  # a tenant's objects lie under its name
    site.serve(("12:04:03", 8, 15))
    site.settle()
    listed = site.s3.list_objects_v2(Bucket=site.bucket)["Contents"]
    lines = [
        json.loads(each)
        for entry in listed
        if entry["Key"].endswith(".jsonl")
        for each in site.s3.get_object(Bucket=site.bucket, Key=entry["Key"])["Body"]
        .read()
        .split(b"\n")
        if each
    ]
    of_minute = [each for each in lines if each["timestamp"] == "2026-04-08T12:09:00Z"]
    assert len(of_minute) == 2
    assert len({each["correlation_id"] for each in of_minute}) == 1
    assert len({each["tenant_id"] for each in of_minute}) == 2


def test_lost_marks_of_an_erased_account_are_restored_from_its_events(site: Site) -> None:
    site.settle()
    site.erase()
    site.line.execute("update billing_core.facts set sealing = sealing + 1")
    site.run("reconcile", *HOURS)
    assert site.line.rows("select distinct outcome from billing_core.repair_outcomes") == [
        ("repaired",)
    ]
    site.run("reconcile", *HOURS, "--deep", "--no-repair")


def test_a_signed_statement_stays_what_was_signed(site: Site) -> None:
    site.settle()
    site.run("statement", "--day", DAY, "--sign", "--despite", "hours are missing")
    site.erase()
    verdict = site.document("statement", "--day", DAY, "--verify")
    assert (verdict["unchanged"], verdict["altered"]) == (True, [])


def test_quarantine_that_changed_is_explained_by_the_erasure(site: Site) -> None:
    site.serve(more=[BAD])
    site.settle()
    site.run("statement", "--day", DAY, "--sign", "--despite", "hours are missing")
    site.erase()
    verdict = site.document("statement", "--day", DAY, "--verify")
    assert (verdict["unchanged"], verdict["explained"]) == (False, True)
    assert any("erasure 1" in record for each in verdict["changes"] for record in each["records"])


def test_erasing_again_changes_nothing(site: Site) -> None:
    site.settle()
    first = site.erase()
    before = row_versions(site.line, *HISTORY)
    again = site.erase()
    assert row_versions(site.line, *HISTORY) == before
    assert (first["was_erased"], again["was_erased"]) == (False, True)
    assert again["account_uuid"] == first["account_uuid"]
    assert again["replaced"] == {}


def test_who_when_and_why_are_on_record_without_the_identifiers(site: Site) -> None:
    site.settle()
    erased = site.document(*ERASE, "--by", "data protection")
    ((account, first_hour, reason, by, run_id),) = site.line.rows(
        "select account_uuid::text, first_hour, reason, erased_by, run_id from billing.erasures"
    )
    assert (account, f"{first_hour:%Y-%m-%dT%H}") == (erased["account_uuid"], f"{DAY}T12")
    assert (reason, by) == ("asked on paper, ***", "data protection")
    assert site.line.rows(
        "select command, status from billing_core.runs where run_id = %s", run_id
    ) == [("erase", "success")]


@pytest.mark.parametrize("who", ["clerk@example.com", "clerk (clerk@example.com)", f"of {A}", " "])
def test_who_erases_is_no_address_of_a_person(site: Site, who: str) -> None:
    site.settle()
    before = row_versions(site.line, *HISTORY)
    refused = site.run(*ERASE, "--by", who, code=2)
    assert "erase: expected --by without an email address" in refused.err
    assert "clerk" not in refused.err
    assert row_versions(site.line, *HISTORY) == before


def test_a_login_that_is_an_address_has_to_be_named_otherwise(
    site: Site, postgres_server: EmbeddedPostgres
) -> None:
    site.settle()
    login, name = "clerk@example.com", sql.Identifier("clerk@example.com")
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("create role {} superuser login password {}").format(name, PASSWORD)
        )
        try:
            url = address(site.line.database_url, quote(login))
            assert "or a login of that kind" in site.run(*ERASE, code=2, DATABASE_URL=url).err
            assert site.places(login) == []
            site.run(*ERASE, "--by", "data protection", DATABASE_URL=url)
            assert site.places(login) == []
        finally:
            connection.execute(sql.SQL("drop role {}").format(name))


def test_an_error_that_is_kept_names_no_address(site: Site) -> None:
    """As of a node that is called like a person."""
    site.line.sources["jp-1"]["expected_node_id"] = "node-1"
    environment = site.line.environment()
    site.line.serve([snapshot("12:00:03", sample(A, 1, 2), node="someone@example.com")])
    assert command(environment, "collect", *HOURS).code == 1
    assert site.line.rows("select count(*) > 0 from billing_core.failed_source_hours") == [(True,)]
    assert site.places("someone@example.com") == []


def test_nothing_new_is_kept_under_the_former_uuid(site: Site) -> None:
    site.settle()
    site.erase()
    before = row_versions(site.line, *HISTORY)
    own = {"price_version": "v", "price_per_byte": "3", "scope": "account", "scope_key": A}
    for content in ({"versions": [own]}, {"plan_members": [{"account_uuid": A, "plan": "gold"}]}):
        refused = site.run("price", "publish", str(site.line.price_file(**content)), code=1)
        assert "an account was erased on" in refused.err
        assert A not in refused.err
    for more in ((), ("--preview",)):
        credit = ("credit", "--account", A, "--amount", "5", "--reason", "r")
        assert "an account was erased on" in site.run(*credit, *more, code=1).err
    with pytest.raises(psycopg.errors.RestrictViolation, match="an account was erased"):
        site.line.execute(
            "insert into account_read_model.account_billing_profiles"
            f" (account_uuid, base_price_per_byte) values ('{A}', 1)"
        )
    assert row_versions(site.line, *HISTORY) == before


def test_only_texts_may_name_the_person(site: Site) -> None:
    """Every sample of the account was bad: there is no account yet, and something to erase."""
    site.line.serve([*OTHER, snapshot("12:40:03", sample(B, 60, 70), sample(A, -1, 1)), *AFTER[1:]])
    site.settle()
    assert "billing_core.accounts" not in site.places(ANY_SPELLING)
    assert site.places(ANY_SPELLING) != []
    site.erase()
    site.run("collect", *HOURS)
    assert site.places(ANY_SPELLING) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("erase", "--account", A, "--reason", "r"), "expected --yes"),
        (("erase", "--account", A, "--yes"), "expected --reason"),
        (("erase", "--account", A, "--yes", "--reason", f"{A} asked"), "does not name"),
        (("erase", "--account", A, "--yes", "--reason", " "), "does not name"),
        (("erase", "--account", "bob", "--yes", "--reason", "r"), "expected an account uuid"),
        (("erase", "--account", "bob", "--preview"), "expected an account uuid"),
        (
            ("erase", "--account", A.replace("a", "9"), "--yes", "--reason", "r"),
            "expected a known account",
        ),
    ],
)
def test_what_is_refused_changes_nothing(
    site: Site, arguments: tuple[str, ...], message: str
) -> None:
    site.run("collect", *HOURS)
    before = row_versions(site.line, "runs")
    assert message in site.run(*arguments, code=2).err
    assert row_versions(site.line, "runs") == before


def test_what_an_erased_account_is_called_now_is_not_erased_again(site: Site) -> None:
    site.settle()
    new = site.erase()["account_uuid"]
    refused = site.run("erase", "--account", new, "--reason", "r", "--yes", code=2)
    assert "there is nothing left to erase" in refused.err


def test_the_pipeline_cannot_erase(site: Site, login: str) -> None:
    site.settle()
    grant(site.line.database_url, roles.PIPELINE, login)
    url = address(site.line.database_url, login)
    assert "permission denied" in site.run(*ERASE, code=1, DATABASE_URL=url).err
    assert site.places(ANY_SPELLING) != []


def test_people_are_told_what_is_left(site: Site) -> None:
    site.settle()
    shown = site.run("erase", "--account", A, "--preview").out
    assert "Would erase, nothing is kept" in shown
    shown = site.run(*ERASE).out
    assert "keep the ids of their events" in shown
    assert "LEFT in up to" in shown
