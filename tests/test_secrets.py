"""No secret is told: not in a log, an answer, a page, the database, a traceback, an object's repr or a process list."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import ClauseElement, make_url

from app.api.subscription_schemas import NewSubscriptionOut, SecretIn, SubscriptionIn, SubscriptionPatch
from app.core.deliveries import DEFAULT_TYPES
from app.core.subscribers import subscription_json
from app.provider.simulator import send_callbacks, serve
from app.settings import Settings, load_settings
from app.tracking.subscriptions import NewSubscription
from app.wiring import open_service
from tests.deployed import COMPOSE, ROOT
from tests.exercise import Caller, Provider, break_it, command_line, dump, exercise, serving
from tests.planted import KEYS, SECRETS, find, found_in, spellings, webhook_secret
from tests.sink import open_sink
from tests.test_operation import environment, run
from tests.world import APP, sqlite_url

SHOWN_ONCE = "the one answer that shows it, to an admin"
PRODUCT = "the address of a file is what callers ask for; the provider's own are not signed"
BODY = "callbacks are shown to admins as they came"
ADDRESS = "where a subscription sends; docs/threat-model.md says that whoever may read sees it"

TOLD = {
    ("createSubscription", "first webhook secret"): SHOWN_ONCE,
    ("rotateSecret", "next webhook secret"): SHOWN_ONCE,
    ("createSubscription", "token of a subscriber"): ADDRESS,
    ("rotateSecret", "token of a subscriber"): ADDRESS,
    ("listSubscriptions", "token of a subscriber"): ADDRESS,
    ("database", "token of a subscriber"): ADDRESS,
    ("getTask", "signature of a file URL"): PRODUCT,
    ("listTasks", "signature of a file URL"): PRODUCT,
    ("listTaskEvents", "signature of a file URL"): PRODUCT,
    ("listEvents", "signature of a file URL"): PRODUCT,
    ("database", "signature of a file URL"): PRODUCT,
    ("listCallbacks", "signature of a file URL"): BODY,
}
"""Where a secret does stand, and why. Not one more, and not one less."""

CONFIGURED = {
    "ZEGO_SERVER_SECRET": SECRETS["server secret"],
    "ZEGO_CALLBACK_SECRET": SECRETS["callback secret"],
    "API_KEYS": ",".join(f"{role}er:{role}:{key}" for role, key in KEYS.items()),
    "SECRET_KEY": f"{SECRETS['encryption key']},{SECRETS['old encryption key']}",
}


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
async def test_a_running_service_tells_no_secret(tmp_path: Path, database_url: str) -> None:
    """On SQLite in a terminal, with colours; on PostgreSQL with the log in JSON."""
    terminal = database_url.startswith("sqlite")
    if terminal:
        database_url = sqlite_url(tmp_path / "one.db")
    else:
        given = make_url(database_url).set(password=SECRETS["database password"])
        database_url = given.render_as_string(hide_password=False)
    async with serve(Provider()) as provider, open_sink() as sink:
        more = {
            "DATABASE_URL": database_url,
            "LOG_LEVEL": "debug",
            "LOG_FORMAT": "text" if terminal else "json",
            "WEBHOOK_ALLOW_HTTP": "true",
            "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
            "WEBHOOK_ALLOWED_PORTS": f"443,{sink.port}",
            "SWEEP_INTERVAL": "1",
            "TERM": "xterm-256color",
        }
        env = environment(tmp_path, provider.url, **CONFIGURED, **more)
        async with serving(tmp_path, env, terminal=terminal) as running:
            caller = Caller(await running.url())
            async with send_callbacks(provider.simulator, f"{caller.url}/v1/callbacks/zego"):
                await exercise(caller, provider, sink)
            places = {"database": await dump(database_url), "command line": command_line(running.process.pid)}
            await break_it(caller, database_url, sink.url())
            await caller.close()
    log = bytes(running.said)
    assert_it_happened(log, caller, coloured=terminal)
    assert isinstance(provider.simulator, Provider)
    calls = {f"signature of call {number}": one for number, one in enumerate(provider.simulator.signatures)}
    assert len(calls) > 10
    secrets = SECRETS | calls
    found = set(found_in(places | caller.answers | {"log": log}, secrets))
    assert found == TOLD.keys()
    for name, secret in secrets.items():  # had it been told, it would have been found
        assert find(log + b" " + secret.encode(), secrets) >= {name}


def assert_it_happened(log: bytes, caller: Caller, *, coloured: bool) -> None:
    """The log tells of all that was to be tried: callbacks refused, calls failed, tracebacks."""
    for word in (b"callback refused", b"callback", b"poll failed", b"task.settled", b"request crashed",
                 b"delivery crashed", b"Traceback", b"debug"):  # fmt: skip
        assert word in log, word
    assert (b"\x1b[" in log) == coloured
    wrong = {"createSubscription 500", "createSubscription 422", "createSubscription 415", "createSubscription 409",
             "listCallbacks 401", "listCallbacks 403", "receiveCallback 401", "receiveCallback 400"}  # fmt: skip
    assert wrong <= caller.answers.keys()
    assert caller.answers["no HTTP"].startswith(b"HTTP/1.1 400 ")
    assert [place for place, text in caller.answers.items() if re.search(rb"(?im)^server:|uvicorn", text)] == []


def test_the_search_finds_every_secret_in_every_spelling() -> None:
    for name, secret in SECRETS.items():
        for spelled in spellings(secret):
            assert find(b"before" + spelled + b"after") >= {name}
        for before in range(4):
            inside = base64.b64encode(b"x" * before + secret.encode() + b"y")
            assert name in find(inside), before
    assert find("nothing of interest") == set()


# -- objects


@dataclass
class Careless:
    """What the walk through all objects would find."""

    secret: str


Careless.__module__ = "app.careless"


def ours() -> Iterator[object]:
    """Every object of our classes that lives; the simulator's, a program of its own, left out."""
    for one in gc.get_objects():
        module = getattr(type(one), "__module__", None)
        statement = isinstance(one, ClauseElement)  # of these, some cannot be written without knowing the engine
        if isinstance(module, str) and module.startswith("app.") and "simulator" not in module and not statement:
            yield one


