"""A region published with the prices (R2) stays, whatever region the source's setting names."""

from datetime import UTC, datetime

import pytest

from billing_etl.hours import Hour
from scenarios.case import Case, assert_shows, seen


@pytest.mark.parametrize("since", ["2026-04-08T12:31:00Z", "2199-01-01T00:00:00Z"])
def test_r2_collecting_again_does_not_undo_a_published_region(since: str, case: Case) -> None:
    """The setting says jp, as before; that is no change of the setting."""
    case.serve([seen("12:29:03", A=0), seen("12:30:03", A=10), seen("12:31:03", A=20)], region="jp")
    case.bill("12")
    case.publish(source_regions=[{"source_id": "jp-1", "region": "us", "from": since}])
    dated = "select from_minute, region from billing_core.source_regions order by 1"
    before = case.line.rows(dated)

    case.bill("12")

    assert case.line.rows(dated) == before
    case.assert_settled()


def test_r2_a_change_of_the_setting_applies_from_the_hour_it_is_first_collected_with(
    case: Case,
) -> None:
    served = [seen("12:29:03", A=0), seen("12:30:03", A=10), seen("12:31:03", A=20)]
    case.serve(served, region="jp")
    case.bill("12")
    published = [{"source_id": "jp-1", "region": "us", "from": "2026-04-08T12:31:00Z"}]
    case.publish(source_regions=published)

    case.serve(served, region="eu")
    case.bill("12")

    regions = case.line.rows("select region from billing_core.source_regions order by from_minute")
    assert regions == [("jp",), ("us",), ("eu",)]
    assert_shows(
        case.minutes(),
        """
        minute | region
        12:30  | jp
        12:31  | us
        """,
    )
    case.assert_replay_changes_nothing()


SERVED = [seen("12:29:03", A=0), seen("12:30:03", A=10), seen("12:31:03", A=20)]


def dated(case: Case) -> list[tuple[int, str]]:
    rows = case.line.rows("select from_minute, region from billing_core.source_regions order by 1")
    return [(minute, region) for minute, region in rows]


@pytest.mark.parametrize("setting", ["jp", "eu"])
def test_r2_a_setting_that_an_older_version_did_not_keep_is_adopted_and_dates_nothing(
    setting: str, case: Case
) -> None:
    """A region was published just before; which of them was the setting's is not known."""
    case.serve(SERVED, region="jp")
    case.bill("12")
    published = {"source_id": "jp-1", "region": "us", "from": "2026-04-08T12:31:00Z"}
    case.publish(source_regions=[published])
    case.line.execute("update billing_core.sources set setting_region = null")
    before = dated(case)

    case.serve(SERVED, region=setting)
    case.bill("12")
    assert dated(case) == before

    case.serve(SERVED, region="de")
    case.bill("12")
    assert [region for _, region in dated(case)] == ["jp", "us", "de"]


def test_r2_a_change_of_the_setting_stands_between_what_was_published_around_it(case: Case) -> None:
    """It replaces what starts with the running hour; what starts later is left to come."""
    case.serve(SERVED, region="jp")
    case.bill("12")
    now = Hour.of(datetime.now(UTC))
    starts = [now, now.next, Hour(now.index + 2)]  # the running hour may end meanwhile
    case.publish(
        source_regions=[
            {"source_id": "jp-1", "region": "us", "from": f"{start}:00:00Z"} for start in starts
        ]
    )

    case.serve(SERVED, region="eu")
    case.bill("12")

    changed = dict(dated(case))
    assert changed.pop(0) == "jp"
    assert list(changed) == [start.first_minute for start in starts]
    assert list(changed.values()) in (["eu", "us", "us"], ["us", "eu", "us"])


def test_r2_publishing_again_puts_a_wrongly_dated_region_right(case: Case) -> None:
    case.serve(SERVED, region="jp")
    case.bill("12")
    wrong = {"source_id": "jp-1", "region": "us", "from": "2026-04-08T12:31:00Z"}
    case.publish(source_regions=[wrong])

    case.publish(source_regions=[wrong | {"region": "jp"}])

    assert [region for _, region in dated(case)] == ["jp", "jp"]
    case.assert_settled()
