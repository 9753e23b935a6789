"""The Billing page whatever the window, the hour of the day, and what sources are called."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from page import chromium, world
from page.served import serving, sign_in
from playwright.sync_api import Browser, Page, Route, expect

from billing_etl.hours import Hour
from billing_etl.local.postgres import EmbeddedPostgres

pytestmark = pytest.mark.e2e

SOURCES = 8
WINDOWS = ("24 hours", "3 days", "7 days")
ODD_NAMES = (
    "x" * 64,
    "Ω" * 64,
    "<b>bold</b> & \"quotes\" 'n' more",
    "東京 № 1 ü é",
    "مرحبا-1",
    "a, b: c (d)",
    "eu/west#1?x=%20&y",
    "ends with a space ",
)

# What does not fit into its cell, or reaches over what stands to its right.
CUT = """() => {
    const width = (cell) => {
        const range = document.createRange();
        range.selectNodeContents(cell);
        return range.getBoundingClientRect();
    };
    const cells = [...document.querySelectorAll('.map td[role=gridcell]')]
        .filter((cell) => cell.textContent && width(cell).width > cell.clientWidth);
    const edge = document.querySelector('.map').getBoundingClientRect().right;
    const over = (kind) => {
        const labels = [...document.querySelectorAll(kind)].filter((label) => label.textContent);
        return labels.filter((label, at) => {
            const next = labels[at + 1]?.getBoundingClientRect().left ?? edge;
            return label.getBoundingClientRect().right > next + 0.5;
        });
    };
    return [...cells, ...over('.map .day span'), ...over('.map .hour span')]
        .map((cut) => cut.textContent);
}"""
# The focused cell, as someone sees it: nothing lies over its middle.
IS_SEEN = """() => {
    const box = document.activeElement.getBoundingClientRect();
    const there = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    return there === document.activeElement;
}"""


@pytest.fixture(scope="module")
def odd(
    browser: Browser, postgres_server: EmbeddedPostgres, migrated_template: str
) -> Iterator[httpx.Client]:
    """Sources with odd names, whose errors have no spaces, and accounts rich and poor."""
    postgres_server.create_database("page_room", migrated_template)
    database_url = postgres_server.url("page_room")
    world.fill(database_url, Hour.of(datetime.now(UTC)), sources=SOURCES, accounts=6)
    with psycopg.connect(database_url, autocommit=True) as connection:
        for key, name in enumerate(ODD_NAMES, 1):
            connection.execute(
                "update billing_core.sources set source_id = %s where source_key = %s", (name, key)
            )
        connection.execute(
            "update billing_core.failed_source_hours set error = repeat('no-space', 400)"
        )
        connection.execute(
            "update billing_core.account_balances set balance = (array[0, -0.00000001,"
            " -123456789012345678.91, 12345678901234567.25, -5, 1e-12])[1 + account_key % 6]"
        )
        connection.execute(
            "update billing_core.account_hours set amount = case account_key"
            " when 1 then 700000000000.25 when 2 then 0 else amount end"
        )
    with serving(database_url, *ODD_NAMES) as client:
        yield client


def show(page: Page, window: str) -> None:
    page.get_by_text(window, exact=True).click()
    hours = {"24 hours": 24, "3 days": 72, "7 days": 168}[window]
    expect(page.locator(".map tbody tr").first.locator("td")).to_have_count(hours)


@pytest.mark.parametrize("width", [400, 760, 1280, 1920])
def test_nothing_is_cut_off(browser: Browser, odd: httpx.Client, width: int) -> None:
    """With and without the details beside the map."""
    with chromium.opened(browser, width, 900) as page:
        sign_in(page, odd)
        for window in WINDOWS:
            show(page, window)
            assert page.evaluate(CUT) == [], window
            page.locator(".map td.s-f").last.click()
            expect(page.locator("#details .failure")).to_be_visible()
            assert page.evaluate(CUT) == [], f"{window}, with details"
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), window
            page.keyboard.press("Escape")


def test_words_become_marks_where_they_have_no_room(browser: Browser, odd: httpx.Client) -> None:
    with chromium.opened(browser, 1280, 900) as page:
        sign_in(page, odd)
        show(page, "24 hours")
        red = page.locator(".map td.s-f").first
        expect(red).to_have_text("fail")
        red.click()
        expect(red).to_have_text("!")
        page.keyboard.press("Escape")
        expect(red).to_have_text("fail")


@pytest.mark.parametrize("last_hour", [0, 1, 11, 12, 23])
def test_days_and_hours_are_named_at_any_time_of_day(
    browser: Browser, odd: httpx.Client, last_hour: int
) -> None:
    now = datetime.now(UTC)
    shift = timedelta(hours=last_hour - now.hour)

    def moved(route: Route) -> None:
        """As if it were that hour: the server has no say in what the page makes of its answer."""
        answer = route.fetch()
        content: dict[str, Any] = answer.json()
        for name in {"from_hour", "to_hour", "now"} & content.keys():  # none before signing in
            content[name] = (datetime.fromisoformat(content[name]) + shift).isoformat()
        route.fulfill(response=answer, json=content)

    with chromium.opened(browser, 1280, 900) as page:
        page.route("**/v1/page/coverage?*", moved)
        sign_in(page, odd)
        for window in WINDOWS:
            show(page, window)
            assert page.evaluate(CUT) == [], window
            days = [text for text in page.locator(".map .day span").all_inner_texts() if text]
            assert len(set(days)) == len(days) >= 1
        cell = page.locator(".map tbody tr").first.locator("td").last
        span = f"{last_hour:02}:00 to {(last_hour + 1) % 24:02}:00: "
        assert span in (cell.get_attribute("aria-label") or "")


def test_every_cell_has_a_name_of_its_own(browser: Browser, odd: httpx.Client) -> None:
    """For a screen reader that reads the map, and for one that follows the focus."""
    with chromium.opened(browser) as page:
        sign_in(page, odd)
        expect(page.locator(".map tbody tr")).to_have_count(SOURCES)
        names = page.locator(".map td[role=gridcell]").evaluate_all(
            "cells => cells.map((cell) => cell.getAttribute('aria-label'))"
        )
        assert len(set(names)) == len(names) == SOURCES * 168
        for name in ODD_NAMES:
            mine = [each for each in names if each.startswith(f"{name}, ")]
            assert len(mine) == 168
            assert page.get_by_role("gridcell", name=mine[0], exact=True).count() == 1
        assert page.locator("main b").count() == 0


@pytest.mark.parametrize("width", [400, 1280])
def test_the_keyboard_never_gets_out_of_sight(
    browser: Browser, odd: httpx.Client, width: int
) -> None:
    with chromium.opened(browser, width, 500) as page:
        sign_in(page, odd)
        expect(page.locator(".map")).to_be_visible()
        page.get_by_label("As a table").focus()
        page.keyboard.press("Tab")
        for key in ("End", "PageDown", "ArrowLeft", "Home", "ArrowUp", "PageUp", "ArrowRight"):
            page.keyboard.press(key)
            assert page.evaluate(IS_SEEN), key
        page.keyboard.press("Control+End")
        assert page.evaluate(IS_SEEN)
        for _ in range(30):
            page.keyboard.press("ArrowLeft")
        assert page.evaluate(IS_SEEN)
        page.keyboard.press("Control+Home")
        for _ in range(SOURCES - 1):
            page.keyboard.press("ArrowDown")
            assert page.evaluate(IS_SEEN)


def test_loading_again_finds_a_source_by_whatever_it_is_called(
    browser: Browser, odd: httpx.Client
) -> None:
    with chromium.opened(browser) as page:
        sign_in(page, odd)
        page.get_by_label("Order of sources").select_option("name")
        for row in range(SOURCES):
            page.locator(".map tbody tr").nth(row).locator("td").nth(30).click()
            page.keyboard.press("Escape")
            here = page.evaluate("document.activeElement.getAttribute('aria-label')")
            page.locator(".map").evaluate("map => { map.id = 'before'; }")
            page.evaluate("document.getElementById('refresh').click()")
            expect(page.locator("#before")).to_have_count(0)
            assert page.evaluate("document.activeElement.getAttribute('aria-label')") == here


def test_loading_again_leaves_the_tables_to_the_keyboard(
    browser: Browser, odd: httpx.Client
) -> None:
    with chromium.opened(browser) as page:
        sign_in(page, odd)
        page.get_by_label("As a table").check()
        button = page.get_by_role("button", name="Details of").nth(40)
        button.focus()
        here = page.evaluate("document.activeElement.getAttribute('aria-label')")
        table = page.get_by_role("region", name="Hours that are not complete")
        place = table.evaluate("table => table.scrollTop")
        assert place > 0
        button.evaluate("button => { button.id = 'before'; }")
        page.evaluate("document.getElementById('refresh').click()")
        expect(page.locator("#before")).to_have_count(0)
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == here
        assert table.evaluate("table => table.scrollTop") == place
        # The details lead back to the button that opened them.
        page.keyboard.press("Enter")
        expect(page.locator("#details h2")).to_be_focused()
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == here


def test_money_is_written_with_all_digits_that_count(browser: Browser, odd: httpx.Client) -> None:
    with chromium.opened(browser) as page:
        sign_in(page, odd)
        accounts = page.locator("#accounts tbody tr")
        expect(accounts).to_have_count(6)
        balances = set(accounts.locator("td:last-child").all_inner_texts())
        assert balances == {
            "0.00",
            "-0.00000001",
            "-123,456,789,012,345,678.91",
            "12,345,678,901,234,567.25",
            "-5.00",
            "0.000000000001",
        }
        owing = page.locator("#accounts .owing").all_inner_texts()
        assert sorted(owing) == ["-0.00000001", "-123,456,789,012,345,678.91", "-5.00"]
        amounts = accounts.locator("td:nth-child(4)").all_inner_texts()
        assert amounts[0].startswith("116,900,000,000,0")
        assert amounts[-1] == "0.00"
        # An account's whole id is there to copy.
        expect(accounts.first.locator("code")).to_have_text(r"c4ca4238-a0b9-2382-0dcc-509a6f75849b")
