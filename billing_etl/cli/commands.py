"""What each command does: settings, one pipeline call, its result printed."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from billing_etl.cli.output import Output
from billing_etl.errors import BillingError, UsageError
from billing_etl.hours import HourRange
from billing_etl.pipeline import accounts, attention, prices
from billing_etl.pipeline.alerts import alerts_now
from billing_etl.pipeline.collect import CollectSummary, collect_hours, refuse_archived
from billing_etl.pipeline.deliver import deliver_hours
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.rate import ensure_price, rate_hours
from billing_etl.pipeline.reconcile import ReconcileResult, reconcile_hours
from billing_etl.pipeline.served import note_oldest_served
from billing_etl.settings import Settings, Source
from billing_etl.store import migrations

Environment = Mapping[str, str]
Arguments = argparse.Namespace

COLLECT_COLUMNS: Final = (
    "source_id", "hour", "outcome", "state", "snapshots", "samples", "used", "duplicates",
    "baselines", "quarantined", "facts_written",
)  # fmt: skip
_HOURS_OF_A_DAY: Final = 24
_HOURS_OF_A_YEAR: Final = 366 * 24
_DELIVER_COLUMNS: Final = (
    "hour", "event_type", "outcome", "batches", "events", "bytes", "pending", "reason",
)  # fmt: skip

_CHANGE_COLUMNS: Final = ("account_uuid", "amount", "balance_before", "balance_after")
_MOST_SHOWN: Final = 20
_HEALTH_COLUMNS: Final = (
    "event_type", "state", "delivered", "failed_objects", "backlog", "oldest_undelivered",
    "last_success",
)  # fmt: skip


def engine_of(env: Environment) -> Engine:
    """Settings of the environment, with a database."""
    settings = Settings.from_environment(env)
    settings.require_database_url()
    return Engine(settings)


def sources_of(engine: Engine, source_id: str | None) -> Sequence[Source]:
    """The source of that name, also a disabled one; without a name, all enabled ones."""
    if source_id is not None:
        return [engine.settings.source(source_id)]
    if not engine.settings.sources:
        raise UsageError(
            "EXPORTER_SOURCES_JSON: expected at least one source, got none; set it or "
            "EXPORTER_BASE_URL"
        )
    return engine.settings.enabled_sources


def hours_of(arguments: Arguments) -> HourRange:
    """The hours of ``--from`` and ``--to``; within a year there may be nothing in them yet."""
    return _hours(arguments, _HOURS_OF_A_YEAR)


def hours_to_collect(arguments: Arguments) -> HourRange:
    """As ``hours_of``, up to a day ahead: clocks differ, and a day is named while it runs."""
    return _hours(arguments, _HOURS_OF_A_DAY)


def _hours(arguments: Arguments, within_hours: int) -> HourRange:
    hours = HourRange(arguments.start, arguments.end)
    return hours.begun(datetime.now(UTC), within_hours=within_hours)


def migrate(arguments: Arguments, env: Environment, output: Output) -> int:
    applied = migrations.migrate(Settings.from_environment(env).require_database_url())
    output.result({"applied": applied}, "applied: " + (", ".join(applied) or "nothing, up to date"))
    return 0


def collect(arguments: Arguments, env: Environment, output: Output) -> int:
    hours = hours_to_collect(arguments)
    engine = engine_of(env)
    sources = sources_of(engine, arguments.source)
    refuse_archived(engine, hours, "collect")
    summary = collect_hours(engine, sources, hours)
    _note_oldest_served(engine, sources, summary)
    output.table(summary.as_dict(), "Collected", COLLECT_COLUMNS, summary.as_dict()["results"])
    return report_failures(summary, output)


def _note_oldest_served(engine: Engine, sources: Sequence[Source], summary: CollectSummary) -> None:
    """Of sources that answered; the others would only be waited for once more."""
    answered = {result.source_id for result in summary.results}
    for source in sources:
        if source.source_id in answered:
            note_oldest_served(engine, source)


def report_failures(summary: CollectSummary, output: Output) -> int:
    for _, _, error in summary.failures:
        output.error(error)
    return 1 if summary.failures else 0


def rate(arguments: Arguments, env: Environment, output: Output) -> int:
    hours = hours_of(arguments)
    result = rate_hours(engine_of(env), hours).as_dict()
    output.table(result, "Rated", tuple(result), [result])
    return 0


def export(arguments: Arguments, env: Environment, output: Output) -> int:
    hours = hours_of(arguments)
    results = [result.as_dict() for result in deliver_hours(engine_of(env), hours)]
    output.table({"results": results}, "Delivered", _DELIVER_COLUMNS, results)
    return 0


def reconcile(arguments: Arguments, env: Environment, output: Output) -> int:
    hours = hours_of(arguments)
    result = reconcile_hours(engine_of(env), hours, repair=arguments.repair, deep=arguments.deep)
    _show_checks(result, output, result.as_dict())
    return 0 if result.clean else 1


def _show_checks(result: ReconcileResult, output: Output, document: Any) -> None:
    checks = result.as_dict()["checks"]
    columns = ("hour", "check", "status", "expected", "actual", "difference", "repaired")
    output.table(document, "Reconciled", columns, checks)
    would = [
        {"hour": check["hour"], "check": check["check"], "repair": repair}
        for check in checks
        for repair in check["repairable"]
    ]
    if would and not output.as_json:
        output.table({}, "Left to repair", ("hour", "check", "repair"), would)


def pipeline(arguments: Arguments, env: Environment, output: Output) -> int:
    """Collects hour by hour with progress, then rates, exports and reconciles the range."""
    hours = hours_to_collect(arguments)
    engine = engine_of(env)
    sources = sources_of(engine, None)
    refuse_archived(engine, hours, "pipeline")
    with engine.kept():
        ensure_price(engine)
        summary = CollectSummary([], [])
        with output.progress("collect", len(hours) * len(sources)) as advance:
            for hour in hours:
                for source in sources:
                    part = collect_hours(engine, [source], [hour])
                    summary.results.extend(part.results)
                    summary.failures.extend(part.failures)
                    advance()
        _note_oldest_served(engine, sources, summary)
        failed = report_failures(summary, output)
        with output.progress("rate, export, reconcile", 3) as advance:
            rated = rate_hours(engine, hours)
            advance()
            delivered: list[dict[str, Any]] = []
            try:
                delivered = [result.as_dict() for result in deliver_hours(engine, hours)]
            except BillingError as error:  # an outage of the store keeps back nothing else
                output.error(error)
                failed = 1
            advance()
            reconciled = reconcile_hours(engine, hours)
            advance()
    document = {
        "collect": summary.as_dict(),
        "rate": rated.as_dict(),
        "export": delivered,
        "reconcile": reconciled.as_dict(),
    }
    if output.as_json:
        output.result(document, "")
    else:
        output.table({}, "Collected", COLLECT_COLUMNS, summary.as_dict()["results"])
        output.table({}, "Rated", tuple(rated.as_dict()), [rated.as_dict()])
        output.table({}, "Delivered", _DELIVER_COLUMNS, delivered)
        _show_checks(reconciled, output, {})
    return failed or (0 if reconciled.clean else 1)


# --- money -----------------------------------------------------------------------------------


def price_list(arguments: Arguments, env: Environment, output: Output) -> int:
    versions = prices.list_prices(engine_of(env))
    columns = (
        "price_version",
        "scope",
        "scope_key",
        "from",
        "price_per_byte",
        "included_quota_bytes",
    )
    output.table({"versions": versions}, "Price book", columns, versions)
    return 0


def price_preview(arguments: Arguments, env: Environment, output: Output) -> int:
    change = prices.preview_prices(engine_of(env), prices.read_price_file(arguments.file))
    return _show_price_change(change, "Would change", output)


def price_publish(arguments: Arguments, env: Environment, output: Output) -> int:
    change = prices.publish_prices(engine_of(env), prices.read_price_file(arguments.file))
    return _show_price_change(change, "Published: changes", output)


def _show_price_change(change: prices.PriceChange, title: str, output: Output) -> int:
    document = change.as_dict()
    if output.as_json:
        output.result(document, "")
        return 0
    before, after = (
        sum((Decimal(each[f"arrears_{when}"]) for each in document["accounts"]), Decimal(0))
        for when in ("before", "after")
    )
    output.text(
        f"{title} accounts: {len(document['accounts'])}, their arrears from {before:f} to {after:f}"
    )
    output.plain_table(
        "Accounts, the largest first", _CHANGE_COLUMNS, document["accounts"], _CHANGE_COLUMNS[1:]
    )
    return 0


def credit(arguments: Arguments, env: Environment, output: Output) -> int:
    title, act = (
        ("Would credit, nothing is kept", accounts.preview_credit)
        if arguments.preview
        else ("Credited", accounts.add_credit)
    )
    row = act(engine_of(env), arguments.account, arguments.amount, arguments.reason).as_dict()
    if output.as_json:
        output.result(row, "")
        return 0
    output.table({}, title, ("what", "value"), _pairs(row))
    return 0


def _pairs(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One line per value, for a document that is too wide for a terminal."""
    return [
        {"what": name.replace("_", " "), "value": value}
        for name, value in document.items()
        if value is not None
    ]


