"""What is left of the mutants of app/core after `make mutants`, and whether each survivor is accounted for.

``python -m tests.mutants`` reads what mutmut left in the folder ``mutants``, shows how many of each module's mutants
the tests killed, and fails where they are fewer than 95 %, or where docs/mutants.md does not name a survivor by the
line that is printed for it.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
WANTED = 0.95

SURVIVED, NEVER_RUN = (0, 5, 33), (None, 2, 34)
"""What mutmut notes of mutants that no test noticed or met, and of those it did not try. All else is a way to die:
failed tests, a crash, a test that does not end."""


@dataclass(frozen=True)
class Module:
    """A module of app/core; ``survivors``: each as one line, ``module.function: old → new``."""

    name: str
    mutants: int
    never_run: int
    survivors: list[str]


def modules(folder: Path) -> Iterator[Module]:
    for results in sorted(folder.glob("*.py.meta")):
        verdicts: dict[str, int | None] = json.loads(results.read_text())["exit_code_by_key"]
        if all(verdict is None for verdict in verdicts.values()):  # it was not asked for
            continue
        name, source = results.name.removesuffix(".py.meta"), results.with_suffix("").read_text()
        functions = {node.name: node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)}
        left = [key.rpartition(".")[2] for key, verdict in verdicts.items() if verdict in SURVIVED]
        survivors = [f"{name}.{_readable(key)}: {_change(functions, key)}" for key in left]
        yield Module(name, len(verdicts), sum(one in NEVER_RUN for one in verdicts.values()), survivors)


def _readable(key: str) -> str:
    """The name of the function that mutmut calls x_name__mutmut_1, or xǁClassǁname__mutmut_1."""
    return key.rpartition("__mutmut_")[0].removeprefix("x").removeprefix("_").strip("ǁ").replace("ǁ", ".")


def _change(functions: dict[str, ast.FunctionDef], key: str) -> str:
    """The words in which a mutant differs from what it was made of, and as many around them as say where that is."""
    original = functions[key.rpartition("__mutmut_")[0] + "__mutmut_orig"]
    old, new = (_lines(node) for node in (original, functions[key]))
    first = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    before, after = (_words(lines[first]) if first < len(lines) else [] for lines in (old, new))
    start = next((n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), 0)
    return f"{_around(before, start)} → {_around(after, start)}"


def _lines(node: ast.FunctionDef) -> list[str]:
    return [
        "".join(ast.unparse(node.args)),
        *(line.strip() for one in node.body for line in ast.unparse(one).splitlines()),
    ]


def _words(line: str) -> list[str]:
    return re.findall(r"""'[^']*'|"[^"]*"|\w+|\s+|[^\w\s]""", line)


def _around(words: list[str], at: int) -> str:
    return "".join(words[max(0, at - 8) : at + 8]).strip()


def report(found: list[Module], listed: list[str]) -> tuple[list[str], bool]:
    """What there is to say, and whether all is well."""
    said, survivors = [], [one for module in found for one in module.survivors]
    for module in found:
        killed = module.mutants - module.never_run - len(module.survivors)
        left_out = f", {module.never_run} never run" if module.never_run else ""
        said.append(f"{module.name:<12} {killed:>5} of {module.mutants:>5} killed{left_out}")
    unknown = [one for one in survivors if one not in listed]
    said.extend(f"NOT IN docs/mutants.md  {one}" for one in unknown)
    mutants, never_run = (sum(counts) for counts in zip(*((one.mutants, one.never_run) for one in found), strict=True))
    share = 1 - (len(survivors) + never_run) / mutants
    said.append(f"{share:.1%} of {mutants} mutants killed, {len(survivors)} survived")
    return said, share >= WANTED and not unknown


def main() -> int:
    listed = (ROOT / "docs" / "mutants.md").read_text().splitlines()
    said, well = report(list(modules(ROOT / "mutants" / "app" / "core")), listed)
    sys.stdout.write("\n".join(said) + "\n")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
