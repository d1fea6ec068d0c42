"""Signatures, as pure functions: of our requests, of the provider's callbacks, of our webhooks."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime

from app.errors import InvalidRequest

SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with
SECRET_SIZES = range(24, 64 + 1)
"""Bytes of a subscription's secret, as Standard Webhooks asks for."""
NEW_SECRET_SIZE = 32


def request_signature(app_id: int, nonce: str, server_secret: str, timestamp: int) -> str:
    """The provider's signature of our request: lower-case hex of MD5 over the plain concatenation.

    ``timestamp`` in Unix seconds. Body, action and host are not covered.
    (docs/provider.md 1.3)
    """
    text = f"{app_id}{nonce}{server_secret}{timestamp}"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def callback_signature(callback_secret: str, timestamp: str, nonce: str) -> str:
    """The provider's signature of its callbacks: lower-case hex of SHA-1 over the three, sorted as text and joined.

    The body is not covered. (docs/provider.md 4.5)
    """
    text = "".join(sorted([callback_secret, timestamp, nonce]))
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def new_webhook_secret(random: bytes) -> str:
    """A subscription's secret as subscribers get it, made of random bytes (``Clock.secret(NEW_SECRET_SIZE)``)."""
    if len(random) not in SECRET_SIZES:
        raise ValueError(f"{len(random)} bytes are no secret")
    return SECRET_PREFIX + base64.b64encode(random).decode()


def parse_webhook_secret(text: str) -> bytes:
    """The bytes to sign with. Raises InvalidRequest unless it is ``whsec_`` and padded base64 of 24 to 64 bytes."""
    try:
        if not text.startswith(SECRET_PREFIX):
            raise ValueError
        given = text.removeprefix(SECRET_PREFIX)
        if len(given) % 4:  # the library takes a = too many
            raise ValueError
        secret = base64.b64decode(given, validate=True)
    except (ValueError, binascii.Error):
        # The secret itself must not stand in a message.
        raise InvalidRequest.at("/secret", "is not whsec_ followed by base64") from None
    if len(secret) not in SECRET_SIZES:
        raise InvalidRequest.at("/secret", f"holds {len(secret)} bytes; 24 to 64 are needed")
    return secret


def webhook_headers(webhook_id: str, at: datetime, body: bytes, secrets: Sequence[bytes]) -> dict[str, str]:
    """The Standard Webhooks headers of one attempt made at ``at``; one signature for each secret, the newest first.

    The id, the time and the whole body are covered.
    """
    if not secrets:
        raise ValueError("a webhook is never sent unsigned")
    timestamp = str(int(at.timestamp()))
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(secret, signed, "sha256")).decode() for secret in secrets)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
