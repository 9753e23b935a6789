"""Single values of the environment: how each kind is read, and what is said of a wrong one."""

import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Final

from billing_etl.errors import UsageError

MAX_BIGINT: Final = 2**63 - 1
# As far as the calendar goes back from now, with room; nobody means more by a duration.
_LONGEST: Final = "36500d"
_LONGEST_TEXT: Final = 255

_DECIMAL: Final = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?")
_DURATION: Final = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_DURATION_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
# What neither a table nor a key nor a line of an error can hold: surrogates are bytes that are no
# UTF-8.
_UNREADABLE: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def wrong(name: str, expected: str, got: str) -> UsageError:
    return UsageError(f"{name}: expected {expected}, got {got}")


def is_readable(text: str) -> bool:
    """Whether it is text of one line that can be stored."""
    return _UNREADABLE.search(text) is None


def text(env: Mapping[str, str], name: str, default: str = "") -> str:
    """A name or a path as it is, in one line."""
    value = env.get(name) or default
    if not is_readable(value) or len(value) > _LONGEST_TEXT:
        expected = f"one line of up to {_LONGEST_TEXT} characters in UTF-8"
        raise wrong(name, expected, repr(value[:40]))
    return value


def boolean(env: Mapping[str, str], name: str, default: bool) -> bool:
    text = env.get(name)
    if not text:
        return default
    if text.lower() not in _BOOLEANS:
        raise wrong(name, "true, false, 1 or 0", repr(text))
    return _BOOLEANS[text.lower()]


def decimal(env: Mapping[str, str], name: str) -> Decimal | None:
    text = env.get(name)
    if not text:
        return None
    if not _DECIMAL.fullmatch(text) or abs(Decimal(text).adjusted()) > 40:
        raise wrong(name, "an exact decimal such as 0.000000002", repr(text))
    return Decimal(text)


def whole_number(
    env: Mapping[str, str], name: str, default: int, *, minimum: int, maximum: int
) -> int:
    value = decimal(env, name)
    if value is None:
        return default
    if value != value.to_integral_value() or not minimum <= value <= maximum:
        raise wrong(name, f"a whole number from {minimum} to {maximum}", repr(env[name]))
    return int(value)


def duration(
    env: Mapping[str, str], name: str, default: timedelta, longest: str = _LONGEST
) -> timedelta:
    value = env.get(name)
    if not value:
        return default
    found, bound = _length(value), _length(longest)
    if found is None or bound is None or found > bound:
        expected = f"a duration such as 35d, 1h, 90m or 30s, at most {longest}"
        raise wrong(name, expected, repr(value))
    return found


def _length(value: str) -> timedelta | None:
    match = _DURATION.fullmatch(value)
    return timedelta(**{_DURATION_UNITS[match[2]]: int(match[1])}) if match else None


def duration_or_off(env: Mapping[str, str], name: str, default: timedelta) -> timedelta | None:
    return None if env.get(name) == "off" else duration(env, name, default)


def threshold(
    env: Mapping[str, str], name: str, default: Decimal, most: int | None
) -> Decimal | None:
    """The most that is fine: a count, or a share up to ``most``; None: off."""
    if env.get(name) == "off":
        return None
    value = decimal(env, name)
    if value is None:
        return default
    if value < 0 or (value > most if most is not None else value != value.to_integral_value()):
        expected = "a whole number from 0 on" if most is None else f"a share from 0 to {most}"
        raise wrong(name, f"{expected}, or off", repr(env[name]))
    return value


def names(env: Mapping[str, str], name: str, default: str) -> tuple[str, ...]:
    """Names of Airflow connections, each once."""
    names = [part.strip() for part in (env.get(name) or default).split(",") if part.strip()]
    for each in names:
        if not re.fullmatch(r"[A-Za-z0-9_.:/-]{1,200}", each):
            raise wrong(name, "connection ids, comma-separated", repr(each))
    return tuple(dict.fromkeys(names))
