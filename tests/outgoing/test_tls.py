"""TLS to a checked address: the name is what SNI carries, what the certificate must say, and what Host says."""

from __future__ import annotations

import contextlib
import ssl
import warnings
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest
import trustme

from app.clock import SystemClock
from app.core.targets import Rules
from app.outgoing.answers import Answer
from app.outgoing.sender import Sender, trusting_context
from tests.clocks import FastClock
from tests.outgoing.target import OK, Target, answering, listening, then_silent
from tests.outgoing.test_sender import BODY, HEADERS, HERE, NAME, Zone


@contextlib.asynccontextmanager
async def secured(certificate: trustme.LeafCert, seen: list[str | None] | None = None) -> AsyncIterator[Target]:
    """A target with this certificate; the names asked for by SNI go into ``seen``."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)

    def note(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        if seen is not None:
            seen.append(name)

    context.sni_callback = note
    async with listening(OK, tls=context) as target:
        yield target


async def sent(
    target: Target, authority: trustme.CA | None, host: str = NAME, *, tls: ssl.SSLContext | None = None
) -> Answer:
    tls = tls or trusting_context()
    if authority:
        authority.configure_trust(tls)
    rules = Rules(False, (ip_network("127.0.0.0/8"),), frozenset({target.port}))
    sender = Sender(rules, clock=SystemClock(), resolve=Zone(HERE), tls=tls)
    return await sender.post(target.url(host, scheme="https"), HEADERS, BODY)


@pytest.mark.parametrize(
    ("host", "name"), [(NAME, NAME), ("Bücher.example", "xn--bcher-kva.example"), ("hooks.example.com.", NAME)]
)
async def test_the_name_stands_in_sni_certificate_and_host(authority: trustme.CA, host: str, name: str) -> None:
    seen: list[str | None] = []
    async with secured(authority.issue_cert(name), seen) as target:
        answer = await sent(target, authority, host)
    assert (answer.status_code, answer.error) == (200, None)
    assert seen == [name]
    head, body = target.requests[0]
    assert f"host: {name}:{target.port}\r\n" in head.lower()
    assert body == BODY


async def test_an_address_is_checked_against_the_certificates_addresses(authority: trustme.CA) -> None:
    async with secured(authority.issue_cert("127.0.0.1")) as target:
        assert (await sent(target, authority, "127.0.0.1")).is_success
    async with secured(authority.issue_cert(NAME)) as target:
        assert "certificate is not accepted" in ((await sent(target, authority, "127.0.0.1")).error or "")


async def test_a_certificate_for_the_address_does_not_do_for_the_name(authority: trustme.CA) -> None:
    for other in ("127.0.0.1", "other.example.com", "example.com"):
        async with secured(authority.issue_cert(other)) as target:
            answer = await sent(target, authority)
        assert answer.status_code is None
        assert "its certificate is not accepted (Hostname mismatch" in (answer.error or "")
        assert target.requests == []


async def test_certificates_out_of_date_or_of_strangers_are_not_accepted(authority: trustme.CA) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    old = authority.issue_cert(NAME, not_before=yesterday - timedelta(days=9), not_after=yesterday)
    for certificate, trusted, reason in [
        (old, authority, "certificate has expired"),
        (authority.issue_cert(NAME), None, "unable to get local issuer certificate"),
        (trustme.CA().issue_cert(NAME), authority, "unable to get local issuer certificate"),
    ]:
        async with secured(certificate) as target:
            answer = await sent(target, trusted)
        assert answer.error == f"no connection to 127.0.0.1: its certificate is not accepted ({reason})"
        assert target.requests == []


def _old(context: ssl.SSLContext) -> None:
    """Let the context speak TLS 1.1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")


async def test_old_versions_of_tls_are_not_spoken(authority: trustme.CA) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(NAME).configure_cert(context)
    _old(context)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    lenient = trusting_context()
    _old(lenient)
    async with listening(OK, tls=context) as target:
        answer = await sent(target, authority)
        assert (answer.error or "").startswith("no connection to 127.0.0.1: ")
        assert target.requests == []
        assert (await sent(target, authority, tls=lenient)).is_success, "so it was the version"


async def test_a_target_that_speaks_no_tls_is_told(authority: trustme.CA) -> None:
    async def plain(target: Target, reader: object, writer: object) -> None:
        writer.write(b"HTTP/1.1 400 This is no TLS\r\n\r\n")  # type: ignore[attr-defined]

    async with listening(plain) as target:
        answer = await sent(target, authority)
    assert answer.status_code is None
    assert (answer.error or "").startswith("no connection to 127.0.0.1: TLS failed (")


async def test_a_target_that_never_ends_the_handshake_takes_5_seconds(authority: trustme.CA) -> None:
    async with listening(then_silent()) as target:
        rules = Rules(False, (ip_network("127.0.0.0/8"),), frozenset({target.port}))
        sender = Sender(rules, clock=FastClock(20), resolve=Zone(HERE))
        answer = await sender.post(target.url(NAME, scheme="https"), HEADERS, BODY)
        await target.all_left()
    assert answer.error in ("no connection within 5 s", "no connection to 127.0.0.1: timed out")
    assert 4900 <= answer.duration_ms <= 8000


async def test_the_bodys_end_needs_no_farewell_of_the_target(authority: trustme.CA) -> None:
    """A target that leaves without TLS's close_notify has still answered."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(NAME).configure_cert(context)
    async with listening(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), tls=context) as target:
        answer = await sent(target, authority)
    assert (answer.is_success, answer.excerpt) == (True, "ok")
