"""Snapshots into sorted samples: identity, order, duplicates, conflicts, content (C2, C3, C6)."""

import random
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from billing_etl.counters import HourSamples, SampleCollector, served_hour_digest
from billing_etl.counters.samples import SampleBlock, SeriesSamples
from billing_etl.counters.series import NodeKey, SeriesKey
from billing_etl.records import BadSample, Snapshot

A = "3f2b0a1c-0000-4000-8000-00000000000a"
B = "3f2b0a1c-0000-4000-8000-00000000000b"


def snapshot(
    instant_ns: int,
    *samples: tuple[str, int, int],
    node: str = "node-1",
    env: str = "prod",
    bad: tuple[str, ...] = (),
) -> Snapshot:
    """Samples are (account, up, down), all on ``tcp``; ``bad`` are raw texts."""
    return Snapshot(
        instant_ns,
        env,
        node,
        [account for account, _, _ in samples],
        ["tcp"] * len(samples),
        [up for _, up, _ in samples],
        [down for _, _, down in samples],
        [BadSample("total_negative", text, A, "tcp") for text in bad],
    )


def collected(*snapshots: Snapshot, block_samples: int = 100) -> HourSamples:
    collector = SampleCollector(block_samples)
    for each in snapshots:
        collector.add(each)
    return collector.finish()


def only_block(samples: HourSamples) -> SampleBlock:
    (block,) = samples.blocks()
    return block


def rows(samples: HourSamples) -> list[tuple[Any, ...]]:
    """Node, account, instant, up, down."""
    return sorted(
        (samples.series_keys[series].node_id, samples.series_keys[series].account_uuid, *values)
        for block in samples.blocks()
        for series, *values in zip(
            block.series.tolist(),
            block.instant_ns.tolist(),
            block.uplink.tolist(),
            block.downlink.tolist(),
            strict=True,
        )
    )


def test_samples_are_sorted_by_series_and_time_whatever_the_serving_order() -> None:
    served = [snapshot(at, (A, at, 0), (B, 2 * at, 1), node=n) for at in (3, 1, 2) for n in "ab"]
    expected = rows(collected(*served))

    for seed in range(5):
        shuffled = random.Random(seed).sample(served, len(served))
        samples = collected(*shuffled)
        assert rows(samples) == expected
        block = only_block(samples)
        order = list(zip(block.series.tolist(), block.instant_ns.tolist(), strict=True))
        assert order == sorted(order)


@pytest.mark.parametrize(
    ("first", "second", "kept", "conflicts"),
    [
        pytest.param((5, 6), (5, 6), (5, 6), 0, id="equal"),
        pytest.param((5, 6), (7, 6), (7, 6), 1, id="larger uplink"),
        pytest.param((5, 6), (4, 9), (5, 9), 1, id="the larger per counter"),
        pytest.param((5, 6), (4, 5), (5, 6), 1, id="both smaller"),
    ],
)
def test_a_series_at_one_instant_counts_once(
    first: tuple[int, int], second: tuple[int, int], kept: tuple[int, int], conflicts: int
) -> None:
    for served in (
        [snapshot(7, (A, *first)), snapshot(7, (A, *second))],
        [snapshot(7, (A, *first), (A, *second))],
    ):
        samples = collected(*served)

        assert rows(samples) == [("node-1", A, 7, *kept)]
        assert (samples.duplicates, len(samples.conflicts.series)) == (1, conflicts)
        assert samples.served_samples == 2


def test_two_instants_of_equal_series_next_to_each_other_are_not_mixed() -> None:
    """The last sample of one series and the first of the next may share their instant."""
    samples = collected(snapshot(7, (A, 1, 1), (B, 2, 2)))

    assert (len(rows(samples)), samples.duplicates) == (2, 0)


def test_a_node_is_env_and_node_id() -> None:
    samples = collected(
        snapshot(7, (A, 1, 1)),
        snapshot(7, (A, 2, 2), env="dev"),
        snapshot(7, (A, 3, 3), node="node-2"),
    )

    assert len(samples.nodes) == len(samples.series_keys) == len(samples.snapshot_ns) == 3
    assert samples.duplicates == 0


