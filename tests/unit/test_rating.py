"""Which rate a fact gets, and how the included quota is split (R2, R3)."""

from decimal import Decimal
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_etl.errors import UsageError
from billing_etl.hours import Hour, parse_hour
from billing_etl.rating import (
    PriceBook,
    PriceVersion,
    Scope,
    is_exact,
    next_period,
    period_of,
    split_quota,
)

A = "3f2b0a1c-0000-4000-8000-00000000000a"
B = "3f2b0a1c-0000-4000-8000-00000000000b"
NOON = parse_hour("2026-04-08T12")
MINUTE = NOON.first_minute
KOLKATA = "Asia/Kolkata"  # local hours begin at half past


def version(
    number: int, scope: Scope = "default", key: str = "", since: int = 0, **more: object
) -> PriceVersion:
    return PriceVersion(number, f"v{number}", scope, key, since, Decimal(number), **more)  # type: ignore[arg-type]


def price(book: PriceBook, minute: int = MINUTE, account: str = A) -> int:
    return book.rate(account, "jp-1", "tcp", minute).price_version_id


# --- numbers that a person writes --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", True),
        ("1e40", True),
        ("-1e40", True),
        ("1e41", False),
        ("1e-40", True),
        ("1e-41", False),
        (f"1.{'0' * 79}1", True),
        (f"1.{'0' * 80}1", False),
        ("Infinity", False),
        ("sNaN", False),
    ],
)
def test_what_is_money(text: str, expected: bool) -> None:
    assert is_exact(Decimal(text)) is expected


# --- the price book ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("versions", "members", "found"),
    [
        pytest.param([version(1)], [], 1, id="default"),
        pytest.param([version(1), version(2, "plan", "gold")], [], 1, id="no member"),
        pytest.param(
            [version(1), version(2, "plan", "gold")], [(A, 0, "gold")], 2, id="plan before default"
        ),
        pytest.param(
            [version(1), version(2, "plan", "gold"), version(3, "account", A)],
            [(A, 0, "gold")],
            3,
            id="account before plan",
        ),
        pytest.param([version(1), version(3, "account", B)], [], 1, id="another account's"),
        pytest.param(
            [version(1), version(2, "plan", "gold")],
            [(A, 0, "gold"), (A, MINUTE, "")],
            1,
            id="the membership ended",
        ),
        pytest.param(
            [version(1), version(2, "plan", "gold")],
            [(A, 0, "gold"), (A, MINUTE + 1, "")],
            2,
            id="the membership ends in a minute",
        ),
        pytest.param(
            [version(1), version(3, "account", A, MINUTE + 1)], [], 1, id="not in force yet"
        ),
        pytest.param(
            [version(1), version(2, since=MINUTE), version(3, since=MINUTE + 1)],
            [],
            2,
            id="the newest that has begun",
        ),
        pytest.param(
            [version(1), version(2, "plan", "gold")], [(A, 0, "tin")], 1, id="no such plan"
        ),
    ],
)
def test_the_narrowest_version_in_force(
    versions: list[PriceVersion], members: list[tuple[str, int, str]], found: int
) -> None:
    assert price(PriceBook(versions, members, [])) == found


def test_no_version_in_force_names_the_command() -> None:
    with pytest.raises(UsageError) as caught:
        price(PriceBook([version(1, since=MINUTE + 1)], [], []))

    assert str(caught.value) == (
        "price: expected a version in force at 2026-04-08T12:00Z, got none; publish one with "
        "`billing-etl price publish FILE`"
    )


def test_every_multiplier_is_looked_up() -> None:
    book = PriceBook(
        [
            version(
                7,
                region_multipliers={"jp": Decimal("1.5")},
                line_multipliers={"tcp": Decimal(3)},
                peak_multiplier=Decimal(5),
                offpeak_multiplier=Decimal("0.5"),
                peak_hours=(12,),
            )
        ],
        [],
        [("jp-1", 0, "jp")],
    )

    one = Decimal(1)
    expected = (Decimal(7), Decimal("1.5"), Decimal(3), Decimal(5))
    assert book.rate(A, "jp-1", "tcp", MINUTE)[1:] == expected
    assert book.rate(A, "jp-1", "tcp", MINUTE + 60)[4] == Decimal("0.5")
    assert book.rate(A, "other", "xhttp", MINUTE)[2:4] == (one, one)


