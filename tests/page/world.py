"""A site in the database as the Billing page meets it, without collecting 100 sources."""

from pathlib import Path

import psycopg

from billing_etl.hours import Hour

RUN = "scheduled__2026-04-08T12:00:00+00:00"


def fill(
    database_url: str, now: Hour, *, sources: int = 100, hours: int = 168, accounts: int = 2000
) -> list[str]:
    """Fills a fresh database; the last hour is the one that runs. Gives the ids of the sources."""
    parameters = {
        "from_hour": now.index - hours + 1,
        "to_hour": now.index + 1,
        "sources": sources,
        "accounts": accounts,
        "run": RUN,
    }
    script = Path(__file__).with_suffix(".sql").read_text("utf-8")
    with psycopg.connect(database_url, autocommit=True) as connection:
        for statement in script.split(";\n")[:-1]:
            connection.execute(statement.encode(), parameters)
        connection.execute("analyze")
        found = connection.execute("select source_id from billing_core.sources order by 1")
        return [str(row[0]) for row in found.fetchall()]
