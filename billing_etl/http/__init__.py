"""The HTTP interface: one application, for Airflow's API server and for ``billing-etl serve``.

It knows neither: who may call is a guard, and what runs jobs is a runner; both are given.
"""
