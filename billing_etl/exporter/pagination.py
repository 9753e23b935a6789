"""Pages a window by time; makes no requests itself.

Cursors cannot be relied on: they skip a second snapshot of the same instant, lose their
fraction, or are ignored (exporter contract, points 1 and 2). So each question asks from a whole
second on. Of an answer with more behind it, the last second is held back and read again with a
limit above what was seen there, until one answer holds all of it. Every instant therefore comes
whole from exactly one answer, whatever the page size.
"""

from dataclasses import dataclass, field
from typing import Final

from billing_etl.errors import TerminalError
from billing_etl.exporter.contract import Page
from billing_etl.hours import NS_PER_SECOND, format_instant_ns
from billing_etl.records import Snapshot

MAX_LIMIT: Final = 1000  # the lower cap of the two exporters; more is silently cut or refused
TARGET_PAGE_BYTES: Final = 16 * 1024 * 1024
_FIRST_PAGE_BYTES: Final = TARGET_PAGE_BYTES // 3
MAX_PAGES: Final = 10_000
_SAMPLE_BYTES: Final = 180  # of JSON, with a short email


@dataclass(frozen=True, slots=True)
class Question:
    """One request: whole seconds, both inclusive, and the most snapshots wanted."""

    since: str
    until: str
    limit: int


