"""A region published with the prices (R2) stays, whatever region the source's setting names."""

import pytest

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
