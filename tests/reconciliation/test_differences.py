"""The words and numbers of a difference: measure, both sides, direction."""

from dataclasses import replace
from decimal import Decimal

import pytest

from billing_etl.reconciliation import (
    Difference,
    Examination,
    Measure,
    Remedy,
    Trial,
    Value,
    compare,
    concluded,
    together,
    total,
    tried,
)

MISSING = Difference("A", "objects", 1, 0)
REMEDY = Remedy("A", "send A again", (MISSING,))
CURED = Trial(REMEDY, "A sent again", is_cured=True)
NOT_CURED = Trial(REMEDY, "A cannot be sent", is_cured=False)


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
    ("examination", "trials", "status"),
    [
        pytest.param(Examination(), [], "clean", id="clean"),
        pytest.param(Examination(), [CURED], "repaired", id="repaired"),
        pytest.param(Examination(), [NOT_CURED], "clean", id="gone by itself"),
        pytest.param(
            Examination(differences=(Difference("A", "bytes", 1, 2),)), [NOT_CURED],
            "different", id="a repair that did not help",
        ),
        pytest.param(Examination(skipped=True), [], "skipped", id="skipped"),
    ],
)  # fmt: skip
def test_status(examination: Examination, trials: list[Trial], status: str) -> None:
    assert concluded("2026-04-08T12", "check", examination, trials).status == status


def test_every_repair_is_told() -> None:
    other = Trial(REMEDY, "A made again", is_cured=True)
    result = concluded("2026-04-08T12", "check", Examination(), [CURED, NOT_CURED, other])
    assert result.repaired == "A sent again; A made again"


def test_parts_of_an_hour_add_up() -> None:
    parts = [
        Examination((Measure("bytes", 1, 2),), (Difference("A", "bytes", 1, 2),), skipped=True),
        Examination((Measure("bytes", 10, 10),), notes=("b",), remedies=(REMEDY,)),
    ]
    whole = together(parts)
    assert whole.expected == "bytes 11"
    assert whole.actual == "bytes 12"
    assert (len(whole.differences), whole.notes, whole.remedies) == (1, ("b",), (REMEDY,))
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


def test_a_result_holds_what_its_examination_said_and_what_was_tried() -> None:
    examination = replace(TWO_MEASURES, remedies=(Remedy("A", "send A again", DIFFERENCES[:1]),))
    result = concluded("2026-04-08T12", "facts_events", examination, [CURED, NOT_CURED])

    assert result.as_dict() == {
        "hour": "2026-04-08T12",
        "check": "facts_events",
        "status": "different",
        "expected": TWO_MEASURES.expected,
        "actual": TWO_MEASURES.actual,
        "difference": TWO_MEASURES.difference,
        "repaired": "A sent again",
        "details": [*TWO_MEASURES.details, "repair failed: A cannot be sent"],
        "repairable": ["would send A again"],
        "differences": [
            {
                "subject": "A",
                "measure": "bytes",
                "expected": "1",
                "actual": "4",
                "difference": "+3, more than expected",
            },
            {
                "subject": "B",
                "measure": "bytes",
                "expected": "9",
                "actual": "8",
                "difference": "-1, less than expected",
            },
        ],
    }


@pytest.mark.parametrize(
    ("after", "is_cured"),
    [
        pytest.param(Examination(), True, id="gone"),
        pytest.param(Examination(differences=(MISSING,)), False, id="still there"),
        pytest.param(
            Examination(differences=(Difference("A", "objects", 2, 0),)),
            False,
            id="there otherwise",
        ),
        pytest.param(
            Examination(differences=(Difference("B", "objects", 1, 0),)), True, id="something else"
        ),
        pytest.param(Examination(proves=frozenset("A")), True, id="seen to be gone"),
        pytest.param(Examination(proves=frozenset("B")), False, id="not looked at again"),
        pytest.param(Examination(skipped=True), False, id="skipped"),
    ],
)
def test_a_repair_is_one_when_what_was_wrong_was_seen_to_be_gone(
    after: Examination, is_cured: bool
) -> None:
    assert tried(REMEDY, "A sent again", after) == Trial(REMEDY, "A sent again", is_cured)


@pytest.mark.parametrize(
    ("expected", "actual", "difference"),
    [
        pytest.param("aa", "bb", "other", id="texts"),
        pytest.param("aa", None, "missing", id="missing"),
        pytest.param(None, "bb", "not expected", id="surplus"),
        pytest.param(5, None, "missing", id="a missing number"),
        pytest.param(None, 5, "not expected", id="a surplus number"),
        pytest.param(5, "bb", "other", id="a text for a number"),
        pytest.param(Decimal("0.5"), 1, "+0.5, more than expected", id="numbers"),
    ],
)
def test_a_difference_has_a_direction_or_a_kind(
    expected: Value, actual: Value, difference: str
) -> None:
    assert Difference("A", "x", expected, actual).difference == difference


def test_parts_prove_together_what_each_of_them_saw() -> None:
    one, other = Examination(proves=frozenset("A")), Examination(proves=frozenset("B"))
    assert together([one, other]).proves == frozenset("AB")
    assert together([Examination(), Examination()]).proves is None
    # What looked at everything of its part says nothing of subjects by name.
    assert together([Examination(), one]).proves == frozenset("A")


def test_a_difference_has_the_remedy_that_is_to_cure_it() -> None:
    of_b = Remedy("B", "make B again", (Difference("B", "objects", 0, 1),))
    examination = Examination(remedies=(REMEDY, of_b))
    assert examination.remedy_of(MISSING) == REMEDY
    assert examination.remedy_of(of_b.cures[0]) == of_b
    assert examination.remedy_of(Difference("C", "objects", 1, 0)) is None


def test_a_difference_of_what_is_not_there_has_no_text_for_it() -> None:
    document = Difference("A", "objects", None, 0).as_dict()
    assert (document["expected"], document["actual"]) == (None, "0")


def test_a_remedy_names_the_first_of_what_is_wrong() -> None:
    assert Remedy("A", "x", DIFFERENCES).wrong == f"{DIFFERENCES[0]} (and 1 more)"
    assert REMEDY.wrong == str(MISSING)
    assert Remedy("A", "x", ()).wrong == ""
