"""The client against served exporters: every quirk of the exporter contract, every bad input."""

import json
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_exporter import Asked, Reply, in_turn, serving

from billing_etl.errors import BillingError, RetryableError, TerminalError, UsageError
from billing_etl.exporter import ExporterClient
from billing_etl.exporter import pagination as paging
from billing_etl.hours import NS_PER_HOUR, NS_PER_SECOND, parse_instant_ns
from billing_etl.local.exporter_server import FLAVOURS, ExporterServer, Flavour
from billing_etl.records import Snapshot
from billing_etl.settings import Source

CAPTURES = Path(__file__).parents[1] / "captures"
TOKEN = "s3cret-token"
UUID = "11111111-1111-1111-1111-111111111111"
NOON_NS = parse_instant_ns("2026-04-08T12:00:00Z")
ONE_NS = NOON_NS + NS_PER_HOUR


def stored(collected_at: str, node_id: str = "node-1", total: int = 1) -> dict[str, Any]:
    counters = {"uplink_bytes_total": total, "downlink_bytes_total": total}
    sample = {"uuid": UUID, "email": "a@x.test", "inbound_tag": "tcp", **counters}
    return {"collected_at": collected_at, "node_id": node_id, "env": "prod", "samples": [sample]}


def page(*snapshots: dict[str, Any], has_more: bool = False, **other: str) -> Reply:
    body = {"node_id": "n", "env": "prod", "snapshots": snapshots, "has_more": has_more, **other}
    return Reply(json.dumps(body).encode())


def client(base_url: str, **settings: Any) -> ExporterClient:
    return ExporterClient(Source("jp-1", base_url, token=TOKEN, **settings), sleep=lambda _: None)


def fetch(base_url: str, since: int = NOON_NS, until: int = ONE_NS, **settings: Any) -> list[str]:
    with client(base_url, **settings) as exporter:
        return shown(exporter.snapshots(since, until))


def shown(snapshots: Iterator[Snapshot] | list[Snapshot]) -> list[str]:
    """Seconds after noon, node and total: enough to tell snapshots apart."""
    return [
        f"{(s.instant_ns - NOON_NS) / NS_PER_SECOND:g} {s.node_id} {s.uplink_bytes_total}"
        for s in snapshots
    ]


# --- the recorded answers, served again ----------------------------------------------------------


def recorded(name: str) -> Any:
    return json.loads((CAPTURES / name).read_text())


def replay(capture: dict[str, Any]) -> Reply:
    return Reply(capture["body"].encode(), capture["status"], capture["headers"]["content-type"])


def test_a_recorded_page_with_ties_offsets_fractions_and_null_samples() -> None:
    capture = recorded("nanosecond-exporter-quirks.json")["whole_window"]
    with serving(in_turn(replay(capture))) as exporter, client(exporter.base_url) as reader:
        since_ns = parse_instant_ns("2026-08-01T10:00:00Z")
        read = list(reader.snapshots(since_ns, since_ns + NS_PER_HOUR))

    assert [(s.instant_ns - since_ns, s.node_id, list(s.uplink_bytes_total)) for s in read] == [
        (0, "node-1", [1]),
        (60_123_456_789, "node-1", [2]),
        (60_123_456_789, "node-2", [3]),
        (120_500_000_000, "node-1", [4]),
        (120_900_000_000, "node-1", [5]),
        (180_000_000_000, "node-1", [6]),
        (240_000_000_000, "node-1", []),
    ]


@pytest.mark.parametrize(
    ("file", "capture"),
    [
        ("minute-exporter.json", "empty_window"),
        ("nanosecond-exporter-quirks.json", "empty_store"),
    ],
)
def test_recorded_empty_windows(file: str, capture: str) -> None:
    with serving(in_turn(replay(recorded(file)[capture]))) as exporter:
        assert fetch(exporter.base_url) == []


