"""``billing-etl statement``: a reconciliation statement for people, as JSON, signed or verified."""

import argparse
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from billing_etl.cli.output import Output, grouped
from billing_etl.errors import UsageError
from billing_etl.pipeline import statement as statements
from billing_etl.pipeline.engine import Engine
from billing_etl.settings import Settings

Row = Mapping[str, Any]

_SOURCE_COLUMNS = ("source", "hours", "complete", "lost", "open", "missing min", "snapshots")
_SAMPLE_COLUMNS = ("source", "samples", "used", "duplicates", "baselines", "quarantined")


def statement(arguments: argparse.Namespace, env: Mapping[str, str], output: Output) -> int:
    """Prints, signs or verifies; 1 when it is not balanced, or changed without explanation."""
    if arguments.despite is not None and not arguments.sign:
        raise UsageError("statement: --despite is the reason of --sign, which is not given")
    if arguments.root is not None and not arguments.verify:
        raise UsageError("statement: --root is what --verify compares with, which is not given")
    settings = Settings.from_environment(env)
    settings.require_database_url()
    engine = Engine(settings)
    span = statements.span_of(engine, day=arguments.day, month=arguments.month)
    now = datetime.now(UTC)
    with output.progress(f"statement of {span}", len(span.hours)) as advance:
        if arguments.verify:
            verdict = statements.verify_statement(
                engine, span, root=arguments.root, advance=advance, now=now
            )
        elif arguments.sign:
            made, signed, is_new = statements.sign_statement(
                engine, span, despite=arguments.despite, advance=advance, now=now
            )
        else:
            made = statements.make_statement(engine, span, advance=advance, now=now)
    if arguments.verify:
        return _show_verdict(verdict, output)
    document = made.document
    if arguments.sign:
        document |= {
            "statement_id": signed.statement_id,
            "signed_at": signed.signed_at,
            "run_id": signed.run_id,
            "signed_now": is_new,
        }
    if output.as_json:
        output.result(document, "")
    else:
        _show(document, output)
    return 0 if made.is_balanced or arguments.sign else 1


# --- a statement -------------------------------------------------------------------------------


def _show(document: Row, output: Output) -> None:
    output.text(f"Reconciliation statement of {document['span']} {document['label']}")
    output.text(
        f"hours [{document['from']}, {document['to']}) UTC, read {_at(document['made_at'])}"
    )
    for each in document["archived"]:
        output.text(f"{each['hours']} hours are archived, as they are stated here: {each['place']}")
    output.text("")
    _table(
        output, "Source-hours", _SOURCE_COLUMNS,
        (
            (s["source_id"], s["hours"], s["complete"], s["lost"], s["open"],
             s["missing_minutes"], s["snapshots"])
            for s in document["sources"]
        ),
    )  # fmt: skip
    _table(
        output, "Source-hours that are not complete",
        ("source", "state", "from", "to", "hours", "missing min"),
        (
            (i["source_id"], i["state"], i["from"], i["to"], i["hours"], i["missing_minutes"])
            for i in document["incomplete"]
        ),
    )  # fmt: skip
    _table(
        output, "Samples", _SAMPLE_COLUMNS,
        (
            (s["source_id"], s["samples"], s["used"], s["duplicates"], s["baselines"],
             s["quarantined"])
            for s in document["sources"]
        ),
    )  # fmt: skip
    _steps(output, "Chain: each number must equal the one above it", document["chain"])
    usage = document["usage"]
    _table(
        output, "Usage", ("facts", "bytes up", "bytes down", "bytes"),
        [(usage["facts"], usage["uplink_bytes"], usage["downlink_bytes"], usage["total_bytes"])],
    )  # fmt: skip
    _table(
        output, "Amount by price version",
        ("price version", "included bytes", "rated bytes", "amount"),
        (
            (p["price_version"], p["included_bytes"], p["rated_bytes"], grouped(p["amount"]))
            for p in document["prices"]
        ),
    )  # fmt: skip
    _table(
        output, "Ledger", ("entry type", "posted", "entries", "rated bytes", "amount"),
        (
            (e["entry_type"], e["posted"], e["entries"], e["rated_bytes"], grouped(e["amount"]))
            for e in document["ledger"]
        ),
    )  # fmt: skip
    _steps(output, "Delivery: what is below is pending", document["delivery"])
    _table(
        output, "Pending", ("why", "hours", "sealed objects", "events", "net usage"),
        (
            (p["reason"], p["hours"], p["objects"], p["events"], p["net_usage"])
            for p in document["pending"]
        ),
    )  # fmt: skip
    _table(
        output, "Checks of reconciliation, hours",
        ("check", "clean", "repaired", "different", "skipped"),
        (
            (c["check_name"], c["clean"], c["repaired"], c["different"], c["skipped"])
            for c in document["checks"]
        ),
    )  # fmt: skip
    _table(
        output, "Resets, gaps, quarantine, open findings", ("what", "kind", "cases", "bytes"),
        ((n["what"], n["kind"], n["cases"], n["bytes"]) for n in document["notable"]),
    )  # fmt: skip
    for difference in document["differences"]:
        output.text(f"DIFFERENCE {difference['hour']} {difference['text']}")
    for reason in document["open"]:
        output.text(f"OPEN {reason}")
    balanced = "balanced" if document["balanced"] else "NOT BALANCED"
    final = "final" if document["final"] else "not final"
    output.text(f"{balanced}, {final}")
    output.text(f"digest of all inputs {document['root']}")
    if "statement_id" in document:
        done = "signed" if document["signed_now"] else "signed before, unchanged since"
        output.text(
            f"{done}: statement {document['statement_id']}, run {document['run_id']}, "
            f"{_at(document['signed_at'])}"
        )
    if document.get("supersedes"):
        output.text(f"supersedes statement {document['supersedes']}")
        _show_changes(document.get("changes", []), output)


