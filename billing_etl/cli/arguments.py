"""Commands and their options (interface document, "Commands")."""

import argparse
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path

from billing_etl import __version__
from billing_etl.cli import attention, commands, maintain, money, quarantine
from billing_etl.cli.backfill import run_backfill
from billing_etl.cli.erase import erase
from billing_etl.cli.examples import example_of
from billing_etl.cli.explain import explain
from billing_etl.cli.statement import statement
from billing_etl.cli.usage import usage
from billing_etl.errors import UsageError
from billing_etl.hours import Hour, parse_hour
from billing_etl.pipeline.maintain import STEPS
from billing_etl.pipeline.rehearsal import HOLD_SECONDS
from billing_etl.pipeline.usage import BY


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line as a namespace whose ``run`` is the command; exits with 2 on bad usage."""
    return build_parser().parse_args(argv)


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    shared.add_argument("-v", "--verbose", action="store_true", help="log progress to stderr")
    hours = argparse.ArgumentParser(add_help=False)
    hours.add_argument(
        "--from", dest="start", type=_hour, required=True, metavar="H",
        help="first hour, UTC: 2026-04-08T12 or RFC 3339",
    )  # fmt: skip
    hours.add_argument(
        "--to", dest="end", type=_hour, required=True, metavar="H", help="end, itself left out"
    )

    parser = argparse.ArgumentParser(
        prog="billing-etl",
        description="Turns nodes' cumulative counters into money that can be defended. "
        "Hours are UTC, ranges half-open; `COMMAND --help` has an example. Exit: 0 success, 1 the "
        "work failed or something differs, 2 bad usage or configuration.",
    )
    parser.add_argument("--version", action="version", version=f"billing-etl {__version__}")
    sub = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(
        name: str, run: object, text: str, *parents: argparse.ArgumentParser
    ) -> argparse.ArgumentParser:
        return _leaf(sub, name, run, text, shared, *parents)

    command("migrate", commands.migrate, "brings the database schema up to date")
    collect = command("collect", commands.collect, "collects source-hours", hours)
    collect.add_argument("--source", metavar="ID", help="only this source, also a disabled one")
    command("rate", commands.rate, "rates, and rates again what follows", hours)
    command("export", commands.export, "seals and delivers", hours)
    reconcile = command("reconcile", commands.reconcile, "checks, repairs, reports", hours)
    reconcile.add_argument(
        "--no-repair", dest="repair", action="store_false",
        help="only check and report what would be repaired",
    )  # fmt: skip
    reconcile.add_argument(
        "--deep", action="store_true", help="read the bodies of sealed and stored objects, too"
    )
    command("pipeline", commands.pipeline, "collect, rate, export, reconcile", hours)
    upkeep = command("maintain", maintain.run, "partitions ahead, archive, retention, arrears")
    upkeep.add_argument(
        "--dry-run", action="store_true", help="only say what would be done; changes nothing"
    )
    upkeep.add_argument(
        "--step", dest="steps", action="append", choices=tuple(STEPS), metavar="STEP",
        help=f"only this one, may be repeated: {', '.join(STEPS)}",
    )  # fmt: skip
    _add_backfill(command("backfill", run_backfill, "hours again, or what would change", hours))
    _add_statement(command("statement", statement, "the totals of a day or month, for an auditor"))
    _add_usage(command("usage", usage, "what was used and what it costs, with a chart"))
    _add_explain(command("explain", explain, "one account's bill, down to the samples"))

    price = _group(sub, "price", "the dated price book")
    _sub(price, "list", money.price_list, "every published version", shared)
    for name, run, text in (
        ("preview", money.price_preview, "what a price file would change; changes nothing"),
        ("publish", money.price_publish, "publishes a price file"),
    ):
        _sub(price, name, run, text, shared).add_argument(
            "file", type=Path, metavar="FILE", help="JSON; its form is in docs/prices.md"
        )

    credit = command("credit", money.credit, "appends a credit to the ledger")
    credit.add_argument("--account", required=True, metavar="U", help="account uuid")
    credit.add_argument(
        "--amount", required=True, type=_decimal, metavar="D", help="an exact decimal above 0"
    )
    credit.add_argument(
        "--reason", required=True, metavar="T", help="why; it names no account and stays for ever"
    )
    _add_preview(credit)
    close = command("close", money.close, "closes a billing period")
    close.add_argument(
        "--period", required=True, metavar="YYYY-MM", help="the billing period that starts in it"
    )
    _add_preview(close)

    erasing = command("erase", erase, "erases a person's identifiers; amounts and bytes stay")
    erasing.add_argument("--account", required=True, metavar="U", help="account uuid")
    erasing.add_argument("--reason", metavar="T", help="why; needed unless it is a preview")
    erasing.add_argument(
        "--by", metavar="WHO", help="who does it, no email address; else the database login"
    )
    erasing.add_argument("--yes", action="store_true", help="do not ask")
    _add_preview(erasing)

    samples = _group(sub, "quarantine", "bad samples that were put aside")
    _sub(samples, "list", quarantine.list_samples, "quarantined samples", shared)
    replaying = _sub(samples, "replay", quarantine.replay, "collects their hours again", shared)
    replaying.add_argument("--source", metavar="ID", help="only of this source")
    _add_preview(replaying)
    findings = _group(sub, "findings", "what a person should know")
    _sub(findings, "list", attention.findings_list, "open findings", shared).add_argument(
        "--all", action="store_true", help="closed ones too"
    )
    closing = _sub(findings, "close", attention.findings_close, "closes a finding", shared)
    closing.add_argument("finding_id", type=int, metavar="ID", help="as `findings list` shows it")
    closing.add_argument("--reason", required=True, metavar="T", help="why it is settled")

    command("status", attention.status, "sources, checkpoints, lag, backlog, open findings")
    command(
        "alerts", attention.alerts, "what is wrong, since when, and what to do; exit code 1 if any"
    )
    command("serve", commands.serve, "the HTTP interface alone, on LISTEN_ADDR")
    exporter = command("exporter", commands.exporter, "a development exporter")
    exporter.add_argument(
        "--store", required=True, type=Path, metavar="FILE", help="a JSON array of snapshots"
    )
    exporter.add_argument(
        "--listen", required=True, metavar="HOST:PORT", help="where it listens; port 0: a free one"
    )
    exporter.add_argument("--token", metavar="T", help="else the variable EXPORTER_TOKEN")
    exporter.add_argument(
        "--flavour", choices=("nanosecond", "minute"), default="nanosecond",
        help="which of the two builds it behaves like; nanosecond",
    )  # fmt: skip
    return parser


def _add_preview(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--preview", action="store_true", help="show what it would change, change nothing"
    )


def _add_backfill(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", metavar="ID", help="only this source, also a disabled one")
    parser.add_argument(
        "--order", choices=("oldest", "newest"), default="oldest", help="which hour goes first"
    )
    parser.add_argument(
        "--parallel", type=_count, default=1, metavar="N", help="sources at the same time; 1"
    )
    parser.add_argument(
        "--dry-run", action="store_true",
        help="collect and rate for show: what would change in bytes and money; nothing is kept",
    )  # fmt: skip
    parser.add_argument(
        "--hold", type=_count, default=int(HOLD_SECONDS), metavar="S",
        help=f"seconds for which a dry run may keep other runs waiting; {HOLD_SECONDS:.0f}",
    )  # fmt: skip


def _add_statement(parser: argparse.ArgumentParser) -> None:
    span = parser.add_mutually_exclusive_group(required=True)
    span.add_argument("--day", metavar="YYYY-MM-DD", help="a UTC day")
    span.add_argument("--month", metavar="YYYY-MM", help="the billing period that starts in it")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--sign", action="store_true", help="store it, append-only, as signed")
    action.add_argument(
        "--verify", action="store_true", help="compare the latest signed one with what is now"
    )
    parser.add_argument(
        "--despite", metavar="T", help="why it is signed although it is not balanced or not final"
    )
    parser.add_argument("--root", metavar="HEX", help="digest that was handed over at signing")


def _add_usage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--by", choices=BY, default="day", help="day unless given; month: the billing period"
    )
    parser.add_argument("--account", metavar="U", help="only of this account uuid")
    parser.add_argument("--region", metavar="R", help="only of this region")
    parser.add_argument(
        "--from", dest="start", type=_hour, metavar="H",
        help="first hour, UTC; else the start of the billing period, by month of the last year",
    )  # fmt: skip
    parser.add_argument(
        "--to", dest="end", type=_hour, metavar="H", help="end, itself left out; else now"
    )
    parser.add_argument(
        "--limit", type=int, metavar="N",
        help="the newest of a time, the largest of anything else; 50 on a terminal, else all",
    )  # fmt: skip
    parser.add_argument("--csv", action="store_true", help="print comma-separated values")


def _add_explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--account", required=True, metavar="U", help="account uuid")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--period", metavar="YYYY-MM", help="the billing period that starts in it; else this one"
    )
    what.add_argument("--hour", type=_hour, metavar="H", help="this hour, down to its counters")
    parser.add_argument(
        "--samples", action="store_true", help="with --hour: ask the exporter for all readings"
    )


def _group(
    sub: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> "argparse._SubParsersAction[argparse.ArgumentParser]":
    group = sub.add_parser(name, help=text, description=text)
    return group.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")


def _sub(
    group: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: object,
    text: str,
    shared: argparse.ArgumentParser,
) -> argparse.ArgumentParser:
    return _leaf(group, name, run, text, shared)


def _leaf(
    group: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: object,
    text: str,
    *parents: argparse.ArgumentParser,
) -> argparse.ArgumentParser:
    """A command that does something; its help ends with an example, in one line as it is typed."""
    added = group.add_parser(
        name,
        help=text,
        description=text,
        parents=parents,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    added.epilog = example_of(added.prog)
    added.set_defaults(run=run)
    return added


def _hour(text: str) -> Hour:
    try:
        return parse_hour(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 10000, got {text!r}")
    return int(text)


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"expected a decimal, got {text!r}") from None
