"""The Airflow plugin of the project; Airflow finds it in the plugins folder."""

from functools import cached_property
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from billing_airflow import pools, preload
from billing_airflow.deadlines import RunCreated


class BillingPlugin(AirflowPlugin):
    """Makes the project's pool when the scheduler starts, imports what tasks need, serves HTTP."""

    name = "billing"
    listeners = [pools, preload]  # noqa: RUF012 - declared so by the base class
    deadline_references = [RunCreated]  # noqa: RUF012
    # The path is beside the UI's own, which may itself lie below one (`base_url`).
    external_views = [  # noqa: RUF012
        {
            "name": "Billing",
            "href": "billing/",
            "destination": "nav",
            "url_route": "billing",
            "nav_top_level": True,
            "icon": "billing/page/icon.svg",
            "icon_dark_mode": "billing/page/icon-dark.svg",
        }
    ]

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Made when the API server asks for it: every component loads plugins, tasks too."""
        from billing_airflow.web import application

        return [{"app": application(), "url_prefix": "/billing", "name": "billing"}]
