"""The real services of a proof: a database, an S3 bucket, and exporters with the world's clock."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from email.utils import formatdate
from pathlib import Path
from unittest.mock import patch

import msgspec
import psycopg
from botocore.loaders import create_loader
from psycopg import sql
from scripted_exporter import Asked, Reply, serving

from billing_etl.local.exporter_server import Store, Stored, answer
from billing_etl.local.object_store import EmbeddedObjectStore
from billing_etl.local.postgres import EmbeddedPostgres
from billing_etl.pipeline.engine import Engine
from billing_etl.settings import Settings, Source
from billing_etl.store.migrations import migrate
from proof.model import PAGE_SIZE, Model, SourceModel

TOKEN = "token-of-the-proof"


class ModelStore(Store):
    """What a source of the model serves now, to the development exporter's own answers."""

    source: SourceModel

    def snapshots(self) -> list[Stored]:
        return [
            Stored(each.at_ns, each.node.node_id, each.node.env, msgspec.json.encode(each.body))
            for each in self.source.served()
        ]


def responder(model: Model, source: SourceModel) -> Callable[[Asked], Reply]:
    store = ModelStore(Path(), source.flavour)
    store.source = source

    def respond(asked: Asked) -> Reply:
        date = {"Date": formatdate(model.now_ns // 10**9, usegmt=True)}
        if source.is_broken:
            return Reply(b"unauthorized\n", 401, "text/plain", date)
        given = answer(store, TOKEN, asked.target, asked.headers.get("Authorization", ""))
        return Reply(given.body, given.status, given.content_type, date)

    return respond


@dataclass
class Site:
    """Servers that outlive a world; every world has a database and a prefix of its own."""

    postgres: EmbeddedPostgres
    objects: EmbeddedObjectStore
    bucket: str
    template: str

    @contextmanager
    def engine(self, model: Model) -> Iterator[Engine]:
        """Everything a world needs, gone when it ends."""
        name = f"proof_{uuid.uuid4().hex}"
        self.postgres.create_database(name, self.template)
        with ExitStack() as stack:
            stack.callback(self._drop, name)
            sources = []
            for source in model.sources:
                exporter = stack.enter_context(serving(responder(model, source)))
                known = Source.__dataclass_fields__.keys() & source.settings.keys()
                sources.append(
                    Source(
                        base_url=exporter.base_url,
                        token=TOKEN,
                        shared_node=True,
                        page_size=PAGE_SIZE,
                        **{key: source.settings[key] for key in known},
                    )
                )
            first = model.book["versions"][0]
            yield Engine(
                Settings(
                    database_url=self.postgres.url(name),
                    sources=tuple(sources),
                    price_per_byte=Decimal(first["price_per_byte"]),
                    initial_included_quota_bytes=first["included_quota_bytes"],
                    initial_balance=Decimal(model.book["opening_balance"]),
                    billing_period_anchor_day=model.book["anchor_day"],
                    s3_enabled=True,
                    s3_bucket=self.bucket,
                    s3_prefix=name,
                    s3_endpoint_url=self.objects.endpoint_url,
                    s3_max_events=20,
                    s3_concurrency=2,
                )
            )

    def _drop(self, name: str) -> None:
        with psycopg.connect(self.postgres.url("postgres"), autocommit=True) as connection:
            connection.execute(
                sql.SQL("drop database {} with (force)").format(sql.Identifier(name))
            )


@contextmanager
def credentials(objects: EmbeddedObjectStore) -> Iterator[None]:
    """Where the standard AWS chain finds them."""
    with patch.dict(
        os.environ,
        {
            "AWS_ACCESS_KEY_ID": objects.access_key,
            "AWS_SECRET_ACCESS_KEY": objects.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        },
    ):
        yield


def one_service_model() -> AbstractContextManager[object]:
    """Every session of the AWS client reads its model of S3 anew; here there are thousands."""
    return patch("botocore.session.create_loader", return_value=create_loader())


@contextmanager
def site(directory: Path) -> Iterator[Site]:
    """Servers of its own below a directory; they are gone at the end."""
    postgres = EmbeddedPostgres(directory / "postgres")
    try:
        postgres.start()
        postgres.create_database("migrated")
        migrate(postgres.url("migrated"))
        with (
            EmbeddedObjectStore(directory / "object-store") as objects,
            credentials(objects),
            one_service_model(),
        ):
            objects.create_bucket("proof")
            yield Site(postgres, objects, "proof", "migrated")
    finally:
        postgres.remove()
