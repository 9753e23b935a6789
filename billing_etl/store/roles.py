"""Roles: who may do what besides the login that migrates, which owns everything.

Each is a group without a login; an administrator grants it to the logins of people or services.
What is not named here is refused by the database, whatever the code asks for.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import psycopg
from psycopg import sql as composed

from billing_etl.store.database import Connection, one_row, sql
from billing_etl.store.dictionary import READ_SCHEMAS

_log = logging.getLogger(__name__)
_CORE: Final = "billing_core"


@dataclass(frozen=True, slots=True)
class Role:
    """Rights of a group.

    Attributes:
        name: of the role; roles belong to the server and not to a database.
        who: whom it is for.
        reads: schemas of which every relation may be selected from.
        writes: privileges beyond that, by relation.
    """

    name: str
    who: str
    reads: tuple[str, ...]
    writes: Mapping[str, Sequence[str]] = field(default_factory=dict)


_APPENDS: Final = ("insert",)
_CHANGES: Final = ("insert", "update")
_REPLACES: Final = ("insert", "update", "delete")

ANALYST: Final = Role("billing_analyst", "analysts", READ_SCHEMAS)
# A profile is never deleted; its triggers publish versions with the rights of their owner.
ACCOUNTS: Final = Role(
    "billing_accounts",
    "account services",
    ("account_read_model",),
    {"account_read_model.account_billing_profiles": _CHANGES},
)
# Every step from collecting to statements, as the DAGs and commands take them. Partitions are
# made, profiles shown, days archived, and old records
# dropped, by functions that have the rights of their owner.
PIPELINE: Final = Role(
    "billing_pipeline",
    "what runs the DAGs and commands",
    (_CORE, *READ_SCHEMAS),
    {
        f"{_CORE}.{table}": privileges
        for table, privileges in {
            # what only grows: money, prices, signatures, records
            "ledger_entries": _APPENDS,
            "closed_periods": _APPENDS,
            "price_versions": _APPENDS,
            "plan_members": _APPENDS,
            "rates": _APPENDS,
            "repairs": _APPENDS,
            "repair_outcomes": _APPENDS,
            "statements": _APPENDS,
            "archive_objects": _APPENDS,
            "archived_hours": _APPENDS,
            "suspensions": _APPENDS,
            "seeded_settings": _APPENDS,
            "accounts": _APPENDS,
            "nodes": _APPENDS,
            "regions": _APPENDS,
            "series": _APPENDS,
            # what changes and stays
            "account_balances": _CHANGES,
            "account_hours": _CHANGES,
            "alert_notices": _CHANGES,
            "alerts": _CHANGES,
            "batches": _CHANGES,
            "deliveries": _CHANGES,
            "delivery_heartbeats": _CHANGES,
            "findings": _CHANGES,
            "objectives": _CHANGES,
            "reconciliations": _CHANGES,
            "runs": _CHANGES,
            "source_hours": _CHANGES,
            "source_regions": _CHANGES,
            "source_retention": _CHANGES,
            "sources": _CHANGES,
            # what an hour replaces when it is collected again
            "closings": _REPLACES,
            "counter_resets": _REPLACES,
            "facts": _REPLACES,
            "failed_source_hours": _REPLACES,
            "lookback_presence": _REPLACES,
            "node_instants": _REPLACES,
            "quarantine": _REPLACES,
            "sealed_facts": _REPLACES,
            "usage_gaps": _REPLACES,
        }.items()
    },
)
ROLES: Final = (PIPELINE, ANALYST, ACCOUNTS)


def let_in(connection: Connection, roles: Sequence[Role] = ROLES) -> list[str]:
    """Makes roles and gives them their rights, as far as this login may.

    A database may be given by somebody who keeps roles to himself: then a role is missing until
    an administrator makes it, and a line says so.

    Args:
        connection: of the owner of the schemas.
        roles: made without a login when missing and this login may make some.

    Returns:
        What was done; empty when nothing was to be done, or could be.
    """
    return [done for role in roles for done in _let_in(connection, role)]


def renamed(role: Role, name: str) -> Role:
    """A role with the same rights under another name."""
    return replace(role, name=name)


def _let_in(connection: Connection, role: Role) -> list[str]:
    done = [f"role {role.name}"] if _make(connection, role.name) else []
    if not _exists(connection, role.name):
        _log.warning(
            "migrate: expected the role %s for %s, got none, and this login may not make it; "
            "an administrator runs: create role %s nologin; then run `billing-etl migrate` again",
            role.name,
            role.who,
            role.name,
        )
        return done
    missing = _missing(connection, role)
    if not missing:
        return done
    connection.execute(
        composed.SQL("grant usage on schema {} to {}").format(
            composed.SQL(", ").join(map(composed.Identifier, role.reads)),
            composed.Identifier(role.name),
        )
    )
    for privilege, relations in missing.items():
        connection.execute(
            composed.SQL("grant {} on {} to {}").format(
                composed.SQL(privilege),
                composed.SQL(", ").join(composed.Identifier(*each) for each in relations),
                composed.Identifier(role.name),
            )
        )
    left = _missing(connection, role)
    for privilege, relations in left.items():
        names = ", ".join(".".join(each) for each in relations)
        _log.warning(
            "migrate: expected %s to have %s on %s, got no right to grant that; their owner runs: "
            "grant %s on %s to %s",
            role.name, privilege, names, privilege, names, role.name,
        )  # fmt: skip
    return done if left else [*done, f"rights of {role.name}"]


def _make(connection: Connection, role: str) -> bool:
    (may_make,) = one_row(
        connection,
        "select rolsuper or rolcreaterole from pg_roles where rolname = current_user",
        {},
    )
    if not may_make or _exists(connection, role):
        return False
    try:
        with connection.transaction():
            connection.execute(
                composed.SQL("create role {} nologin").format(composed.Identifier(role))
            )
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        return False  # migrating another database of this server has made it meanwhile
    return True


def _exists(connection: Connection, role: str) -> bool:
    (exists,) = one_row(
        connection,
        "select exists (select from pg_roles where rolname = %(role)s)",
        {"role": role},
    )
    return bool(exists)


def _missing(connection: Connection, role: Role) -> dict[str, list[tuple[str, str]]]:
    """Relations, as schema and name, by the privilege that the role should have and has not."""
    wanted = [(name, each) for name, privileges in role.writes.items() for each in privileges]
    rows = connection.execute(
        sql("roles/missing").encode(),
        {
            "role": role.name,
            "schemas": list(role.reads),
            "relations": [name for name, _ in wanted],
            "privileges": [privilege for _, privilege in wanted],
        },
    )
    missing: dict[str, list[tuple[str, str]]] = {}
    for schema, name, privilege in rows:
        missing.setdefault(privilege, []).append((schema, name))
    return missing
