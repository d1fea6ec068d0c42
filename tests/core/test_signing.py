import base64
import contextlib
import hashlib
import hmac
from datetime import UTC, datetime
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from app.clock import SystemClock
from app.core.signing import (
    NEW_SECRET_SIZE,
    callback_signature,
    new_webhook_secret,
    parse_webhook_secret,
    request_signature,
    webhook_headers,
)
from app.errors import InvalidRequest

SECRET = "9193cc662a4c0ec135ec71fb57194b38"
CALLBACK_SECRET = "f9c1a2b3c4d5e6f708192a3b4c5d6e7f"


# -- our requests


@pytest.mark.parametrize(
    ("app_id", "nonce", "timestamp", "signature"),
    [
        (12345, "4fd24687296dd9f3", 1615186943, "43e5cfcca828314675f91b001390566a"),
        (1234567890, "0123456789abcdef", 1700000000, "0bbf70a7bfa873c89673019c58c74369"),
    ],
    ids=["printed by the vendor", "computed apart"],
)
def test_a_request_is_signed_as_documented(app_id: int, nonce: str, timestamp: int, signature: str) -> None:
    assert request_signature(app_id, nonce, SECRET, timestamp) == signature


def test_the_secret_stands_after_the_nonce() -> None:
    """An integrator was seen signing in another order; that signature must not come out."""
    swapped = "baa6123b85a70b671d0eb7bcc36b368f"
    assert request_signature(12345, "4fd24687296dd9f3", SECRET, 1615186943) != swapped
    assert request_signature(12345, SECRET, "4fd24687296dd9f3", 1615186943) == swapped


# -- the provider's callbacks


@pytest.mark.parametrize(
    ("secret", "timestamp", "nonce", "signature"),
    [
        ("secret", "1470820198", "123412", "5bd59fd62953a8059fb7eaba95720f66d19e4517"),
        (CALLBACK_SECRET, "1637753949", "100480", "45f63cb9f6c85aea1977820e2dd9300f5df2f5b4"),
        (CALLBACK_SECRET, "1637753949", "987654", "81b772ecfcf61a1e943364e9cfc5d16c8c281ebe"),
        (
            "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
            "1637753949",
            "100480",
            "c8035f99ed2558fe8691b5968b305928b0ff002d",
        ),
        ("12ab34cd56ef", "1637753949", "100480", "b16eab0685063ff194c4986b0dd780d153d26658"),
        ("zz", "1637753949", "99", "f0c06eeff7b00954e0c2c579e3d3d348e5f5d2e9"),
    ],
    ids=[
        "printed by the vendor",
        "the secret sorts last",
        "the nonce sorts after the time",
        "the secret sorts first",
        "the secret sorts in the middle",
        "sorted as text, not as numbers",
    ],
)
def test_a_callback_is_signed_as_documented(secret: str, timestamp: str, nonce: str, signature: str) -> None:
    assert callback_signature(secret, timestamp, nonce) == signature


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=12), st.text(max_size=12), st.text(max_size=12))
def test_the_three_signed_values_are_joined_in_the_order_of_text(secret: str, timestamp: str, nonce: str) -> None:
    signature = callback_signature(secret, timestamp, nonce)
    assert signature == hashlib.sha1("".join(sorted([nonce, timestamp, secret])).encode()).hexdigest()
    assert {callback_signature(*order) for order in permutations([secret, timestamp, nonce])} == {signature}


# -- our webhooks

AT = datetime(2026, 1, 31, 12, 0, 0, 123000, tzinfo=UTC)
BODY = b'{"type":"task.settled","data":{"user_name":"J\xc3\xb6rg"}}'


def by_the_library(secret: str, headers: dict[str, str], body: bytes) -> object:
    """What the library that subscribers use makes of it; it knows no time but the machine's."""
    return Webhook(secret).verify(body, headers)


def test_a_webhook_is_signed_as_the_specification_prints_it() -> None:
    """The example of the Standard Webhooks specification's own libraries."""
    secret = parse_webhook_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    at = datetime.fromtimestamp(1614265330, UTC)
    headers = webhook_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}', [secret])
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("size", [24, 32, 64])
def test_the_library_accepts_our_secrets_and_signatures(size: int) -> None:
    secret = new_webhook_secret(bytes(range(size)))
    headers = webhook_headers("evt_1", datetime.now(UTC), BODY, [parse_webhook_secret(secret)])
    assert by_the_library(secret, headers, BODY) == {"type": "task.settled", "data": {"user_name": "Jörg"}}


