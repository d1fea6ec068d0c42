"""The commands that talk to a running service, put together."""

from __future__ import annotations

import typer

from app.commands import watching
from app.commands.exporting import export
from app.commands.importing import import_tasks
from app.commands.tasks import tasks

__all__ = ["cli", "watching"]

cli = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
cli.add_typer(tasks, name="tasks")
cli.command("import")(import_tasks)
cli.add_typer(export, name="export")
