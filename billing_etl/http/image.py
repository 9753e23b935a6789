"""What the reference of a container image says of the code inside."""

import re
from dataclasses import dataclass
from typing import Final

# [registry[:port]/]path[:tag][@digest], as container engines read it.
_REFERENCE: Final = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,5})?/)?"
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?"
    r"(?:@sha256:[0-9a-f]{64})?"
)
_COMMIT: Final = re.compile(r"sha-(?P<named>[0-9a-f]{7,40})|(?P<bare>[0-9a-f]{40})")
_VERSION: Final = re.compile(r"v?[0-9]+\.[0-9]+\.[0-9]+(?:-[0-9A-Za-z.-]+)?")
# A version may carry its commit at the end, as `git describe` writes it.
_AT_THE_END: Final = re.compile(r"-g?([0-9a-f]{40})$")


@dataclass(frozen=True, slots=True)
class ImageIdentity:
    """Every field is empty when the reference does not say it; nothing is guessed.

    Attributes:
        image: the whole reference.
        tag: its tag.
        commit: the commit that the tag names: ``sha-`` and 7 to 40 hex digits, or 40 of them.
        version: the tag when it is a version such as ``v1.4.2``, else the commit.
    """

    image: str = ""
    tag: str = ""
    commit: str = ""
    version: str = ""


def identity_of(reference: str) -> ImageIdentity:
    """Reads an image reference (setting ``IMAGE``); all empty when it is none."""
    text = reference.strip()
    match = _REFERENCE.fullmatch(text)
    if match is None:
        return ImageIdentity()
    tag = match["tag"] or ""
    if named := _COMMIT.fullmatch(tag):
        commit = named["named"] or named["bare"]
        return ImageIdentity(text, tag, commit, commit)
    if _VERSION.fullmatch(tag) is None:
        return ImageIdentity(text, tag)
    at_the_end = _AT_THE_END.search(tag)
    return ImageIdentity(text, tag, at_the_end[1] if at_the_end else "", tag)
