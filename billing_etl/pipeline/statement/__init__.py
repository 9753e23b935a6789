"""Reconciliation statements of a day or a billing period: made, signed, and verified later.

What a statement says and how its digest is made: docs/statement.md.
"""

from billing_etl.pipeline.statement.document import Made, Span
from billing_etl.pipeline.statement.signing import (
    Verdict,
    make_statement,
    sign_statement,
    span_of,
    verify_statement,
)

__all__ = [
    "Made",
    "Span",
    "Verdict",
    "make_statement",
    "sign_statement",
    "span_of",
    "verify_statement",
]