@pytest.mark.parametrize(
    ("file", "capture", "got"),
    [
        ("nanosecond-exporter-quirks.json", "wrong_token", "401 text/plain 'unauthorized'"),
        ("nanosecond-exporter-quirks.json", "unknown_path", "404 text/plain '404 page not found'"),
        ("minute-exporter.json", "bad_since", "400 text/plain 'invalid since'"),
        ("minute-exporter.json", "no_token", "401 text/plain 'unauthorized'"),
    ],
)
def test_recorded_refusals_fail_at_once(file: str, capture: str, got: str) -> None:
    with (
        serving(in_turn(replay(recorded(file)[capture]))) as exporter,
        pytest.raises(TerminalError, match=got),
    ):
        fetch(exporter.base_url)

    assert len(exporter.asked) == 1


# --- paging --------------------------------------------------------------------------------------

# Two nodes at equal instants, three of them within one second, fractions of 0, 1 and 9 digits,
# an offset, and snapshots just outside the hour on both sides.
TIED = [
    stored("2026-04-08T11:59:59.999999999Z", total=1),
    *(
        stored(f"2026-04-08T12:{minute:02d}:{second}", node_id, minute)
        for minute in (0, 1, 2, 30)
        for second in ("00Z", "03.5Z", "03.500000001Z", "04Z")
        for node_id in ("node-1", "node-2")
    ),
    stored("2026-04-08T20:45:00+08:00", total=45),
    stored("2026-04-08T12:59:59.999999999Z", total=59),
    stored("2026-04-08T13:00:00Z", total=60),
]


def expected_of(flavour: Flavour) -> list[tuple[int, str, list[int]]]:
    """What the hour holds, by hand: the minute exporter keeps the last reading of each minute."""
    hour: dict[tuple[int, str], list[int]] = {}
    for snapshot in TIED[1:-1]:
        instant_ns = parse_instant_ns(snapshot["collected_at"])
        if flavour == "minute":
            instant_ns -= instant_ns % (60 * NS_PER_SECOND)
        hour[instant_ns, snapshot["node_id"]] = [snapshot["samples"][0]["uplink_bytes_total"]]
    return sorted((instant, node, totals) for (instant, node), totals in hour.items())


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("page_size", [1, 2, 3, 25, 1000])
def test_every_page_size_gives_the_same_snapshots(
    tmp_path: Path, flavour: Flavour, page_size: int
) -> None:
    store = tmp_path / "store.json"
    store.write_text(json.dumps(TIED))
    with (
        ExporterServer(store, "127.0.0.1:0", TOKEN, flavour) as exporter,
        client(exporter.base_url, page_size=page_size) as reader,
    ):
        read = list(reader.snapshots(NOON_NS, ONE_NS))

    assert [(s.instant_ns, s.node_id, s.uplink_bytes_total) for s in read] == expected_of(flavour)


def windowed(
    snapshots: list[dict[str, Any]],
    *,
    cap: int = 1000,
    by_text: bool = False,
    cursor: Callable[[str], str] | None = lambda instant: instant,
) -> Callable[[Asked], Reply]:
    """An exporter that serves at most ``cap`` snapshots, if so comparing bounds as text."""

    def key(text: str) -> Any:
        return text if by_text else parse_instant_ns(text)

    def respond(asked: Asked) -> Reply:
        since, until = key(asked.query["since"]), key(asked.query["until"])
        ordered = sorted(snapshots, key=lambda s: key(s["collected_at"]))
        inside = [s for s in ordered if since <= key(s["collected_at"]) <= until]
        served = inside[: min(cap, int(asked.query["limit"]))]
        more = len(served) < len(inside)
        other = {"next_cursor": cursor(served[-1]["collected_at"])} if more and cursor else {}
        return page(*served, has_more=more, **other)

    return respond


EVERY_SECOND = [
    stored(f"2026-04-08T12:00:{second:02d}{fraction}Z", node_id, second)
    for second in range(20)
    for fraction in ("", ".25", ".5")
    for node_id in ("node-1", "node-2")
]
EVERY_SECOND_SHOWN = shown(
    [
        Snapshot(
            parse_instant_ns(s["collected_at"]),
            "prod",
            s["node_id"],
            [],
            [],
            [s["samples"][0]["uplink_bytes_total"]],
            [],
            [],
        )
        for s in EVERY_SECOND
    ]
)


