"""The Airflow plugin of the project; Airflow finds it in the plugins folder."""

from airflow.plugins_manager import AirflowPlugin

from billing_airflow import pools, preload


class BillingPlugin(AirflowPlugin):
    """Makes the project's pool when the scheduler starts, and imports what tasks need."""

    name = "billing"
    listeners = [pools, preload]  # noqa: RUF012 - declared so by the base class
