"""Seals secrets. A stand-in with the agreed names that hides nothing: the real one is built elsewhere."""

from __future__ import annotations


class SecretBox:
    """Encrypts what is stored and decrypts it again."""

    def encrypt(self, secret: str) -> str:
        return f"plain:{secret}"

    def decrypt(self, sealed: str) -> str:
        return sealed.removeprefix("plain:")