def test_bad_samples_count_as_served() -> None:
    samples = collected(snapshot(7, (A, 1, 1), bad=("{}",)), snapshot(8))

    assert samples.snapshot_samples.tolist() == [2, 0]
    assert [placed.instant_ns for placed in samples.bad_samples] == [7]


def test_nothing_served_is_nothing() -> None:
    samples = collected()

    assert (rows(samples), samples.served_samples, samples.nodes) == ([], 0, [])
    assert samples.content_hash() == collected().content_hash()


BASE = [snapshot(7, (A, 1, 1), (B, 2, 2)), snapshot(8, (A, 1, 1))]


@pytest.mark.parametrize(
    "same",
    [
        pytest.param(BASE[::-1], id="snapshots in another order"),
        pytest.param([snapshot(7, (B, 2, 2), (A, 1, 1)), BASE[1]], id="samples in another order"),
        pytest.param([*BASE, BASE[0]], id="a snapshot read twice"),
        pytest.param([snapshot(7, (A, 1, 1)), snapshot(7, (B, 2, 2)), BASE[1]], id="in two parts"),
    ],
)
def test_the_content_hash_does_not_tell_how_it_was_served(same: list[Snapshot]) -> None:
    assert collected(*same).content_hash() == collected(*BASE).content_hash()


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(BASE[:1], id="a snapshot less"),
        pytest.param([*BASE, snapshot(9)], id="an empty one more"),
        pytest.param([snapshot(7, (A, 2, 2), (B, 1, 1)), BASE[1]], id="totals exchanged"),
        pytest.param([snapshot(7, (A, 1, 2), (B, 2, 2)), BASE[1]], id="another total"),
        pytest.param([snapshot(6, (A, 1, 1), (B, 2, 2)), BASE[1]], id="another instant"),
        pytest.param([snapshot(7, (A, 1, 1), (B, 2, 2), bad=("{}",)), BASE[1]], id="a bad sample"),
        pytest.param(
            [snapshot(each.instant_ns, (A, 1, 1), env="dev") for each in BASE], id="another env"
        ),
    ],
)
def test_the_content_hash_tells_content(other: list[Snapshot]) -> None:
    assert collected(*other).content_hash() != collected(*BASE).content_hash()


def test_the_content_hash_never_changes() -> None:
    # Recorded: it is compared with the one that is stored, whatever version stored it.
    served = [*BASE, snapshot(9, (B, 2**62, 3), node="node-2", bad=("{}", '{"uuid": 1}'))]

    assert collected(*served).content_hash().hex() == "1f1b94bc8b2f4febd640e4a00e252100"


def test_columns_that_do_not_belong_together_are_not_hashed() -> None:
    with pytest.raises(ValueError):
        replace(collected(*BASE), snapshot_hashes=[]).content_hash()


def test_the_digest_of_a_served_hour_is_that_of_its_samples() -> None:
    served = [*BASE, snapshot(9, bad=("{}",))]

    assert served_hour_digest(iter(served)) == (3, 4, collected(*served).content_hash())


# --- codes ---------------------------------------------------------------------------------------


def test_nodes_and_series_are_named_and_joined() -> None:
    samples = collected(snapshot(7, (A, 1, 1), node="n-2"), snapshot(7, (B, 2, 2), node="n-1"))

    assert samples.nodes == [NodeKey("prod", "n-2"), NodeKey("prod", "n-1")]
    assert list(samples.series_keys) == [
        SeriesKey("prod", "n-2", A, "tcp"),
        SeriesKey("prod", "n-1", B, "tcp"),
    ]
    assert samples.series_node.tolist() == [0, 1]
    assert samples.snapshot_node[only_block(samples).snapshot].tolist() == [0, 1]


def test_snapshots_are_sorted_by_node_then_instant() -> None:
    samples = collected(
        snapshot(9, node="n-1"),
        snapshot(8, (A, 1, 1), node="n-2"),
        snapshot(7, (A, 1, 1), (B, 1, 1), node="n-1"),
    )

    assert samples.snapshot_node.tolist() == [0, 0, 1]
    assert samples.snapshot_ns.tolist() == [7, 9, 8]
    assert samples.snapshot_samples.tolist() == [2, 0, 1]
    assert only_block(samples).snapshot.tolist() == [2, 0, 0]