def test_a_star_multiplies_every_region_and_inbound_that_is_not_named() -> None:
    regions = {"jp": Decimal("1.5"), "*": Decimal(2)}
    inbounds = {"*": Decimal(3), "tcp": Decimal(1)}
    book = PriceBook(
        [version(1, region_multipliers=regions, line_multipliers=inbounds)],
        [],
        [("jp-1", 0, "jp"), ("us-1", 0, "us")],
    )

    assert book.rate(A, "jp-1", "tcp", MINUTE)[2:4] == (Decimal("1.5"), Decimal(1))
    assert book.rate(A, "us-1", "xhttp", MINUTE)[2:4] == (Decimal(2), Decimal(3))


def test_before_its_first_dated_region_a_source_has_the_default_one() -> None:
    multipliers = {"jp": Decimal(2), "home": Decimal(3)}
    book = PriceBook(
        [version(1, region_multipliers=multipliers)], [], [("jp-1", MINUTE, "jp")], "home"
    )

    found = [
        book.rate(A, "jp-1", "tcp", minute).region_multiplier for minute in (MINUTE - 1, MINUTE)
    ]
    assert found == [3, 2]


def test_the_default_region_is_called_so_unless_another_name_is_given() -> None:
    book = PriceBook([version(1, region_multipliers={"default": Decimal(2)})], [], [])

    assert book.rate(A, "jp-1", "tcp", MINUTE).region_multiplier == 2


@pytest.mark.parametrize(
    ("versions", "members", "regions"),
    [
        pytest.param([version(1), version(2, since=MINUTE + 30)], [], [], id="a new version"),
        pytest.param([version(1), version(2, since=MINUTE + 59)], [], [], id="in the last minute"),
        pytest.param(
            [version(1), version(2, "plan", "p")],
            [(A, MINUTE + 10, "p"), (A, MINUTE + 20, "")],
            [],
            id="in a plan for ten minutes",
        ),
        pytest.param(
            [version(1, region_multipliers={"us": Decimal(2)})],
            [],
            [("jp-1", 0, "jp"), ("jp-1", MINUTE + 10, "us"), ("jp-1", MINUTE + 20, "jp")],
            id="in a region for ten minutes",
        ),
        pytest.param(
            [version(1, region_multipliers={"us": Decimal(2)}, peak_time_zone=KOLKATA)],
            [],
            [("jp-1", 0, "jp"), ("jp-1", MINUTE + 10, "us")],
            id="a region, in a zone of half hours without peak hours",
        ),
        pytest.param(
            [version(1, peak_hours=(18,), peak_multiplier=Decimal(2), peak_time_zone=KOLKATA)],
            [],
            [],
            id="a peak that begins at half past",
        ),
        pytest.param(
            [version(1), version(2, "account", A, MINUTE + 30)], [], [], id="a price of its own"
        ),
        pytest.param(
            [version(1), version(2, "plan", "p"), version(3, "plan", "p", MINUTE + 30)],
            [(A, 0, "p")],
            [],
            id="a new version of its plan",
        ),
        pytest.param(
            [
                version(1),
                version(
                    2,
                    "account",
                    A,
                    peak_hours=(18,),
                    peak_multiplier=Decimal(2),
                    peak_time_zone=KOLKATA,
                ),
            ],
            [],
            [],
            id="a peak of its own that begins at half past",
        ),
    ],
)
def test_a_rate_that_differs_within_the_hour_is_known_to(
    versions: list[PriceVersion],
    members: list[tuple[str, int, str]],
    regions: list[tuple[str, int, str]],
) -> None:
    book = PriceBook(versions, members, regions)
    rates = {book.rate(A, "jp-1", "tcp", MINUTE + minute) for minute in range(60)}
    assert len(rates) > 1

    assert book.changes_within(A, "jp-1", NOON)


@pytest.mark.parametrize("hour", [NOON.previous, NOON.next], ids=str)
def test_an_hour_without_a_change_is_rated_at_once(hour: Hour) -> None:
    book = PriceBook([version(1), version(2, since=MINUTE + 30)], [], [("jp-1", 0, "jp")])

    assert not book.changes_within(A, "jp-1", hour)


