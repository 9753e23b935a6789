"""The application as `billing-etl serve` runs it, in a thread of this process."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx
import uvicorn
from playwright.sync_api import Page

from billing_etl.http.access import ServiceToken
from billing_etl.http.app import create_app
from billing_etl.http.local_jobs import LocalJobs, Work, run_job
from billing_etl.http.site import Site
from billing_etl.pipeline.engine import Engine
from billing_etl.settings import Settings, Source

TOKEN: Final = "t"


@contextmanager
def serving(database_url: str, *sources: str, work: Work = run_job) -> Iterator[httpx.Client]:
    """The application on a free port, and a client that has the token; ``work`` does its jobs."""
    settings = Settings(
        database_url=database_url,
        sources=tuple(Source(name, "http://127.0.0.1:9", token="unused") for name in sources),
    )
    jobs = LocalJobs(settings, work)
    site = Site({}, lambda: Engine(settings), ServiceToken(TOKEN), jobs)
    server = uvicorn.Server(uvicorn.Config(create_app(site), log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        host, port = listener.getsockname()
        try:
            with httpx.Client(
                base_url=f"http://{host}:{port}", headers={"Authorization": f"Bearer {TOKEN}"}
            ) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


def sign_in(page: Page, client: httpx.Client) -> None:
    """Opens the page with the token of ``serving``."""
    page.goto(str(client.base_url))
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Show").click()
