"""What is wrong with a configuration, and with what it leads to: the database, the provider, the way in.

It changes nothing: not even SQLite's file is made. Of the provider it asks one small list for each app.
"""

from __future__ import annotations

import ipaddress
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal

import httpx

from app.clock import Clock, wall_time
from app.errors import AppRefused, DatabaseUnavailable, Misconfigured, ProviderError, ProviderThrottled
from app.provider.client import Call, Provider
from app.settings import LOOPBACK, ProviderApp, Settings
from app.store import schema
from app.store.engine import Database

Level = Literal["ok", "warning", "error"]

SKEW_WARNING, SKEW_ERROR = 30.0, 540.0
"""Seconds by which clocks may differ: the provider takes timestamps up to 10 minutes old (docs/provider.md 1.2)."""

PATIENCE = 8.0
"""Seconds one call to the provider may take."""


ADVICE = {
    "signature_wrong": "check ZEGO_SERVER_SECRET: 32 characters, of this very app",
    "app_unknown": "check ZEGO_APP_ID",
    "signature_expired": "set this machine's clock by NTP",
    "service_not_activated": "activate Cloud Recording with the provider",
    "service_not_enabled": "enable Cloud Recording in the provider's console",
}
"""What to do about the provider's refusals."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what it is like, and what to do if it is not as it should be."""

    level: Level
    about: str
    found: str
    advice: str = ""


@dataclass
class Dates(httpx.AsyncBaseTransport):
    """Passes requests on, and keeps how far the clock of whoever answered last is ahead of ours."""

    inner: httpx.AsyncBaseTransport = field(default_factory=lambda: httpx.AsyncHTTPTransport(trust_env=False))
    skew: float | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        asked = wall_time()
        response = await self.inner.handle_async_request(request)
        try:
            told = parsedate_to_datetime(response.headers.get("Date", ""))
        except ValueError:
            return response
        # The header has whole seconds: half of one is the best guess of the rest.
        middle = asked + (wall_time() - asked) / 2
        self.skew = (told.astimezone(UTC) - middle).total_seconds() + 0.5
        return response

    async def aclose(self) -> None:
        await self.inner.aclose()


MARKS: dict[Level, str] = {"ok": "ok     ", "warning": "warning", "error": "ERROR  "}


def to_line(finding: Finding) -> str:
    advice = f" -> {finding.advice}" if finding.advice else ""
    return f"{MARKS[finding.level]}  {finding.about}: {finding.found}{advice}"


def to_json(finding: Finding) -> str:
    return json.dumps(asdict(finding))


async def examine(load: Callable[[], Settings], clock: Clock) -> AsyncIterator[Finding]:
    """Everything there is to find, one after the other."""
    try:
        settings = load()
    except Misconfigured as error:
        for fault in error.faults:
            yield Finding("error", "settings", fault, "`serve` does not start with it; the rest was not looked at")
        return
    for finding in configuration(settings):
        yield finding
    for look in (database, provider):
        async for finding in look(settings, clock):
            yield finding


def configuration(settings: Settings) -> list[Finding]:
    """What the settings alone tell."""
    found = [Finding("ok", "settings", f"{len(settings.apps)} app(s): {', '.join(map(str, settings.apps))}")]
    if not settings.apps:
        advice = "set ZEGO_APP_ID and ZEGO_SERVER_SECRET, or ZEGO_APPS; `serve` does not start without"
        found = [Finding("error", "settings", "no app is configured", advice)]
    for app in settings.apps.values():
        found.append(_callback_secret(app))
    found.append(_keys(settings))
    found.append(_way_in(settings))
    return found


def _callback_secret(app: ProviderApp) -> Finding:
    if app.callback_secret is None:
        advice = "set ZEGO_CALLBACK_SECRET (CallbackSecret in the provider's console), or ends are known later"
        return Finding("warning", f"callbacks {app.app_id}", "no callback secret: all callbacks are refused", advice)
    if app.callback_secret.get_secret_value() == app.server_secret.get_secret_value():
        advice = "they differ in the provider's console: CallbackSecret signs callbacks, ServerSecret our calls"
        return Finding("warning", f"callbacks {app.app_id}", "the callback secret is the server secret", advice)
    return Finding("ok", f"callbacks {app.app_id}", "a callback secret is set")


def _keys(settings: Settings) -> Finding:
    if not settings.api_keys:
        return Finding(
            "warning", "keys", "no API_KEYS: every program on this machine may do everything", "set API_KEYS"
        )
    roles = {role: sum(key.role == role for key in settings.api_keys) for role in ("read", "write", "admin")}
    shown = ", ".join(f"{number} {role}" for role, number in roles.items() if number)
    if not roles["admin"]:
        return Finding("warning", "keys", f"{shown}", "nobody may untrack, delete or pause: add an admin key")
    return Finding("ok", "keys", shown)


