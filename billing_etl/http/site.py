"""What the application is joined to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from billing_etl.http.access import Guards
from billing_etl.http.runner import JobRunner
from billing_etl.pipeline.engine import Engine


@dataclass(frozen=True)
class Site:
    """What the application is joined to.

    Attributes:
        environment: of this process; ``IMAGE`` and ``SOURCE_REVISION`` are shown.
        engine: gives the engine; raises ``BillingError`` while the settings are not usable.
        guards: who may call what.
        runner: what runs jobs.
    """

    environment: Mapping[str, str]
    engine: Callable[[], Engine]
    guards: Guards
    runner: JobRunner
