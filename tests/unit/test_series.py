"""Names of series and their codes, as columns."""

import numpy as np
import pytest

from billing_etl.counters import NodeKey, SeriesKey, SeriesTable

HERE, THERE = NodeKey("prod", "node-1"), NodeKey("test", "node-2")


def table_of(*named: tuple[NodeKey, str, str]) -> SeriesTable:
    table = SeriesTable()
    for node, account, tag in named:
        table.codes(table.node(node), [account], [tag])
    return table


def test_series_get_codes_in_the_order_in_which_they_are_first_named() -> None:
    table = SeriesTable()
    here = table.node(HERE)

    assert table.codes(here, ["b", "a", "b"], ["tcp", "tcp", "udp"]).tolist() == [0, 1, 2]
    assert table.codes(here, ["c", "a", "b", "c"], ["tcp"] * 4).tolist() == [3, 1, 0, 3]
    assert len(table) == 4
    assert list(table.names()) == [
        SeriesKey("prod", "node-1", "b", "tcp"),
        SeriesKey("prod", "node-1", "a", "tcp"),
        SeriesKey("prod", "node-1", "b", "udp"),
        SeriesKey("prod", "node-1", "c", "tcp"),
    ]


def test_the_same_account_and_tag_on_two_nodes_are_two_series() -> None:
    table = table_of((HERE, "a", "tcp"), (THERE, "a", "tcp"), (HERE, "a", "tcp"))

    assert [table.node(HERE), table.node(THERE)] == [0, 1]
    assert [name.node_id for name in table.names()] == ["node-1", "node-2"]


def test_an_account_is_not_taken_for_a_tag() -> None:
    names = [("a", "b"), ("b", "a"), ("a", "a"), ("b", "b"), ("", "a"), ("a", "")]
    table = table_of(*((HERE, *name) for name in names))

    assert len(table) == len(names)
    assert [(name.account_uuid, name.inbound_tag) for name in table.names()] == names


def test_accounts_and_tags_must_be_parallel() -> None:
    table = SeriesTable()
    with pytest.raises(ValueError, match="expected 2 inbound tags, got 1"):
        table.codes(table.node(HERE), ["a", "b"], ["tcp"])


def test_nothing_is_named_by_an_empty_snapshot() -> None:
    table = table_of((HERE, "a", "tcp"))

    assert table.codes(table.node(THERE), [], []).tolist() == []
    assert len(table) == 1


def test_names_are_a_sequence_and_stay_as_they_were() -> None:
    table = table_of((HERE, "a", "tcp"), (THERE, "b", "udp"))
    names = table.names()
    table.codes(table.node(HERE), ["later"], ["tcp"])

    assert len(names) == 2
    assert names[1] == SeriesKey("test", "node-2", "b", "udp")
    assert list(names[1:]) == [names[1]]
    assert str(names[0]) == "prod/node-1 a tcp"
    assert SeriesKey("prod", "node-1", "later", "tcp") not in names


def test_another_tables_series_are_found_by_name() -> None:
    known = SeriesTable.of(
        table_of(
            (HERE, "a", "tcp"), (THERE, "a", "tcp"), (HERE, "b", "udp"), (HERE, "a", "udp")
        ).names()
    )
    asked = table_of(
        (THERE, "a", "tcp"),
        (NodeKey("prod", "node-3"), "a", "tcp"),
        (HERE, "a", "udp"),
        (HERE, "b", "tcp"),
        (HERE, "new", "tcp"),
        (HERE, "a", "new"),
        (THERE, "b", "udp"),
        (HERE, "b", "udp"),
        (HERE, "a", "tcp"),
    )

    assert known.find(asked.names()).tolist() == [1, -1, 3, -1, -1, -1, -1, 2, 0]


def test_many_accounts_and_tags_keep_their_names() -> None:
    named = [(f"a{number}", f"t{number}") for number in range(300)]
    table = SeriesTable()
    table.codes(table.node(HERE), [account for account, _ in named], [tag for _, tag in named])

    assert [(name.account_uuid, name.inbound_tag) for name in table.names()] == named


def test_nothing_is_found_of_no_names() -> None:
    known = SeriesTable.of(table_of((HERE, "a", "tcp")).names())

    nobody = SeriesTable()
    nobody.node(HERE)

    assert known.find(nobody.names()).tolist() == []


def test_a_table_made_of_names_goes_on_with_new_ones() -> None:
    table = SeriesTable.of(table_of((THERE, "b", "tcp"), (HERE, "a", "tcp")).names())

    assert table.codes(table.node(HERE), ["a", "b"], ["tcp", "tcp"]).tolist() == [1, 2]
    assert table.codes(table.node(THERE), ["b"], ["tcp"]).tolist() == [0]
    assert len(table) == len(table.names()) == 3


def test_many_series_in_any_order_keep_their_codes() -> None:
    random = np.random.default_rng(5)
    table, expected = SeriesTable(), dict[tuple[str, str], int]()
    node = table.node(HERE)
    for _ in range(20):
        pairs = [(f"a{a}", f"t{t}") for a, t in random.integers(0, 9, (30, 2)).tolist()]
        for pair in pairs:
            expected.setdefault(pair, len(expected))
        codes = table.codes(node, [a for a, _ in pairs], [t for _, t in pairs])
        assert codes.tolist() == [expected[pair] for pair in pairs]
