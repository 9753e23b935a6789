"""Debian's Chromium, driven by Playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

# How long a busy machine may take; what is not there by then does not come.
PATIENCE_MS: Final = 600_000
expect.set_options(timeout=PATIENCE_MS)

_FLAGS: Final = (
    "--no-sandbox",  # it refuses to run as root with it
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def running() -> Iterator[Browser]:
    """A browser with a fresh profile; without Chromium the test is skipped, but not in CI."""
    program = shutil.which("chromium")
    if program is None:
        missing = "Chromium is not installed: `make browser` installs it"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: Browser, width: int = 1280, height: int = 900, **options: str
) -> Iterator[Page]:
    """A page of its own session. What its console calls an error fails the test at its end.

    Args:
        browser: the browser.
        width: of the window, in pixels.
        height: of the window, in pixels.
        options: such as ``color_scheme="dark"``.
    """
    context = browser.new_context(
        viewport={"width": width, "height": height},
        **options,  # type: ignore[arg-type]
    )
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda said: errors.append(said.text) if "Content Security" in said.text else None,
    )
    try:
        yield page
    finally:
        context.close()
    assert errors == []


def keep_screenshot(page: Page, name: str) -> None:
    """Keeps what the page looks like for the documents, when `make screenshots` asks for it."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        page.mouse.move(0, 0)
        page.screenshot(path=Path(folder) / f"{name}.png", animations="disabled")
