"""The commands that talk to a running service, put together."""

from __future__ import annotations

import typer

from app.commands.audit import audit
from app.commands.exporting import export
from app.commands.importing import import_tasks
from app.commands.watching import tasks
from app.commands.webhooks import deliveries, replay

cli = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
cli.add_typer(tasks, name="tasks")
cli.command("import")(import_tasks)
cli.add_typer(export, name="export")
cli.command("deliveries")(deliveries)
cli.command("replay")(replay)
cli.command("audit")(audit)
