"""What exporters serve in a benchmark, and what has to come of it.

Counters are made here, and summed up here in Python's own integers; nothing of the pipeline takes
part in either. Snapshots are written to files byte for byte as the exporter serves them.
"""

import hashlib
import json
import os
import uuid
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from billing_etl.hours import NS_PER_SECOND, Hour, format_instant_ns

TAGS: Final = ("tcp", "xhttp-premium")
ENV: Final = "bench"
# One account in seven uses ten times as much, so that quotas end in some accounts only.
_HEAVY_EVERY: Final = 7
_HEAVY_FACTOR: Final = 10
_MOST_BYTES_PER_SNAPSHOT: Final = 1_000_000

Int64Array = NDArray[np.int64]


class Expected:
    """Facts, bytes up and bytes down per month and account."""

    def __init__(self) -> None:
        self.of: dict[tuple[str, str], list[int]] = {}

    def add(self, month: str, account: str, facts: int, uplink: int, downlink: int) -> None:
        known = self.of.setdefault((month, account), [0, 0, 0])
        known[0] += facts
        known[1] += uplink
        known[2] += downlink

    def copy(self) -> "Expected":
        return Expected.sum([self])

    def without(self, earlier: "Expected") -> "Expected":
        """What was added since ``earlier``, a copy of this made at that time."""
        left = Expected()
        for (month, account), (facts, uplink, downlink) in self.of.items():
            before = earlier.of.get((month, account), [0, 0, 0])
            if facts > before[0]:
                left.add(
                    month, account, facts - before[0], uplink - before[1], downlink - before[2]
                )
        return left

    @staticmethod
    def sum(parts: Iterable["Expected"]) -> "Expected":
        total = Expected()
        for part in parts:
            for (month, account), counts in part.of.items():
                total.add(month, account, *counts)
        return total

    @property
    def facts(self) -> int:
        return sum(counts[0] for counts in self.of.values())


def month_of(hour: Hour) -> str:
    return hour.start.strftime("%Y-%m")


def account_uuid(number: int) -> str:
    digest = hashlib.sha256(b"benchmark account %d" % number).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


def collected_at_ns(minute: int, second: int) -> int:
    """An instant of the minute with nine digits, as the exporters have them."""
    return (minute * 60 + second) * NS_PER_SECOND + 100_000_000 + (minute * 7_654_321) % 800_000_000


