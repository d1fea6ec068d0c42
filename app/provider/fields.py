"""The kinds of values in the provider's JSON, leniently read: one of the wrong type, or too long, counts as absent."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator

TEXT_LIMIT = 1024
"""Bytes (UTF-8) of a text. A longer one could stand in no index. A FileId that is longer makes its answer garbled:
without it the file could not be told from others."""

ADDRESS_LIMIT = 8192
"""Bytes of an address."""


def integer(value: Any) -> int | None:
    """A whole number that fits into 64 bits, also given as text; anything else is absent."""
    if isinstance(value, str) and (digits := re.fullmatch(r"\s*(-?[0-9]{1,19})\s*", value)):
        value = int(digits[1])  # around which int() takes fewer characters for spaces
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not -(1 << 63) <= value < 1 << 63:
        return None
    return value


def _needed(value: Any) -> int:
    """A whole number without which an answer says nothing."""
    number = integer(value)
    if number is None:
        raise ValueError("a whole number is needed")
    return number


def _text(value: Any, limit: int = TEXT_LIMIT) -> str | None:
    """Text that every database can store, and search by if it is no address; empty text means none."""
    text = _any_text(value)
    return None if text is None or is_longer(text, limit) else text


def _address(value: Any) -> str | None:
    return _text(value, ADDRESS_LIMIT)


def _key(value: Any) -> str | None:
    """Text that tells one thing from others."""
    text = _any_text(value)
    if text is not None and is_longer(text, TEXT_LIMIT):
        raise ValueError(f"a key of {len(text)} characters")
    return text


def _any_text(value: Any) -> str | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    return (clean(value) or None) if isinstance(value, str) else None


def is_longer(text: str, limit: int) -> bool:
    """Whether it takes more than so many bytes of UTF-8."""
    return len(text) * 4 > limit and len(text.encode("utf-8", "replace")) > limit


def clean(text: str) -> str:
    """Without NUL and lone surrogates, which PostgreSQL and UTF-8 refuse."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    return text.replace("\x00", "\ufffd")


def moment(value: Any) -> datetime | None:
    """A Unix time in milliseconds; 0 means none, and so does a year that cannot be."""
    number = integer(value)
    if not number or not 0 < number < 32503680000000:  # the year 3000
        return None
    return datetime.fromtimestamp(number // 1000, UTC).replace(microsecond=number % 1000 * 1000)


def _positive(value: Any) -> int | None:
    """A number where 0 means none."""
    number = integer(value)
    return number if number and number > 0 else None


def objects(value: Any) -> Any:
    return [] if value is None else value


Needed = Annotated[int, BeforeValidator(_needed)]
Integer = Annotated[int | None, BeforeValidator(integer)]
Positive = Annotated[int | None, BeforeValidator(_positive)]
Words = Annotated[str | None, BeforeValidator(_text)]
Address = Annotated[str | None, BeforeValidator(_address)]
Key = Annotated[str | None, BeforeValidator(_key)]
Moment = Annotated[datetime | None, BeforeValidator(moment)]
