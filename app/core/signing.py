"""Signatures, as pure functions."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime


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


def parse_webhook_secret(secret: str) -> bytes:
    """The key in ``whsec_`` + base64 of 24 to 64 bytes. Raises ValueError."""
    if not secret.startswith("whsec_"):
        raise ValueError("takes whsec_ and base64")
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        raise ValueError("is not base64 after whsec_") from None
    if not 24 <= len(key) <= 64:
        raise ValueError("takes 24 to 64 bytes")
    return key


def new_webhook_secret(key: bytes) -> str:
    """A secret as subscribers keep it."""
    return f"whsec_{base64.b64encode(key).decode()}"


def webhook_headers(id: str, at: datetime, body: bytes, secrets: Sequence[bytes]) -> dict[str, str]:
    """The Standard Webhooks headers, signed by each of these keys."""
    timestamp = str(int(at.timestamp()))
    signed = f"{id}.{timestamp}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(secret, signed, "sha256")).decode() for secret in secrets]
    return {
        "webhook-id": id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