def test_the_same_accounts_on_another_inbound_are_other_series() -> None:
    first = snapshot(7, (A, 1, 1), (B, 2, 2))
    samples = collected(first, replace(first, instant_ns=8, inbound_tags=["udp", "tcp"]))

    block = only_block(samples)
    tags = [samples.series_keys[series].inbound_tag for series in block.series.tolist()]
    assert sorted(zip(tags, block.uplink.tolist(), strict=True)) == [
        ("tcp", 1), ("tcp", 2), ("tcp", 2), ("udp", 1),
    ]  # fmt: skip


def test_other_accounts_in_the_same_places_are_other_series() -> None:
    samples = collected(snapshot(7, (A, 1, 1)), snapshot(8, (B, 2, 2)), snapshot(9, (A, 3, 3)))

    assert rows(samples) == [
        ("node-1", A, 7, 1, 1),
        ("node-1", A, 9, 3, 3),
        ("node-1", B, 8, 2, 2),
    ]


def test_an_account_without_a_tag_beside_it_is_refused() -> None:
    with pytest.raises(ValueError):
        collected(replace(snapshot(7, (A, 1, 1), (B, 1, 1)), inbound_tags=["tcp"]))


def test_a_conflict_is_told_at_its_place() -> None:
    samples = collected(
        snapshot(7, (A, 1, 1), (B, 5, 5)),
        snapshot(8, (A, 2, 2), (B, 6, 6)),
        snapshot(8, (A, 2, 2), (B, 7, 6)),
        snapshot(9, (A, 3, 3), (B, 8, 8)),
    )

    assert samples.duplicates == 2
    assert rows(samples)[4] == ("node-1", B, 8, 7, 6)
    conflicts = samples.conflicts
    assert samples.series_keys[int(conflicts.series[0])].account_uuid == B
    assert (conflicts.until_ns.tolist(), conflicts.quantity.tolist()) == ([8], [13])


def test_without_a_repetition_there_is_no_conflict() -> None:
    assert collected(*BASE).conflicts.series.tolist() == []


def test_bad_samples_are_in_order_of_time_node_and_text_however_they_were_served() -> None:
    served = [
        snapshot(8, node="a", bad=("{1}", "{0}")),
        snapshot(7, node="b", bad=("{3}",)),
        snapshot(7, node="a", bad=("{4}",)),
        snapshot(8, node="a", bad=("{0}",)),
    ]
    expected = [(7, 0, "{4}"), (7, 1, "{3}"), (8, 0, "{0}"), (8, 0, "{0}"), (8, 0, "{1}")]

    samples = collected(*served)
    assert [(b.instant_ns, b.node, b.sample.raw_text) for b in samples.bad_samples] == expected
    assert collected(*served[::-1]).content_hash() == samples.content_hash()


def test_an_account_that_is_called_otherwise_keeps_its_samples_and_hashes() -> None:
    """As an account that was erased: its uuid stays nowhere, and its hours stay what they were."""
    other = "00000000-0000-4000-8000-0000000000ff"
    bare = A.replace("-", "")
    texts = (f'["{A}", "{B.upper()}", "{A.upper()}", 7, "{bare}"]', "{}")
    served = [
        snapshot(7, (A, 1, 2), (B, 3, 4), bad=texts),
        snapshot(8, (A, 5, 6), (B, 7, 8)),
    ]
    unknown = BadSample("bad_uuid", "[]", None, None)
    served[0].bad_samples.append(unknown)
    collector = SampleCollector(stored_name={A: other, B: B}.__getitem__)
    for each in served:
        collector.add(each)
    samples = collector.finish()

    plain = collected(*served)
    renamed = [(node, other if of == A else of, *values) for node, of, *values in rows(plain)]
    assert rows(samples) == sorted(renamed)
    assert samples.content_hash() == plain.content_hash()
    assert samples.snapshot_hashes == plain.snapshot_hashes
    assert [each.sample for each in samples.bad_samples] == [
        BadSample(
            "total_negative",
            f'["{other}", "{B.upper()}", "{other}", 7, "{other}"]',
            other,
            "tcp",
        ),
        unknown,
        BadSample("total_negative", "{}", other, "tcp"),
    ]


