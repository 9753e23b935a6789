"""The Billing page in a browser, without Airflow: its size, its keys, its errors."""

from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import psycopg
import pytest
from page import chromium, world
from page.chromium import keep_screenshot
from page.served import serving, sign_in
from playwright.sync_api import Browser, Route, expect

from billing_etl.hours import Hour
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.jobs import JobRequest

pytestmark = pytest.mark.e2e

WEEK = 168
SOURCES = 100


@pytest.fixture
def week(browser: Browser, database_url: str) -> Iterator[httpx.Client]:
    """100 sources over a week."""
    now = Hour.of(datetime.now(UTC))
    ids = world.fill(database_url, now, sources=SOURCES, accounts=500)
    with serving(database_url, *ids, work=repair) as client:
        yield client


def repair(engine: Engine, request: JobRequest) -> None:
    """Stands in for collecting, as there are no exporters: the hour no longer counts as failed."""
    assert request.hours is not None
    with psycopg.connect(engine.database_url) as connection:
        connection.execute(
            "delete from billing_core.failed_source_hours f using billing_core.sources s"
            " where s.source_key = f.source_key and source_id = any(%s) and hour = %s",
            (list(request.sources), request.hours.start.index),
        )


@pytest.fixture
def nothing(browser: Browser, database_url: str) -> Iterator[httpx.Client]:
    with serving(database_url) as client:
        yield client


