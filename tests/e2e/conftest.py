"""The browser that a module of tests shares."""

from collections.abc import Iterator

import pytest
from page import chromium
from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium.running() as browser:
        yield browser
