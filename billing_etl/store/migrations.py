"""The schema: migrations once each, in order; views whenever a file changed."""

import hashlib
import logging
from pathlib import Path
from typing import Final

from billing_etl.errors import TerminalError
from billing_etl.store.database import SQL_DIRECTORY, Connection, connect, take_lock
from billing_etl.store.roles import let_in

_log = logging.getLogger(__name__)
# Any two numbers no other application uses; taken while the schema is changed.
_MIGRATION_LOCK: Final = (0x62696C6C, 1)


def migrate(database_url: str) -> list[str]:
    """Brings the schema up to date and returns what was applied; safe to run twice and at once.

    A migration and its record commit together. Views are re-created when a file changed. Roles are
    let in where this login may do that; where it may not, a line says so, and that is all.
    """
    applied: list[str] = []
    with connect(database_url, "billing_etl migrate") as connection:
        take_lock(
            connection,
            "select pg_advisory_xact_lock(%s, %s)",
            _MIGRATION_LOCK,
            who="migrate",
            waits_for="another run that migrates this database",
        )
        connection.execute("create schema if not exists billing_core")
        connection.execute("create schema if not exists billing")
        connection.execute(
            "create table if not exists billing_core.migrations (name text primary key,"
            " sha256 text not null, applied_at timestamptz not null default clock_timestamp())"
        )
        known = {
            str(name): str(digest)
            for name, digest in connection.execute(
                "select name, sha256 from billing_core.migrations"
            )
        }
        for path in sorted((SQL_DIRECTORY / "migrations").glob("*.sql")):
            applied += _apply(connection, path, known.get(path.stem))
        applied += _replace_views(connection, known.get("views"))
        applied += let_in(connection)
    for name in applied:
        _log.info("applied %s", name)
    return applied


def _apply(connection: Connection, path: Path, known_digest: str | None) -> list[str]:
    text = path.read_text(encoding="utf-8")
    digest = hashlib.sha256(text.encode()).hexdigest()
    if known_digest == digest:
        return []
    if known_digest is not None:
        raise TerminalError(
            f"migrate: {path.name} was applied with other content; "
            "migrations are never edited, restore the file and add a new one"
        )
    _run_script(connection, text)
    _record(connection, path.stem, digest)
    return [path.stem]


def _replace_views(connection: Connection, known_digest: str | None) -> list[str]:
    texts = [path.read_text("utf-8") for path in sorted((SQL_DIRECTORY / "views").glob("*.sql"))]
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    if known_digest == digest:
        return []
    for text in texts:
        _run_script(connection, text)
    _record(connection, "views", digest)
    return ["views"]


def _run_script(connection: Connection, text: str) -> None:
    # Without parameters psycopg sends the text as it is: several statements, no % escaping.
    connection.execute(text.encode())


def _record(connection: Connection, name: str, digest: str) -> None:
    connection.execute(
        "insert into billing_core.migrations (name, sha256) values (%s, %s)"
        " on conflict (name) do update"
        " set sha256 = excluded.sha256, applied_at = clock_timestamp()",
        (name, digest),
    )
