"""Roles: who may do what besides the login that migrates, which owns everything."""

import logging
from typing import Final

import psycopg
from psycopg import sql as composed

from billing_etl.store.database import Connection, one_row, sql
from billing_etl.store.dictionary import READ_SCHEMAS

_log = logging.getLogger(__name__)
# A group: an administrator grants it to the logins of people.
ANALYST: Final = "billing_analyst"


def let_analysts_read(connection: Connection, role: str = ANALYST) -> list[str]:
    """Lets a role select from everything in the schemas that are read by others, and nothing else.

    Roles belong to the server and not to a database, so a database may be given by somebody who
    keeps them to himself: then the role is missing until an administrator makes it.

    Args:
        connection: of the owner of the schemas.
        role: made without a login when it is missing and this login may make one.

    Returns:
        What was done; empty when nothing was to be done, or could be.
    """
    done = [f"role {role}"] if _make(connection, role) else []
    if not _exists(connection, role):
        _log.warning(
            "migrate: expected the role %s for analysts, got none, and this login may not make it; "
            "an administrator runs: create role %s nologin; then run `billing-etl migrate` again",
            role,
            role,
        )
        return done
    if not _unreadable(connection, role):
        return done
    for what in ("usage on schema", "select on all tables in schema"):
        connection.execute(
            composed.SQL("grant {what} {schemas} to {role}").format(
                what=composed.SQL(what),
                schemas=composed.SQL(", ").join(map(composed.Identifier, READ_SCHEMAS)),
                role=composed.Identifier(role),
            )
        )
    left = _unreadable(connection, role)
    if left:
        _log.warning(
            "migrate: expected %s to read %s, got no right to grant that; their owner runs: "
            "grant select on %s to %s",
            role, ", ".join(left), ", ".join(left), role,
        )  # fmt: skip
        return done
    return [*done, f"read rights of {role}"]


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


def _unreadable(connection: Connection, role: str) -> list[str]:
    """Relations that the role should read and cannot."""
    parameters = {"role": role, "schemas": list(READ_SCHEMAS)}
    rows = connection.execute(sql("roles/unreadable").encode(), parameters)
    return [str(relation) for (relation,) in rows]
