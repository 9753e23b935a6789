"""The words and numbers of a difference: measure, both sides, direction."""

from decimal import Decimal

import pytest

from billing_etl.reconciliation import (
    Difference,
    Examination,
    Measure,
    Value,
    compare,
    concluded,
    together,
    total,
)


@pytest.mark.parametrize(
    ("expected", "actual", "text"),
    [
        pytest.param(17, 20, "A: bytes expected 17, got 20 (+3, more than expected)", id="more"),
        pytest.param(17, 16, "A: bytes expected 17, got 16 (-1, less than expected)", id="less"),
        pytest.param(170, None, "A: bytes expected 170, got nothing", id="missing"),
        pytest.param(None, 1, "A: bytes expected nothing, got 1", id="surplus"),
        pytest.param("aa", "bb", "A: bytes expected aa, got bb", id="texts"),
        pytest.param(
            Decimal("0.10"), Decimal("0.3"),
            "A: bytes expected 0.10, got 0.3 (+0.20, more than expected)", id="money",
        ),
    ],
)  # fmt: skip
def test_a_difference_states_measure_both_sides_and_direction(
    expected: Value, actual: Value, text: str
) -> None:
    assert str(Difference("A", "bytes", expected, actual)) == text


def test_compare_finds_what_differs_or_stands_on_one_side_only() -> None:
    expected: dict[str, Value] = {"same": 1, "other": 2, "gone": 3}
    actual: dict[str, Value] = {"same": 1, "other": 4, "new": 5}
    assert compare("bytes", expected, actual) == [
        Difference("gone", "bytes", 3, None),
        Difference("new", "bytes", None, 5),
        Difference("other", "bytes", 2, 4),
    ]


def test_equal_amounts_of_other_scale_do_not_differ() -> None:
    assert compare("amount", {"A": Decimal("1.10")}, {"A": Decimal("1.1")}) == []


def test_sums_of_amounts_are_exact_at_any_length() -> None:
    tiny = Decimal("0.0000000000000000000000000000000000000001")
    measure = total("amount", [Decimal(10**30), tiny], [Decimal(10**30)])
    assert measure.difference == -tiny


def test_a_single_amount_is_kept_exact_and_what_is_not_there_counts_as_zero() -> None:
    digits = "123456789" * 5
    long = Decimal(f"0.{digits}")
    assert total("amount", [long, None], [None, long, 1]).difference == 1
    assert total("amount", [long], [None]) == Measure("amount", long, 0)
    assert total("amount", [long, 1], []).difference == Decimal(f"-1.{digits}")


def test_totals_may_agree_while_details_differ() -> None:
    examination = Examination(
        (Measure("bytes", 10, 10),),
        (Difference("A", "bytes", 4, 6), Difference("B", "bytes", 6, 4)),
    )
    assert examination.difference == (
        "2 in detail, first: A: bytes expected 4, got 6 (+2, more than expected)"
    )
    assert concluded("2026-04-08T12", "c", examination).status == "different"


def test_details_are_bounded_and_say_how_many_were_left_out() -> None:
    examination = Examination(
        differences=tuple(Difference(str(n), "bytes", 0, 1) for n in range(60)), notes=("a note",)
    )
    assert len(examination.details) == 52
    assert examination.details[-2:] == ["and 10 more", "a note"]


@pytest.mark.parametrize(
    ("examination", "repairs", "status"),
    [
        pytest.param(Examination(), [], "clean", id="clean"),
        pytest.param(Examination(), ["sent again"], "repaired", id="repaired"),
        pytest.param(
            Examination(differences=(Difference("A", "bytes", 1, 2),)), ["sent again"],
            "different", id="a repair that did not help",
        ),
        pytest.param(Examination(skipped=True), [], "skipped", id="skipped"),
    ],
)  # fmt: skip
def test_status(examination: Examination, repairs: list[str], status: str) -> None:
    assert concluded("2026-04-08T12", "check", examination, repairs).status == status


def test_parts_of_an_hour_add_up() -> None:
    parts = [
        Examination((Measure("bytes", 1, 2),), (Difference("A", "bytes", 1, 2),), skipped=True),
        Examination((Measure("bytes", 10, 10),), notes=("b",), to_repair=("B",)),
    ]
    whole = together(parts)
    assert whole.expected == "bytes 11"
    assert whole.actual == "bytes 12"
    assert (len(whole.differences), whole.notes, whole.to_repair) == (1, ("b",), ("B",))
    assert not whole.skipped


def test_a_whole_is_skipped_when_all_of_its_parts_are() -> None:
    skipped = Examination((Measure("bytes", 1, 1),), skipped=True)
    assert together([skipped]) == skipped
    assert together([skipped, skipped]).skipped is True
    assert together([skipped, Examination((Measure("bytes", 1, 1),))]).skipped is False


DIFFERENCES = (Difference("A", "bytes", 1, 4), Difference("B", "bytes", 9, 8))
TWO_MEASURES = Examination(
    (Measure("bytes", 10, 12), Measure("facts", 3, 3), Measure("amount", Decimal("0.5"), 0)),
    DIFFERENCES,
    ("a note",),
)


def test_an_examination_names_every_measure_on_both_sides_and_what_differs() -> None:
    assert TWO_MEASURES.expected == "bytes 10, facts 3, amount 0.5"
    assert TWO_MEASURES.actual == "bytes 12, facts 3, amount 0"
    assert TWO_MEASURES.difference == (
        "bytes +2, more than expected; amount -0.5, less than expected; 2 in detail, first: "
        "A: bytes expected 1, got 4 (+3, more than expected)"
    )
    assert TWO_MEASURES.details == [
        "A: bytes expected 1, got 4 (+3, more than expected)",
        "B: bytes expected 9, got 8 (-1, less than expected)",
        "a note",
    ]


def test_no_difference_is_called_none() -> None:
    assert Examination((Measure("bytes", 1, 1),)).difference == "none"
    assert str(Measure("bytes", 1, 1)) == "bytes 0"


def test_as_many_details_as_are_kept_leave_nothing_out() -> None:
    examination = Examination(
        differences=tuple(Difference(str(n), "bytes", 0, 1) for n in range(50))
    )
    assert [line.split(":")[0] for line in examination.details] == [str(n) for n in range(50)]


def test_a_result_holds_what_its_examination_said() -> None:
    result = concluded("2026-04-08T12", "facts_events", TWO_MEASURES, ["sent A", "sent B"])

    assert result.as_dict() == {
        "hour": "2026-04-08T12",
        "check": "facts_events",
        "status": "different",
        "expected": TWO_MEASURES.expected,
        "actual": TWO_MEASURES.actual,
        "difference": TWO_MEASURES.difference,
        "repaired": "sent A; sent B",
        "details": TWO_MEASURES.details,
    }