@pytest.mark.parametrize(
    "versions",
    [
        pytest.param([version(1), version(2, since=MINUTE)], id="a change in the first minute"),
        pytest.param([version(1), version(2, since=MINUTE + 60)], id="a change in the next hour"),
        pytest.param(
            [version(1, peak_hours=(12,), peak_multiplier=Decimal(2))], id="a peak of whole hours"
        ),
        pytest.param([version(1), version(2, "account", B, MINUTE + 30)], id="another account's"),
    ],
)
def test_a_change_at_the_edge_of_the_hour_is_none_within_it(versions: list[PriceVersion]) -> None:
    assert not PriceBook(versions, [], []).changes_within(A, "jp-1", NOON)


@pytest.mark.parametrize(
    ("account", "plan", "default", "found"),
    [
        pytest.param(1, 2, 3, 1, id="account"),
        pytest.param(0, 2, 3, 0, id="zero counts"),
        pytest.param(None, 2, 3, 2, id="plan"),
        pytest.param(None, None, 3, 3, id="default"),
        pytest.param(None, None, None, 0, id="none"),
    ],
)
def test_the_narrowest_quota_that_is_given(
    account: int | None, plan: int | None, default: int | None, found: int
) -> None:
    book = PriceBook(
        [
            version(1, included_quota=default),
            version(2, "plan", "gold", included_quota=plan),
            version(3, "account", A, included_quota=account),
        ],
        [(A, 0, "gold")],
        [],
    )

    assert book.quota(A, NOON) == found


def test_the_quota_is_that_of_the_first_minute_of_the_period() -> None:
    book = PriceBook(
        [version(1, included_quota=10), version(2, since=MINUTE + 1, included_quota=20)], [], []
    )

    assert (book.quota(A, NOON), book.quota(A, NOON.next)) == (10, 20)


# --- billing periods ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hour", "anchor_day", "start"),
    [
        ("2026-04-08T12", 1, "2026-04-01T00"),
        ("2026-04-01T00", 1, "2026-04-01T00"),
        ("2026-03-31T23", 1, "2026-03-01T00"),
        ("2026-04-08T12", 9, "2026-03-09T00"),
        ("2026-04-09T00", 9, "2026-04-09T00"),
        ("2026-01-05T00", 28, "2025-12-28T00"),
        ("2026-02-28T00", 28, "2026-02-28T00"),
        ("2024-02-29T23", 28, "2024-02-28T00"),
    ],
)
def test_the_period_of_an_hour(hour: str, anchor_day: int, start: str) -> None:
    assert period_of(parse_hour(hour), anchor_day) == parse_hour(start)


@given(st.integers(0, 10**6), st.integers(1, 28))
def test_periods_follow_each_other_without_hole_or_overlap(index: int, anchor_day: int) -> None:
    start = period_of(Hour(index), anchor_day)

    assert start <= Hour(index)
    assert (start.start.day, start.start.hour) == (anchor_day, 0)
    assert period_of(start, anchor_day) == start
    assert period_of(start.previous, anchor_day) < start
    assert Hour(index).index - start.index < 31 * 24


# --- splitting the quota -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "quantity", "used", "quota", "included"),
    [
        pytest.param([0], [40], [0], [100], [40], id="all within"),
        pytest.param([0, 0], [40, 100], [0, 0], [100, 100], [40, 60], id="the worked example"),
        pytest.param([0, 0, 0], [60, 60, 60], [0] * 3, [100] * 3, [60, 40, 0], id="then nothing"),
        pytest.param([0], [40], [90], [100], [10], id="a carry"),
        pytest.param([0], [40], [200], [100], [0], id="a carry beyond the quota"),
        pytest.param([0], [40], [0], [0], [0], id="no quota"),
        pytest.param([0, 1], [40, 40], [90, 0], [100, 50], [10, 40], id="groups of their own"),
        pytest.param([], [], [], [], [], id="nothing"),
        pytest.param([0, 0], [2**62, 2**62 - 1], [0, 0], [2**63 - 1] * 2, [2**62, 2**62 - 1],
                     id="the largest quota"),
    ],
)  # fmt: skip
def test_split(
    group: list[int], quantity: list[int], used: list[int], quota: list[int], included: list[int]
) -> None:
    arrays = [np.array(values, dtype=np.int64) for values in (group, quantity, used, quota)]

    assert split_quota(*arrays).tolist() == included


@st.composite
def account_hours(draw: st.DrawFn) -> list[tuple[int, int, int, int]]:
    """Rows of (group, quantity, used before, quota), in runs of equal groups."""
    rows = []
    for group in range(draw(st.integers(1, 4))):
        used, quota = draw(st.integers(0, 300)), draw(st.integers(0, 300))
        for quantity in draw(st.lists(st.integers(0, 100), min_size=1, max_size=6)):
            rows.append((group, quantity, used, quota))
    return rows


