"""The Airflow plugin of the project; Airflow finds it in the plugins folder."""

from airflow.plugins_manager import AirflowPlugin

from billing_airflow import pools


class BillingPlugin(AirflowPlugin):
    """Makes the project's pool when the scheduler starts."""

    name = "billing"
    listeners = [pools]  # noqa: RUF012 - declared so by the base class
