"""The clicks that lead to the Billing page in Airflow's UI, and to what is red on it."""

import re

from playwright.sync_api import FrameLocator, Locator, Page, expect

SIZE = (1280, 860)


def log_in(page: Page, url: str, user: str, password: str) -> None:
    page.goto(url)
    page.locator("input[name=username]").fill(user)
    page.locator("input[name=password]").fill(password)
    page.locator("button[type=submit]").click()
    page.wait_for_url(re.compile(re.escape(url) + "/?$"))


def open_page(page: Page) -> FrameLocator:
    """By the navigation; gives the page within its frame."""
    page.get_by_role("link", name="Billing").click()
    frame = page.frame_locator('iframe[title="Billing"]')
    expect(frame.locator(".map")).to_be_visible()
    return frame


def use_dark_theme(page: Page) -> None:
    """Reloads Airflow in its dark theme; its own switch keeps the choice at the same place."""
    page.evaluate("localStorage.setItem('theme', 'dark')")
    page.reload()


def failed_cells(frame: FrameLocator, source: str) -> Locator:
    row = frame.locator(".map tbody tr").filter(has=frame.get_by_text(source, exact=True))
    return row.locator("td.s-f")


def open_failed_log(page: Page, frame: FrameLocator, said: str) -> None:
    """From the details of a failed hour to the log of the task that failed.

    Args:
        page: of Airflow.
        frame: the Billing page within it, with the details open.
        said: words of the error, which the log has, too.
    """
    frame.get_by_role("link", name="Open the failed task's log").click()
    page.wait_for_url(re.compile(r"/dags/\w+/runs/.+/tasks/collect/mapped/\d+"))
    # The UI itself, not one within the frame, and the log of this very source.
    expect(page.locator("iframe")).to_have_count(0)
    expect(page.get_by_text(said).first).to_be_visible()
