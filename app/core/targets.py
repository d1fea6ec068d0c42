"""Where a webhook may be sent: URLs that can never pass are refused, and every resolved address is judged.

A URL is read once, here. What the sender connects to, and says in ``Host`` and in TLS, are the parts of the `Target`,
never the text it came from: so nothing can be read in two ways.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import quote

import idna

from app.errors import TargetRefused

Address = IPv4Address | IPv6Address

URL_LIMIT = 2048
"""Characters of a URL."""

_DEFAULT_PORTS = {"https": 443, "http": 80}
_URL = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?")
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]*))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_DOTTED = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_SAFE_IN_PATH = "/%:@!$&'()*+,;=-._~"
_SAFE_IN_QUERY = _SAFE_IN_PATH + "?[]"

_LOCAL_SUFFIXES = ("local", "localdomain", "internal", "intranet", "lan", "home", "corp", "home.arpa")
"""Endings that public DNS does not serve (RFC 6762 and its appendix G, RFC 8375, ICANN's .internal)."""
_LOOPBACK_SUFFIXES = ("localhost", "localhost.localdomain", "localhost6", "ip6-localhost", "ip6-loopback")

_NOT_PUBLIC_V4 = [
    (IPv4Network(network), word)
    for network, word in [
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by carriers (CGNAT)"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud's metadata service"),  # Azure's, on an address that looks public
        ("169.254.0.0/16", "link-local (metadata services)"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved"),
    ]
]
"""IANA's special-purpose registry. A table of our own: what ``ipaddress`` calls global changes between Pythons."""

_PUBLIC_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = [
    (IPv6Network(network), word)
    for network, word in [
        ("::1/128", "loopback"),
        ("::/128", "unspecified"),
        ("fe80::/10", "link-local"),
        ("fc00::/7", "private"),
        ("ff00::/8", "multicast"),
        ("2001::/32", "Teredo"),
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "for documentation"),
    ]
]
_CARRIERS = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
"""Forms of an IPv4 address (v4-mapped, NAT64) that the machine or its network takes for that address."""


@dataclass(frozen=True)
class Rules:
    """What the operator allows. ``networks``: addresses allowed though they are not public."""

    allow_http: bool
    networks: tuple[IPv4Network | IPv6Network, ...]
    ports: frozenset[int]


@dataclass(frozen=True, slots=True)
class Target:
    """A URL in its parts, all ASCII. ``host`` has no brackets and no last dot; ``path`` holds the query too."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Host and port as the Host header names them: without the port that the scheme implies."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The same again as one text; reading it gives this target."""
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def address(self) -> Address | None:
        """The address the host spells, or None where it is a name."""
        if ":" in self.host:
            return IPv6Address(self.host)
        return IPv4Address(self.host) if _DOTTED.fullmatch(self.host) else None


def check_url(url: str, rules: Rules) -> Target:
    """Return the target; raise TargetRefused for what can never pass, whatever its name resolves to."""
    if len(url) > URL_LIMIT:
        raise TargetRefused(f"is longer than {URL_LIMIT} characters")
    if any(not char.isprintable() or char.isspace() or char == "\\" for char in url):
        raise TargetRefused("holds white space, a control character or a backslash")
    if "#" in url:
        raise TargetRefused("has a fragment (#…), which no receiver would ever see")
    parts = _URL.fullmatch(url)
    if not parts:
        raise TargetRefused("is no absolute URL like https://host/path")
    scheme = _checked_scheme(parts["scheme"].lower(), rules)
    if "@" in parts["authority"]:
        raise TargetRefused("holds a user name or password; receivers check the signature instead")
    authority = _AUTHORITY.fullmatch(parts["authority"])
    if not authority:
        raise TargetRefused("has no readable host and port")
    port = _checked_port(authority["port"], scheme, rules)
    host = _checked_host(authority["host"], rules)
    path = quote(parts["path"] or "/", safe=_SAFE_IN_PATH) + quote(parts["query"] or "", safe=_SAFE_IN_QUERY)
    return Target(scheme, host, port, path)


def is_allowed(address: Address, rules: Rules) -> bool:
    """Whether a connection to this address may be made: it is public, or in a network the operator allowed."""
    return why_refused(address, rules) is None


