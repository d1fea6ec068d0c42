"""The command line: recording-status serve | run | migrate | simulate | openapi | check.

What a command needs it imports itself: `--help` shall not wait for all of the service to be imported.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from app.errors import Misconfigured, RecorderError
from app.imports import for_life

if TYPE_CHECKING:
    from app.settings import Settings

cli = typer.Typer(
    help="Is the recording over, and where are its files? Certainty about ZEGOCLOUD Cloud Recording tasks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
HostOption = Annotated[str | None, typer.Option(help="Address to listen on (HOST).")]
RoleOption = Annotated[
    Literal["all", "api", "worker"],
    typer.Option(help="What this process does: `api` answers, `worker` polls and delivers, `all` does both."),
]
PortOption = Annotated[int | None, typer.Option(help="Port to listen on (PORT); 0 takes a free one.")]

DEMO_SECRET = "simulated-secret-of-app-1"  # noqa: S105 - the simulator's; of nothing real
DEMO_CALLBACK_SECRET = "simulated-callback-secret-of-app-1"  # noqa: S105


@cli.command()
def serve(host: HostOption = None, port: PortOption = None, role: RoleOption = "all") -> None:
    """Serve the API and follow the registered tasks.

    Configured by the environment and `.env`; see the README. A bad setting stops the start with exit code 2.
    """
    with for_life():
        from app import serving
    settings = _settings(host=host, port=port)
    if not settings.apps:
        _stop(["no app is configured: set ZEGO_APP_ID and ZEGO_SERVER_SECRET, or ZEGO_APPS"])
    _run(serving.serve(settings, role=role))


@cli.command()
def run(host: HostOption = None, port: PortOption = None) -> None:
    """Serve; without any provider credentials, with a simulated provider and a demonstration database."""
    with for_life():
        from app import serving
    settings = _settings(host=host, port=port)
    if settings.apps:
        _run(serving.serve(settings))
    else:
        _run(serving.demonstrate(host, port, secret=DEMO_SECRET, callback_secret=DEMO_CALLBACK_SECRET))


@cli.command()
def migrate() -> None:
    """Bring the database's schema to this version. Safe to repeat, and to run several times at once."""
    with for_life():
        from app.clock import SystemClock
        from app.store import schema
        from app.store.engine import Database

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
    with for_life():
        from app.main import description

    settings = _settings(host="127.0.0.1")  # it listens nowhere, so it may do without keys
    typer.echo(json.dumps(description(settings.public_url, settings.api_contact), indent=1, ensure_ascii=False))


@cli.command()
def check(as_json: Annotated[bool, typer.Option("--json", help="Write JSON: one object a line.")] = False) -> None:
    """Say what is wrong with the configuration, the database, the provider and the way in. Changes nothing.

    Exit code 0: nothing stands in the way of `serve`, though there may be warnings; 1: something does. For example:

        recording-status check && recording-status serve

        recording-status check --json | jq 'select(.level != "ok")'
    """
    _run(_check(as_json=as_json))


async def _check(*, as_json: bool) -> None:
    with for_life():
        from app import checks
        from app.clock import SystemClock
        from app.settings import load_settings

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
    with for_life():
        from app.provider import simulator

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


def _settings(**overrides: Any) -> Settings:
    from app.settings import load_settings

    try:
        return load_settings(**overrides)
    except Misconfigured as error:
        _stop(error.faults)


def _run(work: Coroutine[Any, Any, None]) -> None:
    import uvloop

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
