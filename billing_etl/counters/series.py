"""Names of series and their codes, held as columns: an hour may have a hundred thousand of them."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, overload

import numpy as np

from billing_etl.records import BoolArray, Int64Array

_NOTHING: Final[Int64Array] = np.zeros(0, dtype=np.int64)


class NodeKey(NamedTuple):
    """A node of a source (C2)."""

    env: str
    node_id: str


class SeriesKey(NamedTuple):
    """A series of a source: what a pair of counters belongs to."""

    env: str
    node_id: str
    account_uuid: str
    inbound_tag: str

    def __str__(self) -> str:
        return f"{self.env}/{self.node_id} {self.account_uuid} {self.inbound_tag}"


class SeriesNames(Sequence[SeriesKey]):
    """Names of series by their codes; each is made when it is asked for.

    Attributes:
        nodes, accounts, inbound_tags: the distinct ones.
        node, account, tag: per series, its position in each of them.
    """

    def __init__(
        self,
        nodes: Sequence[NodeKey],
        accounts: Sequence[str],
        inbound_tags: Sequence[str],
        node: Int64Array,
        account: Int64Array,
        tag: Int64Array,
    ) -> None:
        self.nodes, self.accounts, self.inbound_tags = nodes, accounts, inbound_tags
        self.node, self.account, self.tag = node, account, tag

    def __len__(self) -> int:
        return len(self.node)

    @overload
    def __getitem__(self, at: int) -> SeriesKey: ...

    @overload
    def __getitem__(self, at: slice) -> "SeriesNames": ...

    def __getitem__(self, at: int | slice) -> "SeriesKey | SeriesNames":
        if isinstance(at, slice):
            columns = self.node[at], self.account[at], self.tag[at]
            return SeriesNames(self.nodes, self.accounts, self.inbound_tags, *columns)
        env, node_id = self.nodes[self.node[at]]
        return SeriesKey(
            env, node_id, self.accounts[self.account[at]], self.inbound_tags[self.tag[at]]
        )

    def __iter__(self) -> Iterator[SeriesKey]:
        nodes, accounts, tags = self.nodes, self.accounts, self.inbound_tags
        columns = self.node.tolist(), self.account.tolist(), self.tag.tolist()
        for node, account, tag in zip(*columns, strict=True):
            env, node_id = nodes[node]
            yield SeriesKey(env, node_id, accounts[account], tags[tag])


class SeriesTable:
    """Gives series their codes, in the order in which they are first named."""

    def __init__(self) -> None:
        self._nodes: dict[NodeKey, int] = {}
        self._accounts: dict[str, int] = {}
        self._tags: dict[str, int] = {}
        # Per node: account and tag in one number, sorted, and the codes of these pairs.
        self._pairs: list[Int64Array] = []
        self._codes: list[Int64Array] = []
        # Per series.
        self._node = self._account = self._tag = _NOTHING

    @classmethod
    def of(cls, names: SeriesNames) -> "SeriesTable":
        """The table in which these series have their positions as codes."""
        table = cls()
        table._nodes = {name: at for at, name in enumerate(names.nodes)}
        table._accounts = {name: at for at, name in enumerate(names.accounts)}
        table._tags = {name: at for at, name in enumerate(names.inbound_tags)}
        table._node, table._account, table._tag = names.node, names.account, names.tag
        pairs = _pairs(names.account, names.tag)
        for node in range(len(names.nodes)):
            codes = np.flatnonzero(names.node == node)
            codes = codes[np.argsort(pairs[codes])]
            table._pairs.append(pairs[codes])
            table._codes.append(codes)
        return table

    def __len__(self) -> int:
        return len(self._node)

    def node(self, key: NodeKey) -> int:
        """The code of a node, made where missing."""
        code = self._nodes.setdefault(key, len(self._nodes))
        if code == len(self._pairs):
            self._pairs.append(_NOTHING)
            self._codes.append(_NOTHING)
        return code

    def codes(self, node: int, accounts: Sequence[str], inbound_tags: Sequence[str]) -> Int64Array:
        """The codes of series of a node, made where missing.

        Raises:
            ValueError: accounts and tags are not parallel.
        """
        if len(accounts) != len(inbound_tags):
            raise ValueError(f"expected {len(accounts)} inbound tags, got {len(inbound_tags)}")
        known_accounts, known_tags = self._accounts, self._tags
        account = [known_accounts.setdefault(each, len(known_accounts)) for each in accounts]
        tag = [known_tags.setdefault(each, len(known_tags)) for each in inbound_tags]
        pairs = _pairs(np.array(account, dtype=np.int64), np.array(tag, dtype=np.int64))
        is_known, at = self._look_up(node, pairs)
        if not is_known.all():
            self._add(node, pairs[~is_known])
            _, at = self._look_up(node, pairs)
        return self._codes[node][at]

    def find(self, names: SeriesNames) -> Int64Array:
        """The codes of series that another table has named; -1: not known."""
        account = _positions(self._accounts, names.accounts)[names.account]
        tag = _positions(self._tags, names.inbound_tags)[names.tag]
        codes = np.full(len(names), -1, dtype=np.int64)
        for at, key in enumerate(names.nodes):
            node = self._nodes.get(key)
            of_node = np.flatnonzero((names.node == at) & (account >= 0) & (tag >= 0))
            if node is None:
                continue
            is_known, place = self._look_up(node, _pairs(account[of_node], tag[of_node]))
            codes[of_node[is_known]] = self._codes[node][place[is_known]]
        return codes

    def names(self) -> SeriesNames:
        """The names of all series so far; later ones are not among them."""
        distinct = list(self._nodes), list(self._accounts), list(self._tags)
        return SeriesNames(*distinct, self._node, self._account, self._tag)

    def _look_up(self, node: int, pairs: Int64Array) -> tuple[BoolArray, Int64Array]:
        """Whether each pair of a node is known, and where."""
        known = self._pairs[node]
        at = np.searchsorted(known, pairs)
        if not len(known):
            return np.zeros(len(pairs), dtype=np.bool_), at
        is_known: BoolArray = known[np.minimum(at, len(known) - 1)] == pairs
        return is_known, at

    def _add(self, node: int, pairs: Int64Array) -> None:
        pairs, first_at = np.unique(pairs, return_index=True)
        pairs = pairs[np.argsort(first_at)]
        codes = len(self) + np.arange(len(pairs))
        all_pairs = np.concatenate([self._pairs[node], pairs])
        order = np.argsort(all_pairs)
        self._pairs[node] = all_pairs[order]
        self._codes[node] = np.concatenate([self._codes[node], codes])[order]
        self._node = np.concatenate([self._node, np.full(len(pairs), node)])
        self._account = np.concatenate([self._account, pairs >> 32])
        self._tag = np.concatenate([self._tag, pairs & (2**32 - 1)])


def _pairs(account: Int64Array, tag: Int64Array) -> Int64Array:
    return (account << 32) | tag


def _positions(known: dict[str, int], names: Sequence[str]) -> Int64Array:
    return np.array([known.get(name, -1) for name in names], dtype=np.int64)
