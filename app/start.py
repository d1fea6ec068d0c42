"""The console script: everything else is imported from here, when it is asked for.

`serve` needs most of the program; its help, and commands that talk to a running service, next to nothing of it.
"""

from __future__ import annotations

import gc
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from app import commands
from app.imports import for_life

COLLECT = (20_000, 20, 100)
"""How seldom Python looks for circles of objects: while it starts there are none, and with thousands who wait, each
look at all of them takes 0.3 s, in which nobody is answered (docs/benchmarks.md)."""

HELP = "Is the recording over, and where are its files? Certainty about ZEGOCLOUD Cloud Recording tasks."


class Commands(TyperGroup):
    """All commands; those of the service itself and those that talk to one are imported only when they are needed."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*_own().list_commands(ctx), *commands.NAMES]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return (_talking() if cmd_name in commands.NAMES else _own()).get_command(ctx, cmd_name)


def _own() -> TyperGroup:
    with for_life():
        from app.cli import cli

    return get_group(cli)


def _talking() -> TyperGroup:
    with for_life():
        from app.commands.cli import cli

    return get_group(cli)


root = typer.Typer(cls=Commands, help=HELP, no_args_is_help=True, pretty_exceptions_enable=False)


@root.callback()
def _root() -> None:
    """Nothing of its own: it makes this a group of commands."""


def main() -> None:
    """Run the command line."""
    gc.set_threshold(*COLLECT)
    root()