@pytest.mark.parametrize("served", [[], [snapshot(7)], BASE], ids=["nothing", "empty", "samples"])
def test_codes_clocks_and_totals_are_whole_numbers(served: list[Snapshot]) -> None:
    samples = collected(*served)

    for name in ("series_node", "snapshot_node", "snapshot_ns", "snapshot_samples"):
        assert getattr(samples, name).dtype == np.int64, name
    for each in (only_block(samples), samples.first, samples.last, samples.conflicts):
        for field in fields(each):
            if field.name not in ("from_minute", "until_minute"):
                assert getattr(each, field.name).dtype == np.int64, field.name


# --- blocks --------------------------------------------------------------------------------------

MINUTE_NS = 60 * 10**9


def long_hour() -> list[Snapshot]:
    """Ten minutes of two nodes, two snapshots each; B is seen in every third minute only."""
    return [
        snapshot(
            minute * MINUTE_NS + second * 10**9,
            (A, minute, second),
            *([(B, minute, 7)] if minute % 3 == 0 else []),
            node=node,
            bad=("{}",) if minute == 4 else (),
        )
        for minute in range(10)
        for second in (3, 33)
        for node in ("b", "a")
    ]


@pytest.mark.parametrize("block_samples", [1, 5, 12])
def test_an_hour_in_blocks_is_the_same_hour(block_samples: int) -> None:
    whole, parts = collected(*long_hour()), collected(*long_hour(), block_samples=block_samples)
    blocks = list(parts.blocks())

    assert len(blocks) > 2
    assert rows(parts) == rows(whole)
    assert parts.snapshot_hashes == whole.snapshot_hashes
    assert parts.content_hash() == whole.content_hash()
    assert parts.used_samples == whole.used_samples == len(rows(whole))
    for end in ("first", "last"):
        for field in fields(SeriesSamples):
            values = [getattr(getattr(samples, end), field.name) for samples in (parts, whole)]
            assert values[0].tolist() == values[1].tolist()


def test_blocks_share_no_minute_and_leave_none_out() -> None:
    blocks = list(collected(*long_hour(), block_samples=5).blocks())

    assert blocks[0].from_minute == 0
    assert blocks[-1].until_minute > 10**6
    for earlier, later in pairwise(blocks):
        assert earlier.until_minute == later.from_minute
    for block in blocks:
        minutes = block.instant_ns // MINUTE_NS
        assert ((block.from_minute <= minutes) & (minutes < block.until_minute)).all()


def test_repetitions_are_counted_over_all_blocks() -> None:
    again = [each for each in long_hour() for _ in range(2)]
    samples = collected(*again, block_samples=8)
    assert len(list(samples.blocks())) > 2
    assert samples.duplicates == sum(len(each.accounts) for each in long_hour())


def test_blocks_may_be_read_twice() -> None:
    samples = collected(*long_hour(), block_samples=5)

    assert rows(samples) == rows(samples)


def test_a_snapshot_of_a_block_that_has_ended_is_refused() -> None:
    with pytest.raises(ValueError, match="from 1970-01-01T00:01:00Z on, got one of 1970"):
        collected(
            snapshot(0, (A, 1, 1)),
            snapshot(MINUTE_NS, (A, 2, 2)),
            snapshot(1, (A, 1, 1)),
            block_samples=1,
        )


