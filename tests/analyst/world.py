"""A small world whose numbers are known by hand.

Price 2 per byte, 100 bytes included per account and month, inbound `xhttp` twice the price since
April 8th, 12:00, which was published after that hour was billed.

| hour | account A | account B |
| --- | --- | --- |
| 7th, 10 | 60 bytes in `jp`, included | 30 in `jp`, included |
| 8th, 12 | 100 + 20 (xhttp) in `jp`, 50 in `us`: 40 included, 130 rated | 60 in `jp`, included |
| 8th, 13 | 240 in `jp`, collected and not billed | |

A owes 60 x 2 + 20 x 4 + 50 x 2 = 300, of which 40 came with the correction, and has paid 100.
"""

from decimal import Decimal

from pipeline.harness import JSON, A, B, Line, sample, snapshot

from billing_etl.pipeline.accounts import add_credit

APRIL = ("--from", "2026-04-01T00", "--to", "2026-05-01T00")


def _jp(at: str, tcp: tuple[int, int], xhttp: tuple[int, int], other: tuple[int, int]) -> JSON:
    return snapshot(at, sample(A, *tcp), sample(A, *xhttp, "xhttp"), sample(B, *other))


def build(line: Line) -> None:
    """Collects, rates and corrects it all, but for the last hour, which is only collected."""
    seventh = "2026-04-07T10"
    twice = _jp("12:02:03", (120, 240), (-1, 15), (10, 80))  # -1 is put aside
    twice["samples"].append(sample(B, 9, 80))  # the larger counts, and a person hears of it
    line.serve(
        [
            _jp(f"{seventh}:00:03Z", (100, 100), (0, 0), (0, 0)),
            _jp(f"{seventh}:01:03Z", (110, 150), (0, 0), (0, 30)),
            _jp("12:00:03", (110, 150), (0, 0), (0, 30)),
            _jp("12:01:03", (120, 240), (5, 15), (0, 30)),
            twice,
            _jp("13:00:03", (120, 240), (5, 15), (10, 80)),
            _jp("13:01:03", (200, 400), (5, 15), (10, 80)),
        ],
        region="jp",
    )
    line.serve(
        [
            snapshot("12:00:03", sample(A, 50, 50), node="node-2"),
            snapshot("12:01:03", sample(A, 60, 90), node="node-2"),
        ],
        source_id="us-1",
        region="us",
    )
    line.collected(seventh)
    line.collected("12")
    line.rate("2026-04-07T00", "13")
    dearer = {"price_version": "xhttp", "price_per_byte": "2", "line_multipliers": {"xhttp": "2"}}
    line.publish(versions=[dearer | {"from": "2026-04-08T12:00:00Z"}])
    add_credit(line.engine, A, Decimal(100), "paid")
    line.collect("13", source_id="jp-1")
