"""The chain of totals and the digest, as arithmetic."""

import hashlib
from collections.abc import Mapping
from decimal import Decimal

import pytest

from billing_etl.statement import (
    APPEND_ONLY,
    DELIVERY,
    INPUTS,
    LINKS,
    Digest,
    Step,
    added,
    chain,
    hour_change,
    hour_digest,
    read,
    root_of,
    signed,
    stated,
    table_changes,
    total,
)

TABLES = {name: Digest(0, hashlib.sha256().hexdigest()) for name in INPUTS}
BALANCED = {
    "fact_uplink": 7,
    "counted_uplink": 7,
    "account_quantity": 7,
    "account_included": 3,
    "fact_included": 3,
    "ledger_rated": 4,
    "event_quantity": 7,
}


def step(name: str, **numbers: int | Decimal) -> Step:
    (found,) = (each for each in chain(numbers) if each.link.name == name)
    return found


def test_nothing_is_balanced() -> None:
    assert all(each.is_balanced for each in chain({}))
    assert [each.link for each in chain({})] == list(LINKS)


def test_a_balanced_chain() -> None:
    assert [str(each) for each in chain(BALANCED) if not each.is_balanced] == []


@pytest.mark.parametrize(
    ("link", "numbers", "difference"),
    [
        ("use of samples", {"samples": 10, "used": 4, "duplicates": 3, "baselines": 2,
                            "quarantined": 1}, 0),
        ("use of samples", {"samples": 10, "used": 4, "duplicates": 3, "baselines": 2}, -1),
        ("uplink", {"counted_uplink": 10, "fact_uplink": 15}, 5),
        ("split", {"fact_uplink": 1, "fact_downlink": 2, "account_included": 1, "ledger_rated": 1,
                   "unrated_quantity": 1}, 0),
        ("usage", {"fact_uplink": 1, "fact_downlink": 2, "event_quantity": 5,
                   "unsealed_quantity": -2}, 0),
        ("ledger", {"account_amount": Decimal("0.1"), "ledger_amount": Decimal("0.3")},
         Decimal("0.2")),
    ],
)  # fmt: skip
def test_a_difference_is_the_later_number_minus_the_earlier(
    link: str, numbers: dict[str, int | Decimal], difference: int | Decimal
) -> None:
    found = step(link, **numbers)
    assert found.difference == difference
    assert found.is_balanced is (difference == 0)


def test_series_that_differ_unbalance_a_link_whose_totals_agree() -> None:
    found = step("uplink", counted_uplink=10, fact_uplink=10, uplink_differs=2)

    assert (found.difference, found.is_balanced) == (0, False)
    assert str(found).endswith("difference 0, 2 series differ")


def test_sums_are_exact_beyond_64_bits_and_28_digits() -> None:
    large = Decimal("123456789012345678901234567890.000000000000000000000000000000000001")

    assert total([2**63 - 1, 2**63 - 1]) == 2**64 - 2
    assert stated(total([large, large])) == (
        "246913578024691357802469135780.000000000000000000000000000000000002"
    )
    assert added([{"a": 1, "b": large}, {"b": large, "c": 3}]) == {
        "a": 1,
        "b": total([large, large]),
        "c": 3,
    }


def test_whole_numbers_and_amounts_are_added_and_subtracted_exactly() -> None:
    large = Decimal("123456789012345678901234567890.000000000000000000000000000000000001")
    one_more = "123456789012345678901234567891.000000000000000000000000000000000001"

    assert stated(total([large, 1])) == stated(total([1, large])) == one_more
    assert step("ledger", account_amount=-1, ledger_amount=large).difference == Decimal(one_more)
    assert step(
        "ledger", account_amount=large.copy_negate(), ledger_amount=1
    ).difference == Decimal(one_more)


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, 7), (Decimal("140.000"), "140"), (Decimal("1E+3"), "1000"), (Decimal("0.10"), "0.1")],
)
def test_amounts_are_stated_as_text_and_read_back(value: int | Decimal, text: int | str) -> None:
    assert stated(value) == text
    assert read(text) == value
    assert stated(read(text)) == text


def test_the_sign_of_a_difference_is_shown() -> None:
    assert [signed(5), signed(1), signed(-5), signed(0)] == ["+5", "+1", "-5", "0"]


def test_a_link_as_a_document_states_it() -> None:
    found = step("ledger", account_amount=Decimal("0.10"), ledger_amount=3, ledger_differs=2)
    assert found.as_dict() == {
        "link": "ledger",
        "left": "amount of account-hours",
        "left_value": "0.1",
        "right": "net of ledger entries",
        "right_value": 3,
        "difference": "2.9",
        "differing": 2,
    }


