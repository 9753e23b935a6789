"""``billing-etl explain``: one account's bill down to the samples, as tables or JSON."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from billing_etl.cli.output import Output, grouped
from billing_etl.errors import UsageError
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.explain import explain_hour, explain_period
from billing_etl.settings import Settings

Row = Mapping[str, Any]

_AMOUNTS: Final = ("amount", "posted", "balance after", "number", "difference")
_RATE: Final = (
    "price_version", "unit_price", "region_multiplier", "line_multiplier", "time_multiplier",
    "price_of_a_byte",
)  # fmt: skip
_BEGAN: Final = {
    "delta": "the reading before the hour",
    "reset": "the reading before the hour, then a reset",
    "born": "zero: born on a known node",
    "charged": "zero: first sight is charged",
    "baseline": "its first reading: first sight of the node",
    "implausible": "its first reading: more than could have flowed",
}


def explain(arguments: argparse.Namespace, env: Mapping[str, str], output: Output) -> int:
    """Prints a period, or an hour; 1 when two numbers differ or readings cannot be shown."""
    if arguments.samples and arguments.hour is None:
        raise UsageError("explain: --samples shows the readings of an hour; name it with --hour")
    settings = Settings.from_environment(env)
    settings.require_database_url()
    engine = Engine(settings)
    errors: Sequence[str] = ()
    if arguments.hour is None:
        period = explain_period(engine, arguments.account, arguments.period)
        document, holds, show = period.as_dict(), period.holds, _show_period
    else:
        hour = explain_hour(engine, arguments.account, arguments.hour, samples=arguments.samples)
        document, holds, show = hour.as_dict(), hour.holds, _show_hour
        errors = hour.errors
    if output.as_json:
        output.result(document, "")
    else:
        show(document, output)
    for error in errors:
        output.error(error)
    return 0 if holds and not errors else 1


# --- a period ----------------------------------------------------------------------------------


def _show_period(bill: Row, output: Output) -> None:
    month = bill["month"]
    output.text(f"Account {bill['account_uuid']}, billing period {bill['period']}")
    output.text(f"hours [{bill['from']}, {bill['to']}) UTC")
    output.text(
        f"quota {month['quota']:,} bytes, used {month['used']:,}, left {month['remaining']:,}"
    )
    output.text("")
    _table(
        output, "Hours, as they consume the quota",
        ("hour", "bytes", "used before", "included", "rated", "amount", "posted", "entries"),
        (
            (
                row["hour"], row["bytes"], row["used_before"],
                *_rated(row, "included_bytes", "rated_bytes", "amount"),
                f"{row['ledger_amount']:f}", row["entries"],
            )
            for row in bill["hours"]
        ),
    )  # fmt: skip
    _table(
        output, "Posted in this period",
        ("entry type", "belongs to", "entries", "rated bytes", "amount"),
        (
            (row["entry_type"], row["belongs_to"], row["entries"], row["rated_bytes"],
             f"{row['amount']:f}")
            for row in bill["postings"]
        ),
    )  # fmt: skip
    balance = bill["balance"]
    output.text(
        f"Balance now {balance['balance']} = opening {balance['opening_balance']} + credits "
        f"{balance['credits']} - charges and adjustments {balance['charges']}"
    )
    output.text("")
    _show_links(bill, output)


def _rated(row: Row, *names: str) -> list[Any]:
    """Numbers of an hour, or that it waits."""
    if not row["rated"]:
        return ["", "", "not rated"]
    stale = " (stale)" if row["stale"] else ""
    return [row[names[0]], row[names[1]], f"{row[names[2]]:f}{stale}"]


# --- an hour -----------------------------------------------------------------------------------


def _show_hour(bill: Row, output: Output) -> None:
    hour = bill["account_hour"]
    output.text(f"Account {bill['account_uuid']}, hour {bill['hour']} UTC")
    output.text(
        f"billing period {bill['period']}: quota {bill['quota_bytes']:,} bytes, "
        f"{hour['used_before']:,} used before this hour"
    )
    output.text("")
    _table(
        output, "Ledger",
        ("entry", "entry type", "rated bytes", "amount", "balance after", "run", "reason"),
        (
            (row["entry_id"], row["entry_type"], row["rated_bytes"], f"{row['amount']:f}",
             f"{row['balance_after']:f}", row["run_id"], row["reason"])
            for row in bill["entries"]
        ),
    )  # fmt: skip
    if bill["archived"]:
        output.text(
            f"The minutes of this hour are archived since {bill['archived']['since']} at "
            f"{', '.join(bill['archived']['places'])}; the sums and ledger entries of the hour are "
            "still here."
        )
        output.text("")
    numbers = {row["series_id"]: at for at, row in enumerate(bill["counters"], start=1)}
    _show_minutes(bill["minutes"], numbers, output)
    _show_counters(bill, numbers, output)
    _show_samples(bill, numbers, output)
    _show_links(bill, output)


def _show_minutes(minutes: Sequence[Row], numbers: Mapping[int, int], output: Output) -> None:
    rates = list(dict.fromkeys(tuple(row[name] for name in _RATE) for row in minutes))
    letters = {rate: _letter(at) for at, rate in enumerate(r for r in rates if r[0] is not None)}
    _table(
        output, "Rates: price x region x line x time = price of a byte",
        ("rate", "price version", "price", "region", "line", "time", "of a byte"),
        (
            (letter, rate[0], *(f"{each:f}" for each in rate[1:]))
            for rate, letter in letters.items()
        ),
    )  # fmt: skip
    _table(
        output, "Minutes: rated = bytes - included, amount = rated x price of a byte",
        ("minute", "series", "up", "down", "used before", "included", "rated", "rate", "amount",
         "note"),
        (
            (
                row["minute"][11:16], numbers[row["series_id"]], row["uplink_bytes"],
                row["downlink_bytes"], row["used_before"],
                "" if row["included_bytes"] is None else row["included_bytes"],
                "" if row["rated_bytes"] is None else row["rated_bytes"],
                letters.get(tuple(row[name] for name in _RATE), ""),
                "not rated" if row["amount"] is None else f"{row['amount']:f}", _note(row),
            )
            for row in minutes
        ),
    )  # fmt: skip


def _letter(at: int) -> str:
    return chr(ord("a") + at) if at < 26 else f"a{at}"


def _note(row: Row) -> str:
    notes = [f"spans {row['spans_minutes']} min"] if row["spans_minutes"] > 1 else []
    return ", ".join([*notes, *(["reset"] if row["is_reset"] else [])])


def _show_counters(bill: Row, numbers: Mapping[int, int], output: Output) -> None:
    counters = bill["counters"]
    known = [row for row in counters if row["began_as"] is not None]
    _table(
        output, "Series",
        ("series", "source", "env:node", "inbound", "region", "counted from"),
        (
            (numbers[row["series_id"]], row["source_id"], f"{row['env']}:{row['node_id']}",
             row["inbound_tag"], row["region"],
             _BEGAN.get(row["began_as"], "no counters are stored"))
            for row in counters
        ),
    )  # fmt: skip
    _table(
        output, "Counters: bytes = last - from + before resets",
        ("series", "counter", "from", "total", "before resets", "last", "total at last", "bytes"),
        (
            (
                numbers[row["series_id"]], part, _clock(row["counted_from"]), row[f"{name}_from"],
                row[f"{name}_before_resets"], _clock(row["last_at"]), row[f"{name}_last"],
                row[f"{name}_bytes"],
            )
            for row in known
            for part, name in (("up", "uplink"), ("down", "downlink"))
        ),
    )  # fmt: skip
    if known and bill["samples"] is None:
        output.text(
            "Stored of an hour's samples are the first and the last of each series, and those at "
            "resets; --samples reads all of them from the exporter again."
        )
        output.text("")


def _show_samples(bill: Row, numbers: Mapping[int, int], output: Output) -> None:
    _table(
        output, "Readings, as served now: bytes of a minute = sum of its readings",
        ("series", "read at", "total up", "total down", "up", "down", "how"),
        (
            (
                numbers[each["series_id"]], _clock(reading["read_at"]), reading["uplink_total"],
                reading["downlink_total"], reading["uplink_bytes"], reading["downlink_bytes"],
                "" if reading["how"] == "difference" else reading["how"],
            )
            for each in bill["samples"] or ()
            for reading in each["readings"]
        ),
    )  # fmt: skip


def _clock(instant: str | None) -> str:
    """The time of an instant, to the millisecond; the day before is told by the hour above."""
    return "" if instant is None else instant[11:].rstrip("Z")[:12]


# --- both --------------------------------------------------------------------------------------


def _show_links(bill: Row, output: Output) -> None:
    rows: list[tuple[Any, ...]] = []
    for link in bill["links"]:
        difference = grouped(link["difference"])
        if link["differing"]:
            difference += f" ({link['differing']} differ)"
        rows.append((link["upper"], grouped(link["expected"]), ""))
        rows.append((f"  {link['lower']}", grouped(link["actual"]), difference))
    _table(
        output, "Chain: each number must equal the one above it", ("", "number", "difference"), rows
    )
    output.text("every number agrees" if bill["holds"] else "NUMBERS DIFFER")


def _table(
    output: Output, title: str, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]
) -> None:
    listed = [dict(zip(columns, row, strict=True)) for row in rows]
    output.plain_table(title, columns, listed, _AMOUNTS)
