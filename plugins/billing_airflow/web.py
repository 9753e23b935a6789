"""The HTTP interface, joined to Airflow's API server: its users, and its runs as jobs.

Imported by the API server only: the other components need none of it.
"""

import os
from typing import Literal

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import bearer_scheme, get_user, requires_access_dag
from airflow.models import Connection
from airflow.sdk.exceptions import AirflowNotFoundException
from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from billing_airflow.context import DATABASE_CONNECTION
from billing_airflow.dag_jobs import DagJobs
from billing_etl.http.access import SERVICE, Guard, guard, is_service, unauthorized
from billing_etl.http.app import create_app
from billing_etl.http.site import Site
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.jobs import COLLECT_AND_RATE
from billing_etl.settings import Settings


def application() -> FastAPI:
    """The application that Airflow mounts."""
    return create_app(Site(os.environ, _engine, AirflowGuards(), DagJobs()))


def _engine() -> Engine:
    """Settings as tasks see them, without what only those who ask an exporter need."""
    environment = dict(os.environ)
    if not environment.get("DATABASE_URL"):
        try:
            database = Connection.get_connection_from_secrets(DATABASE_CONNECTION)
        except AirflowNotFoundException:
            pass
        else:
            environment["DATABASE_URL"] = database.get_uri()
    return Engine(Settings.from_environment(environment, with_tokens=False))


class AirflowGuards:
    """Guards that take what Airflow's own REST API takes, or the service token.

    Who may see runs of `collect_and_rate` may read; who may trigger a DAG may start its job. A
    browser's session counts as well as a token.
    """

    def read(self) -> Guard:
        return _guard("GET", COLLECT_AND_RATE)

    def run(self, job: str) -> Guard:
        return _guard("POST", job)

    def may_run(self, job: str) -> Guard:
        takes = self.run(job)

        async def may(request: Request) -> bool:
            try:
                await takes(request)
            except HTTPException:
                return False
            return True

        return may


def _guard(method: Literal["GET", "POST"], dag_id: str) -> Guard:
    refuse_others = requires_access_dag(method, DagAccessEntity.RUN, dag_id)

    @guard
    async def takes_user_or_service(request: Request) -> str:
        token = os.environ.get("INTERNAL_SERVICE_TOKEN")
        if is_service(request.headers.get("Authorization"), token):
            return SERVICE
        try:
            user = await get_user(request, None, await bearer_scheme(request))
        except HTTPException:
            raise unauthorized() from None
        await run_in_threadpool(refuse_others, request, user)
        return user.get_name()

    return takes_user_or_service
