"""The command line: recording-status serve | run | migrate | simulate | openapi."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, NoReturn

import structlog
import typer
import uvicorn
import uvloop

from app.api.connections import server_config
from app.clock import SystemClock
from app.core.schedule import Policy
from app.errors import Misconfigured, RecorderError
from app.main import create_app, description
from app.provider import simulator
from app.settings import Settings, load_settings
from app.store import schema
from app.store.engine import Database
from app.telemetry import configure_logging
from app.tracking.registration import NewTask
from app.wiring import Role, Service, open_service, running

log = structlog.get_logger(__name__)

cli = typer.Typer(
    help="Is the recording over, and where are its files? Certainty about ZEGOCLOUD Cloud Recording tasks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
HostOption = Annotated[str | None, typer.Option(help="Address to listen on (HOST).")]
RoleOption = Annotated[
    Role, typer.Option(help="What this process does: `api` answers, `worker` polls and delivers, `all` does both.")
]
PortOption = Annotated[int | None, typer.Option(help="Port to listen on (PORT); 0 takes a free one.")]

PATIENCE = 30.0
"""Seconds `serve` waits for its PostgreSQL: containers are started in any order."""

DEMO_DATABASE = Path("data/demo.db")
DEMO_SECRET = "simulated-secret-of-app-1"  # noqa: S105 - the simulator's; of nothing real
DEMO_CALLBACK_SECRET = "simulated-callback-secret-of-app-1"  # noqa: S105


@cli.command()
def serve(host: HostOption = None, port: PortOption = None, role: RoleOption = "all") -> None:
    """Serve the API and follow the registered tasks.

    Configured by the environment and `.env`; see the README. A bad setting stops the start with exit code 2.
    """
    settings = _settings(host=host, port=port)
    if not settings.apps:
        _stop(["no app is configured: set ZEGO_APP_ID and ZEGO_SERVER_SECRET, or ZEGO_APPS"])
    _run(_serve(settings, role=role))


@cli.command()
def run(host: HostOption = None, port: PortOption = None) -> None:
    """Serve; without any provider credentials, with a simulated provider and a demonstration database."""
    settings = _settings(host=host, port=port)
    _run(_serve(settings) if settings.apps else _demonstrate(host, port))


@cli.command()
def migrate() -> None:
    """Bring the database's schema to this version. Safe to repeat, and to run several times at once."""

    async def work(settings: Settings) -> None:
        database = Database(settings.database_url, SystemClock())
        try:
            await schema.migrate(database)
        finally:
            await database.close()
        typer.echo("The schema is up to date.")

    # It listens nowhere, so it may do without the keys that serving the network takes.
    _run(work(_settings(host="127.0.0.1")))


@cli.command()
def openapi() -> None:
    """Write the API's description (OpenAPI 3.1) to standard output: what a running service has at /openapi.json.

    For example:

        recording-status openapi >openapi.json

    PUBLIC_URL, if it is set, is the server's address in it.
    """
    settings = _settings(host="127.0.0.1")  # it listens nowhere, so it may do without keys
    typer.echo(json.dumps(description(settings.public_url, settings.api_contact), indent=1, ensure_ascii=False))


@cli.command()
def check(as_json: Annotated[bool, typer.Option("--json", help="Write JSON: one object a line.")] = False) -> None:
    """Say what is wrong with the configuration, the database, the provider and the way in. Changes nothing.

    Exit code 0: nothing stands in the way of `serve`, though there may be warnings; 1: something does. For example:

        recording-status check && recording-status serve

        recording-status check --json | jq 'select(.level != "ok")'
    """
    from app import checks  # `serve` does without

    _run(_check(checks, as_json=as_json))


async def _check(checks: Any, *, as_json: bool) -> None:
    worst = "ok"
    async for finding in checks.examine(load=lambda: load_settings(), clock=SystemClock()):
        worst = "error" if finding.level == "error" else worst
        typer.echo(checks.to_json(finding) if as_json else checks.to_line(finding))
    if worst == "error":
        raise typer.Exit(1)


