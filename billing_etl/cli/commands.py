"""The steps as commands: settings, one pipeline call, its result printed."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from billing_etl.cli.output import Output
from billing_etl.errors import BillingError, UsageError
from billing_etl.hours import HourRange
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
    """A line for each source-hour that failed; gives the exit code."""
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