@pytest.mark.parametrize("block_samples", [1, 100])
def test_the_ends_of_a_part_of_the_window(block_samples: int) -> None:
    samples = collected(*long_hour(), block_samples=block_samples)

    first, last = samples.ends_within(2 * MINUTE_NS, 7 * MINUTE_NS)
    names = [samples.series_keys[series] for series in first.series.tolist()]
    assert [(name.node_id, name.account_uuid) for name in names] == [
        ("b", A), ("b", B), ("a", A), ("a", B),
    ]  # fmt: skip
    assert first.instant_ns.tolist() == [(60 * m + 3) * 10**9 for m in (2, 3, 2, 3)]
    assert last.instant_ns.tolist() == [(60 * 6 + 33) * 10**9] * 4
    assert (first.uplink.tolist(), last.downlink.tolist()) == ([2, 3, 2, 3], [33, 7, 33, 7])


def test_the_ends_of_a_part_hold_its_start_and_not_its_end() -> None:
    samples = collected(*(snapshot(ns, (A, ns, ns)) for ns in (6, 7, 8, 9)))
    first, last = samples.ends_within(7, 9)

    assert (first.uplink.tolist(), last.uplink.tolist()) == ([7], [8])


@pytest.mark.parametrize("block_samples", [1, 100])
def test_the_first_and_the_last_sample_of_each_series(block_samples: int) -> None:
    samples = collected(*long_hour(), block_samples=block_samples)
    accounts = [samples.series_keys[code].account_uuid for code in samples.first.series.tolist()]

    assert samples.first.series.tolist() == samples.last.series.tolist() == [0, 1, 2, 3]
    assert accounts == [A, B, A, B]
    assert samples.first.instant_ns.tolist() == [3 * 10**9] * 4
    assert samples.last.instant_ns.tolist() == [(60 * 9 + 33) * 10**9] * 4
    assert (samples.first.uplink.tolist(), samples.first.downlink.tolist()) == (
        [0, 0, 0, 0], [3, 7, 3, 7],
    )  # fmt: skip
    assert (samples.last.uplink.tolist(), samples.last.downlink.tolist()) == (
        [9, 9, 9, 9], [33, 7, 33, 7],
    )  # fmt: skip


def test_each_block_is_given_as_it_ends_with_the_names_that_are_new_in_it() -> None:
    given: list[tuple[SampleBlock, list[SeriesKey]]] = []
    collector = SampleCollector(8, lambda block, names: given.append((block, list(names))))
    newcomer = snapshot(9 * MINUTE_NS + 45 * 10**9, (B, 1, 1), node="late")
    arrived = [*long_hour(), newcomer]
    for each in arrived:
        collector.add(each)
    samples = collector.finish()
    blocks = list(samples.blocks())

    assert len(given) == len(blocks) > 2
    for (block, _), again in zip(given, blocks, strict=True):
        for field in fields(SampleBlock):
            if field.name != "snapshot":
                assert np.array_equal(getattr(block, field.name), getattr(again, field.name))
        nodes = [samples.series_keys[code].node_id for code in block.series.tolist()]
        of = [arrived[place] for place in block.snapshot.tolist()]
        assert [(each.node_id, each.instant_ns) for each in of] == list(
            zip(nodes, block.instant_ns.tolist(), strict=True)
        )
    assert [name for _, names in given for name in names] == list(samples.series_keys)
    assert given[-1][1] == [SeriesKey("prod", "late", B, "tcp")]


def test_a_block_under_other_codes_leaves_out_what_has_none() -> None:
    block = only_block(
        collected(snapshot(7, (A, 1, 2), (B, 3, 4)), snapshot(8, (A, 5, 6), (B, 7, 8)))
    )
    other = block.recoded(np.array([-1, 4]))

    assert {field.name: getattr(other, field.name) for field in fields(SampleBlock)} == {
        "series": pytest.approx([4, 4]),
        "snapshot": pytest.approx([0, 1]),
        "instant_ns": pytest.approx([7, 8]),
        "uplink": pytest.approx([3, 7]),
        "downlink": pytest.approx([4, 8]),
        "from_minute": block.from_minute,
        "until_minute": block.until_minute,
    }
    assert block.recoded(np.array([0, -1])).uplink.tolist() == [1, 5]
    assert block.recoded(np.array([9, 0])).series.tolist() == [9, 9, 0, 0]
    assert block.recoded(np.array([9, 0])).uplink.tolist() == block.uplink.tolist()
