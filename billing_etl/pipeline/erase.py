"""Erases the identifiers of a person and keeps every amount and byte.

The account keeps its key: facts, ledger and balance stay where they are. Its uuid, wherever it is
written, becomes another one that was chosen at random and leads to nobody. What was signed, sent
or appended to the ledger is not changed; the answer says where the uuid is left.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from billing_etl.errors import UsageError
from billing_etl.events import event_id, fact_id
from billing_etl.hours import Hour
from billing_etl.masking import with_email, without_emails
from billing_etl.pipeline.engine import Engine
from billing_etl.store import erasures, ratings
from billing_etl.store.database import Connection
from billing_etl.store.erasures import KnownAccount, Place, SealedFact, SealedObjects
from billing_etl.store.sources import register_accounts


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure did, or would do.

    Attributes:
        account_uuid: what the account is called from then on; None: still to be chosen.
        was_erased: it had been before; then only what has been written since was replaced.
        hours: in which the account has usage.
        sealed_facts: whose events keep the ids that they were sent with.
        places: where the former uuid was found.
        sealed: objects of these hours, which are as they were sealed.
    """

    account_uuid: str | None
    was_erased: bool
    hours: list[Hour]
    sealed_facts: int
    places: list[Place]
    sealed: SealedObjects

    def as_dict(self) -> dict[str, Any]:
        return {
            "account_uuid": self.account_uuid,
            "was_erased": self.was_erased,
            "first_hour": str(self.hours[0]) if self.hours else None,
            "last_hour": str(self.hours[-1]) if self.hours else None,
            "hours": len(self.hours),
            "sealed_facts": self.sealed_facts,
            "replaced": {place.name: place.rows for place in self.places if not place.stays},
            "left": {place.name: place.rows for place in self.places if place.stays},
            "sealed_objects": self.sealed.objects,
            "sealed_payloads": self.sealed.payloads,
            "objects_to_be_sent": self.sealed.undelivered,
        }


def preview_erasure(engine: Engine, account: str) -> Erasure:
    """What erasing an account would do; changes nothing.

    Raises:
        UsageError: the account is no uuid, is not known, or is what an erased one is called now.
    """
    account_uuid = _uuid(account)
    with engine.connect() as connection:
        known = _known(connection, account_uuid)
        found = erasures.places(connection, account_uuid)
        return _as_it_is(connection, known, found, account_uuid)


def erase_account(engine: Engine, account: str, reason: str, erased_by: str | None) -> Erasure:
    """Erases an account; again, it replaces what was written under its former uuid since.

    Args:
        engine: settings and database, as the owner of the tables.
        account: the uuid that the person is known by.
        reason: why; recorded.
        erased_by: who does it; None: the login at the database.

    Raises:
        UsageError: as of ``preview_erasure``; the reason is empty or names the account; who does it
            is a person's email address.
        RetryableError: other runs did not end in time; nothing was changed.
    """
    account_uuid = _uuid(account)
    if not reason.strip() or account_uuid in reason.lower():
        raise UsageError("erase: expected a reason that does not name the account, got another")
    if erased_by is None:
        with engine.connect() as connection:
            erased_by = erasures.login(connection)
    if not erased_by.strip() or account_uuid in erased_by.lower() or with_email(erased_by):
        raise UsageError(
            "erase: expected --by without an email address, such as an office or a staff number, "
            "got another (or a login of that kind); it is kept for ever"
        )
    with engine.run("erase") as run, engine.connect() as connection:
        erasures.lock_sources(connection)
        known = _known(connection, account_uuid)
        if known is None:
            # Only texts name it: so that it is known again, it becomes an account first.
            _as_it_is(connection, None, erasures.places(connection, account_uuid), account_uuid)
            register_accounts(connection, [account_uuid], engine.settings.initial_balance)
            known = _known(connection, account_uuid)
            assert known is not None
        hours = erasures.hours(connection, known.account_key)
        if hours:
            erasures.lock_hours(connection, hours)
        ratings.lock_rating(connection)
        replacement = known.account_uuid
        replaced: list[Place] = []
        if not known.is_former:
            replaced.append(Place("billing_core.accounts (account_uuid)", 1, False))
            replacement = str(uuid.uuid4())
            erasures.keep_ids(connection, _ids(connection, known))
            erasures.record(
                connection,
                known.account_key,
                replacement,
                hours[0] if hours else None,
                without_emails(reason),
                erased_by,
                run.run_id,
            )
        replaced += erasures.places(connection, account_uuid, replacement)
        now = _as_it_is(connection, _known(connection, account_uuid), replaced, account_uuid)
        done = replace(now, was_erased=bool(known.is_former))
        run.counts.update(done.as_dict())
        return done


def _uuid(account: str) -> str:
    try:
        return str(uuid.UUID(account))
    except ValueError:
        raise UsageError(f"erase: expected an account uuid, got {account!r}") from None


def _known(connection: Connection, account_uuid: str) -> KnownAccount | None:
    known = erasures.known(connection, account_uuid)
    if known is not None and known.erased_at is not None and not known.is_former:
        raise UsageError(
            f"erase: {account_uuid} is what an account is called since it was erased on "
            f"{known.erased_at:%Y-%m-%d}; there is nothing left to erase"
        )
    return known


def _as_it_is(
    connection: Connection, known: KnownAccount | None, places: list[Place], account_uuid: str
) -> Erasure:
    if known is None:
        if not places:
            raise UsageError(
                f"erase: expected a known account, got {account_uuid}; nothing names it"
            )
        return Erasure(None, False, [], 0, places, SealedObjects(0, 0, 0))
    hours = erasures.hours(connection, known.account_key)
    facts = sum(1 for _ in erasures.sealed_facts(connection, known.account_key))
    sealed = erasures.sealed_objects(connection, hours)
    name = known.account_uuid if known.is_former else None
    return Erasure(name, bool(known.is_former), hours, facts, places, sealed)


def _ids(connection: Connection, account: KnownAccount) -> Iterator[tuple[SealedFact, list[str]]]:
    """Of each sealed fact its own id and those of its events, from the first revision on."""
    for fact in erasures.sealed_facts(connection, account.account_key):
        names = (
            fact.source_id,
            fact.env,
            fact.node_id,
            account.account_uuid,
            fact.inbound_tag,
            fact.event_type,
            fact.minute,
        )
        events = [event_id(*names, revision) for revision in range(1, fact.revision + 1)]
        yield fact, [fact_id(*names), *events]
