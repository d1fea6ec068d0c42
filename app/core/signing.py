"""Signatures, as pure functions."""

from __future__ import annotations

import hashlib


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
