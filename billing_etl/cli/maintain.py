"""``billing-etl maintain``: partitions, archive, retention, arrears; or what they would do."""

import argparse
from collections.abc import Mapping
from typing import Any, Final

from billing_etl.cli.output import Output
from billing_etl.errors import UsageError
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.maintain import STEPS, StepResult, maintain
from billing_etl.settings import Settings

# What the entries of a step are, and their columns.
_DETAILS: Final = {
    "archive": ("Archive", ("day", "facts", "objects", "bytes", "place", "held")),
    "retention": ("Retention", ("name", "keep", "rows")),
    "arrears": ("Suspended", ("account_uuid", "balance", "arrears_since")),
}


def run(arguments: argparse.Namespace, env: Mapping[str, str], output: Output) -> int:
    """Runs all steps, or those of ``--step``; 1 when one of them failed."""
    settings = Settings.from_environment(env)
    settings.require_database_url()
    steps = arguments.steps or tuple(STEPS)
    with output.progress("maintain", len(steps)) as advance:
        results, errors = maintain(
            Engine(settings), steps, dry_run=arguments.dry_run, advance=advance
        )
    if output.as_json:
        document = {
            "dry_run": arguments.dry_run,
            "steps": [result.as_dict() for result in results],
            "errors": [str(error) for error in errors],
        }
        output.result(document, "")
    else:
        _show(results, output, dry_run=arguments.dry_run)
    for error in errors:
        output.error(error)
    return max((2 if isinstance(error, UsageError) else 1 for error in errors), default=0)


def _show(results: list[StepResult], output: Output, *, dry_run: bool) -> None:
    rows: list[dict[str, Any]] = [
        {"step": result.step, "what": what, "count": count}
        for result in results
        for what, count in result.counts.items()
    ]
    title = "Would be done, nothing was" if dry_run else "Done"
    output.table({}, title, ("step", "what", "count"), rows)
    for result in results:
        if result.step in _DETAILS and result.details:
            title, columns = _DETAILS[result.step]
            output.table({}, title, columns, [_shown(row) for row in result.details])


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A length of time in days for people."""
    if "keep_seconds" not in row:
        return dict(row)
    seconds = row["keep_seconds"]
    return {**row, "keep": "for ever" if seconds is None else f"{seconds / 86400:g} days"}