def test_delivery_counts_what_is_pending() -> None:
    numbers = {"delivered_events": 3, "undelivered_events": 2}
    assert [each.difference for each in chain(numbers, DELIVERY)] == [-2, 0, 0]


# --- digest ------------------------------------------------------------------------------------


def test_the_root_is_made_of_lines_as_sha256sum_prints_them() -> None:
    tables = TABLES | {"facts": Digest(2, "f" * 64)}
    lines = "".join(f"{tables[name].sha256}  {name}\n" for name in INPUTS)
    of_hour = hashlib.sha256(lines.encode()).hexdigest()
    other = hour_digest(TABLES)

    assert hour_digest(tables) == of_hour
    hours = f"{other}  2026-04-08T00\n{of_hour}  2026-04-08T01\n"
    inputs = {"2026-04-08T01": tables, "2026-04-08T00": TABLES}
    assert root_of(inputs) == hashlib.sha256(hours.encode()).hexdigest()


@pytest.mark.parametrize("table", INPUTS)
def test_every_table_and_hour_counts(table: str) -> None:
    changed = TABLES | {table: Digest(0, "0" * 64)}
    roots = {
        root_of({"a": TABLES, "b": TABLES}),
        root_of({"a": changed, "b": TABLES}),
        root_of({"a": TABLES, "b": changed}),
        root_of({"a": TABLES}),
    }
    assert len(roots) == 4


# --- changes -----------------------------------------------------------------------------------


def change(
    *tables: str,
    kept: bool = True,
    records: tuple[str, ...] = ("run 7",),
    now: Mapping[str, int] = BALANCED,
) -> list[str]:
    altered = TABLES | {name: Digest(1, "1" * 64) for name in tables}
    found = table_changes(TABLES, altered, dict.fromkeys(APPEND_ONLY, kept))
    assert [each.table for each in found] == [name for name in INPUTS if name in tables]
    return list(hour_change("h", found, BALANCED, now, records).problems)


def test_what_is_balanced_and_recorded_is_explained() -> None:
    assert change("facts", "ledger_entries", "batches") == []


def test_rates_may_change_with_their_facts() -> None:
    assert change("facts", "rates") == []


def test_what_is_not_explained() -> None:
    unbalanced = BALANCED | {
        "fact_uplink": 8, "account_quantity": 8, "ledger_rated": 5, "event_quantity": 8,
    }  # fmt: skip

    assert change("facts", records=()) == ["nothing recorded since signing explains it"]
    assert change("rates") == ["rates: a rate or price version is not as it was signed"]
    assert change("batches", kept=False) == [
        "batches: the 0 signed rows are not as they were signed"
    ]
    assert change("facts", now=unbalanced) == [
        "uplink: last - predecessor + before resets, up 7, uplink bytes of facts 8, difference +1"
    ]
    assert len(change("rates", "batches", kept=False, records=(), now=unbalanced)) == 4


def test_numbers_that_differ_are_named() -> None:
    found = table_changes(TABLES, TABLES | {"facts": Digest(1, "1" * 64)}, {})
    document = hour_change("h", found, {"a": 1, "b": 2}, {"a": 1, "b": 5}, ("r",)).as_dict()
    assert document["numbers"] == [{"number": "b", "signed": 2, "now": 5, "difference": 3}]
    assert document["tables"] == [{"table": "facts", "signed_rows": 0, "rows": 1, "is_kept": True}]


def test_a_number_that_was_or_is_not_there_counts_as_zero() -> None:
    now: dict[str, int | Decimal] = {"b": Decimal("0.50"), "c": 1, "d": 0}
    found = hour_change("h", (), {"a": 1, "e": 0}, now, ())
    assert found.numbers == (("a", 1, 0), ("b", 0, Decimal("0.50")), ("c", 0, 1))


def test_a_changed_hour_as_a_document_states_it() -> None:
    explained = hour_change("2026-04-08T12", (), {}, {"b": Decimal("0.50")}, ("run 7", "run 8"))
    assert explained.as_dict() == {
        "hour": "2026-04-08T12",
        "tables": [],
        "numbers": [{"number": "b", "signed": 0, "now": "0.5", "difference": "0.5"}],
        "records": ["run 7", "run 8"],
        "explained": True,
        "problems": [],
    }
    unexplained = hour_change("2026-04-08T12", (), {}, {}, ()).as_dict()
    assert unexplained["explained"] is False
    assert unexplained["problems"] == ["nothing recorded since signing explains it"]
