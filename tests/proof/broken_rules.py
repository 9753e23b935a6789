"""One way to break each rule, as data: where it stands in the code, and the test that notices.

``find`` stands exactly once in ``file``; with ``replace`` in its place the code still runs, and
does otherwise than the rule says. See ``break_rules`` for what is done with it.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Break:
    """One rule broken in one place.

    Attributes:
        rule: its name in docs/semantics.md, or the paragraph or check in docs/delivery-contract.md.
        broken: what the changed code does wrong.
        test: node id of the test that must fail on it.
        no_walk: why a random walk cannot notice; empty: it may.
    """

    rule: str
    broken: str
    file: str
    find: str
    replace: str
    test: str
    no_walk: str = ""


_NOBODY_TRIES: Final = "no step of a walk tries what is refused"
_WITHOUT_CRASH: Final = "it makes a difference only when something fails in between"
_OF_A_CHECK: Final = "what a check should see is spoilt in no walk"
_RULES: Final = "tests/pipeline/test_rules.py::"
_MONEY: Final = "tests/pipeline/test_money.py::"
_KNOWN: Final = "tests/scenarios/test_known_cases.py::"
_DELIVER: Final = "tests/delivery/test_deliver.py::"
_RECONCILE: Final = "tests/reconciliation/test_reconcile.py::"

COLLECTING: Final = (
    Break(
        "C1",
        "snapshots may be an hour ahead of the exporter's clock before anybody is told",
        "billing_etl/pipeline/hour_writer.py",
        "_CLOCK_AHEAD_NS: Final = 5 * NS_PER_MINUTE",
        "_CLOCK_AHEAD_NS: Final = 60 * NS_PER_MINUTE",
        _RULES + "test_c1_a_snapshot_far_ahead_of_the_date_header_is_a_finding",
    ),
    Break(
        "C2",
        "only the node of a snapshot is checked, its environment is not",
        "billing_etl/pipeline/fetch.py",
        "if expected is not None and expected != got:",
        'if name == "node" and expected is not None and expected != got:',
        _RULES + "test_c2_a_mismatch_fails_the_source_hour_and_no_other_source",
        "no source of a walk expects a node or an environment",
    ),
    Break(
        "C3",
        "samples stay in the order they were served in",
        "billing_etl/counters/samples.py",
        "by_time = np.lexsort((instant_ns, series))",
        'by_time = np.argsort(series, kind="stable")',
        "tests/unit/test_samples.py::"
        "test_samples_are_sorted_by_series_and_time_whatever_the_serving_order",
    ),
    Break(
        "C4",
        "a closing older than 72 hours is no predecessor",
        "sql/queries/collect/predecessors.sql",
        "where series_id = w.series_id and hour < %(hour)s",
        "where series_id = w.series_id and hour < %(hour)s and hour >= %(hour)s - 72",
        _RULES + "test_c4_the_predecessor_is_the_newest_closing_however_old",
    ),
    Break(
        "C4",
        "look-back is read for no node",
        "billing_etl/pipeline/fetch.py",
        "needed = set(samples.nodes) - with_closing",
        "needed = with_closing - with_closing",
        _RULES + "test_c4_look_back",
    ),
    Break(
        "C5",
        "after a reset the delta is the difference, which is negative",
        "billing_etl/counters/sums.py",
        "self.uplink = block.uplink - np.where(self.fell, 0, prev_uplink)",
        "self.uplink = block.uplink - prev_uplink",
        _KNOWN + "test_a_negative_delta_counts_from_zero_and_is_never_a_credit",
    ),
    Break(
        "C5",
        "it takes both counters to fall to make a reset",
        "billing_etl/counters/sums.py",
        "((block.uplink < prev_uplink) | (block.downlink < prev_downlink))",
        "((block.uplink < prev_uplink) & (block.downlink < prev_downlink))",
        _RULES + "test_c5_either_counter_falling_is_a_reset_of_both",
    ),
    Break(
        "C6",
        "a sample that is served twice is used twice",
        "billing_etl/counters/samples.py",
        "new = _starts(series) | _starts(instant_ns)",
        "new = np.ones(len(series), dtype=np.bool_)",
        _RULES + "test_c6_a_snapshot_served_twice_is_counted_and_not_used_again",
    ),
    Break(
        "C7",
        "the first sight of a node is billed, a lifetime at once",
        "billing_etl/counters/first_deltas.py",
        "np.where(first.appeared, born, FirstKind.BASELINE)",
        "np.where(first.appeared, born, FirstKind.BORN)",
        _KNOWN + "test_an_old_counter_of_a_new_node_is_not_billed_its_lifetime",
    ),
    Break(
        "C7",
        "a born total is billed also when it could not have flowed",
        "billing_etl/counters/first_deltas.py",
        "born = np.where(implausible, FirstKind.IMPLAUSIBLE, FirstKind.BORN)",
        "born = np.where(implausible, FirstKind.BORN, FirstKind.BORN)",
        _RULES + "test_c7_an_implausible_birth_is_a_baseline_and_a_finding",
    ),
    Break(
        "C7",
        "a quarantined sample does not count as presence",
        "billing_etl/pipeline/first_sight.py",
        "instants = presence.get(int(series_id[at]))",
        "instants = None",
        _RULES + "test_c7_a_quarantined_sample_counts_as_presence",
    ),
    Break(
        "C8",
        "bytes go to the first minute of their span, not to the minute they arrived in",
        "billing_etl/counters/sums.py",
        "minute=minute[starts][has_bytes],",
        "minute=(minute[starts] - np.maximum.reduceat(self.spans_minutes, starts) + 1)[has_bytes],",
        "tests/pipeline/test_worked_example.py::test_every_number_of_the_table",
    ),
    Break(
        "C9",
        "a span counts whole minutes that passed, not the minutes of the clock",
        "billing_etl/counters/sums.py",
        "np.maximum(self.minute - prev_ns // NS_PER_MINUTE, 1)",
        "np.maximum((block.instant_ns - prev_ns) // NS_PER_MINUTE, 1)",
        _RULES + "test_c9_span",
    ),
    Break(
        "C10",
        "an idle minute stores a fact",
        "billing_etl/counters/sums.py",
        "has_bytes = (uplink + downlink) > 0",
        "has_bytes = (uplink + downlink) >= 0",
        _RULES + "test_c10_an_idle_series_has_no_fact_but_a_closing",
    ),
    Break(
        "C11",
        "totals whose sum is beyond 2^63-1 are used",
        "billing_etl/exporter/contract.py",
        "if up < 0 or down < 0 or up + down > MAX_TOTAL_BYTES:",
        "if up < 0 or down < 0 or max(up, down) > MAX_TOTAL_BYTES:",
        _RULES + "test_c11_a_bad_sample_goes_to_quarantine_and_the_rest_is_used",
    ),
    Break(
        "C11",
        "an unreadable page passes as an empty one",
        "billing_etl/exporter/contract.py",
        'raise TerminalError(f"expected {expected}, got something else ({error})") from None',
        "return _ServedPage(None)",
        "tests/exporter/test_contract.py::test_an_unreadable_page_is_terminal",
        "no exporter of a walk serves an unreadable page",
    ),
    Break(
        "C12",
        "an hour is as good as the best of its nodes",
        "billing_etl/counters/coverage.py",
        "state=min(states, key=_WORST_FIRST.index)",
        "state=max(states, key=_WORST_FIRST.index)",
        _RULES + "test_c12_state",
    ),
    Break(
        "C12",
        "the checkpoint jumps over hours that were never collected",
        "sql/queries/collect/advance_checkpoint.sql",
        "min(c.hour + settled::int) filter",
        "max(c.hour + settled::int) filter",
        _RULES + "test_c12_the_checkpoint_is_the_end_of_the_contiguous_settled_hours",
    ),
    Break(
        "C13",
        "a collection replaces the stored one although it misses instants",
        "billing_etl/pipeline/hour_writer.py",
        "if len(forgotten):",
        "if len(forgotten) and not len(instants):",
        _RULES + "test_c13_history_never_shrinks",
    ),
    Break(
        "C14",
        "later hours that leaned on a changed one stay as they are",
        "billing_etl/pipeline/judge_again.py",
        "in collected.leaning_hours(connection, source_key, hour, node_keys)",
        "in collected.leaning_hours(connection, source_key, hour, [])",
        _RULES + "test_c14_a_late_snapshot_of_the_previous_hour",
    ),
    Break(
        "C15",
        "two runs of one source may write at once",
        "billing_etl/store/sources.py",
        "select pg_advisory_lock(hashtextextended(",
        "select pg_advisory_lock_shared(hashtextextended(",
        _RULES + "test_c15_a_second_run_of_a_source_ends_with_a_clear_message",
    ),
    Break(
        "C15",
        "a second source of a node is taken without saying so on purpose",
        "billing_etl/settings/sources.py",
        "shared_node: bool = False",
        "shared_node: bool = True",
        _RULES + "test_c15_one_node_under_two_sources_is_refused",
        _NOBODY_TRIES,
    ),
)

RATING: Final = (
    Break(
        "R1",
        "amounts are rounded to cents where they are stored",
        "sql/queries/rate/post.sql",
        "trim_scale(coalesce(sum(w.rated * r.amount_per_unit), 0))",
        "round(coalesce(sum(w.rated * r.amount_per_unit), 0), 2)",
        _MONEY + "test_r1_forty_digits_stay_exact",
    ),
    Break(
        "R2",
        "a version applies from the minute after its own",
        "billing_etl/rating.py",
        "position = bisect_right(self.minutes, minute)",
        "position = bisect_right(self.minutes, minute - 1)",
        _MONEY + "test_r2_a_version_applies_from_its_minute",
    ),
    Break(
        "R2",
        "a published version may be changed",
        "sql/migrations/0003_money.sql",
        "create trigger price_versions_immutable before update or delete",
        "create trigger price_versions_immutable before delete",
        _MONEY + "test_r2_published_versions_are_immutable",
        _NOBODY_TRIES,
    ),
    Break(
        "R3",
        "a quota is consumed series by series, not minute by minute",
        "billing_etl/pipeline/rate.py",
        'np.lexsort((rank, facts["minute"], facts["position"]))',
        'np.lexsort((facts["minute"], rank, facts["position"]))',
        _MONEY + "test_r3_the_earlier_minute_has_the_quota_before_the_first_node_of_the_next",
    ),
    Break(
        "R3",
        "the quota in force at the end of the period counts",
        "billing_etl/rating.py",
        "self.versions_for(account_uuid, period.first_minute)",
        "self.versions_for(account_uuid, period.first_minute + 27 * 24 * 60)",
        _MONEY + "test_r3_the_quota_in_force_at_the_first_minute_of_the_period_counts",
    ),
    Break(
        "R4",
        "the rated hours after a late one keep the quota that it has used up",
        "sql/queries/rate/pick.sql",
        "meter_id = %(meter_id)s and rated\n",
        "meter_id = %(meter_id)s and false\n",
        "tests/scenarios/test_rerating.py::"
        "test_r4_a_late_hour_takes_the_quota_away_from_the_hours_after_it",
    ),
    Break(
        "R5",
        "an entry of the ledger may be deleted",
        "sql/migrations/0003_money.sql",
        "create trigger ledger_append_only before update or delete",
        "create trigger ledger_append_only before update",
        _MONEY + "test_r5_the_ledger_refuses_every_change",
        _NOBODY_TRIES,
    ),
    Break(
        "R5",
        "a later difference is called a charge",
        "sql/queries/rate/post.sql",
        "then m.charge_entry_type else 'adjustment' end",
        "then m.charge_entry_type else m.charge_entry_type end",
        _MONEY + "test_r5_an_adjustment_is_appended_when_bytes_move_between_hours",
    ),
    Break(
        "R6",
        "an entry of the ledger leaves the balance as it was",
        "sql/queries/rate/post.sql",
        "set balance = b.balance - m.amount,",
        "set balance = b.balance,",
        _MONEY + "test_r6_balance_is_opening_plus_credits_minus_charges_and_adjustments",
    ),
    Break(
        "R7",
        "a difference of a closed period posts in that period",
        "sql/queries/rate/post.sql",
        "billing_core.posting_period_hour(hour, %(anchor_day)s)",
        "billing_core.period_hour(hour, %(anchor_day)s)",
        _MONEY + "test_r7_after_closing_a_difference_posts_in_the_open_period_and_names_its_hour",
    ),
)

INVARIANTS: Final = (
    Break(
        "invariant-1",
        "of several deltas in a minute only the largest counts",
        "billing_etl/counters/sums.py",
        "downlink = np.add.reduceat(self.downlink, starts)",
        "downlink = np.maximum.reduceat(self.downlink, starts)",
        "tests/unit/test_sums.py::test_bytes_are_conserved_per_series",
    ),
    Break(
        "invariant-2",
        "what was included of earlier facts is included once more",
        "billing_etl/rating.py",
        "np.minimum(after, left) - np.minimum(after - quantity, left)",
        "np.minimum(after, left)",
        "tests/unit/test_rating.py::"
        "test_the_quota_is_never_exceeded_and_nothing_is_left_while_it_lasts",
    ),
    Break(
        "invariant-3",
        "the ledger counts included bytes as rated ones",
        "sql/queries/rate/post.sql",
        "sum(w.rated)::bigint as rated_quantity,",
        "sum(w.rated + w.included)::bigint as rated_quantity,",
        _RECONCILE + "test_a_clean_hour_says_what_was_compared",
    ),
    Break(
        "invariant-4",
        "a source-hour may lose samples without counting them",
        "sql/migrations/0002_collected_hours.sql",
        "check (samples = used + duplicates + baselines + quarantined)",
        "check (samples >= used + duplicates + baselines + quarantined)",
        _RULES + "test_invariant_4_a_source_hour_that_drops_a_sample_uncounted_is_refused",
        _NOBODY_TRIES,
    ),
    Break(
        "invariant-5",
        "every change of a fact bears the same event id",
        "billing_etl/events/changes.py",
        "inbound_tag, event_type, minute, revision)",
        "inbound_tag, event_type, minute, 1)",
        "tests/delivery/test_events.py::test_event_id_differs_in_every_part_of_a_fact",
    ),
    Break(
        "invariant-6",
        "collecting an hour again writes its coverage again",
        "sql/queries/collect/upsert_source_hour.sql",
        "where (h.state, h.expected_snapshots,",
        "where true or (h.state, h.expected_snapshots,",
        "tests/pipeline/test_replay.py::test_again_changes_no_row_and_sends_no_byte",
    ),
)

DELIVERY: Final = (
    Break(
        "Sealing",
        "objects are sent before what was sealed is committed",
        "billing_etl/pipeline/deliver.py",
        "is_sealed = not waits_for and seal(sealing, hour, meter)\n",
        "is_sealed = not waits_for and seal(sealing, hour, meter)\n"
        "        send(sending, hour, meter)\n",
        _DELIVER + "test_a_crash_around_the_put_is_healed_by_the_next_run",
        _WITHOUT_CRASH,
    ),
    Break(
        "Corrections",
        "a correction carries the new total, not the signed difference",
        "sql/queries/deliveries/changes.sql",
        "fact.uplink_quantity - coalesce(sealed.uplink_quantity, 0) as uplink_change,",
        "fact.uplink_quantity as uplink_change,",
        _DELIVER + "test_a_changed_fact_goes_out_as_signed_differences",
    ),
    Break(
        "Corrections",
        "the revision of a fact that comes back restarts",
        "billing_etl/store/facts.py",
        'rows["revision"][at] = revision + (not same)',
        'rows["revision"][at] = 1',
        "tests/scenarios/test_corrections.py::"
        "test_a_fact_down_to_zero_and_back_goes_on_counting_revisions",
    ),
    Break(
        "Integrity",
        "a key that holds other content is overwritten",
        "billing_etl/delivery.py",
        '{"IfNoneMatch": "*"}',
        "{}",
        _DELIVER + "test_other_content_under_the_key_is_named_and_left_alone",
        _NOBODY_TRIES,
    ),
    Break(
        "Integrity",
        "an upload carries no checksum",
        "billing_etl/delivery.py",
        "            ChecksumSHA256=base64.b64encode(digest).decode(),\n",
        "",
        _DELIVER + "test_objects_carry_a_sha256_the_server_verified_and_their_content_type",
        _WITHOUT_CRASH,
    ),
    Break(
        "Manifest",
        "the manifest is sent before its batches",
        "sql/queries/deliveries/pending_group.sql",
        "order by batch.sealing, batch.kind = 'manifest', batch.kind, batch.ordinal",
        "order by batch.sealing, batch.kind <> 'manifest', batch.kind, batch.ordinal",
        _DELIVER + "test_a_manifest_never_goes_before_its_batches",
        _WITHOUT_CRASH,
    ),
)

CHECKS: Final = (
    Break(
        "exporter_collected",
        "what the exporter has forgotten is a difference",
        "billing_etl/pipeline/checks/exporter_collected.py",
        "if collected is not None and not forgotten and not differences:",
        "if collected is not None and not differences:",
        _RECONCILE + "test_what_the_exporter_forgot_is_no_difference",
        "in a walk this check may differ, as its exporters forget",
    ),
    Break(
        "counters_facts",
        "a lost fact is taken for what its counters say",
        "billing_etl/pipeline/checks/counters_facts.py",
        "actual[name][series] = 0 if facts is None else facts",
        "actual[name][series] = counted if facts is None else facts",
        _RECONCILE + "test_a_lost_fact_is_found",
        _OF_A_CHECK,
    ),
    Break(
        "facts_ratings",
        "a quota may be used twice over",
        "billing_etl/pipeline/checks/facts_ratings.py",
        "if use.included > (quota := book.quota(account, period))",
        "if use.included > 2 * (quota := book.quota(account, period))",
        _RECONCILE + "test_a_spoilt_rating_is_found",
        _OF_A_CHECK,
    ),
    Break(
        "ratings_ledger",
        "the amounts of the ledger are not looked at",
        "billing_etl/pipeline/checks/ratings_ledger.py",
        "{row.account_uuid: row.ledger_amount for row in rows}",
        "{row.account_uuid: row.fact_amount for row in rows}",
        _RECONCILE + "test_a_ledger_entry_that_no_fact_explains_stays_different",
        _OF_A_CHECK,
    ),
    Break(
        "facts_events",
        "what the events of a fact sum up to is not compared with the fact",
        "billing_etl/pipeline/checks/facts_events.py",
        "if not missing and found != state.quantity:",
        "if not missing and found < 0:",
        _RECONCILE + "test_a_fact_that_changed_without_a_new_revision_is_found",
        _OF_A_CHECK,
    ),
    Break(
        "sealed_stored",
        "a stored object of the right size may hold other bytes",
        "billing_etl/pipeline/checks/sealed_stored.py",
        "if stored.sha256 != batch.sha256:",
        "if stored.size_bytes != batch.size_bytes:",
        _RECONCILE + "test_a_damaged_object_is_sent_again",
        _OF_A_CHECK,
    ),
)

BREAKS: Final = COLLECTING + RATING + INVARIANTS + DELIVERY + CHECKS