@pytest.mark.parametrize("cap", [13, 14, 20, 1000], ids=lambda cap: f"at most {cap} served")
@pytest.mark.parametrize("page_size", [1, 7, 1000])
@pytest.mark.parametrize("by_text", [False, True], ids=["by instant", "by text"])
def test_nothing_is_lost_at_page_boundaries(cap: int, page_size: int, by_text: bool) -> None:
    # Six snapshots a second: a page that reads one second again has room for more from 13 on.
    with serving(windowed(EVERY_SECOND, cap=cap, by_text=by_text)) as exporter:
        assert fetch(exporter.base_url, page_size=page_size) == EVERY_SECOND_SHOWN


@pytest.mark.parametrize(
    "cursor",
    [
        lambda instant: instant.partition(".")[0].rstrip("Z") + "Z",
        lambda _: "2026-04-08T12:00:00Z",
        lambda _: "garbage",
        None,
    ],
    ids=["truncated to seconds", "stuck", "garbage", "absent"],
)
def test_cursors_do_not_matter(cursor: Callable[[str], str] | None) -> None:
    with serving(windowed(EVERY_SECOND, cap=15, cursor=cursor)) as exporter:
        assert fetch(exporter.base_url, page_size=1) == EVERY_SECOND_SHOWN

    assert all("cursor" not in asked.query for asked in exporter.asked)


def test_bounds_compared_as_text_hide_nothing_at_the_ends_of_the_window() -> None:
    edges = [
        stored("2026-04-08T11:59:59.9Z"),
        stored("2026-04-08T12:00:00.5Z"),
        stored("2026-04-08T12:59:59.5Z"),
        stored("2026-04-08T13:00:00Z"),
    ]
    with serving(windowed(edges, by_text=True)) as exporter:
        assert fetch(exporter.base_url) == ["0.5 node-1 [1]", "3599.5 node-1 [1]"]


def test_more_snapshots_of_one_second_than_the_exporter_serves_is_an_error() -> None:
    tied = [stored("2026-04-08T12:00:00Z", f"node-{n}") for n in range(9)]
    with (
        serving(windowed(tied, cap=8)) as exporter,
        pytest.raises(TerminalError, match="has_more but nothing new with limit 1000"),
    ):
        fetch(exporter.base_url)

    assert len(exporter.asked) < 10


@pytest.mark.parametrize(
    "reply",
    [
        page(stored("2026-04-08T12:00:00Z"), has_more=True),
        page(stored("2026-04-08T12:30:00Z"), stored("2026-04-08T12:00:00Z"), has_more=True),
        page(stored("2026-04-07T12:00:00Z"), has_more=True),
        page(has_more=True),
    ],
    ids=["the same again", "newest first", "only older ones", "no snapshot but has_more"],
)
def test_an_exporter_that_never_comes_to_an_end_is_an_error(reply: Reply) -> None:
    with (
        serving(in_turn(reply)) as exporter,
        pytest.raises(TerminalError, match="has_more"),
    ):
        fetch(exporter.base_url)

    assert len(exporter.asked) <= 12


def test_pages_per_window_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MAX_PAGES", 3)
    with (
        serving(windowed(EVERY_SECOND, cap=13)) as exporter,
        pytest.raises(TerminalError, match="at most 3 pages"),
    ):
        fetch(exporter.base_url)

    assert len(exporter.asked) == 3


def test_an_answer_out_of_order_is_put_into_order() -> None:
    unsorted = page(
        stored("2026-04-08T12:02:00Z"),
        stored("2026-04-08T12:01:00Z"),
        stored("2026-04-08T12:03:00Z"),
    )
    with serving(in_turn(unsorted)) as exporter:
        assert fetch(exporter.base_url) == ["60 node-1 [1]", "120 node-1 [1]", "180 node-1 [1]"]


