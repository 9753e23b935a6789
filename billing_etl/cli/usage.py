"""``billing-etl usage``: a table with a chart, JSON or CSV."""

import argparse
import csv
import sys
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from billing_etl.cli.output import Output
from billing_etl.errors import UsageError
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.usage import UsageAnswer, UsageQuestion, ask_usage
from billing_etl.settings import Settings

# Rows on a terminal unless --limit says otherwise; JSON and CSV give all.
_SHOWN: Final = 50
_WIDE: Final = 100
_SHORT: Final = 9
_BLOCKS: Final = " ▏▎▍▌▋▊▉█"
_NUMBERS: Final = (
    "uplink_bytes", "downlink_bytes", "total_bytes", "included_bytes", "rated_bytes",
    "unrated_bytes", "amount",
)  # fmt: skip


def usage(arguments: argparse.Namespace, env: Mapping[str, str], output: Output) -> int:
    """Prints what was used and what it costs."""
    if arguments.csv and output.as_json:
        raise UsageError("usage: expected --json or --csv, got both; leave one out")
    settings = Settings.from_environment(env)
    settings.require_database_url()
    is_for_people = not (arguments.csv or output.as_json)
    limit = _SHOWN if arguments.limit is None and is_for_people else arguments.limit
    question = UsageQuestion(
        arguments.by, arguments.account, arguments.region, arguments.start, arguments.end, limit
    )
    answer = ask_usage(Engine(settings), question)
    if output.as_json:
        output.result(answer.as_dict(), "")
    elif arguments.csv:
        _write_csv(answer)
    else:
        _show(answer, output)
    return 0


def _write_csv(answer: UsageAnswer) -> None:
    rows = answer.as_dict()["rows"]
    quota = ("quota_bytes", "remaining_bytes") if answer.question.by in {"account", "month"} else ()
    writer = csv.DictWriter(
        sys.stdout, [answer.question.by, *_NUMBERS, *quota], lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)


def _show(answer: UsageAnswer, output: Output) -> None:
    question, document = answer.question, answer.as_dict()
    what = f"Usage by {question.by}, [{answer.hours.start}, {answer.hours.end}) UTC"
    what += f", account {question.account}" if question.account else ""
    what += f", region {question.region}" if question.region else ""
    if not answer.rows:
        output.text(f"{what}: nothing")
        return
    has_quota = "quota_bytes" in document["rows"][0]
    lines = [_line(question.by, sums, has_quota, output.width) for sums in document["rows"]]
    if len(lines) > 1:
        total = {question.by: "total"} | document["total"]
        lines.append(_line(question.by, total, has_quota, output.width))
    columns = tuple(lines[0])
    taken = sum(max(len(text) for text in (name, *(x[name] for x in lines))) for name in columns)
    width = max(5, min(40, output.width - taken - 2 * len(columns)))
    largest = max(sums.total_bytes for sums in answer.rows)
    bars = [_bar(sums.total_bytes, largest, width) for sums in answer.rows]
    charted = [line | {"": bar} for line, bar in zip(lines, [*bars, ""], strict=False)]
    output.plain_table(what, (*columns, ""), charted, numbers=columns[1:])
    if document["rows_left_out"]:
        output.text(f"the total is of {document['rows_left_out']:,} more; see --limit")
    for quota in document["quotas"]:
        output.text(
            f"quota of {quota['month']}: {human(quota['quota_bytes'])}, "
            f"{human(quota['used_bytes'])} used, {human(quota['remaining_bytes'])} left"
        )
    if answer.total.unrated_bytes:
        unrated = human(answer.total.unrated_bytes)
        output.text(f"{unrated} are not rated yet; `billing-etl rate` does that")


def _line(by: str, sums: Mapping[str, Any], has_quota: bool, width: int) -> dict[str, str]:
    """A row as it is shown; there is no room for whole uuids, nor always for up and down."""
    key = str(sums[by])
    shown = {by: f"{key[: _SHORT - 1]}…" if by == "account" and key != "total" else key}
    if width >= _WIDE and not has_quota:
        shown |= {"up": human(sums["uplink_bytes"]), "down": human(sums["downlink_bytes"])}
    shown |= {name: human(sums[f"{name}_bytes"]) for name in ("total", "included", "rated")}
    # Rounded here, where a person reads it (R1).
    amount = sums["amount"]
    shown["amount"] = "not rated" if amount is None else _amount(Decimal(amount))
    if has_quota:
        left = sums.get("remaining_bytes")
        shown["quota left"] = "" if left is None else human(left)
    return shown


def _amount(amount: Decimal) -> str:
    return f"{amount:,.2f}" if abs(amount) >= 1000 else f"{amount:,.6f}"


def human(size: int) -> str:
    """Bytes in the unit in which a person would say them: 1.37 GB."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(amount) < 1000 or unit == "TB":
            break
        amount /= 1000
    return f"{size:,} B" if unit == "B" else f"{amount:,.2f} {unit}"


def _bar(size: int, largest: int, width: int) -> str:
    """A bar as long as its part of the largest; eighths of a cell are told apart."""
    eighths = round(size * width * 8 / largest) if largest else 0
    if size and not eighths:
        eighths = 1
    return "█" * (eighths // 8) + _BLOCKS[eighths % 8].strip()
