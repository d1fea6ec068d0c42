"""The console script: everything else is imported from here, without pauses for collecting garbage.

What imports make lives as long as the process; looking through it again and again took a sixth of the start.
"""

from __future__ import annotations

import gc


def main() -> None:
    """Run the command line."""
    gc.disable()
    from app.cli import cli

    gc.freeze()
    gc.enable()
    cli()
