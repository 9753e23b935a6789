"""What needs a person: findings, status and alerts."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, Final

from billing_etl.cli.commands import Environment, engine_of
from billing_etl.cli.output import Output
from billing_etl.pipeline import attention
from billing_etl.pipeline.alerts import alerts_now

Arguments = argparse.Namespace

_HEALTH_COLUMNS: Final = (
    "event_type", "state", "delivered", "failed_objects", "backlog", "oldest_undelivered",
    "last_success",
)  # fmt: skip


def findings_list(arguments: Arguments, env: Environment, output: Output) -> int:
    rows = attention.findings(engine_of(env), include_closed=arguments.all)
    columns = (
        "finding_id", "kind", "source_id", "hour", "message", "since", "closed_at", "repair",
        "repaired_by_run",
    )  # fmt: skip
    output.table({"findings": rows}, "Findings", columns, rows)
    return 0


def findings_close(arguments: Arguments, env: Environment, output: Output) -> int:
    attention.close_finding(engine_of(env), arguments.finding_id, arguments.reason)
    output.result({"closed": arguments.finding_id}, f"closed finding {arguments.finding_id}")
    return 0


def status(arguments: Arguments, env: Environment, output: Output) -> int:
    document = attention.status(engine_of(env))
    if output.as_json:
        output.result(document, "")
        return 0
    columns = ("source_id", "checkpoint", "lag_seconds", "open_hours", "last_succeeded_at")
    output.table({}, "Sources", columns, document["sources"])
    for source in document["sources"]:
        if source["last_error"]:  # one line, whole: it says what to do
            output.text(f"last error of {source['source_id']}: {source['last_error']}")
    output.table({}, "Coverage", ("state", "hours"), document["coverage"])
    output.table({}, "Backlog", ("event_type", "pending", "oldest_hour"), document["backlog"])
    output.table({}, "Delivery", _HEALTH_COLUMNS, document["delivery"])
    for row in document["delivery"]:
        if row["last_error"]:
            output.text(f"last error of delivering {row['event_type']}: {row['last_error']}")
    output.table({}, "Open findings", ("kind", "count", "oldest"), document["open_findings"])
    _show_alerts(document["alerts"], output)
    return 0


def alerts(arguments: Arguments, env: Environment, output: Output) -> int:
    """Ends with 1 when something is wrong, so that cron or a probe may ask."""
    found = alerts_now(engine_of(env))
    if output.as_json:
        output.result({"alerts": found}, "")
    else:
        _show_alerts(found, output)
    return 1 if found else 0


def _show_alerts(found: Sequence[Mapping[str, Any]], output: Output) -> None:
    """Each alert as a few lines: a table would cut what to do into columns of one word."""
    output.text(f"Alerts: {len(found) or 'none'}")
    for alert in found:
        output.text(f"  {alert['rule']}: {alert['what']}")
        output.text(f"    since {alert['since']:%Y-%m-%d %H:%MZ}")
        output.text(f"    what to do: {alert['remedy']}")
