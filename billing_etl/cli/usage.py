"""``billing-etl usage``: a table with a chart, JSON or CSV."""

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from billing_etl.cli.output import Output, widest
from billing_etl.errors import UsageError
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.usage import UsageAnswer, UsageQuestion, ask_usage
from billing_etl.settings import Settings

# Rows on a terminal unless --limit says otherwise; JSON and CSV give all.
_SHOWN: Final = 50
_WIDE: Final = 100
# From here on an account is shown whole.
_WHOLE: Final = 120
_SHORT: Final = 9
_BAR: Final = range(5, 41)
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


class _Lines:
    """Takes rows that end as the standard says, and prints them as lines of this system."""

    def write(self, row: str) -> None:
        sys.stdout.write(row.removesuffix("\r\n") + "\n")


def _write_csv(answer: UsageAnswer) -> None:
    rows = answer.as_dict()["rows"]
    quota = ("quota_bytes", "remaining_bytes") if answer.question.by in {"account", "month"} else ()
    # A name may hold either half of the line's end: only then does the module quote both.
    writer = csv.DictWriter(
        _Lines(), [answer.question.by, *_NUMBERS, *quota], lineterminator="\r\n"
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
    columns, width = _layout(question.by, lines, output.width)
    shown = [{name: line[name] for name in columns} for line in lines]
    if width:
        largest = max(sums.total_bytes for sums in answer.rows)
        bars = [_bar(sums.total_bytes, largest, width) for sums in answer.rows]
        shown = [line | {"": bar} for line, bar in zip(shown, [*bars, ""], strict=False)]
    output.plain_table(what, tuple(shown[0]), shown, numbers=columns[1:])
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
    """A row as it is shown; there is not always room for whole uuids, nor for up and down."""
    key = str(sums[by])
    is_cut = by == "account" and key != "total" and width < _WHOLE
    shown = {by: f"{key[: _SHORT - 1]}…" if is_cut else key}
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


def _layout(by: str, lines: Sequence[Mapping[str, str]], width: int) -> tuple[tuple[str, ...], int]:
    """Columns for which there is room, and the width of the longest bar; 0: there is none.

    A number is never folded to make room: first go its parts, then the chart, then what is left
    of the quota. A name is.
    """
    columns: tuple[str, ...] = ()
    room = 0
    parts = ("included", "rated")
    for left_out, chart in (
        ((), _BAR.start),
        (parts, -2),  # without a chart there are no spaces before it
        ((*parts, "quota left"), -2),
    ):
        columns = tuple(name for name in lines[0] if name not in left_out)
        taken = min(widest(by, lines), max(10, width // 3))
        taken += sum(widest(name, lines) for name in columns[1:])
        # Two spaces stand between columns, the chart's too.
        room = width - taken - 2 * len(columns)
        if room >= chart:
            break
    return columns, min(_BAR[-1], room) if room >= _BAR.start else 0


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
