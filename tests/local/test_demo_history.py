"""The demonstration's history holds what it promises, in any three hours."""

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from billing_etl.hours import NS_PER_MINUTE, Hour, parse_hour, parse_instant_ns
from billing_etl.local import demo_history
from billing_etl.local.demo_history import DemoExporter, write_demo_history
from billing_etl.settings import Settings

END = parse_hour("2026-11-21T09")
ENDS = [END, END.next, END.next.next]


def stores(tmp_path: Path, end: Hour) -> tuple[list[Any], list[Any]]:
    tokyo, berlin = write_demo_history(tmp_path, end)
    return json.loads(tokyo.store_file.read_text()), json.loads(berlin.store_file.read_text())


def in_hours(snapshots: list[Any], end: Hour) -> list[Any]:
    start_ns = Hour(end.index - 3).start_ns
    return [s for s in snapshots if parse_instant_ns(s["collected_at"]) >= start_ns]


def totals(snapshots: list[Any]) -> dict[tuple[str, str], list[int]]:
    """Uplink + downlink of each account and inbound, in time order, without the bad sample."""
    series: dict[tuple[str, str], list[int]] = defaultdict(list)
    for snapshot in snapshots:
        for sample in snapshot["samples"]:
            if sample["uplink_bytes_total"] >= 0:
                total = sample["uplink_bytes_total"] + sample["downlink_bytes_total"]
                series[sample["uuid"], sample["inbound_tag"]].append(total)
    return series


def test_entries_are_complete_but_for_address_and_token(tmp_path: Path) -> None:
    demo: list[DemoExporter] = write_demo_history(tmp_path, END)
    entries = [each.source | {"base_url": "http://127.0.0.1:1"} for each in demo]

    settings = Settings.from_environment(
        {"EXPORTER_SOURCES_JSON": json.dumps(entries), "INTERNAL_SERVICE_TOKEN": "t"}
    )

    assert [source.source_id for source in settings.sources] == ["demo-tokyo", "demo-berlin"]
    assert [each.flavour for each in demo] == ["nanosecond", "minute"]


@pytest.mark.parametrize("end", ENDS, ids=str)
def test_three_whole_hours_and_a_little_before(tmp_path: Path, end: Hour) -> None:
    for snapshots in stores(tmp_path, end):
        instants = [parse_instant_ns(s["collected_at"]) for s in snapshots]
        assert instants == sorted(instants)
        assert instants[0] // NS_PER_MINUTE == end.first_minute - 180 - 5
        assert instants[-1] // NS_PER_MINUTE == end.first_minute - 1


def test_later_history_repeats_the_hours_that_both_contain(tmp_path: Path) -> None:
    for earlier, later in zip(stores(tmp_path, END), stores(tmp_path, END.next), strict=True):
        first = later[0]["collected_at"]
        assert [s for s in earlier if s["collected_at"] >= first] == [
            s for s in later if parse_instant_ns(s["collected_at"]) < END.start_ns
        ]


@pytest.mark.parametrize("end", ENDS, ids=str)
def test_about_ten_accounts_with_two_inbounds_each(tmp_path: Path, end: Hour) -> None:
    accounts: dict[str, set[str]] = defaultdict(set)
    for snapshots in stores(tmp_path, end):
        for account, tag in totals(in_hours(snapshots, end)):
            accounts[account].add(tag)

    assert 10 <= len(accounts) <= 12
    assert all(len(tags) == 2 for tags in accounts.values())


@pytest.mark.parametrize("end", ENDS, ids=str)
def test_tokyo_restarts_once(tmp_path: Path, end: Hour) -> None:
    tokyo, berlin = stores(tmp_path, end)

    falls = [sum(b < a for a, b in pairwise(s)) for s in totals(in_hours(tokyo, end)).values()]
    assert falls == [1] * 12
    assert not any(b < a for s in totals(berlin).values() for a, b in pairwise(s))


@pytest.mark.parametrize("end", ENDS, ids=str)
def test_berlin_is_down_for_seven_minutes_once(tmp_path: Path, end: Hour) -> None:
    tokyo, berlin = stores(tmp_path, end)

    def gaps(snapshots: list[Any]) -> list[int]:
        minutes = [parse_instant_ns(s["collected_at"]) // NS_PER_MINUTE for s in snapshots]
        return [b - a for a, b in pairwise(minutes) if b - a > 1]

    assert gaps(berlin) == [8]
    assert gaps(tokyo) == []


@pytest.mark.parametrize("end", ENDS, ids=str)
def test_one_account_is_born_with_usage_and_one_is_idle(tmp_path: Path, end: Hour) -> None:
    berlin = stores(tmp_path, end)[1]
    seen_at_first = {account for account, _ in totals(berlin[:1])}
    born = {key: s for key, s in totals(berlin).items() if key[0] not in seen_at_first}
    idle = {account for (account, _), s in totals(berlin).items() if len(set(s)) == 1}

    assert len({account for account, _ in born}) == 1
    assert sum(s[0] for s in born.values()) > 0
    assert demo_history.account_of("ines") in idle
    assert demo_history.account_of("dora") not in idle


@pytest.mark.parametrize("end", ENDS, ids=str)
def test_there_is_one_bad_sample(tmp_path: Path, end: Hour) -> None:
    tokyo, berlin = (in_hours(snapshots, end) for snapshots in stores(tmp_path, end))

    bad = [x for s in tokyo + berlin for x in s["samples"] if x["uplink_bytes_total"] < 0]
    assert len(bad) == 1


def test_berlin_reads_at_whole_minutes_and_tokyo_does_not(tmp_path: Path) -> None:
    tokyo, berlin = stores(tmp_path, END)

    assert all(parse_instant_ns(s["collected_at"]) % NS_PER_MINUTE == 0 for s in berlin)
    assert all(parse_instant_ns(s["collected_at"]) % NS_PER_MINUTE for s in tokyo)
