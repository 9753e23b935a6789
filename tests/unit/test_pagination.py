"""The paginator by itself: what it asks, what it settles, when it gives up (exporter contract)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_etl.errors import TerminalError
from billing_etl.exporter import pagination
from billing_etl.exporter.contract import Page
from billing_etl.exporter.pagination import (
    TARGET_PAGE_BYTES,
    Paginator,
    Question,
    fitting_limit,
)
from billing_etl.hours import NS_PER_HOUR, NS_PER_SECOND, format_instant_ns, parse_instant_ns
from billing_etl.records import Snapshot

NOON_NS = parse_instant_ns("2026-04-08T12:00:00Z")
ONE_NS = NOON_NS + NS_PER_HOUR


def at(seconds: float, node: str = "node-1", total: int = 0, env: str = "prod") -> Snapshot:
    """A snapshot that many seconds after noon; to the millisecond."""
    instant_ns = NOON_NS + round(seconds * 1000) * NS_PER_SECOND // 1000
    return Snapshot(instant_ns, env, node, [], [], [total], [], [])


def more(*snapshots: Snapshot, cursor: str | None = None) -> Page:
    return Page(list(snapshots), True, cursor)


def last(*snapshots: Snapshot, cursor: str | None = None) -> Page:
    return Page(list(snapshots), False, cursor)


def pager(limit: int = 10, since_ns: int = NOON_NS, until_ns: int = ONE_NS) -> Paginator:
    return Paginator(since_ns, until_ns, limit)


def seconds_of(snapshots: list[Snapshot]) -> list[float]:
    return [(snapshot.instant_ns - NOON_NS) / NS_PER_SECOND for snapshot in snapshots]


# --- what is asked -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("since_ns", "until_ns", "question"),
    [
        pytest.param(
            NOON_NS, ONE_NS, ("2026-04-08T11:59:59Z", "2026-04-08T13:00:01Z"), id="an hour"
        ),
        pytest.param(
            NOON_NS + 1, ONE_NS - 1, ("2026-04-08T11:59:59Z", "2026-04-08T13:00:01Z"),
            id="within seconds",
        ),
        pytest.param(
            NOON_NS, ONE_NS + 1, ("2026-04-08T11:59:59Z", "2026-04-08T13:00:02Z"),
            id="a nanosecond of one more second",
        ),
    ],
)  # fmt: skip
def test_bounds_are_whole_seconds_and_a_second_wider_than_the_window(
    since_ns: int, until_ns: int, question: tuple[str, str]
) -> None:
    assert pager(7, since_ns, until_ns).question() == Question(*question, limit=7)


def test_the_next_question_reads_the_last_second_again() -> None:
    paginator = pager()
    paginator.take(more(at(1), at(60.5)), 100)

    question = paginator.question()

    assert question is not None
    assert (question.since, question.until) == ("2026-04-08T12:00:59Z", "2026-04-08T13:00:01Z")


def test_nothing_is_asked_once_the_window_is_read() -> None:
    paginator = pager()
    paginator.take(last(), 100)

    assert paginator.question() is None


# --- when the window is read ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(last(), id="nothing served"),
        pytest.param(last(at(1)), id="no more behind it"),
        pytest.param(last(at(1), at(3599.999)), id="up to the last second"),
        pytest.param(more(at(1), at(3600)), id="more, but beyond the window"),
        pytest.param(more(at(3600.5)), id="more, within the second after the window"),
        pytest.param(last(cursor="x"), id="a cursor that leads nowhere"),
        pytest.param(last(at(0.5), cursor="x"), id="a cursor without progress"),
    ],
)
def test_an_answer_that_ends_the_window(page: Page) -> None:
    paginator = pager(limit=2)
    expected = [snapshot for snapshot in page.snapshots if snapshot.instant_ns < ONE_NS]

    assert paginator.take(page, 100) == expected
    assert paginator.question() is None


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(more(at(1)), id="has_more"),
        pytest.param(more(at(1), at(3599.999)), id="has_more in the last second"),
        pytest.param(last(at(1), cursor="x"), id="a cursor after progress"),
        pytest.param(last(at(0.5), at(0.7), cursor="x"), id="a cursor after a full page"),
        pytest.param(
            last(at(0.5), at(0.6), at(0.7), cursor="x"), id="a cursor after more than a page"
        ),
    ],
)
def test_an_answer_with_more_behind_it(page: Page) -> None:
    paginator = pager(limit=2)
    paginator.take(page, 100)

    assert paginator.question() is not None


def test_a_cursor_counts_also_where_has_more_is_said() -> None:
    paginator = pager()
    paginator.take(more(at(0.5), cursor="x"), 100)

    assert paginator.question() is not None


# --- what is settled -----------------------------------------------------------------------------


def test_the_last_second_of_an_answer_is_held_back_until_it_is_read_whole() -> None:
    paginator = pager()

    assert seconds_of(paginator.take(more(at(1), at(2.9), at(3), at(3.5)), 100)) == [1, 2.9]
    assert seconds_of(paginator.take(more(at(3), at(3.5), at(3.7), at(4)), 100)) == [3, 3.5, 3.7]
    assert seconds_of(paginator.take(last(at(4)), 100)) == [4]


def test_only_the_window_is_settled() -> None:
    around = [at(seconds) for seconds in (-1, -0.001, 0.5, 1, 3599.999, 3600, 3601)]
    window = pager(since_ns=around[2].instant_ns)

    assert seconds_of(window.take(last(*around), 100)) == [0.5, 1, 3599.999]


def test_what_lies_before_the_window_in_its_first_second_is_no_part_of_it() -> None:
    window = pager(since_ns=NOON_NS + NS_PER_SECOND // 2)

    assert seconds_of(window.take(more(at(0.499), at(0.5), at(1)), 100)) == [0.5]
    assert window.reread_snapshots == 0


def test_a_snapshot_that_is_served_late_for_a_settled_second_is_not_settled_again() -> None:
    paginator = pager()
    paginator.take(more(at(1), at(3)), 100)

    assert seconds_of(paginator.take(last(at(2), at(3)), 100)) == [3]


def test_the_newer_reading_of_a_held_snapshot_is_kept() -> None:
    paginator = pager()
    paginator.take(more(at(0), at(60, total=7)), 100)

    (again,) = paginator.take(last(at(60, total=9)), 100)

    assert again.uplink_bytes_total == [9]


@pytest.mark.parametrize("other", [at(60, node="node-2"), at(60, env="dev"), at(60.001)])
def test_a_held_snapshot_is_kept_when_the_exporter_shows_another_one_instead(
    other: Snapshot,
) -> None:
    paginator = pager()
    paginator.take(more(at(0), at(60)), 100)

    assert paginator.take(last(other), 100) == [at(60), other]
    assert paginator.reread_snapshots == 0


def test_an_answer_out_of_order_is_settled_in_order() -> None:
    assert seconds_of(pager().take(last(at(2), at(1), at(3)), 100)) == [1, 2, 3]


def test_pages_bytes_and_what_was_served_again_are_counted() -> None:
    paginator = pager()
    paginator.take(more(at(1), at(3), at(3.5)), 100)
    paginator.take(more(at(2), at(3), at(3.5), at(5)), 30)
    paginator.take(last(at(5)), 4)

    assert (paginator.pages, paginator.page_bytes) == (3, 134)
    # 2, which was settled or passed, and the three that were held.
    assert paginator.reread_snapshots == 4


def test_what_is_served_from_before_the_window_is_not_counted_as_read_again() -> None:
    paginator = pager()
    paginator.take(more(at(-0.5), at(3)), 100)
    paginator.take(more(at(-0.5), at(0), at(3), at(4)), 100)

    assert paginator.reread_snapshots == 2


# --- how much is asked for -----------------------------------------------------------------------


def test_an_answer_that_stays_within_its_first_second_is_asked_again_with_twice_the_limit() -> None:
    paginator = pager(limit=2)

    assert paginator.take(more(at(0), at(0.5)), 100) == []
    assert paginator.limit == 4
    assert paginator.take(more(at(0), at(0.5), at(0.6), at(0.7)), 100) == []
    assert paginator.limit == 8
    assert seconds_of(paginator.take(last(at(0), at(0.5), at(0.6), at(0.7)), 100)) == [
        0, 0.5, 0.6, 0.7,
    ]  # fmt: skip


def test_the_limit_never_passes_what_exporters_accept() -> None:
    paginator = pager(limit=600)
    paginator.take(more(at(0)), 100)

    assert paginator.limit == 1000
    with pytest.raises(TerminalError) as caught:
        paginator.take(more(at(0)), 100)

    assert str(caught.value) == (
        "expected news from 2026-04-08T12:00:00Z on, got has_more but nothing new with limit "
        "1000; the exporter repeats itself, or holds more snapshots of one second than a page can"
    )


def test_a_limit_of_one_below_the_highest_is_raised_once_more() -> None:
    paginator = pager(limit=999)

    assert paginator.take(more(at(0)), 100) == []
    assert paginator.limit == 1000


@pytest.mark.parametrize(
    ("limit", "served", "page_bytes", "next_limit"),
    [
        pytest.param(2, 4, 4000, 4, id="doubling at most"),
        pytest.param(40, 10, 4000, 25, id="as many as fit into the target"),
        pytest.param(40, 10, 3999, 25, id="rounded down"),
        pytest.param(600, 10, 10, 1000, id="what exporters accept at most"),
        pytest.param(600, 10, 0, 1000, id="an answer of no size"),
        pytest.param(40, 10, 100_000, 2, id="room for the second that is read again"),
    ],
)
def test_the_limit_is_steered_towards_the_target_size(
    monkeypatch: pytest.MonkeyPatch, limit: int, served: int, page_bytes: int, next_limit: int
) -> None:
    monkeypatch.setattr(pagination, "TARGET_PAGE_BYTES", 10_000)
    paginator = pager(limit)

    paginator.take(more(*(at(60 * minute) for minute in range(served))), page_bytes)

    assert paginator.limit == next_limit


def test_even_a_page_of_one_byte_tells_how_many_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pagination, "TARGET_PAGE_BYTES", 1)
    paginator = pager(limit=40)

    paginator.take(more(*(at(60 * minute) for minute in range(10))), 1)

    assert paginator.limit == 10


def test_there_is_room_for_the_seconds_that_are_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pagination, "TARGET_PAGE_BYTES", 1)
    paginator = pager(limit=40)

    paginator.take(more(at(1), at(57.999), at(58), at(58.5), at(59), at(59.5)), 100)

    # Asked again from 58 on: the four from there, and one that is new.
    assert paginator.limit == 5


def test_an_answer_that_was_too_large_is_asked_again_for_half() -> None:
    paginator = pager(limit=11)
    paginator.too_large()

    assert paginator.limit == 5
    paginator.take(more(*(at(60 * minute) for minute in range(5))), 1)
    # It may grow again, but never to what was too large.
    assert paginator.limit == 10
    paginator.take(more(*(at(60 * minute) for minute in range(4, 14))), 1)
    assert paginator.limit == 10


def test_an_answer_of_a_known_size_is_asked_again_for_what_fits() -> None:
    paginator = pager(limit=120)
    paginator.too_large(6 * TARGET_PAGE_BYTES)

    assert str(paginator.limit) == "20"


def test_less_can_be_asked_for_down_to_what_makes_progress() -> None:
    paginator = pager(limit=2)

    assert paginator.can_ask_for_less
    paginator.too_large()
    assert not paginator.can_ask_for_less


def test_an_answer_that_is_hardly_too_large_is_asked_again_for_half_at_most() -> None:
    paginator = pager(limit=120)
    paginator.too_large(TARGET_PAGE_BYTES + 1)

    assert paginator.limit == 60


@pytest.mark.parametrize(("samples", "limit"), [(0, 5592405), (1, 31068), (5000, 6), (10**9, 2)])
def test_how_many_snapshots_fit_into_a_first_page(samples: int, limit: int) -> None:
    assert fitting_limit(samples) == limit


def test_a_page_of_two_that_was_too_large_becomes_one_of_one() -> None:
    paginator = pager(limit=2)
    paginator.too_large()

    assert paginator.limit == 1
    with pytest.raises(TerminalError) as caught:
        paginator.too_large()

    assert str(caught.value) == (
        "expected 1 snapshots to fit into one page, got more bytes than max_page_bytes allows; "
        "raise it for this source"
    )


def test_a_smaller_page_is_never_asked_for_than_makes_progress() -> None:
    paginator = pager(limit=4)
    paginator.take(more(at(0), at(1), at(1.5), at(2)), 1)
    # From second 1 on there are three snapshots; a fourth one is progress.
    assert paginator.limit == 8
    paginator.too_large()
    assert paginator.limit == 4
    with pytest.raises(TerminalError, match="expected 4 snapshots to fit into one page"):
        paginator.too_large()


def test_after_a_wider_question_no_smaller_page_makes_progress() -> None:
    paginator = pager(limit=4)
    paginator.take(more(at(0)), 1)
    assert paginator.limit == 8
    paginator.too_large()
    assert paginator.limit == 5


def test_too_many_snapshots_of_one_second_for_a_page_is_an_error() -> None:
    paginator = pager(limit=6)
    paginator.too_large()  # pages of six do not fit
    assert paginator.limit == 3

    with pytest.raises(TerminalError) as caught:
        paginator.take(more(at(59), *(at(60, f"node-{number}") for number in range(4))), 1)

    assert str(caught.value) == (
        "expected at most 4 snapshots in one second, got 5 around 2026-04-08T12:01:00Z; raise "
        "max_page_bytes, or split the exporter's nodes into several sources"
    )


def test_as_many_snapshots_of_one_second_as_a_page_can_hold_are_read() -> None:
    paginator = pager(limit=6)
    paginator.too_large()
    paginator.take(more(*(at(60, f"node-{number}") for number in range(4))), 1)

    assert paginator.limit == 5


# --- when it gives up ----------------------------------------------------------------------------


def test_more_without_any_snapshot_is_an_error() -> None:
    with pytest.raises(TerminalError) as caught:
        pager().take(more(), 100)

    assert str(caught.value) == "expected snapshots or has_more false, got neither"


def test_pages_per_window_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pagination, "MAX_PAGES", 3)
    paginator = pager()
    paginator.take(more(at(60)), 1)
    paginator.take(more(at(60), at(120)), 1)

    with pytest.raises(TerminalError) as caught:
        paginator.take(more(at(120), at(180)), 1)

    assert str(caught.value) == (
        "expected the window in at most 3 pages, got more; raise page_size or max_page_bytes, "
        "or check the exporter's clock"
    )


def test_a_window_may_end_with_the_last_page_that_is_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pagination, "MAX_PAGES", 1)

    assert seconds_of(pager().take(last(at(60)), 1)) == [60]


# --- any history, any page size ------------------------------------------------------------------

MOMENT = st.tuples(st.integers(-2500, 12_500), st.sampled_from(["node-1", "node-2"]))


def is_within(snapshot: Snapshot, question: Question, as_text: bool) -> bool:
    """As text, a fraction comes before its whole second: "12:00:03.5Z" < "12:00:03Z"."""
    if as_text:
        return question.since <= format_instant_ns(snapshot.instant_ns) <= question.until
    since_ns, until_ns = parse_instant_ns(question.since), parse_instant_ns(question.until)
    return since_ns <= snapshot.instant_ns <= until_ns


@given(
    st.lists(MOMENT, max_size=40, unique=True),
    st.integers(1, 50),
    st.booleans(),
    st.booleans(),
)
def test_every_snapshot_of_the_window_comes_once_in_order_whatever_the_page_size(
    moments: list[tuple[int, str]], limit: int, says_more: bool, as_text: bool
) -> None:
    """Ten seconds of milliseconds are read; bounds are compared as instants or as text."""
    history = [at(milliseconds / 1000, node) for milliseconds, node in sorted(moments)]
    paginator = pager(limit, until_ns=NOON_NS + 10 * NS_PER_SECOND)
    read: list[Snapshot] = []
    for _ in range(200):
        question = paginator.question()
        if question is None:
            break
        asked = [each for each in history if is_within(each, question, as_text)]
        served = asked[: question.limit]
        has_more = len(served) < len(asked)
        cursor = "x" if has_more and not says_more else None
        read += paginator.take(Page(served, has_more and says_more, cursor), 100)

    assert paginator.question() is None
    assert read == [
        snapshot
        for snapshot in history
        if NOON_NS <= snapshot.instant_ns < NOON_NS + 10 * NS_PER_SECOND
    ]