def test_a_hundred_sources_over_a_week(browser: Browser, week: httpx.Client) -> None:
    with chromium.opened(browser, 1280, 860) as page:
        sign_in(page, week)
        expect(page.locator(".map tbody tr")).to_have_count(SOURCES)
        expect(page.locator(".map td[role=gridcell]")).to_have_count(SOURCES * WEEK)
        # Every hour of the week is in view at once, and the page itself never scrolls sideways.
        frame = page.locator(".mapframe")
        assert frame.evaluate("frame => frame.scrollWidth <= frame.clientWidth + 1")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        keep_screenshot(page, "billing-week")
        page.set_viewport_size({"width": 400, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        expect(page.locator(".map")).to_be_visible()


def test_sources_are_found_and_put_in_order(browser: Browser, week: httpx.Client) -> None:
    with chromium.opened(browser) as page:
        sign_in(page, week)
        names = page.locator(".map .name")
        expect(names).to_have_count(SOURCES)
        expect(page.locator(".map tbody tr").first.locator("td.s-f")).not_to_have_count(0)
        page.get_by_label("Order of sources").select_option("name")
        assert names.all_inner_texts() == sorted(names.all_inner_texts())
        page.get_by_label("Find a source").fill("TOKYO")
        expect(names).to_have_count(SOURCES // 5)
        page.get_by_label("Find a source").fill("no such source")
        expect(page.locator("#coverage")).to_contain_text("No source has such a name.")


def test_the_keyboard_does_what_the_mouse_does(browser: Browser, week: httpx.Client) -> None:
    with chromium.opened(browser) as page:
        sign_in(page, week)
        expect(page.locator(".map")).to_be_visible()
        page.get_by_label("As a table").focus()
        page.keyboard.press("Tab")
        start = page.evaluate("document.activeElement.title")
        assert "not yet" in start
        for key in ("ArrowLeft", "ArrowDown", "Home", "ArrowRight", "PageDown", "End", "PageUp"):
            page.keyboard.press(key)
            assert page.evaluate("document.activeElement.getAttribute('role')") == "gridcell", key
        page.keyboard.press("Home")
        here = page.evaluate("document.activeElement.title")
        assert here != start
        page.keyboard.press("Enter")
        details = page.locator("#details")
        expect(details.locator("h2")).to_be_focused()
        assert (details.locator("h2").inner_text()) == here.split(", ")[0]
        expect(details).to_contain_text("Samples")
        page.keyboard.press("Escape")
        expect(details).to_be_hidden()
        assert page.evaluate("document.activeElement.title") == here
        # One stop for Tab in the whole map.
        assert page.locator(".map [tabindex='0']").count() == 1


def test_loading_again_disturbs_nobody(browser: Browser, week: httpx.Client) -> None:
    """As it does every minute: focus, place and an open table stay."""
    with chromium.opened(browser) as page:
        sign_in(page, week)
        page.get_by_text("Numbers of").first.click()
        page.locator(".map tbody tr").nth(70).locator("td").nth(100).click()
        here = page.evaluate(
            "document.querySelector('.map [tabindex=\"0\"]').focus(), document.activeElement.title"
        )
        place = page.locator(".mapframe").evaluate("frame => frame.scrollTop")
        assert place > 0
        page.locator(".map").evaluate("map => { map.id = 'before'; }")
        page.evaluate("document.getElementById('refresh').click()")
        expect(page.locator("#before")).to_have_count(0)
        assert page.evaluate("document.activeElement.title") == here
        assert page.locator(".mapframe").evaluate("frame => frame.scrollTop") == place
        expect(page.get_by_role("table", name="Numbers by hour").first).to_be_visible()
        expect(page.locator("#details")).to_be_visible()


def test_earlier_hours_and_back(browser: Browser, week: httpx.Client) -> None:
    with chromium.opened(browser) as page:
        sign_in(page, week)
        page.get_by_text("24 hours").click()
        expect(page.locator(".map td.s-f")).not_to_have_count(0)
        expect(page.get_by_label("Later hours")).to_be_disabled()
        page.get_by_label("Earlier hours").click()
        expect(page.locator("#updated")).to_contain_text("Up to")
        expect(page.locator(".map td.s-f")).to_have_count(0)
        page.get_by_label("Later hours").click()
        expect(page.locator("#updated")).not_to_contain_text("Up to")
        expect(page.locator(".map td.s-f")).not_to_have_count(0)
        # The length that was chosen is remembered for this tab.
        page.reload()
        expect(page.get_by_label("24 hours")).to_be_checked()


def test_the_map_is_a_table_too(browser: Browser, week: httpx.Client) -> None:
    with chromium.opened(browser) as page:
        sign_in(page, week)
        page.get_by_label("As a table").check()
        table = page.get_by_role("table", name="Hours that are not complete")
        expect(table.locator("tbody tr").first).to_contain_text("failed")
        table.get_by_role("button", name="Details").first.click()
        expect(page.locator("#details .failure")).to_contain_text("got none; is the exporter up?")
        page.get_by_text("Numbers of").first.click()
        expect(page.get_by_role("table", name="Numbers by hour").first).to_be_visible()


def test_a_new_site_says_what_to_do(browser: Browser, nothing: httpx.Client) -> None:
    with chromium.opened(browser) as page:
        sign_in(page, nothing)
        expect(page.locator("#coverage")).to_contain_text("No source yet")
        expect(page.locator("#coverage")).to_contain_text("EXPORTER_SOURCES_JSON")
        for card in ("bytes", "money", "accounts"):
            expect(page.locator(f"#{card}")).to_contain_text("No usage in these hours.")
        expect(page.locator("#findings")).to_contain_text("None. Nothing waits for a person.")


def test_a_source_that_was_never_collected_is_told(browser: Browser, database_url: str) -> None:
    ids = world.fill(database_url, Hour.of(datetime.now(UTC)), sources=2, accounts=3)
    with serving(database_url, *ids, "new-1") as client, chromium.opened(browser) as page:
        sign_in(page, client)
        expect(page.locator(".map tbody tr")).to_have_count(3)
        expect(page.locator("#tiles li.warn").first).to_contain_text("1 source never collected")
        # Nor is delivery in order while the store refuses what waits.
        expect(page.locator("#tiles")).to_contain_text("the last try failed")


def test_a_wrong_token_asks_again_and_shows_nothing(
    browser: Browser, nothing: httpx.Client
) -> None:
    with chromium.opened(browser) as page:
        page.goto(str(nothing.base_url))
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Show").click()
        expect(page.get_by_role("heading", name="Who are you?")).to_be_visible()
        expect(page.locator("#content")).to_be_hidden()


def test_one_answer_that_is_missing_leaves_the_others(
    browser: Browser, week: httpx.Client, database_url: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("alter table billing_core.batches rename to away")
    with chromium.opened(browser) as page:
        sign_in(page, week)
        expect(page.locator("#banner")).to_contain_text("database: relation")
        expect(page.locator(".map tbody tr")).to_have_count(SOURCES)
        expect(page.locator("#bytes canvas")).to_be_visible()
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("alter table billing_core.away rename to batches")
        page.get_by_role("button", name="Try again").click()
        expect(page.locator("#banner")).to_be_empty()
        expect(page.locator("#delivery .chip")).to_have_text("flowing")


def test_no_answer_is_told(browser: Browser, nothing: httpx.Client) -> None:
    def cut(route: Route) -> None:
        route.abort()

    with chromium.opened(browser) as page:
        sign_in(page, nothing)
        expect(page.locator("#coverage")).to_contain_text("No source yet")
        page.route("**/v1/page/*", cut)
        page.get_by_role("button", name="Refresh").click()
        expect(page.locator("#banner")).to_contain_text("No answer from the server")


def test_a_text_from_the_database_is_never_markup(
    browser: Browser, week: httpx.Client, database_url: str
) -> None:
    evil = "<img src=x onerror=document.title='taken'><b>x</b>"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("update billing_core.sources set source_id = %s || source_key", (evil,))
        connection.execute("update billing_core.failed_source_hours set error = %s", (evil,))
        connection.execute("update billing_core.findings set message = %s", (evil,))
    with chromium.opened(browser) as page:
        sign_in(page, week)
        page.locator(".map td.s-f").first.click()
        expect(page.locator("#details .failure p").first).to_have_text(evil)
        expect(page.locator("#findings")).to_contain_text(evil)
        assert page.locator("main img, main b").count() == 0
        assert page.title() == "Billing"


def test_collecting_again_is_followed_to_its_end(browser: Browser, week: httpx.Client) -> None:
    with chromium.opened(browser) as page:
        sign_in(page, week)
        red = page.locator(".map td.s-f")
        expect(red).not_to_have_count(0)
        before = red.count()
        red.first.click()
        page.get_by_role("button", name="Collect again").click()
        progress = page.locator("#details .progress")
        expect(progress).to_contain_text("Collected and rated: 0 samples, 0 facts changed")
        # The map shows it by itself.
        expect(red).to_have_count(before - 1)
        # And so does what stands beside it.
        details = page.locator("#details")
        expect(details.locator(".when .chip")).not_to_have_text("failed")
        expect(details.locator(".failure")).to_have_count(0)


def with_logs(route: Route) -> None:
    """As in Airflow, whose links to logs do not vanish when an hour is repaired."""
    answer = route.fetch()
    links = {"failed_log_link": "/failed", "log_link": "/written"}
    route.fulfill(response=answer, json=answer.json() | links)


def test_the_log_of_a_failure_is_offered_as_long_as_the_hour_is_failed(
    browser: Browser, week: httpx.Client
) -> None:
    with chromium.opened(browser) as page:
        page.route("**/v1/page/hour?*", with_logs)
        sign_in(page, week)
        page.locator(".map td.s-f").first.click()
        log = page.locator("#details a.button")
        expect(log).to_have_text("Open the failed task's log")
        assert (log.get_attribute("href") or "").endswith("/failed")
        page.get_by_role("button", name="Collect again").click()
        expect(page.locator("#details .progress")).to_contain_text("Collected and rated")
        expect(log).to_have_text("Open the collecting task's log")
        assert (log.get_attribute("href") or "").endswith("/written")


def test_details_follow_what_others_do(
    browser: Browser, week: httpx.Client, database_url: str
) -> None:
    """Another run repairs the hour while someone looks at it."""
    with chromium.opened(browser) as page:
        sign_in(page, week)
        page.locator(".map td.s-f").first.click()
        details = page.locator("#details")
        expect(details.locator(".failure")).to_be_visible()
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("delete from billing_core.failed_source_hours")
        page.get_by_role("button", name="Refresh").click()
        expect(details.locator(".failure")).to_have_count(0)
        # The map still shows which hour it is about, until the panel is closed.
        expect(page.locator(".map td[aria-selected]")).to_have_count(1)
        page.get_by_role("button", name="Close the details").click()
        expect(page.locator(".map td[aria-selected]")).to_have_count(0)


def test_a_refused_job_says_why(browser: Browser, week: httpx.Client) -> None:
    def refuse(route: Route) -> None:
        route.fulfill(status=403, json={"detail": "Forbidden"})

    with chromium.opened(browser) as page:
        sign_in(page, week)
        page.locator(".map td.s-f").first.click()
        page.route("**/v1/jobs/*", refuse)
        page.get_by_role("button", name="Collect again").click()
        expect(page.locator("#details .progress")).to_contain_text("You may not start this")