def test_a_cursor_without_has_more_is_followed_until_nothing_new_comes() -> None:
    respond = windowed(EVERY_SECOND, cap=13)

    def without_has_more(asked: Asked) -> Reply:
        body = json.loads(respond(asked).body)
        return Reply(json.dumps({**body, "has_more": False, "next_cursor": "x"}).encode())

    with serving(without_has_more) as exporter:
        assert fetch(exporter.base_url) == EVERY_SECOND_SHOWN


def test_a_snapshot_seen_once_is_kept_when_the_exporter_forgets_it() -> None:
    first, second, third = (stored(f"2026-04-08T12:0{n}:00Z") for n in range(3))
    replies = in_turn(page(first, second, has_more=True), page(third))
    with serving(replies) as exporter:
        read = fetch(exporter.base_url)

    assert read == ["0 node-1 [1]", "60 node-1 [1]", "120 node-1 [1]"]


def test_a_snapshot_read_again_at_a_page_boundary_is_the_newer_reading() -> None:
    changing = stored("2026-04-08T12:01:00Z", total=7)
    replies = in_turn(
        page(stored("2026-04-08T12:00:00Z"), changing, has_more=True),
        page(stored("2026-04-08T12:01:00Z", total=9)),
    )
    with serving(replies) as exporter, client(exporter.base_url) as reader:
        assert shown(reader.snapshots(NOON_NS, ONE_NS)) == ["0 node-1 [1]", "60 node-1 [9]"]

        assert reader.report.reread_snapshots == 1


def test_the_same_node_twice_at_one_instant_within_an_answer_stays_twice() -> None:
    twice = page(stored("2026-04-08T12:00:00Z", total=1), stored("2026-04-08T12:00:00Z", total=2))
    with serving(in_turn(twice)) as exporter:
        assert fetch(exporter.base_url) == ["0 node-1 [1]", "0 node-1 [2]"]


def test_the_limit_rises_from_page_size_and_falls_for_large_pages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(paging, "TARGET_PAGE_BYTES", 2500)  # about ten of these snapshots
    minutes = [stored(f"2026-04-08T12:{minute:02d}:00Z") for minute in range(60)]
    with serving(windowed(minutes)) as exporter:
        assert len(fetch(exporter.base_url, page_size=2)) == 60
    rising = [int(asked.query["limit"]) for asked in exporter.asked]
    with serving(windowed(minutes)) as exporter:
        assert len(fetch(exporter.base_url, page_size=40)) == 60
    falling = [int(asked.query["limit"]) for asked in exporter.asked]

    assert rising[:3] == [2, 4, 8]
    assert max(rising[3:]) < 16
    assert falling[0] == 40
    assert max(falling[1:]) < 16


def test_a_page_beyond_the_bound_is_asked_again_with_a_lower_limit() -> None:
    minutes = [stored(f"2026-04-08T12:{minute:02d}:00Z") for minute in range(60)]
    with serving(windowed(minutes)) as exporter:
        read = fetch(exporter.base_url, max_page_bytes=3000)

    assert read == [f"{60 * minute} node-1 [1]" for minute in range(60)]


def test_a_single_snapshot_beyond_the_bound_is_an_error() -> None:
    with (
        serving(windowed([stored("2026-04-08T12:00:00Z")])) as exporter,
        pytest.raises(TerminalError, match="max_page_bytes"),
    ):
        fetch(exporter.base_url, max_page_bytes=100)


def test_query_values_are_escaped_whole_seconds() -> None:
    with serving(in_turn(page())) as exporter:
        fetch(exporter.base_url, since=NOON_NS + 1, until=ONE_NS - 1, page_size=25)

    assert exporter.asked[0].target == (
        "/v1/snapshots/window?since=2026-04-08T11%3A59%3A59Z&until=2026-04-08T13%3A00%3A01Z&limit=25"
    )


# --- first snapshots -----------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_first_snapshots_from_an_instant_on(limit: int) -> None:
    just_before = stored("2026-04-08T11:59:59.999Z")
    with (
        serving(windowed([just_before, *EVERY_SECOND])) as exporter,
        client(exporter.base_url) as reader,
    ):
        assert shown(reader.first_snapshots(NOON_NS, limit)) == EVERY_SECOND_SHOWN[:limit]


