"""Keeps subscriptions' secrets encrypted at rest: what a copy of the database alone does not give away."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from app.errors import SecretUnreadable

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

_SEALED, _PLAIN = "f1:", "plain:"
_SALT = b"recording-status/secret-box/1"


class SecretBox:
    """Seals secrets for the database and opens them again.

    ``keys``: any texts; the first seals, all open. Without one, secrets are kept in plain form, on loopback only.
    """

    def __init__(self, keys: Sequence[str], *, on_loopback: bool) -> None:
        self._keys, self._on_loopback = tuple(keys), on_loopback

    @classmethod
    def of(cls, secret_key: str | None, *, on_loopback: bool) -> SecretBox:
        """The box for SECRET_KEY as it is set: keys separated by commas, white space around them does not count."""
        keys = (key.strip() for key in (secret_key or "").split(","))
        return cls([key for key in keys if key], on_loopback=on_loopback)

    @property
    def is_locked(self) -> bool:
        """Whether secrets are encrypted."""
        return bool(self._keys)

    @property
    def can_keep(self) -> bool:
        """Whether secrets may be kept at all; where not, subscriptions are refused (SECRET_KEY is missing)."""
        return self.is_locked or self._on_loopback

    def seal(self, secret: bytes) -> str:
        """The form in which a secret is stored. Raises SecretUnreadable where none may be kept."""
        if not self.can_keep:
            raise SecretUnreadable("SECRET_KEY is not set, and off loopback no secret is kept without it")
        if not self.is_locked:
            return _PLAIN + base64.b64encode(secret).decode()
        return _SEALED + self._fernet.encrypt(secret).decode()

    def open(self, sealed: str) -> bytes:
        """The secret again. Raises SecretUnreadable: no key opens it, or it is plain where that is not allowed."""
        if sealed.startswith(_PLAIN):
            return self._open_plain(sealed.removeprefix(_PLAIN))
        if not self.is_locked:
            raise SecretUnreadable("a subscription's secret is encrypted, and SECRET_KEY is not set")
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet.decrypt(sealed.removeprefix(_SEALED).encode())
        except InvalidToken:
            raise SecretUnreadable("no key of SECRET_KEY opens a subscription's secret") from None

    def _open_plain(self, text: str) -> bytes:
        if not self.can_keep:
            raise SecretUnreadable("a subscription's secret is in plain form, and SECRET_KEY is not set")
        try:
            return base64.b64decode(text, validate=True)
        except ValueError:
            raise SecretUnreadable("a subscription's secret is garbled") from None

    @cached_property
    def _fernet(self) -> MultiFernet:
        # Here, since it holds 9 MB, and who keeps no secrets does without.
        from cryptography.fernet import Fernet, MultiFernet

        return MultiFernet([Fernet(_derived(key)) for key in self._keys])


def _derived(key: str) -> bytes:
    # Some 50 ms once a key, so that a key somebody thought up is not guessed a million times a second.
    # The salt is a constant: there is no place for another, and every process must come to the same.
    return base64.urlsafe_b64encode(hashlib.scrypt(key.encode(), salt=_SALT, n=2**14, r=8, p=1, dklen=32))
