"""Ratings against ledger: amounts are equal, exactly, per account (invariant 3); no safe repair."""

from typing import Final

from billing_etl.hours import Hour
from billing_etl.pipeline.checks.inspection import Check, Inspection
from billing_etl.reconciliation import Examination, compare, total
from billing_etl.store import reconciliations


def examine(inspection: Inspection, hour: Hour) -> Examination:
    rows = [
        row
        for meter in inspection.meters
        for row in reconciliations.ratings_and_ledger(inspection.connection, hour, meter)
    ]
    amounts = {row.account_uuid: row.fact_amount for row in rows}
    sides = (
        (
            "rated quantity",
            {row.account_uuid: row.fact_rated_quantity for row in rows},
            {row.account_uuid: row.ledger_rated_quantity for row in rows},
        ),
        ("amount", amounts, {row.account_uuid: row.ledger_amount for row in rows}),
        (
            "amount of the account-hour",
            amounts,
            {row.account_uuid: row.account_hour_amount for row in rows},
        ),
    )
    return Examination(
        measures=tuple(
            total(name, expected.values(), actual.values()) for name, expected, actual in sides
        ),
        differences=tuple(
            difference
            for name, expected, actual in sides
            for difference in compare(name, expected, actual)
        ),
    )


CHECK: Final = Check("ratings_ledger", examine)
