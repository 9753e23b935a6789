"""A random world as exporters serve it, and what views must say of it, by pandas alone.

Two sources with three nodes, six accounts on two inbounds, over the end of a month and, a week
later, a stretch of noon. Counters restart, snapshots and samples are missing, some samples are
bad, an account is born late; prices are dated, one account pays its own and one is on a plan.
"""

import random
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd  # type: ignore[import-untyped]
from pipeline.harness import JSON, Line, sample, snapshot

STRETCHES = (("2026-03-31T22", 5), ("2026-04-08T11", 3))
HOURS = [
    f"{datetime.fromisoformat(first + ':00') + timedelta(hours=n):%Y-%m-%dT%H}"
    for first, count in STRETCHES
    for n in range(count)
]
ACCOUNTS = [f"7a000000-0000-4000-8000-00000000000{n}" for n in range(6)]
BORN_LATE = ACCOUNTS[5]
NODES = {"jp-1": (("prod", "n1"), ("prod", "n2")), "us-1": (("edge", "n1"),)}
REGION = {"jp-1": "jp", "us-1": "us"}
TAGS = ("tcp", "xhttp")
QUOTA = 40_000
SINCE_THE_FIRST = "2026-04-01T01:00:00Z"
PRICES: JSON = {
    "versions": [
        {"price_version": "april", "price_per_byte": "0.000000030", "from": SINCE_THE_FIRST,
         "region_multipliers": {"jp": "1.5"}, "line_multipliers": {"xhttp": "2"},
         "peak": {"hours": [10], "time_zone": "Asia/Tokyo", "multiplier": "1.25",
                  "offpeak_multiplier": "0.75"}},
        {"price_version": "own", "price_per_byte": "0.7", "scope": "account",
         "scope_key": ACCOUNTS[1], "included_quota_bytes": 7, "from": "2026-04-01T00:00:00Z"},
        {"price_version": "gold", "price_per_byte": "0.1", "scope": "plan", "scope_key": "gold",
         "included_quota_bytes": 100_000},
    ],
    "plan_members": [{"account_uuid": ACCOUNTS[2], "plan": "gold", "from": "2026-04-01T00:30:00Z"}],
}  # fmt: skip


def served(seed: int) -> tuple[dict[str, list[JSON]], pd.DataFrame]:
    """What each source serves, and its good samples as a table."""
    dice = random.Random(seed)
    snapshots: dict[str, list[JSON]] = {source: [] for source in NODES}
    good: list[dict[str, Any]] = []
    for source, nodes in NODES.items():
        for env, node in nodes:
            totals = {
                (account, tag): [dice.randrange(10**6), dice.randrange(10**6)]
                for account in ACCOUNTS if account != BORN_LATE
                for tag in TAGS
            }  # fmt: skip
            for at in _instants():
                if at.hour == 0 and at.minute == 30:
                    totals |= {(BORN_LATE, tag): [0, 0] for tag in TAGS}
                if dice.random() < 0.01:  # the process restarts: every counter begins again
                    totals = {series: [0, 0] for series in totals}
                for series, total in totals.items():
                    if dice.random() < 0.001:  # one counter does
                        total[:] = [0, 0]
                    if dice.random() < 0.7 or series[0] == BORN_LATE:
                        total[0] += dice.randrange(1000)
                        total[1] += dice.randrange(3000)
                if dice.random() < 0.05 and at.minute not in {0, 1, 30, 59}:
                    continue  # nothing is served of this minute
                samples = []
                for (account, tag), (up, down) in totals.items():
                    chance = dice.random()
                    is_settled = at.minute > 35
                    if chance < 0.01 and is_settled:
                        continue
                    is_bad = chance < 0.02 and is_settled
                    samples.append(sample(account, -1 if is_bad else up, down, tag))
                    if not is_bad:
                        good.append({"at": at, "source_id": source, "env": env, "node_id": node,
                                     "account_uuid": account, "inbound_tag": tag,
                                     "up": up, "down": down})  # fmt: skip
                snapshots[source].append(
                    snapshot(f"{at:%Y-%m-%dT%H:%M:%SZ}", *samples, node=node, env=env)
                )
    for each in snapshots.values():
        each.sort(key=lambda one: one["collected_at"])
    return snapshots, pd.DataFrame(good)


def _instants() -> list[datetime]:
    return [
        datetime.fromisoformat(f"{hour}:{minute:02}:03+00:00")
        for hour in HOURS
        for minute in range(60)
    ]


SERIES = ["source_id", "env", "node_id", "account_uuid", "inbound_tag"]


