"""The Billing page in a browser, inside the real Airflow: from the login to a repaired hour."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from page import chromium, in_airflow, site
from page.in_airflow import SIZE, log_in, open_failed_log, open_page, use_dark_theme
from page.site import FAILED, PASSWORDS, Site
from playwright.sync_api import Browser, FrameLocator, Locator, expect

from billing_etl.hours import Hour
from billing_etl.local.object_store import EmbeddedObjectStore
from billing_etl.local.postgres import EmbeddedPostgres

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def airflow(
    browser: Browser,  # before Airflow is started for nothing
    postgres_server: EmbeddedPostgres,
    migrated_template: str,
    object_store: EmbeddedObjectStore,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    postgres_server.create_database("page_billing", migrated_template)
    postgres_server.create_database("page_airflow")
    object_store.create_bucket("page")
    with site.running(
        tmp_path_factory.mktemp("page"),
        Hour.of(datetime.now(UTC)),
        postgres_server.url("page_billing"),
        postgres_server.url("page_airflow"),
        object_store,
        "page",
    ) as running:
        yield running


def failed_cells(frame: FrameLocator) -> Locator:
    return in_airflow.failed_cells(frame, FAILED)


def test_the_navigation_leads_to_a_map_with_red_cells(browser: Browser, airflow: Site) -> None:
    with chromium.opened(browser, *SIZE) as page:
        log_in(page, airflow.url, "admin", PASSWORDS["admin"])
        frame = open_page(page)
        assert page.url.startswith(f"{airflow.url}/plugin/billing")
        expect(frame.locator(".map tbody tr")).to_have_count(6)
        expect(failed_cells(frame)).to_have_count(len(airflow.failed_hours))
        # What is failed says so by more than its colour.
        failed_cells(frame).first.hover()
        assert f"{FAILED}, " in (failed_cells(frame).first.get_attribute("title") or "")
        assert ": failed (" in (failed_cells(frame).first.get_attribute("title") or "")
        expect(frame.locator("#bytes canvas")).to_be_visible()
        expect(frame.locator("#accounts tbody tr").first).to_be_visible()
        expect(frame.locator("#delivery .chip").first).to_be_visible()


def test_two_clicks_lead_from_a_red_cell_to_the_failed_tasks_log(
    browser: Browser, airflow: Site
) -> None:
    with chromium.opened(browser, *SIZE) as page:
        log_in(page, airflow.url, "admin", PASSWORDS["admin"])
        frame = open_page(page)
        failed_cells(frame).first.click()
        expect(frame.locator("#details .failure")).to_contain_text("au-perth-1")
        open_failed_log(page, frame, "au-perth-1")


def test_a_viewer_looks_and_has_no_button(browser: Browser, airflow: Site) -> None:
    with chromium.opened(browser) as page:
        log_in(page, airflow.url, "viewer", PASSWORDS["viewer"])
        frame = open_page(page)
        failed_cells(frame).first.click()
        expect(frame.locator("#details .failure")).to_be_visible()
        expect(frame.get_by_role("link", name="Open the failed task's log")).to_be_visible()
        expect(frame.locator("#details")).to_contain_text("You may look, but not collect again")
        expect(frame.get_by_role("button", name="Collect again")).to_have_count(0)


def test_the_page_follows_airflows_theme(browser: Browser, airflow: Site) -> None:
    """The system asks for light all the time."""
    with chromium.opened(browser, *SIZE, color_scheme="light") as page:
        log_in(page, airflow.url, "admin", PASSWORDS["admin"])
        use_dark_theme(page)
        frame = open_page(page)
        html = frame.locator("html")
        expect(html).to_have_attribute("data-theme", "dark")
        expect(frame.locator("body")).to_have_css("background-color", "rgb(21, 23, 28)")
        failed_cells(frame).first.click()
        expect(frame.locator("#details .failure")).to_be_visible()
        # It changes while the page is open, as when someone uses Airflow's own switch.
        page.evaluate("document.documentElement.classList.replace('dark', 'light')")
        expect(html).to_have_attribute("data-theme", "light")
        expect(frame.locator("body")).to_have_css("background-color", "rgb(246, 247, 249)")


def test_two_clicks_collect_a_red_hour_again(browser: Browser, airflow: Site) -> None:
    airflow.repair()
    with chromium.opened(browser, *SIZE) as page:
        log_in(page, airflow.url, "admin", PASSWORDS["admin"])
        frame = open_page(page)
        failed_cells(frame).first.click()
        frame.get_by_role("button", name="Collect again").click()
        progress = frame.locator("#details .progress")
        expect(progress.get_by_role("link", name="Open the run")).to_be_visible()
        expect(progress).to_contain_text("Collected and rated:")
        # There is no failed task to look at any more, but the one that did it.
        expect(frame.get_by_role("link", name="Open the failed task's log")).to_have_count(0)
        expect(frame.get_by_role("link", name="Open the collecting task's log")).to_be_visible()
        # The map shows it by itself; the other hour is still red.
        expect(failed_cells(frame)).to_have_count(len(airflow.failed_hours) - 1)
        frame.get_by_role("link", name="Open the run").click()
        page.wait_for_url(re.compile(r"/dags/collect_and_rate/runs/http__"))
