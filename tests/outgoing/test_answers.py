from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.outgoing.answers import EXCERPT_LIMIT, LONGEST_WAIT, Answer, excerpt_of, read_retry_after

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", ""),
        (b"gone", "gone"),
        ("Grüße 你好".encode(), "Grüße 你好"),
        (b"a\x00b", "ab"),
        (b"\xff\xfe!", "\ufffd\ufffd!"),
        (b"cut \xc3", "cut \ufffd"),
        (b"x" * 5000, "x" * EXCERPT_LIMIT),
        (b"x" * (EXCERPT_LIMIT - 1) + "é".encode(), "x" * (EXCERPT_LIMIT - 1)),
    ],
)
def test_an_excerpt_is_the_beginning_as_text(body: bytes, text: str) -> None:
    assert excerpt_of(body) == text


@given(st.binary(max_size=3 * EXCERPT_LIMIT))
def test_every_excerpt_can_be_stored(body: bytes) -> None:
    text = excerpt_of(body)
    assert "\0" not in text
    assert len(text) <= EXCERPT_LIMIT
    assert text.encode().decode() == text


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0),
        (" 120 ", 120),
        ("9" * 5000, LONGEST_WAIT),
        ("Sat, 31 Jan 2026 12:02:00 GMT", 120),
        ("Saturday, 31-Jan-26 12:02:00 GMT", 120),
        ("Sat Jan 31 12:02:00 2026", 120),
        ("Sat, 31 Jan 2026 11:00:00 GMT", 0),
        (format_datetime(datetime(2026, 1, 31, 14, 2, tzinfo=timezone(timedelta(hours=2)))), 120),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_WAIT),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("", None),
        ("Sat, 99 Jan 2026 12:02:00 GMT", None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(header: str, seconds: float | None) -> None:
    assert read_retry_after(header, NOW) == seconds


@given(
    st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} \d{1,6} \d\d?:\d\d:\d\d ([A-Z]{3}|[+-]\d{1,6})")
)
def test_no_header_is_a_surprise(header: str) -> None:
    seconds = read_retry_after(header, NOW)
    assert seconds is None or 0 <= seconds <= LONGEST_WAIT


@pytest.mark.parametrize(("status", "success"), [(None, False), (199, False), (200, True), (299, True), (302, False)])
def test_2xx_alone_is_success(status: int | None, success: bool) -> None:
    assert Answer(status, 1, None, None, None).is_success == success
