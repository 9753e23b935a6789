"""``billing-etl price``, ``credit`` and ``close``: what changes money, each with a preview."""

import argparse
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from billing_etl.cli.commands import Environment, engine_of
from billing_etl.cli.output import Output
from billing_etl.pipeline import accounts, prices

Arguments = argparse.Namespace

_VERSION_COLUMNS: Final = (
    "price_version", "scope", "scope_key", "from", "price_per_byte", "included_quota_bytes",
)  # fmt: skip
_CHANGE_COLUMNS: Final = ("account_uuid", "amount", "balance_before", "balance_after")
_MOST_SHOWN: Final = 20


def price_list(arguments: Arguments, env: Environment, output: Output) -> int:
    versions = prices.list_prices(engine_of(env))
    output.table({"versions": versions}, "Price book", _VERSION_COLUMNS, versions)
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
    for version in document["versions"]:
        output.text(_version_line(version))
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


def _version_line(version: Mapping[str, Any]) -> str:
    """A version with its quota, whether the file names one or not: no sum of money shows it yet."""
    quota = version["included_quota_bytes"]
    if quota is not None:
        included = f"{quota:,} bytes included" + (", as before" * version["quota_as_before"])
    elif version["scope"] == "default":
        included = "no bytes included"
    else:
        included = "bytes included as the next wider scope has it"
    scope = f"{version['scope']} {version['scope_key']}".strip()
    return (
        f"{version['price_version']}: {scope}, from {version['from']}, "
        f"{version['price_per_byte']} per byte, {included}"
    )


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
