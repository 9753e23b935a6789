"""A source whose hour goes wrong in every way, each in one sample of a hundred.

Late: the sample misses its snapshot and comes half a minute later in one of its own. Duplicate: it
is in its snapshot twice. Reset: its process restarted just before. Missing: it is absent, three
minutes in a row. Bad: it cannot be used. What has to come of it is worked out here sample by
sample, by the rules' words (C3 to C6, C11).
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.worlds import Expected, SampleTexts, ServedFile, collected_at_ns, month_of
from billing_etl.hours import Hour

_SHARE: Final = 0.01
_MISSING_MINUTES: Final = 3
_LATE_SECONDS: Final = 30


class UnhappySource:
    """One source with one node.

    Attributes:
        expected: what its facts have to be.
        counts: of samples, and of what went wrong.
    """

    def __init__(self, name: str, accounts: Sequence[int]) -> None:
        self.name = name
        self.expected = Expected()
        self.counts = dict.fromkeys(
            ("samples", "duplicates", "quarantined", "late", "resets", "missing"), 0
        )
        self._texts = SampleTexts(accounts)
        self._random = np.random.default_rng(len(name) + len(self._texts))

    def serve(self, directory: Path, hour: Hour) -> None:
        """Writes the hour and a snapshot before it, and works out what has to come of it."""
        series = len(self._texts)
        weights = self._texts.weights()
        totals = self._random.integers(10**9, 10**12, (2, series))
        # Per series its samples that count, in time order.
        used: list[list[tuple[int, int]]] = [
            [(up, down)] for up, down in zip(*totals.tolist(), strict=True)
        ]
        missing_until = np.zeros(series, dtype=np.int64)
        with ServedFile(directory, self.name) as file:
            before = hour.first_minute - 1
            file.add(collected_at_ns(before, 3), self.name, self._texts.all(*totals.tolist()))
            for minute in range(hour.first_minute, hour.next.first_minute):
                draw = self._random.random(series)
                resets = (draw >= 2 * _SHARE) & (draw < 3 * _SHARE)
                totals[:, resets] = 0
                totals += self._random.integers(1, 1_000_000, totals.shape) * weights
                gap_starts = (draw >= 3 * _SHARE) & (draw < (3 + 1 / _MISSING_MINUTES) * _SHARE)
                missing_until[gap_starts] = minute + _MISSING_MINUTES
                self._write_minute(file, minute, draw, totals, missing_until > minute, used)
                self.counts["resets"] += int(np.count_nonzero(resets))
        for at, samples in enumerate(used):
            self._expect(hour, at, samples)

    def _write_minute(
        self,
        file: ServedFile,
        minute: int,
        draw: np.ndarray[tuple[int], np.dtype[np.float64]],
        totals: np.ndarray[tuple[int, int], np.dtype[np.int64]],
        missing: np.ndarray[tuple[int], np.dtype[np.bool_]],
        used: list[list[tuple[int, int]]],
    ) -> None:
        kind = np.digitize(draw, [_SHARE, 2 * _SHARE, 4 * _SHARE, 5 * _SHARE]).tolist()
        is_missing = missing.tolist()
        on_time: list[str] = []
        late: list[str] = []
        for at, (up, down) in enumerate(zip(*totals.tolist(), strict=True)):
            if is_missing[at]:
                self.counts["missing"] += 1
                continue
            self.counts["samples"] += 1
            if kind[at] == 3:
                on_time.append(self._bad(at, up, down))
                self.counts["quarantined"] += 1
                continue
            used[at].append((up, down))
            text = self._texts.one(at, up, down)
            (late if kind[at] == 0 else on_time).append(text)
            if kind[at] == 0:
                self.counts["late"] += 1
            if kind[at] == 1:
                on_time.append(text)
                self.counts["samples"] += 1
                self.counts["duplicates"] += 1
        file.add(collected_at_ns(minute, 3), self.name, on_time)
        if late:
            file.add(collected_at_ns(minute, 3 + _LATE_SECONDS), self.name, late)

    def _bad(self, at: int, up: int, down: int) -> str:
        """A sample that cannot be used, for one of four reasons in turn."""
        good = self._texts.one(at, up, down)
        account = self._texts.account_of(at)
        return (
            self._texts.one(at, -up, down),
            self._texts.one(at, f"{up}.5", down),
            good.replace(account, account[:-1]),
            good.replace('"inbound_tag"', '"inbound"'),
        )[self.counts["quarantined"] % 4]

    def _expect(self, hour: Hour, at: int, samples: list[tuple[int, int]]) -> None:
        facts = uplink = downlink = 0
        for (up_before, down_before), (up, down) in pairwise(samples):
            fell = up < up_before or down < down_before
            moved_up, moved_down = (up, down) if fell else (up - up_before, down - down_before)
            facts += moved_up + moved_down > 0
            uplink += moved_up
            downlink += moved_down
        if facts:
            account = self._texts.account_of(at)
            self.expected.add(month_of(hour), account, facts, uplink, downlink)
