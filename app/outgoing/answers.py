"""What became of an attempt, in the form in which it is kept."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

EXCERPT_LIMIT = 2048
"""Bytes of an answer that are kept."""

LONGEST_WAIT = 1e9
"""Seconds (31 years): larger numbers mean nothing more."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One attempt. ``status_code`` alone tells whether it succeeded: what a target says in its first line counts even
    if the rest of its answer broke off, which ``error`` then tells.

    ``error``: one sentence, None if all went well. ``excerpt``: the first 2 KiB of the answer's body as text; None
    without an answer. ``retry_after``: seconds from now that the target asked for.
    """

    status_code: int | None
    duration_ms: int
    error: str | None
    excerpt: str | None
    retry_after: float | None

    @property
    def is_success(self) -> bool:
        """Whether the target took it: any 2xx."""
        return self.status_code is not None and 200 <= self.status_code < 300


def excerpt_of(body: bytes) -> str:
    """The beginning of a body as text that any database stores: what is no UTF-8 is replaced, NUL dropped."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    # A character that the limit cuts in two is left out.
    text = decoder.decode(body[:EXCERPT_LIMIT], final=len(body) <= EXCERPT_LIMIT)
    return text.replace("\0", "")


def read_retry_after(text: str, now: datetime) -> float | None:
    """Seconds, from either form of the header: a number of them, or a date. None if it is neither."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_WAIT)
    try:
        date = parsedate_to_datetime(text)
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)) - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(seconds.total_seconds(), 0.0), LONGEST_WAIT)