class ServedFile:
    """The file that the exporter serves under a name: snapshots in time order, and their index.

    Snapshots stand in it with commas between them, so that a page is one piece of the file.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._paths = [directory / f"{name}.snapshots", directory / f"{name}.index"]
        self._drafts = [path.with_suffix(path.suffix + ".new") for path in self._paths]
        self._index: list[tuple[int, int, int]] = []
        self._snapshots = self._drafts[0].open("wb")

    def add(self, instant_ns: int, node_id: str, samples: Iterable[str]) -> None:
        text = (
            f'{{"collected_at":"{format_instant_ns(instant_ns)}","node_id":"{node_id}",'
            f'"env":"{ENV}","samples":[{",".join(samples)}]}}'
        ).encode()
        if self._index:
            self._snapshots.write(b",")
        self._index.append((instant_ns, self._snapshots.tell(), len(text)))
        self._snapshots.write(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # On disk before anything is measured, so that no write-back gets into a measured span.
        self._snapshots.flush()
        os.fsync(self._snapshots.fileno())
        self._snapshots.close()
        with self._drafts[1].open("w") as file:
            json.dump(self._index, file)
        for draft, path in zip(self._drafts, self._paths, strict=True):
            draft.replace(path)


class SampleTexts:
    """The JSON of samples: what never changes of each series is made once."""

    def __init__(self, accounts: Sequence[int]) -> None:
        self.accounts = sorted((account_uuid(number), number) for number in accounts)
        self._heads = [
            f'{{"uuid":"{account}","email":"user{number}@example.com","inbound_tag":"{tag}",'
            f'"uplink_bytes_total":'
            for account, number in self.accounts
            for tag in TAGS
        ]

    def __len__(self) -> int:
        return len(self._heads)

    def account_of(self, series: int) -> str:
        return self.accounts[series // len(TAGS)][0]

    def weights(self) -> Int64Array:
        """How much each series uses, compared with the least."""
        return np.array(
            [
                1 if number % _HEAVY_EVERY else _HEAVY_FACTOR
                for _, number in self.accounts
                for _ in TAGS
            ],
            dtype=np.int64,
        )

    def one(self, series: int, uplink: object, downlink: object) -> str:
        return f'{self._heads[series]}{uplink},"downlink_bytes_total":{downlink}}}'

    def all(self, uplink: Sequence[int], downlink: Sequence[int]) -> list[str]:
        return [
            f'{head}{up},"downlink_bytes_total":{down}}}'
            for head, up, down in zip(self._heads, uplink, downlink, strict=True)
        ]


class Fleet:
    """One source: its nodes' counters grow hour by hour, and every snapshot is as it should be.

    Args:
        directory: of what the exporter serves.
        name: of the source, and of what it is served under.
        accounts: their numbers; every one is on every node, on both inbounds.
        nodes: how many.
        snapshots: per node and hour; divides 60, or is a multiple of it.
        active_of_ten: of ten series so many change in an hour, then in every snapshot of it.
            Which ones changes from hour to hour.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        accounts: Sequence[int],
        *,
        nodes: int = 1,
        snapshots: int = 60,
        active_of_ten: int = 10,
    ) -> None:
        self.name = name
        self.expected = Expected()
        self.interval_seconds = 3600 // snapshots
        self._directory = directory
        self._texts = SampleTexts(accounts)
        self._node_ids = [f"{name}-node-{number}" for number in range(nodes)]
        self.snapshots = snapshots
        self._active_of_ten = active_of_ten
        self._random = np.random.default_rng(zlib.crc32(name.encode()))
        self._weights = self._texts.weights()
        # Per node: bytes up and down of each series.
        self._totals = self._random.integers(10**9, 10**12, (nodes, 2, len(self._texts)))

    @property
    def samples_per_hour(self) -> int:
        return len(self._node_ids) * self.snapshots * len(self._texts)

    def serve(self, hours: Sequence[Hour]) -> None:
        """Lets the counters grow over consecutive hours, later than all before.

        They are served instead of what was, after one snapshot of how the counters stood before.
        """
        with ServedFile(self._directory, self.name) as file:
            self._write(file, hours[0].first_minute * 60 - self.interval_seconds)
            for hour in hours:
                self._grow(file, hour)

    def _grow(self, file: ServedFile, hour: Hour) -> None:
        before = self._totals.tolist()
        series = np.arange(len(self._texts))
        active = (series + hour.index) % 10 < self._active_of_ten
        seconds = range(60 * hour.first_minute, 60 * hour.next.first_minute, self.interval_seconds)
        for second in seconds:
            grown = self._random.integers(1, _MOST_BYTES_PER_SNAPSHOT, self._totals.shape)
            self._totals += grown * self._weights * active
            self._write(file, second)
        month, after = month_of(hour), self._totals.tolist()
        for earlier, later in zip(before, after, strict=True):
            for at in np.flatnonzero(active).tolist():
                self.expected.add(
                    month,
                    self._texts.account_of(at),
                    min(self.snapshots, 60),
                    later[0][at] - earlier[0][at],
                    later[1][at] - earlier[1][at],
                )

    def _write(self, file: ServedFile, second: int) -> None:
        for later, (node_id, (uplink, downlink)) in enumerate(
            zip(self._node_ids, self._totals.tolist(), strict=True)
        ):
            instant_ns = collected_at_ns(second // 60, second % 60 + later)
            file.add(instant_ns, node_id, self._texts.all(uplink, downlink))
