"""Secrets that are recognised wherever they turn up, in whatever spelling."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from urllib.parse import quote


def webhook_secret(text: str) -> str:
    """A subscription's secret whose bytes are this text."""
    return "whsec_" + base64.b64encode(text.encode()).decode()


KEYS = {role: f"planted-key-of-a-{role}er-7d1f" for role in ("read", "write", "admin")}

SECRETS: dict[str, str] = {
    **{f"{role} key": secret for role, secret in KEYS.items()},
    "hash of the admin key": hashlib.sha256(KEYS["admin"].encode()).hexdigest(),
    "a wrong key": "planted-key-that-opens-nothing-02ac",
    "server secret": "planted-server-secret-5b90",
    "callback secret": "planted-callback-secret-c4e1",
    "encryption key": "planted-encryption-key-91be",
    "old encryption key": "planted-encryption-key-before-33f0",
    "database password": "planted-database-password-e8a2",
    "first webhook secret": "planted-webhook-secret-the-first-0d4c",
    "next webhook secret": "planted-webhook-secret-the-next-77b1",
    "refused webhook secret": "planted-webhook-secret-that-is-none-4a9e",
    "password in a URL": "planted-password-in-a-url-b6d3",
    "signature of a file URL": "planted-signature-of-a-file-url-2c58",
    "token of a subscriber": "planted-token-of-a-subscriber-f917",
}
"""By name. Those of webhooks are the text that the secret's bytes are."""


def spellings(secret: str) -> set[bytes]:
    """How a secret may be written: plainly, in a URL, in hexadecimal, and inside anything that is base64."""
    plain = secret.encode()
    found = {plain, quote(secret, safe="").encode(), plain.hex().encode()}
    for offset in range(3):
        # What comes before moves the bits; the characters that share bits with a neighbour are left out.
        whole = base64.b64encode(bytes(offset) + plain)
        inside = whole[-(-offset * 8 // 6) : len(plain + bytes(offset)) * 8 // 6]
        found |= {inside, inside.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def find(where: str | bytes, secrets: Mapping[str, str] = SECRETS) -> set[str]:
    """The names of the secrets that stand there."""
    text = where if isinstance(where, bytes) else where.encode("utf-8", "replace")
    return {name for name, secret in secrets.items() if any(one in text for one in spellings(secret))}


def found_in(places: Mapping[str, str | bytes], secrets: Mapping[str, str] = SECRETS) -> Iterator[tuple[str, str]]:
    """What was found where: (place, name of the secret)."""
    for place, text in places.items():
        for name in find(text, secrets):
            yield place, name