@dataclass(slots=True)
class Paginator:
    """Turns answers into the next question and into the snapshots that they settle.

    While ``question()`` gives one, ask it and hand the answer to ``take``, or say ``too_large``.

    Attributes:
        since_ns: start of the window, inclusive.
        until_ns: end of the window, exclusive.
        limit: limit of the next question; starts as the source's page size.
        pages: answers taken so far.
        page_bytes: their bytes.
        reread_snapshots: snapshots of the window that were served again and counted once.
    """

    since_ns: int
    until_ns: int
    limit: int
    pages: int = field(default=0, init=False)
    page_bytes: int = field(default=0, init=False)
    reread_snapshots: int = field(default=0, init=False)
    _done: bool = field(default=False, init=False)
    # Everything before this second is settled; what was seen from it on is held.
    _frontier_ns: int = field(init=False)
    _held: list[Snapshot] = field(default_factory=list, init=False)
    # The next question makes progress only with a limit from _fewest on; beyond _most it fails.
    _fewest: int = field(default=1, init=False)
    _most: int = field(default=MAX_LIMIT, init=False)

    def __post_init__(self) -> None:
        self._frontier_ns = _second(self.since_ns)

    def question(self) -> Question | None:
        """What to ask next, a second wider than needed as bounds may be compared as text (point 3).

        None when the window is read.
        """
        if self._done:
            return None
        return Question(
            format_instant_ns(self._frontier_ns - NS_PER_SECOND),
            format_instant_ns(_second(self.until_ns - 1) + 2 * NS_PER_SECOND),
            self.limit,
        )

    def take(self, page: Page, page_bytes: int) -> list[Snapshot]:
        """Takes the answer to ``question()``, of that many bytes.

        Returns:
            The snapshots that are settled now, inside ``[since_ns, until_ns)``, in time order.

        Raises:
            TerminalError: the exporter says that there is more but does not show it, or the
                window needs too many pages.
        """
        self.pages += 1
        self.page_bytes += page_bytes
        served = page.snapshots
        if page.has_more and not served:
            raise TerminalError("expected snapshots or has_more false, got neither")
        # The exporter's own order tells how far an answer reaches.
        reach_ns = _second(served[-1].instant_ns) if served else self._frontier_ns
        progress = reach_ns > self._frontier_ns
        # A cursor without has_more is followed as long as it leads anywhere.
        cursor_leads_on = page.next_cursor is not None and (progress or len(served) >= self.limit)
        self._hold(served)
        if reach_ns >= self.until_ns or not (page.has_more or cursor_leads_on):
            self._done = True
            return self._settle(self.until_ns)
        if self.pages >= MAX_PAGES:
            raise TerminalError(
                f"expected the window in at most {MAX_PAGES} pages, got more; "
                "raise page_size or max_page_bytes, or check the exporter's clock"
            )
        if not progress:
            self._ask_for_more()
            return []
        settled = self._settle(reach_ns)
        self._adapt_limit(served, page_bytes)
        return settled

    @property
    def can_ask_for_less(self) -> bool:
        """Whether a smaller answer to ``question()`` could still make progress."""
        return self.limit > self._fewest

    def too_large(self, page_bytes: int = 0) -> None:
        """The answer to ``question()`` was too large to be read: the next one asks for less.

        Args:
            page_bytes: its size; 0: not known.

        Raises:
            TerminalError: not even the fewest snapshots that make progress fit.
        """
        self._most = self.limit - 1
        fitting = TARGET_PAGE_BYTES * self.limit // max(page_bytes, 1)
        self.limit = max(self._fewest, min(self.limit // 2, fitting))
        if self._most < self._fewest:
            raise TerminalError(
                f"expected {self._fewest} snapshots to fit into one page, got more bytes "
                "than max_page_bytes allows; raise it for this source"
            )

    def _hold(self, served: list[Snapshot]) -> None:
        """Keeps what is not settled; what was held before is replaced by the newer reading.

        A snapshot that was seen once and is no longer served stays held: it is not lost.
        """
        again = {_identity(snapshot) for snapshot in served}
        kept = [snapshot for snapshot in self._held if _identity(snapshot) not in again]
        old = [s for s in served if self.since_ns <= s.instant_ns < self._frontier_ns]
        new = [s for s in served if s.instant_ns >= self._frontier_ns]
        self.reread_snapshots += len(self._held) - len(kept) + len(old)
        self._held = sorted(kept + new, key=lambda snapshot: snapshot.instant_ns)

    def _settle(self, before_ns: int) -> list[Snapshot]:
        """Releases what is held before an instant of the window, as far as it belongs to it."""
        settled = [s for s in self._held if s.instant_ns < before_ns]
        self._held = self._held[len(settled) :]
        self._frontier_ns = before_ns
        return [s for s in settled if s.instant_ns >= self.since_ns]

    def _ask_for_more(self) -> None:
        """The answer ended within the second it was asked from: ask it again with a wider limit."""
        self._fewest = self.limit + 1
        if self._fewest > self._most:
            raise TerminalError(
                f"expected news from {format_instant_ns(self._frontier_ns)} on, got has_more but "
                f"nothing new with limit {self.limit}; the exporter repeats itself, or holds "
                "more snapshots of one second than a page can"
            )
        self.limit = min(2 * self.limit, self._most)

    def _adapt_limit(self, served: list[Snapshot], page_bytes: int) -> None:
        """Steers the next page towards the target size, with room for what is read again."""
        asked_from_ns = self._frontier_ns - NS_PER_SECOND
        self._fewest = 1 + sum(snapshot.instant_ns >= asked_from_ns for snapshot in served)
        if self._fewest > self._most:
            raise TerminalError(
                f"expected at most {self._most - 1} snapshots in one second, "
                f"got {self._fewest - 1} around {format_instant_ns(self._frontier_ns)}; "
                "raise max_page_bytes, or split the exporter's nodes into several sources"
            )
        # Doubling at most: the first snapshots may be small and the next ones large.
        fitting = TARGET_PAGE_BYTES * len(served) // max(page_bytes, 1)
        self.limit = max(self._fewest, min(fitting, 2 * self.limit, self._most))


def fitting_limit(samples: int) -> int:
    """How many snapshots of so many samples make a first page; two at least.

    It is smaller than the others, so that all that comes after reading begins early.
    """
    return max(2, _FIRST_PAGE_BYTES // max(1, samples * _SAMPLE_BYTES))


def _second(instant_ns: int) -> int:
    return instant_ns // NS_PER_SECOND * NS_PER_SECOND


def _identity(snapshot: Snapshot) -> tuple[int, str, str]:
    return snapshot.instant_ns, snapshot.env, snapshot.node_id
