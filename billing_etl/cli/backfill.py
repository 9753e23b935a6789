"""``billing-etl backfill``: hours again, or what that would change."""

import argparse
from collections.abc import Mapping
from typing import Final

from billing_etl.cli.commands import engine_of, hours_to_collect, sources_of
from billing_etl.cli.output import Output
from billing_etl.pipeline.backfill import backfill
from billing_etl.pipeline.rehearsal import CHANGE_COLUMNS, Rehearsal, rehearse

_COLLECT_COLUMNS: Final = (
    "source_id", "snapshots", "samples", "used", "quarantined", "facts_written", "facts_unchanged",
)  # fmt: skip


def run_backfill(arguments: argparse.Namespace, env: Mapping[str, str], output: Output) -> int:
    hours = hours_to_collect(arguments)
    engine = engine_of(env)
    sources = sources_of(engine, arguments.source)
    if arguments.dry_run:
        return show_rehearsal(rehearse(engine, sources, hours, hold_seconds=arguments.hold), output)
    result = backfill(engine, sources, hours, order=arguments.order, parallel=arguments.parallel)
    output.table(result.as_dict(), "Collected", _COLLECT_COLUMNS, result.collected)
    if not output.as_json:
        rated = result.rated.as_dict()
        output.table({}, "Rated", tuple(rated), [rated])
    for _, error in result.failures:
        output.error(error)
    return 1 if result.failures else 0


def show_rehearsal(rehearsal: Rehearsal, output: Output) -> int:
    """Prints what would change; 1 when something could not be compared."""
    by_hour = ("hour", "accounts", *CHANGE_COLUMNS, "corrections")
    output.table(rehearsal.as_dict(), "Would change, per hour", by_hour, rehearsal.by_hour())
    if not output.as_json:
        by_account = ("account_uuid", *CHANGE_COLUMNS)
        output.table({}, "Would change, per account", by_account, rehearsal.by_account())
        output.text(rehearsal.sentence())
    if incomplete := rehearsal.incomplete():
        output.error(incomplete)
    return 1 if incomplete else 0
