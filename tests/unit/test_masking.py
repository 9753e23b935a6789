"""No text that leaves a function holds an email address."""

import pytest

from billing_etl.masking import without_emails


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("", ""),
        ("no address here", "no address here"),
        ("a@example.org", "***"),
        ("unknown user a.b+c@mail.example.org, sent twice", "unknown user ***, sent twice"),
        ("<a@example.org>, <b@example.org>", "<***>, <***>"),
        ('{"user": "a\\u0040example.org"}', '{"user": "***"}'),
        ('{"user": "a\\U0040example.org"}', '{"user": "***"}'),
        ('"{\\"user\\": \\"a\\\\u0040example.org\\"}"', '"{\\"user\\": \\"***\\"}"'),
    ],
)
def test_addresses_are_masked_and_nothing_else(text: str, masked: str) -> None:
    assert without_emails(text) == masked