def close(arguments: Arguments, env: Environment, output: Output) -> int:
    if not arguments.preview:
        closing = accounts.close_period(engine_of(env), arguments.period)
        output.result(
            closing.as_dict(),
            f"closed {arguments.period}; later differences post in the next open period",
        )
        return 0
    closing = accounts.preview_close(engine_of(env), arguments.period)
    document, rows = closing.as_dict(), closing.accounts_as_dicts()
    if output.as_json:
        output.result(document | {"preview": True, "account_sums": rows}, "")
        return 0
    output.table({}, "Would close, nothing is kept", ("what", "value"), _pairs(document))
    columns = ("account_uuid", "charges", "credits", "balance_after")
    output.plain_table("Accounts, the largest", columns, rows[:_MOST_SHOWN], columns[1:])
    output.text("Closing posts nothing and moves no balance; --json lists every account.")
    return 0


# --- what needs a person ---------------------------------------------------------------------


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


def serve(arguments: Arguments, env: Environment, output: Output) -> int:
    # Imported here: no other command needs a server.
    from billing_etl.http.serve import serve

    def announce(address: str) -> None:
        output.result({"listening": address}, f"serving on {address}")
        sys.stdout.flush()

    serve(env, announce)
    return 0


def exporter(arguments: Arguments, env: Environment, output: Output) -> int:
    # Imported here: no other command needs a server.
    from billing_etl.local.exporter_server import serve

    serve(arguments.store, arguments.listen, arguments.token, arguments.flavour)
    return 0