@cli.command()
def simulate(
    host: Annotated[str, typer.Option(help="A loopback address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 9010,
    app_id: Annotated[int, typer.Option(help="The AppId it knows.")] = 1,
    server_secret: Annotated[str, typer.Option(help="Its ServerSecret.")] = DEMO_SECRET,
    callback_url: Annotated[
        str | None, typer.Option(help="Where on loopback callbacks go; none are sent without.")
    ] = None,
    callback_secret: Annotated[str, typer.Option(help="The CallbackSecret that signs them.")] = DEMO_CALLBACK_SECRET,
    speed: Annotated[float, typer.Option(help="How much faster than life recordings live.")] = 1.0,
    start: Annotated[list[str] | None, typer.Option(help="LIFE or LIFE=COUNT: recordings to start with.")] = None,
    fault: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, as in PATCH /simulator/faults.")] = None,
) -> None:
    """A provider on loopback to develop against: DescribeRecordStatus and DescribeTasks, with its checks and limits.

    GET /simulator lists its control routes and the lives its recordings can lead. For example:

        recording-status simulate --start normal=5 --start backup --fault rtt=0.05 --fault http_500=0.02

        recording-status simulate --callback-url http://127.0.0.1:8000/v1/callbacks/zego --fault callback_lost=0.1
    """
    try:
        secrets = {app_id: callback_secret} if callback_url else {}
        provider = simulator.Simulator({app_id: server_secret}, callback_secrets=secrets, speed=speed)
        given = dict(_pair(one) for one in fault or [])
        provider.faults = provider.faults.merged({name: float(value) for name, value in given.items()})
        for one in start or []:
            life, count = _pair(one, default="1")
            for _ in range(int(count)):
                typer.echo(f"{provider.start(life)} {life}")
        simulator.run(provider, host=host, port=port, callback_url=callback_url, report=typer.echo)
    except (ValueError, OSError) as error:
        _stop([f"simulate: {error}"])


# -- serving


COLLECT = (20_000, 20, 100)
"""How seldom Python looks for circles of objects: with thousands who wait, each look at all of them takes 0.3 s, in
which nobody is answered (docs/benchmarks.md)."""


class _Server(uvicorn.Server):
    """uvicorn, but a signal ends the poller's work at once too, and ends the process with exit code 0."""

    def __init__(self, config: uvicorn.Config, service: Service, greeting: str) -> None:
        super().__init__(config)
        self._service, self._greeting = service, greeting

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        typer.echo(self._greeting, err=True)  # not before: by now signals are heeded

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        self.should_exit = True
        self._service.stop()


async def _serve(
    settings: Settings,
    *,
    role: Role = "all",
    simulated: bool = False,
    tasks: Sequence[str] = (),
    policy: Policy | None = None,
    beside: Callable[[str], AbstractAsyncContextManager[None]] = lambda url: contextlib.nullcontext(),
) -> None:
    """Serve until a signal comes; ``beside`` runs as long, given the URL."""
    configure_logging(settings.log_level, settings.log_format)
    # A port that is taken must be said before anything else is done.
    listener = _listen(settings.host, settings.port)
    gc.set_threshold(*COLLECT)
    with listener:
        async with open_service(settings, role=role, patience=PATIENCE, simulated=simulated, policy=policy) as service:
            patience = max(1, int(settings.shutdown_timeout) - 2)
            config = server_config(create_app(service), shutdown_timeout=patience)
            for task_id in tasks:
                await service.registration.register(NewTask(task_id=task_id, labels={"demo": "yes"}))
            url = _url(listener)
            async with running(service), beside(url):
                greeting = _greeting(settings, url, simulated=simulated)
                await _Server(config, service, greeting).serve(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise Misconfigured([f"HOST, PORT: cannot listen on {host}:{port}: {error.strerror or error}"]) from error


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _from_here(url: str) -> str:
    """The URL by which this machine reaches what listens on all its addresses."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def _greeting(settings: Settings, url: str, *, simulated: bool) -> str:
    apps = ", ".join(map(str, settings.apps))
    lines = [f"recording-status is ready on {url}, documentation on {url}/docs (app {apps})"]
    deaf = [str(app.app_id) for app in settings.apps.values() if app.callback_secret is None]
    if deaf:
        lines.append(f"Callbacks are refused, since no callback secret is set (app {', '.join(deaf)}).")
    if not settings.api_keys:
        lines.append("No API_KEYS are set: every program on this machine may use it, nobody else can.")
    if simulated:
        lines += [
            "SIMULATED: no ZEGO_APP_ID is set, so the provider is the bundled simulator, and the database is",
            f"{DEMO_DATABASE}, started afresh. Nothing here is real. A few recordings are being followed:",
            f"  {url} in a browser, or: curl {url}/v1/tasks",
        ]
    return "\n".join(lines)


async def _demonstrate(host: str | None, port: int | None) -> None:
    """Serve with the simulator as provider and a few recordings whose lives take a minute or two."""
    provider = simulator.Simulator({1: DEMO_SECRET}, callback_secrets={1: DEMO_CALLBACK_SECRET})
    provider.faults = provider.faults.merged({"rtt": 0.05, "jitter": 0.02})
    tasks = [
        provider.start(life, duration=20 + 15 * number, upload=8)
        for number, life in enumerate(["normal", "paused", "idle_end", "backup_then_late_upload", "lost_file"])
    ]
    for leftover in DEMO_DATABASE.parent.glob(f"{DEMO_DATABASE.name}*"):
        leftover.unlink()
    async with simulator.serve(provider) as server:
        settings = load_settings(
            host=host,
            port=port,
            database_url=f"sqlite+aiosqlite:///./{DEMO_DATABASE}",
            zego_app_id=1,
            zego_server_secret=DEMO_SECRET,
            zego_callback_secret=DEMO_CALLBACK_SECRET,
            zego_api_url=server.url,
        )
        # Recordings of a minute are worth asking about more often than recordings of an hour.
        await _serve(
            settings,
            simulated=True,
            tasks=tasks,
            policy=Policy(recording_early=timedelta(seconds=5)),
            beside=lambda url: simulator.send_callbacks(provider, f"{_from_here(url)}/v1/callbacks/zego"),
        )


# -- small parts


def _settings(**overrides: Any) -> Settings:
    try:
        return load_settings(**overrides)
    except Misconfigured as error:
        _stop(error.faults)


def _run(work: Coroutine[Any, Any, None]) -> None:
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work)
    except Misconfigured as error:
        _stop(error.faults)
    except RecorderError as error:
        _stop([str(error)])


def _stop(faults: list[str]) -> NoReturn:
    for fault in faults:
        typer.echo(f"recording-status: {fault}", err=True)
    raise typer.Exit(2)


def _pair(text: str, default: str | None = None) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals and default is None:
        raise ValueError(f"{text!r} is not NAME=VALUE")
    return name, value or default or ""
