"""Late data (C14) told step by step: there and back, far ahead, and out of quarantine."""

from pipeline.harness import B, resets, source_hour

from scenarios.case import Case, assert_shows, seen, until


def test_there_and_back_a_reset_becomes_a_delta_and_a_reset_again(case: Case) -> None:
    served = [seen("12:57:03", A=0), seen("12:58:03", A=900), seen("13:00:03", A=5)]
    case.serve(served)
    case.bill("12", "13")
    assert resets(case.line) == [("13:00:03", "node_restart", 900, 0)]

    served += [seen("12:59:03", A=2)]
    case.serve(until("13", served))
    case.bill("12")
    assert resets(case.line) == [("12:59:03", "node_restart", 900, 0)]
    assert_shows(
        case.minutes(),
        """
        minute | bytes | span | reset | rated | amount
        12:58  | 900   | 1    | -     | 900   | 1800
        12:59  | 2     | 1    | yes   | 2     | 4
        13:00  | 3     | 1    | -     | 3     | 6
        """,
    )

    served += [seen("12:59:33", A=800)]
    case.serve(until("13", served))
    case.bill("12")
    assert resets(case.line) == [
        ("12:59:03", "node_restart", 900, 0),
        ("13:00:03", "node_restart", 800, 0),
    ]
    assert_shows(
        case.minutes(),
        """
        minute | bytes | span | reset | rated | amount
        12:58  | 900   | 1    | -     | 900   | 1800
        12:59  | 800   | 1    | yes   | 800   | 1600
        13:00  | 5     | 1    | yes   | 5     | 10
        """,
    )
    assert_shows(
        case.ledger(),
        """
        hour  | type           | bytes | amount | balance | reason
        12:00 | traffic_charge | 900   | 1800   | -1800   | usage
        13:00 | traffic_charge | 5     | 10     | -1810   | usage
        12:00 | adjustment     | 2     | 4      | -1814   | usage changed
        13:00 | adjustment     | -2    | -4     | -1810   | usage changed
        12:00 | adjustment     | 798   | 1596   | -3406   | usage changed
        13:00 | adjustment     | 2     | 4      | -3410   | usage changed
        """,
    )
    case.assert_settled()


def test_a_chain_over_five_hours_is_corrected_at_its_far_end_only(case: Case) -> None:
    """A is absent from 13 to 16: its first delta in hour 17 leaned on hour 12."""
    hours = ("12", "13", "14", "15", "16", "17")
    served = [
        seen("12:57:03", A=0, B=0),
        seen("12:58:03", A=100, B=1),
        *(seen(f"{hour}:30:03", B=int(hour)) for hour in hours[1:5]),
        seen("17:30:03", A=150, B=17),
    ]
    case.serve(served)
    case.bill(*hours)
    rows_of_b = (
        "select f.xmin::text, f.* from billing_core.facts f join billing_core.series"
        " using (series_id) join billing_core.accounts using (account_key)"
        f" where account_uuid = '{B}' order by minute"
    )
    before = case.line.rows(rows_of_b)
    assert len(before) == 6

    case.serve(until("13", [*served, seen("12:59:03", A=130)]))
    case.bill("12")

    assert case.line.rows(rows_of_b) == before
    assert_shows(
        [minute for minute in case.minutes() if minute["account"] == "A"],
        """
        minute | bytes | span | rated | amount
        12:58  | 100   | 1    | 100   | 200
        12:59  | 30    | 1    | 30    | 60
        17:30  | 20    | 271  | 20    | 40
        """,
    )
    assert_shows(
        [entry for entry in case.ledger() if entry["account"] == "A"],
        """
        hour  | type           | bytes | amount | reason
        12:00 | traffic_charge | 100   | 200    | usage
        17:00 | traffic_charge | 50    | 100    | usage
        12:00 | adjustment     | 30    | 60     | usage changed
        17:00 | adjustment     | -30   | -60    | usage changed
        """,
    )
    case.assert_settled()


def test_a_quarantined_sample_that_is_mended_corrects_the_next_hour(case: Case) -> None:
    """A misses one sample; B was never readable, so that its first good sample is a baseline."""
    hour_13 = seen("13:00:03", A=150, B=70)
    case.serve(
        [
            seen("12:57:03", A=0, B=-1),
            seen("12:58:03", A=100, B=-1),
            seen("12:59:03", A=-1, B=-1),
            hour_13,
        ]
    )
    case.bill("12", "13")
    assert_shows(
        case.minutes(),
        """
        minute | account | bytes | span | rated | amount
        12:58  | A       | 100   | 1    | 100   | 200
        13:00  | A       | 50    | 2    | 50    | 100
        """,
    )
    assert source_hour(case.line, "12")["quarantined"] == 4
    assert source_hour(case.line, "13")["baselines"] == 1

    mended = [
        seen("12:57:03", A=0, B=10),
        seen("12:58:03", A=100, B=20),
        seen("12:59:03", A=130, B=40),
    ]
    case.serve(mended)
    case.bill("12")

    assert_shows(
        case.minutes(),
        """
        minute | account | bytes | span | rated | amount
        12:58  | A       | 100   | 1    | 100   | 200
        12:58  | B       | 10    | 1    | 10    | 20
        12:59  | A       | 30    | 1    | 30    | 60
        12:59  | B       | 20    | 1    | 20    | 40
        13:00  | A       | 20    | 1    | 20    | 40
        13:00  | B       | 30    | 1    | 30    | 60
        """,
    )
    assert_shows(
        case.ledger(),
        """
        hour  | account | type           | bytes | amount | reason
        12:00 | A       | traffic_charge | 100   | 200    | usage
        13:00 | A       | traffic_charge | 50    | 100    | usage
        12:00 | A       | adjustment     | 30    | 60     | usage changed
        13:00 | A       | adjustment     | -30   | -60    | usage changed
        12:00 | B       | traffic_charge | 30    | 60     | usage
        13:00 | B       | traffic_charge | 30    | 60     | usage
        """,
    )
    assert source_hour(case.line, "12")["quarantined"] == 0
    assert source_hour(case.line, "13")["baselines"] == 0
    case.assert_settled()
