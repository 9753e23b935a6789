"""``billing-etl serve``: the application alone, without Airflow."""

import signal
import socket
from collections.abc import Callable, Mapping

import uvicorn

from billing_etl.errors import UsageError
from billing_etl.http.access import ServiceToken
from billing_etl.http.app import create_app
from billing_etl.http.local_jobs import LocalJobs, run_job
from billing_etl.http.site import Site
from billing_etl.pipeline.engine import Engine
from billing_etl.settings import Settings


def serve(environment: Mapping[str, str], announce: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT; the running job then comes to its end.

    Args:
        environment: the settings.
        announce: is told the address once it is listened on.

    Raises:
        UsageError: a setting is missing or malformed, or the address cannot be listened on.
    """
    settings = Settings.from_environment(environment)
    settings.require_database_url()
    if not settings.internal_service_token:
        raise UsageError(
            "INTERNAL_SERVICE_TOKEN: expected a bearer token, as `serve` lets nobody in without, "
            "got nothing; set it"
        )
    jobs = LocalJobs(settings, run_job)
    site = Site(
        environment=environment,
        engine=lambda: Engine(settings),
        guards=ServiceToken(settings.internal_service_token),
        runner=jobs,
    )
    with _listening(*settings.listen_addr) as listener:
        host, port = listener.getsockname()[:2]
        announce(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
        # Logs of requests would show what is asked for, and health is asked for all the time.
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(site),
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=5,
            )
        )
        # uvicorn raises the signal that stopped it once more: that must not end the running job.
        signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            server.run(sockets=[listener])
        finally:
            jobs.stop()


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(
            f"LISTEN_ADDR: expected an address that is free, got {host}:{port} ({reason})"
        ) from None