@given(account_hours())
def test_the_quota_is_never_exceeded_and_nothing_is_left_while_it_lasts(
    rows: list[tuple[int, int, int, int]],
) -> None:
    """Against the same rule fact by fact: each takes what is left."""
    included = split_quota(*np.array(rows, dtype=np.int64).T)

    expected = []
    for _, run in groupby(rows, key=lambda row: row[0]):
        used = None
        for _, quantity, used_before, quota in run:
            used = used_before if used is None else used
            expected.append(min(quantity, max(0, quota - used)))
            used += quantity
    assert included.tolist() == expected


# --- an hour's rates ---------------------------------------------------------------------------


def within(book: PriceBook, account: str = A, source: str = "jp-1") -> list[int | None]:
    """The price version of an hour's facts: one, or one per minute."""
    rates = book.rates_within(account, source, "tcp", NOON)
    return [rate and rate.price_version_id for rate in rates]


def test_an_hour_in_which_no_price_changes_has_one_rate() -> None:
    book = PriceBook([version(1), version(2, since=MINUTE + 60), version(3, since=MINUTE)], [], [])

    assert within(book) == [3]
    assert book.rates_within(A, "jp-1", "tcp", NOON) == [book.rate(A, "jp-1", "tcp", MINUTE)]


def test_an_hour_in_which_a_price_changes_has_a_rate_per_minute() -> None:
    book = PriceBook([version(1), version(2, since=MINUTE + 59)], [], [])

    assert within(book) == [1] * 59 + [2]


def test_an_hour_before_the_first_price_has_none() -> None:
    assert within(PriceBook([version(1, since=MINUTE + 60)], [], [])) == [None]
    assert within(PriceBook([version(1, since=MINUTE + 30)], [], [])) == [None] * 30 + [1] * 30


def test_an_hour_of_an_account_with_the_only_price_there_is() -> None:
    book = PriceBook([version(1, "account", A)], [], [])

    assert (within(book, A), within(book, B)) == ([1], [None])


def test_an_hours_rates_are_those_of_its_account_source_and_inbound() -> None:
    versions = [
        version(1, region_multipliers={"jp": Decimal(2)}, line_multipliers={"udp": Decimal(3)}),
        version(2, "account", B, since=MINUTE + 30),
    ]
    book = PriceBook(versions, [], [("jp-1", MINUTE + 1, "jp")])

    assert within(book, B, "other") == [1] * 30 + [2] * 30
    assert within(book, A, "other") == [1]
    of_source = book.rates_within(A, "jp-1", "udp", NOON)
    assert [rate and [int(each) for each in rate[2:4]] for rate in of_source] == (
        [[1, 3]] + [[2, 3]] * 59
    )


@pytest.mark.parametrize(
    ("since", "region"),
    [
        pytest.param(MINUTE - 1, "jp", id="before the hour"),
        pytest.param(MINUTE, "jp", id="with the hour"),
        pytest.param(MINUTE + 1, None, id="within the hour"),
        pytest.param(MINUTE + 59, None, id="in its last minute"),
        pytest.param(MINUTE + 60, "home", id="after the hour"),
    ],
)
def test_the_region_of_an_hour_is_one_or_none(since: int, region: str | None) -> None:
    book = PriceBook([version(1)], [], [("jp-1", since, "jp")], "home")

    assert book.region_within("jp-1", NOON) == region
    assert book.region_within("other", NOON) == "home"


def test_an_account_is_priced_alone_when_something_is_published_for_it() -> None:
    book = PriceBook(
        [version(1), version(2, "plan", "gold"), version(3, "account", A)], [(B, 0, "gold")], []
    )

    assert [book.is_priced_alone(account) for account in (A, B, "gold", "")] == [
        True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("period", "anchor", "following"),
    [
        ("2026-04-01T00", 1, "2026-05-01T00"),
        ("2026-12-01T00", 1, "2027-01-01T00"),
        ("2026-02-28T00", 28, "2026-03-28T00"),
        ("2026-01-15T00", 15, "2026-02-15T00"),
    ],
)
def test_the_period_after_a_period(period: str, anchor: int, following: str) -> None:
    assert next_period(parse_hour(period), anchor) == parse_hour(following)