def _way_in(settings: Settings) -> Finding:
    """Whether the provider's callbacks can find their way here, as far as it can be told from here."""
    url = settings.public_url
    path = "/v1/callbacks/zego"
    if url is None:
        where = f"it listens on {settings.host}:{settings.port}"
        if settings.host in LOOPBACK:
            advice = f"for callbacks put a proxy with TLS before it, and give its address to the provider ({path})"
            return Finding("warning", "way in", f"{where}, which nobody else reaches", advice)
        return Finding("warning", "way in", f"{where}; no PUBLIC_URL is set", f"the provider needs https://HOST{path}")
    host = httpx.URL(url).host
    if host in LOOPBACK or _is_private(host):
        return Finding("warning", "way in", f"PUBLIC_URL {url} is not reachable for the provider", "give a public name")
    if not url.startswith("https://"):
        return Finding("warning", "way in", f"PUBLIC_URL {url} is not https", "callbacks would travel in the open")
    return Finding("ok", "way in", f"callbacks come to {url}{path}")


def _is_private(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host


async def database(settings: Settings, clock: Clock) -> AsyncIterator[Finding]:
    """Reachable, of this version's schema, and of which time."""
    url = settings.database_url
    if missing := _missing_file(url):
        yield _no_file(missing)
        return
    there = Database(url, clock)
    try:
        async with there.read():
            pass
        if reason := there.unwritable():
            yield Finding("error", "database", reason, "give this user the right to write there")
        else:
            yield Finding("ok", "database", "SQLite" if there.is_sqlite else "PostgreSQL, reachable")
        if await schema.fits(there):
            yield Finding("ok", "schema", f"of this version ({schema.HEAD})")
        else:
            advice = "`serve` will bring it up to date" if there.is_sqlite else "run `recording-status migrate`"
            level: Level = "warning" if there.is_sqlite else "error"
            yield Finding(level, "schema", "not of this version", advice)
        if not there.is_sqlite:
            yield _skew("database clock", (await there.time() - wall_time()).total_seconds(), SKEW_ERROR)
    except (DatabaseUnavailable, Misconfigured) as error:
        yield Finding("error", "database", f"cannot be used: {error}", "check DATABASE_URL, and that it runs")
    finally:
        await there.close()


def _missing_file(url: str) -> Path | None:
    """SQLite's file, if it is not there: looking at it would make it."""
    path = Path(url.removeprefix("sqlite+aiosqlite:///").partition("?")[0])
    return path if url.startswith("sqlite") and not path.exists() else None


def _no_file(path: Path) -> Finding:
    folder = next((one for one in path.absolute().parents if one.exists()), Path("/"))
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return Finding("error", "database", f"{folder} cannot be written", "give this user the right to, or move it")
    return Finding("ok", "database", f"{path} is not there yet; `serve` makes it")


async def provider(settings: Settings, clock: Clock) -> AsyncIterator[Finding]:
    """Of each app: whether the provider answers, takes its credentials, and has the same time."""
    for app in settings.apps.values():
        dates = Dates()
        asked = Provider(
            app.app_id,
            app.server_secret.get_secret_value(),
            url=settings.zego_api_url,
            clock=clock,
            is_test=settings.zego_is_test,
            transport=dates,
        )
        began = time.perf_counter()
        try:
            await asked.probe(Call(clock.monotonic() + PATIENCE), now=clock.now())
            took = round((time.perf_counter() - began) * 1000)
            yield Finding("ok", f"provider {app.app_id}", f"answers in {took} ms and takes the credentials")
        except ProviderError as error:
            yield _refused(app, error, settings.zego_api_url)
        finally:
            await asked.close()
        if dates.skew is not None:
            yield _skew(f"provider {app.app_id} clock", dates.skew, SKEW_ERROR)


def _refused(app: ProviderApp, error: ProviderError, url: str) -> Finding:
    about = f"provider {app.app_id}"
    if isinstance(error, AppRefused):
        return Finding("error", about, f"refuses every call: {error}", ADVICE.get(error.code, "see docs/provider.md 5"))
    if isinstance(error, ProviderThrottled):
        return Finding("warning", about, f"throttles: {error}", "another program may use up the AppId's limit")
    return Finding(
        "error", about, f"no good answer from {url}: {error}", "check ZEGO_API_URL, the network, the firewall"
    )


def _skew(about: str, seconds: float, worst: float) -> Finding:
    ahead = f"{abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} this machine's"
    if abs(seconds) < SKEW_WARNING:
        return Finding("ok", about, "agrees with this machine's")
    level: Level = "error" if abs(seconds) >= worst else "warning"
    return Finding(level, about, ahead, "let NTP set the clocks: calls and callbacks carry times of 10 minutes at most")