def _steps(output: Output, title: str, steps: Iterable[Row]) -> None:
    rows: list[tuple[Any, ...]] = []
    for step in steps:
        difference = str(step["difference"]) if step["difference"] else "0"
        if step["differing"]:
            difference += f" ({step['differing']} differ)"
        rows.append((step["left"], grouped(step["left_value"]), ""))
        rows.append((f"  {step['right']}", grouped(step["right_value"]), difference))
    _table(output, title, ("", "number", "difference"), rows, numbers=("number", "difference"))


def _at(moment: str | datetime) -> str:
    instant = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def _table(
    output: Output,
    title: str,
    columns: tuple[str, ...],
    rows: Iterable[tuple[Any, ...]],
    numbers: tuple[str, ...] = ("amount",),
) -> None:
    listed = [dict(zip(columns, row, strict=True)) for row in rows]
    output.plain_table(title, columns, listed, numbers)


# --- a verdict ---------------------------------------------------------------------------------


def _show_verdict(verdict: statements.Verdict, output: Output) -> int:
    code = 0 if verdict.is_explained else 1
    document = verdict.as_dict()
    if output.as_json:
        output.result(document, "")
        return code
    output.text(
        f"Statement {document['statement_id']} of {document['span']} {document['label']}, signed "
        f"{_at(document['signed_at'])} by run {document['run_id']}"
    )
    output.text(f"digest signed {document['root']}")
    output.text(f"digest now    {document['root_now']}")
    for line in document["altered"]:
        output.text(f"ALTERED {line}")
    _show_changes(document["changes"], output)
    if verdict.is_unchanged:
        output.text("unchanged")
    else:
        explained = "by what is recorded" if verdict.is_explained else "WITHOUT EXPLANATION"
        hours = f"{len(verdict.changes)} of {len(verdict.span.hours)} hours"
        output.text(f"changed since signing: {hours}, {explained}")
    return code


def _show_changes(changes: Iterable[Row], output: Output) -> None:
    for change in changes:
        output.text("")
        output.text(f"{change['hour']} changed")
        for table in change["tables"]:
            kept = "" if table["is_kept"] else ", signed rows are not as they were"
            output.text(
                f"  table {table['table']}: {table['signed_rows']} rows signed, "
                f"{table['rows']} now{kept}"
            )
        for number in change["numbers"]:
            output.text(
                f"  {number['number']} {number['signed']} -> {number['now']} "
                f"(difference {number['difference']})"
            )
        for record in change["records"]:
            output.text(f"  recorded: {record}")
        for problem in change["problems"]:
            output.text(f"  NOT EXPLAINED: {problem}")
