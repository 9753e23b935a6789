"""What in a text names a person: email addresses are masked, account uuids are found."""

import re
from typing import Final

# What stands between the parts of an address: as it is typed, as JSON spells it, and as a URL does.
_SIGN: Final = r"(?:[@\uff20\ufe6b]|\\{1,8}u(?:0040|ff20|fe6b)|%40)"
_AT: Final = re.compile(_SIGN, re.IGNORECASE)
# What an address may be made of without quotes; letters that JSON spells with an escape, too. Words
# are found one after the other, so that the time it takes grows with the text and no faster.
_WORD: Final = re.compile(r"(?:[^\s\"'<>,;:=\\]|\\{1,8}u[0-9a-f]{4})+", re.IGNORECASE)
# The part before the sign may be in quotes, and hold anything then.
_QUOTED: Final = re.compile(rf"\\{{0,8}}\"[^\"\n]{{1,64}}\"(?={_SIGN})", re.IGNORECASE)
_MASK: Final = "***"

# An account, with or without its hyphens.
UUID_IN_TEXT: Final = re.compile(r"[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")


def with_email(text: str) -> bool:
    """Whether something in the text looks like an email address."""
    return without_emails(text) != text


def without_emails(text: str) -> str:
    """The text with everything that looks like an email address masked."""
    return _WORD.sub(_masked, _QUOTED.sub(_MASK, text))


def _masked(word: re.Match[str]) -> str:
    """The mask for a word with something on both sides of the sign."""
    text = word[0]
    signs = _AT.finditer(text)
    return _MASK if any(sign.start() > 0 and sign.end() < len(text) for sign in signs) else text