def test_first_snapshots_of_nothing() -> None:
    with serving(windowed([])) as exporter, client(exporter.base_url) as reader:
        assert reader.first_snapshots(NOON_NS, 1) == []


# --- bad input -----------------------------------------------------------------------------------


def test_an_error_names_source_window_page_and_remedy_in_one_line() -> None:
    wrong_port = Reply(b"<!DOCTYPE html><p>nginx", content_type="text/html; charset=utf-8")
    with serving(in_turn(wrong_port)) as exporter, pytest.raises(TerminalError) as caught:
        fetch(exporter.base_url)

    assert str(caught.value) == (
        "source jp-1, window [2026-04-08T12:00:00Z, 2026-04-08T13:00:00Z), "
        "page since 2026-04-08T11:59:59Z limit 120: "
        "expected a JSON page, got status 200 text/html; wrong port or path? check base_url"
    )


def test_an_unreachable_exporter() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RetryableError, match=r"source jp-1.*ConnectError.*attempt 5"):
            fetch(address)


def test_an_exporter_that_does_not_answer_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(RetryableError, match=r"ReadTimeout"):
            fetch(address, timeout_seconds=0.05)


def test_a_retry_goes_on_from_the_failed_page() -> None:
    respond, failures = windowed(EVERY_SECOND, cap=20), in_turn(Reply(status=503), Reply())

    def fails_on_the_second_page(asked: Asked) -> Reply:
        if asked.query["since"] == "2026-04-08T12:00:02Z":
            failure = failures(asked)
            if failure.status == 503:
                return failure
        return respond(asked)

    with serving(fails_on_the_second_page) as exporter, client(exporter.base_url) as reader:
        assert shown(reader.snapshots(NOON_NS, ONE_NS)) == EVERY_SECOND_SHOWN
        assert reader.report.retries == 1

    since = [asked.query["since"] for asked in exporter.asked]
    assert since[:3] == ["2026-04-08T11:59:59Z", "2026-04-08T12:00:02Z", "2026-04-08T12:00:02Z"]
    assert since.count("2026-04-08T11:59:59Z") == 1


def waits_for(*replies: Reply) -> list[float]:
    waited: list[float] = []
    with serving(in_turn(*replies)) as exporter:
        source = Source("jp-1", exporter.base_url, token=TOKEN)
        with ExporterClient(source, sleep=waited.append) as reader:
            list(reader.snapshots(NOON_NS, ONE_NS))
    return waited


def test_retry_after_is_honoured() -> None:
    (waited,) = waits_for(Reply(status=429, headers={"Retry-After": "41"}), page())

    assert waited == 41


def test_waits_are_jittered_and_bounded() -> None:
    waited = waits_for(*[Reply(status=500)] * 4, page())

    assert len(waited) == 4
    assert all(0 <= seconds <= 0.5 * 2**attempt for attempt, seconds in enumerate(waited))


def test_a_retry_after_beyond_the_time_limit_gives_up_at_once() -> None:
    overloaded = Reply(status=429, headers={"Retry-After": "3600"})
    with (
        serving(in_turn(overloaded)) as exporter,
        pytest.raises(RetryableError, match="429"),
    ):
        fetch(exporter.base_url)

    assert len(exporter.asked) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_overload_is_retried_and_then_given_up(status: int) -> None:
    with (
        serving(in_turn(Reply(b"busy", status, "text/plain"))) as exporter,
        pytest.raises(RetryableError, match=rf"status {status} text/plain 'busy' \(attempt 5\)"),
    ):
        fetch(exporter.base_url)

    assert len(exporter.asked) == 5


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    with (
        serving(in_turn(page())) as elsewhere,
        serving(in_turn(Reply(status=status, headers={"Location": elsewhere.base_url}))) as first,
        pytest.raises(TerminalError, match="redirects are not followed"),
    ):
        fetch(first.base_url)

    assert elsewhere.asked == []


