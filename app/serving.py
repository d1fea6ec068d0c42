"""Serves until a signal comes: the API and the background jobs, or the demonstration of them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path

import typer
import uvicorn

from app.api.connections import server_config
from app.core.schedule import Policy
from app.errors import Misconfigured
from app.main import create_app
from app.settings import Settings, load_settings
from app.telemetry import configure_logging
from app.tracking.registration import NewTask
from app.wiring import ProcessRole, Service, open_service, running

PATIENCE = 30.0
"""Seconds `serve` waits for its PostgreSQL: containers are started in any order."""

DEMO_DATABASE = Path("data/demo.db")


class _Server(uvicorn.Server):
    """uvicorn, but a signal ends the poller's work at once too, and ends the process with exit code 0."""

    def __init__(self, config: uvicorn.Config, service: Service, greeting: str) -> None:
        super().__init__(config)
        self._service, self._greeting = service, greeting
        self._stopped = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        typer.echo(self._greeting, err=True)  # not before: by now signals are heeded

    async def main_loop(self) -> None:
        """uvicorn looks ten times a second whether it is to end; here that is told, and only the date is to be set."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), 1.0)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        self.should_exit = True
        self._stopped.set()
        self._service.stop()


async def serve(
    settings: Settings,
    *,
    role: ProcessRole = "all",
    simulated: bool = False,
    tasks: Sequence[str] = (),
    policy: Policy | None = None,
    beside: Callable[[str], AbstractAsyncContextManager[None]] = lambda url: contextlib.nullcontext(),
) -> None:
    """Serve until a signal comes; ``beside`` runs as long, given the URL."""
    configure_logging(settings.log_level, settings.log_format)
    # A port that is taken must be said before anything else is done.
    listener = _listen(settings.host, settings.port)
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


async def demonstrate(host: str | None, port: int | None, *, secret: str, callback_secret: str) -> None:
    """Serve with the simulator as provider and a few recordings whose lives take a minute or two."""
    from app.provider import simulator  # here, since only a demonstration needs it

    provider = simulator.Simulator({1: secret}, callback_secrets={1: callback_secret})
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
            zego_server_secret=secret,
            zego_callback_secret=callback_secret,
            zego_api_url=server.url,
        )
        # Recordings of a minute are worth asking about more often than recordings of an hour.
        await serve(
            settings,
            simulated=True,
            tasks=tasks,
            policy=Policy(recording_early=timedelta(seconds=5)),
            beside=lambda url: simulator.send_callbacks(provider, f"{_from_here(url)}/v1/callbacks/zego"),
        )
