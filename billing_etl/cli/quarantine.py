"""``billing-etl quarantine``: bad samples, and their hours again, or what that would change."""

import argparse
from collections.abc import Mapping

from billing_etl.cli.backfill import show_rehearsal
from billing_etl.cli.commands import COLLECT_COLUMNS, engine_of, report_failures, sources_of
from billing_etl.cli.output import Output
from billing_etl.pipeline import attention


def list_samples(arguments: argparse.Namespace, env: Mapping[str, str], output: Output) -> int:
    rows = attention.quarantined(engine_of(env))
    columns = ("collected_at", "source_id", "node_id", "reason", "account_uuid", "raw_text")
    output.table({"quarantine": rows}, "Quarantine", columns, rows)
    return 0


def replay(arguments: argparse.Namespace, env: Mapping[str, str], output: Output) -> int:
    engine = engine_of(env)
    sources = sources_of(engine, arguments.source)
    if arguments.preview:
        return show_rehearsal(attention.preview_replay(engine, sources), output)
    summary = attention.replay_quarantine(engine, sources)
    document = summary.as_dict()
    output.table(document, "Collected again", COLLECT_COLUMNS, document["results"])
    return report_failures(summary, output)