def why_refused(address: Address, rules: Rules) -> str | None:
    """What speaks against this address in a few words ("loopback"); None if it is allowed."""
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return "bound to a network interface (zone id)"
    meant = _meant(address)
    if any(address in network or meant in network for network in rules.networks):
        return None
    if isinstance(meant, IPv4Address):
        return next((word for network, word in _NOT_PUBLIC_V4 if meant in network), None)
    for network, word in _NOT_PUBLIC_V6:
        if meant in network:
            return word
    return None if meant in _PUBLIC_V6 else "reserved"


def _meant(address: Address) -> Address:
    """The IPv4 address that an IPv6 address merely carries, or the address itself."""
    if isinstance(address, IPv6Address) and any(address in network for network in _CARRIERS):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _checked_scheme(scheme: str, rules: Rules) -> str:
    if scheme == "http" and not rules.allow_http:
        raise TargetRefused("is not https (WEBHOOK_ALLOW_HTTP is off)")
    if scheme not in _DEFAULT_PORTS:
        raise TargetRefused("is not https")
    return scheme


def _checked_port(text: str | None, scheme: str, rules: Rules) -> int:
    if text and len(text) > 5:
        raise TargetRefused("has no port between 1 and 65535")
    port = int(text) if text else _DEFAULT_PORTS[scheme]
    if port not in rules.ports:
        allowed = ", ".join(map(str, sorted(rules.ports)))
        raise TargetRefused(f"goes to port {port}; allowed are {allowed} (WEBHOOK_ALLOWED_PORTS)")
    return port


def _checked_host(text: str, rules: Rules) -> str:
    """The host in its one spelling: lower-case ASCII without the last dot, or an address."""
    if text.startswith("["):
        return _checked_address(_ipv6(text[1:-1]), rules)
    name = _ascii(text).lower().removesuffix(".")
    if not name:
        raise TargetRefused("has no host")
    labels = name.split(".")
    if len(name) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise TargetRefused("has a host that is no valid name")
    if _NUMBER.fullmatch(labels[-1]):  # then every resolver takes it for an IPv4 address, in one of its spellings
        return _checked_address(_ipv4(name), rules)
    _check_name(name, rules)
    return name


def _ascii(host: str) -> str:
    """UTS 46: letters and digits of every width, and every kind of dot, become the plain ones."""
    if host.isascii():
        return host
    if len(host) > 253:
        raise TargetRefused("has a host that is no valid name")
    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except (UnicodeError, IndexError, ValueError):
        raise TargetRefused("has a host that is no valid international name") from None


def _ipv6(text: str) -> IPv6Address:
    try:
        return IPv6Address(text)
    except ValueError:
        raise TargetRefused("has an unreadable address in brackets") from None


def _ipv4(name: str) -> IPv4Address:
    """Other spellings than the dotted one are refused even where they are public: programs read them differently."""
    try:
        return IPv4Address(name)
    except ValueError:
        meant = _old_spelling(name)
        advice = f"; write {meant}" if meant else ""
        raise TargetRefused(f"has a host that is no plain IPv4 address{advice}") from None


def _old_spelling(name: str) -> IPv4Address | None:
    """What C libraries (inet_aton) take it for: one to four numbers, decimal, octal or hexadecimal."""
    parts = name.split(".")
    if len(parts) > 4 or not all(map(_NUMBER.fullmatch, parts)):
        return None
    try:
        *first, last = [int(part, 16 if part[:2] == "0x" else 8 if part[0] == "0" else 10) for part in parts]
    except ValueError:  # 0x alone, or 08
        return None
    if any(number > 255 for number in first) or last >= 1 << (8 * (4 - len(first))):
        return None
    return IPv4Address(sum(number << (8 * (3 - place)) for place, number in enumerate(first)) + last)


def _checked_address(address: Address, rules: Rules) -> str:
    reason = why_refused(address, rules)
    if reason:
        raise TargetRefused(f"goes to {address}, which is {reason}")
    return str(address)


def _check_name(name: str, rules: Rules) -> None:
    """Refuse names that mean this machine or its neighbours, unless such addresses are allowed."""
    if _ends_in(name, _LOOPBACK_SUFFIXES):
        if not any(is_allowed(address, rules) for address in (IPv4Address("127.0.0.1"), IPv6Address("::1"))):
            raise TargetRefused(f"goes to {name}, which is this machine")
    elif not rules.networks and ("." not in name or _ends_in(name, _LOCAL_SUFFIXES)):
        raise TargetRefused(f"goes to {name}, a name that only a local network knows")


def _ends_in(name: str, suffixes: tuple[str, ...]) -> bool:
    return name in suffixes or name.endswith(tuple(f".{suffix}" for suffix in suffixes))
