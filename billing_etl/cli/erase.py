"""``billing-etl erase``: shows what erasing an account changes, asks, and does it."""

import argparse
import sys
from collections.abc import Mapping

from billing_etl.cli.output import Output
from billing_etl.errors import UsageError
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.erase import Erasure, erase_account, preview_erasure
from billing_etl.settings import Settings

_WORD = "erase"


def erase(arguments: argparse.Namespace, env: Mapping[str, str], output: Output) -> int:
    """Previews; then, unless that is all that is wanted, asks and erases."""
    settings = Settings.from_environment(env)
    settings.require_database_url()
    engine = Engine(settings)
    if arguments.preview:
        _show(preview_erasure(engine, arguments.account), "Would erase, nothing is kept", output)
        return 0
    if arguments.reason is None:
        raise UsageError("erase: expected --reason, got nothing; --preview does without")
    if not arguments.yes:
        _ask(preview_erasure(engine, arguments.account), output)
    erasure = erase_account(engine, arguments.account, arguments.reason, arguments.by)
    _show(erasure, "Erased", output)
    return 0


def _ask(preview: Erasure, output: Output) -> None:
    """Goes on when a person at a terminal types the word.

    Raises:
        UsageError: nobody is there to ask, or something else was typed.
    """
    if output.as_json or not sys.stdin.isatty():
        raise UsageError(
            "erase: expected --yes, as nobody can be asked here; look at --preview first"
        )
    _show(preview, "Will erase, and cannot be undone", output)
    if input(f"Type {_WORD} to go on: ").strip() != _WORD:
        raise UsageError(f"erase: expected {_WORD!r}, got something else; nothing was changed")


def _show(erasure: Erasure, title: str, output: Output) -> None:
    document = erasure.as_dict()
    if output.as_json:
        output.result(document, "")
        return
    output.text(title)
    name = document["account_uuid"] or "another uuid, chosen at random"
    output.text(f"  the account is called {name}" + ("" if erasure.hours else "; it has no usage"))
    if erasure.hours:
        output.text(
            f"  its usage and money from {document['first_hour']} to {document['last_hour']} stay; "
            f"{document['sealed_facts']} sealed facts keep the ids of their events"
        )
    for where, rows in document["replaced"].items():
        output.text(f"  replaced in {where}: {rows} rows")
    for where, rows in document["left"].items():
        output.text(f"  LEFT in {where}: {rows} rows, which nothing may change")
    output.text(
        f"  LEFT in up to {document['sealed_objects']} objects as they were sealed, "
        f"{document['sealed_payloads']} of them with their payload in the database, "
        f"{document['objects_to_be_sent']} still to be sent"
    )