def test_while_a_secret_is_rotated_both_are_accepted_and_no_third() -> None:
    new, old, other = (new_webhook_secret(bytes([number]) * 32) for number in range(3))
    secrets = [parse_webhook_secret(new), parse_webhook_secret(old)]
    headers = webhook_headers("evt_1", datetime.now(UTC), BODY, secrets)
    assert len(headers["webhook-signature"].split(" ")) == 2
    assert by_the_library(new, headers, BODY) == by_the_library(old, headers, BODY)
    with pytest.raises(WebhookVerificationError):
        by_the_library(other, headers, BODY)


@pytest.mark.parametrize("what", ["webhook-id", "webhook-timestamp", "body"])
def test_id_time_and_body_are_all_covered(what: str) -> None:
    secret = new_webhook_secret(bytes(32))
    headers = webhook_headers("evt_1", datetime.now(UTC), BODY, [bytes(32)])
    changed = {"webhook-id": "evt_2", "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 1)}
    body = BODY + b" " if what == "body" else BODY
    with pytest.raises(WebhookVerificationError):
        by_the_library(secret, headers | {name: changed[name] for name in changed if name == what}, body)


def test_the_signature_is_of_the_bytes_whatever_they_are() -> None:
    headers = webhook_headers("evt_1", AT, b"\xff\x00", [bytes(24)])
    expected = hmac.digest(bytes(24), b"evt_1.1769860800.\xff\x00", "sha256")
    assert headers["webhook-signature"] == "v1," + base64.b64encode(expected).decode()
    assert headers["webhook-timestamp"] == "1769860800"


def test_a_webhook_is_never_sent_unsigned() -> None:
    with pytest.raises(ValueError, match=r"^a webhook is never sent unsigned$"):
        webhook_headers("evt_1", AT, BODY, [])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        base64.b64encode(bytes(32)).decode(),
        "WHSEC_" + base64.b64encode(bytes(32)).decode(),
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        "whsec_" + base64.b64encode(bytes(32)).decode().rstrip("="),
        "whsec_" + base64.urlsafe_b64encode(b"\xff" * 33).decode(),
        "whsec_" + base64.b64encode(bytes(33)).decode() + "\n",
        "whsec_ " + base64.b64encode(bytes(33)).decode(),
        "whsec_" + "é" * 44,
        "whsec_" + base64.b64encode(bytes(33)).decode() + "=",
        "whsec_" + base64.b64encode(bytes(33)).decode() + "-_-_",
    ],
    ids=["empty", "nothing", "no prefix", "other prefix", "short", "long", "unpadded", "other alphabet", "line break",
         "space", "not ascii", "padded twice", "more than base64"],
)  # fmt: skip
def test_what_is_no_secret_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_webhook_secret(text)
    assert [fault.pointer for fault in caught.value.faults] == ["/secret"]
    assert len(text) < 10 or text[6:20] not in caught.value.detail


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("whsec_é", "is not whsec_ followed by base64"),
        ("whsec_" + base64.b64encode(bytes(23)).decode(), "holds 23 bytes; 24 to 64 are needed"),
        ("whsec_" + base64.b64encode(bytes(65)).decode(), "holds 65 bytes; 24 to 64 are needed"),
    ],
)
def test_a_refused_secret_says_what_is_wrong_with_it(text: str, why: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_webhook_secret(text)
    assert [fault.detail for fault in caught.value.faults] == [why]


@pytest.mark.parametrize("size", [0, 23, 65])
def test_no_secret_is_made_of_too_few_or_too_many_bytes(size: int) -> None:
    with pytest.raises(ValueError, match=f"^{size} bytes are no secret$"):
        new_webhook_secret(bytes(size))


@given(st.binary(min_size=24, max_size=64))
def test_every_secret_is_read_as_it_was_made(random: bytes) -> None:
    assert parse_webhook_secret(new_webhook_secret(random)) == random


@given(st.text() | st.text().map("whsec_{}".format))
def test_any_text_is_a_secret_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidRequest):
        assert len(parse_webhook_secret(text)) in range(24, 65)


def test_the_clock_gives_secrets_nobody_can_guess() -> None:
    clock = SystemClock()
    drawn = {clock.secret(NEW_SECRET_SIZE) for _ in range(100)}
    assert len(drawn) == 100
    assert {len(secret) for secret in drawn} == {NEW_SECRET_SIZE}