def test_a_page_cut_on_its_way_is_asked_again() -> None:
    whole = page(stored("2026-04-08T12:00:00Z"))
    cut = Reply(whole.body, cut_after=100)
    with serving(in_turn(cut, whole)) as exporter:
        assert fetch(exporter.base_url) == ["0 node-1 [1]"]
    with (
        serving(in_turn(cut)) as exporter,
        pytest.raises(RetryableError, match="RemoteProtocolError"),
    ):
        fetch(exporter.base_url)


def test_a_page_that_was_cut_before_it_was_sent() -> None:
    cut = Reply(page(stored("2026-04-08T12:00:00Z")).body[:100])
    with (
        serving(in_turn(cut)) as exporter,
        pytest.raises(
            RetryableError, match="expected an answer, got a page cut off after 100 bytes"
        ),
    ):
        fetch(exporter.base_url)


def test_garbage_with_the_right_content_type() -> None:
    with (
        serving(in_turn(Reply(b'{"snapshots": nonsense}'))) as exporter,
        pytest.raises(TerminalError, match="expected a JSON page of snapshots, got something else"),
    ):
        fetch(exporter.base_url)

    assert len(exporter.asked) == 1


def test_a_failing_later_page_delivers_no_half_hour() -> None:
    respond = windowed(EVERY_SECOND, cap=20)

    def breaks(asked: Asked) -> Reply:
        if asked.query["since"] == "2026-04-08T11:59:59Z":
            return respond(asked)
        return Reply(b"unauthorized\n", 401, "text/plain")

    with serving(breaks) as exporter, pytest.raises(TerminalError, match="401"):
        fetch(exporter.base_url)


def test_secrets_and_emails_stay_out_of_errors_logs_and_reprs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = Reply(f"token {TOKEN} of a@x.test refused".encode(), 503, "text/plain")
    with serving(in_turn(echo)) as exporter, client(exporter.base_url) as reader:
        with pytest.raises(BillingError) as caught:
            list(reader.snapshots(NOON_NS, ONE_NS))
        seen = f"{caught.value} {caught.value!r} {caplog.text} {reader.source!r} {reader!r}"

    assert "token *** of *** refused" in str(caught.value)
    assert "trying again" in caplog.text
    assert exporter.asked[0].headers["Authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in seen
    assert "a@x.test" not in seen


def test_the_report_counts_pages_and_keeps_the_exporters_date() -> None:
    first = page(stored("2026-04-08T12:00:00Z"), stored("2026-04-08T12:01:00Z"), has_more=True)
    last = page(stored("2026-04-08T12:01:00Z"))
    with serving(in_turn(first, last)) as exporter, client(exporter.base_url) as reader:
        list(reader.snapshots(NOON_NS, ONE_NS))

        report = reader.report
    assert (report.pages, report.page_bytes) == (2, len(first.body) + len(last.body))
    assert report.date_ns is not None
    assert report.date_ns % NS_PER_SECOND == 0
    assert report.date_ns > NOON_NS


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serving(in_turn(page(stored("2026-04-08T12:00:00Z")))) as exporter:
        assert fetch(exporter.base_url) == ["0 node-1 [1]"]


def test_a_source_without_any_credential_is_refused() -> None:
    source = Source("jp-1", "http://127.0.0.1:1", connection_id="exporter_jp")
    with pytest.raises(UsageError, match=r"source jp-1: expected a token, got none"):
        ExporterClient(source)


@pytest.mark.parametrize("scheme", ["https", "http"])
@pytest.mark.parametrize("setting", ["ca_file", "client_cert"])
@pytest.mark.parametrize("name", ["missing.pem", "empty.pem", "not a path\0.pem"])
def test_certificate_files_that_cannot_be_read(
    tmp_path: Path, name: str, setting: str, scheme: str
) -> None:
    """Also where plain HTTP has no use for them: whoever set them meant something else."""
    (tmp_path / "empty.pem").touch()
    files: dict[str, Any] = {setting: str(tmp_path / name)}
    source = Source("jp-1", f"{scheme}://127.0.0.1:1", token=TOKEN, **files)
    with pytest.raises(UsageError, match="source jp-1: expected readable PEM files"):
        ExporterClient(source)