def _deltas(good: pd.DataFrame) -> pd.DataFrame:
    """What each good sample adds to its series (C4, C5, C7)."""
    found = good.sort_values([*SERIES, "at"]).reset_index(drop=True)
    before = found.groupby(SERIES)[["up", "down"]].shift()
    fell = (found["up"] < before["up"]) | (found["down"] < before["down"])
    # Only an account that is born later was not there at the first snapshot of its node.
    born = before["up"].isna() & (found["account_uuid"] == BORN_LATE)
    for counter in ("up", "down"):
        delta = (found[counter] - before[counter]).mask(fell | born, found[counter])
        found[f"{counter}link_bytes"] = delta.fillna(0).astype("int64")
    found["total_bytes"] = found["uplink_bytes"] + found["downlink_bytes"]
    return found.assign(is_reset=fell)


def minutes(good: pd.DataFrame) -> pd.DataFrame:
    """Bytes of every series and minute that has some (C8, C10)."""
    found = _deltas(good)
    found["minute"] = found["at"].dt.floor("min")
    return found[found["total_bytes"] > 0].drop(columns=["at", "up", "down"]).reset_index(drop=True)


def resets(good: pd.DataFrame) -> pd.DataFrame:
    """Every counter that began again."""
    found = _deltas(good)
    found = found[found["is_reset"]]
    return found.assign(reset_at=found["at"], hour=found["at"].dt.floor("h"))


def _price(row: Any) -> tuple[str, Decimal, Decimal]:
    """Version, price, multiplier of a minute (R2)."""
    at, account = row.minute, row.account_uuid
    if account == ACCOUNTS[1] and at >= pd.Timestamp("2026-04-01T00:00Z"):
        return "own", Decimal("0.7"), Decimal(1)
    if account == ACCOUNTS[2] and at >= pd.Timestamp("2026-04-01T00:30Z"):
        return "gold", Decimal("0.1"), Decimal(1)
    if at < pd.Timestamp(SINCE_THE_FIRST):
        return "initial", Decimal(2), Decimal(1)
    multiplier = Decimal("1.5") if REGION[row.source_id] == "jp" else Decimal(1)
    multiplier *= 2 if row.inbound_tag == "xhttp" else 1
    is_peak = at.astimezone(ZoneInfo("Asia/Tokyo")).hour == 10
    return "april", Decimal("0.000000030"), multiplier * Decimal("1.25" if is_peak else "0.75")


def quota(account: str, month: str) -> int:
    """In force at the first minute of the month (R3)."""
    return 7 if account == ACCOUNTS[1] and month == "2026-04" else QUOTA


def rated(facts: pd.DataFrame) -> pd.DataFrame:
    """The same with what each costs; the quota goes by minute, node, inbound, env, source (R3)."""
    found = facts.sort_values(["minute", "node_id", "inbound_tag", "env", "source_id"]).copy()
    left: dict[tuple[str, str], int] = {}
    rows = []
    for row in found.itertuples():
        key = (row.account_uuid, f"{row.minute:%Y-%m}")
        included = min(left.setdefault(key, quota(*key)), row.total_bytes)
        left[key] -= included
        version, price, multiplier = _price(row)
        rated_bytes = row.total_bytes - included
        amount = price * multiplier * rated_bytes
        rows.append((included, rated_bytes, price, multiplier, version, amount))
    names = [
        "included_bytes", "rated_bytes", "unit_price", "multiplier", "price_version", "amount",
    ]  # fmt: skip
    found[names] = pd.DataFrame(rows, index=found.index, columns=names, dtype=object)
    found["region"] = found["source_id"].map(REGION)
    return found


def build(line: Line, snapshots: dict[str, list[JSON]]) -> None:
    """Collects out of order, with a late half of one hour, rates in between, and corrects."""
    line.settings["initial_included_quota_bytes"] = QUOTA
    late = HOURS[3]
    for source, all_of_it in snapshots.items():
        early = [
            one for one in all_of_it
            if not (one["collected_at"].startswith(late) and one["collected_at"][14:16] >= "40")
        ]  # fmt: skip
        line.serve(early, source_id=source, region=REGION[source])
    for hour in (*HOURS[:2], *HOURS[3:], HOURS[2]):
        line.collected(hour)
        line.rate(HOURS[0], "2026-04-09T00")
    line.publish(**PRICES)
    for source, all_of_it in snapshots.items():
        line.serve(all_of_it, source_id=source, region=REGION[source])
    line.collected(late)
    line.rate(HOURS[0], "2026-04-09T00")