async def test_no_object_shows_a_secret_when_it_is_printed(tmp_path: Path) -> None:
    settings = load_settings(
        database_url=sqlite_url(tmp_path / "one.db"),
        database_listen_url=f"postgresql://user:{SECRETS['database password']}@127.0.0.1:1/none",
        zego_apps=json.dumps([{"app_id": APP, "server_secret": SECRETS["server secret"],
                               "callback_secret": SECRETS["callback secret"]}]),
        api_keys=CONFIGURED["API_KEYS"], secret_key=CONFIGURED["SECRET_KEY"], webhook_allow_http=True,
    )  # fmt: skip
    first, second = (webhook_secret(SECRETS[f"{which} webhook secret"]) for which in ("first", "next"))
    url = f"https://subscriber.example/?token={SECRETS['token of a subscriber']}"
    wanted = NewSubscription(
        name="one", url=url, types=DEFAULT_TYPES, app_id=None, labels={}, max_in_flight=1, description=None,
        secret=first,
    )  # fmt: skip
    async with open_service(settings) as service:
        one, _ = await service.subscriptions.create(wanted)
        kept = [
            await service.subscriptions.rotate(one.subscription_id, second),
            SubscriptionIn.model_validate({"name": "two", "url": url, "secret": first}),
            SubscriptionPatch.model_validate({"url": url}),
            SecretIn(secret=SecretStr(second)),
            NewSubscriptionOut.model_validate(subscription_json(one) | {"secret": first}),
        ]
        shown = {type(it).__name__: f"{it!r} {it}" for it in ours()}
        held = {"Settings", "ProviderApp", "Service", "Provider", "RequestSignature", "SecretBox", "Database", "Post"}
        held |= {
            "Callbacks",
            "Subscriptions",
            "Subscription",
            "NewSubscription",
            "SubscriptionIn",
            "SubscriptionPatch",
            "SecretIn",
        }
        held |= {"NewSubscriptionOut"}
        assert held <= shown.keys()
        told = [(type(it).__name__, found) for it in ours() if (found := find(f"{it!r} {it}"))]
    assert told == []
    careless = Careless(SECRETS["server secret"])
    assert [find(repr(it)) for it in ours() if it is careless] == [{"server secret"}]
    assert kept


# -- the command line


async def test_commands_tell_no_secret(tmp_path: Path) -> None:
    away = f"postgresql://user:{SECRETS['database password']}@127.0.0.1:1/none"
    async with serve(Provider()) as provider:
        good = environment(tmp_path, provider.url, **CONFIGURED)
        (tmp_path / "data").mkdir()
        wrong = {"DATABASE_URL": away, "ZEGO_SERVER_SECRET": SECRETS["first webhook secret"]}
        bad = {
            "API_KEYS": f"{KEYS['admin']}:admin:{KEYS['read']},short:admin:x",
            "PUBLIC_URL": away,
            "ZEGO_APPS": json.dumps([{"app_id": 1, "server_secret": [SECRETS["server secret"]]}]),
        }
        done = await asyncio.gather(
            run(tmp_path, "check", env=good),
            run(tmp_path, "check", "--json", env=good | wrong),
            run(tmp_path, "serve", env=good | bad),
        )
    assert [code for code, _ in done] == [0, 1, 2], done
    said = dict(zip(("right", "wrong", "bad"), (text for _, text in done), strict=True))
    assert set(found_in(said)) == set()
    assert "signature" in said["wrong"]
    assert all(name in said["bad"] for name in bad)
    assert "Traceback" not in str(said)


# -- what is shipped


def test_no_secret_has_a_default_where_it_is_deployed() -> None:
    names = {name.upper() for name, field in Settings.model_fields.items() if "Secret" in str(field.annotation)}
    names |= {"API_KEYS", "DATABASE_URL", "DATABASE_LISTEN_URL", "ZEGO_APPS"}
    assert {"ZEGO_SERVER_SECRET", "ZEGO_CALLBACK_SECRET", "SECRET_KEY"} <= names
    for name, service in COMPOSE["services"].items():
        given = names & service.get("environment", {}).keys()
        assert given == ({"API_KEYS"} if name == "demo" else set()), name  # of which nothing is real
    files = ("docker-compose.yml", "deploy/kubernetes.yaml", "Dockerfile", "deploy/prometheus.yml")
    default = r"(?i)\$\{\w*(key|secret|password|token)\w*:?[-=]|://[^/\s:]+:[^@/\s$]+@"
    assert [found[0] for file in files for found in re.finditer(default, (ROOT / file).read_text())] == []
    assert re.search(default, "${API_KEY:-abc}")
    assert re.search(default, "postgresql://user:password@host")
