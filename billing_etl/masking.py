"""Texts without what looks like an email address: for logs, errors, records and quarantine."""

import re
from typing import Final

# An @ may be spelled as JSON spells it.
_EMAIL_ADDRESS: Final = re.compile(
    r"[^\s\"'<>,;:=@\\]+(?:@|\\+u0040)[^\s\"'<>,;:=@\\]+", re.IGNORECASE
)


def without_emails(text: str) -> str:
    """The text with everything that looks like an email address masked."""
    return _EMAIL_ADDRESS.sub("***", text)
