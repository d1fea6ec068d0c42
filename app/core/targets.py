"""Where webhooks may go. A stand-in with the agreed names: the guard is built elsewhere and replaces this file."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator allows."""

    allow_http: bool
    networks: tuple[IPv4Network | IPv6Network, ...]
    ports: tuple[int, ...]


class TargetRefused(Exception):
    """A URL that webhooks must not go to."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


def check_url(url: str, rules: Rules) -> None:
    """Raises TargetRefused for a URL that can never pass."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (rules.allow_http and parts.scheme == "http"):
        raise TargetRefused("takes https")
    if not parts.hostname or "@" in parts.netloc:
        raise TargetRefused("takes a host and no credentials")
