"""The shape of the code, measured: ``python -m tests.shape >docs/shape.md`` writes the page.

Reads source files with `ast` and imports nothing of them. The earlier column is a commit's, from the repository.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
BEFORE = "8a5e3d941636115fc7d90258c01fdfc714b9ecc2"
LARGEST_FILE = 300

Function = ast.FunctionDef | ast.AsyncFunctionDef

CONTRACT = re.compile(
    r"\b(returns?|yields?|whether|None|True|False|raises?|\w+(Error|Unavailable|NotFound)|seconds?|milliseconds|minutes?"
    r"|hours?|days?|bytes|characters|UTC|how (many|much|long)|at (most|least|once)|never|only|must|unless|transaction"
    r"|commits?|caller)\b",
    re.IGNORECASE,
)
"""Words by which a docstring says more than what the name says: what comes back, what is raised, a unit, a bound, a
condition, whose transaction it is."""

MOCK = re.compile(r"(^|[^.\w])(monkeypatch|(mock\.)?patch)(\.\w+)?\(|\b(Async|Magic)?Mock\(")
"""Not `client.patch(...)`, which is a request."""


@dataclass(frozen=True)
class Size:
    lines: int
    name: str


def percentile(numbers: list[int], share: float) -> int:
    """The smallest number that at least that share of them do not exceed."""
    return sorted(numbers)[max(0, -int(-len(numbers) * share // 1) - 1)]


def functions(tree: ast.AST, within: str = "") -> Iterator[tuple[str, Function]]:
    """Every function and method with its dotted name, nested ones too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield f"{within}{node.name}", node
            yield from functions(node, f"{within}{node.name}.<locals>.")
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, f"{within}{node.name}.")
        else:
            yield from functions(node, within)


@dataclass(frozen=True)
class Tree:
    """A copy of the repository."""

    root: Path

    @cached_property
    def modules(self) -> dict[str, ast.Module]:
        """The modules of app/ by their files' names."""
        files = sorted((self.root / "app").rglob("*.py"))
        return {str(file.relative_to(self.root)): ast.parse(file.read_text()) for file in files}

    @cached_property
    def files(self) -> list[Size]:
        return [Size(len((self.root / name).read_text().splitlines()), name) for name in self.modules]

    @cached_property
    def functions(self) -> list[tuple[str, Function]]:
        return [(f"{name}: {of}", one) for name, tree in self.modules.items() for of, one in functions(tree)]

    @cached_property
    def function_sizes(self) -> list[Size]:
        """From ``def`` to the last line, docstring and comments within included."""
        return [Size((one.end_lineno or 0) - one.lineno + 1, name) for name, one in self.functions]

    @cached_property
    def docstrings(self) -> list[str | None]:
        """Of public functions: no part of the name, class or module included, begins with an underscore."""
        return [ast.get_docstring(one) for name, one in self.functions if not re.search(r"(^|[/.: ])[_<]", name)]

    @cached_property
    def imports(self) -> dict[str, set[str]]:
        """The modules of app/ that each imports, wherever in its file that stands."""
        names = {_dotted(name) for name in self.modules}
        return {_dotted(name): set(_imported(tree, names)) - {_dotted(name)} for name, tree in self.modules.items()}

    @property
    def circle(self) -> list[str]:
        """Modules that import each other in a circle; empty if none do."""
        try:
            TopologicalSorter(self.imports).prepare()
        except CycleError as error:
            return [str(name) for name in error.args[1]]
        return []

    @property
    def contracts(self) -> int:
        """Contracts of import-linter. `make lint` fails unless all are kept."""
        return len(tomllib.loads((self.root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"])

    @cached_property
    def tests(self) -> list[str]:
        files = (file for file in (self.root / "tests").rglob("*.py") if "node_modules" not in file.parts)
        return [line for file in files for line in file.read_text().splitlines()]


def _dotted(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imported(tree: ast.Module, names: set[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if one.name in names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{one.name}" for one in node.names} & names
            yield from inner or {node.module} & names


def figures(tree: Tree) -> list[str]:
    """One cell for each of ROWS."""
    written = [text for text in tree.docstrings if text]
    contracts = [text for text in written if CONTRACT.search(text)]
    lines = sum(size.lines for size in tree.files)
    mocks = sum(len(MOCK.findall(line)) for line in tree.tests)
    return [
        f"{len(tree.files)} / {lines:,}",
        *_spread(tree.files),
        str(sum(size.lines > LARGEST_FILE for size in tree.files)),
        *_spread(tree.function_sizes),
        f"{tree.contracts}, all kept",
        " → ".join(tree.circle) or "none",
        f"{len(written) / len(tree.docstrings):.0%} of {len(tree.docstrings)}",
        f"{len(contracts) / len(written):.0%}",
        f"{len(tree.tests) / lines:.2f}",
        f"{mocks / len(tree.tests) * 1000:.1f}",
    ]


def _spread(sizes: list[Size]) -> tuple[str, str]:
    numbers, largest = [size.lines for size in sizes], max(sizes, key=lambda size: size.lines)
    return f"{median(numbers):g} / {percentile(numbers, 0.9)}", f"{largest.lines} (`{largest.name}`)"


ROWS = [
    ("files / lines of app/", "", ""),
    ("lines a file, median / 90th percentile", "", ""),
    ("largest file", "", ""),
    (f"files over {LARGEST_FILE} lines", "", "each with its reason in [decisions](decisions.md)"),
    ("lines a function, median / 90th percentile", "5 to 9 / 24 to 33", "≤ 9 / ≤ 30"),
    ("longest function", "", ""),
    ("import contracts", "", "all kept"),
    ("circles among imports", "", "none"),
    ("public functions with a docstring", "", ""),
    ("of these, docstrings that say a contract", "", ""),
    ("lines of test a line of code", "", ""),
    ("mocks a thousand lines of test", "", ""),
]
"""What is measured, what it is in six projects we learned from, and what it is to be here."""

PAGE = """# The shape of the code

Written by `python -m tests.shape >docs/shape.md`; `tests/test_shape.py` checks the targets on the code itself, so the
figures here may be some commits old. "Before" is commit `{before}`; "models" are reader, healthchecks, miniflux, polar,
procrastinate and httpx, whose ways we follow.

| | models | before | now | target |
|---|---|---|---|---|
{rows}

How it is counted. A function's lines go from its `def` to its last, docstring and comments included; methods and nested
functions count. A function is public if no part of its name has a leading underscore. A docstring says a contract if it
has a word for what comes back (returns, whether, None …), what is raised, a unit, a bound or condition (at most, only,
unless, never …) or whose transaction it is: a rough rule, it neither sees a contract in other words nor a wrong one.
Mocks are calls of `Mock`, `patch` and `monkeypatch`; ours are `monkeypatch` alone, most of which make a limit small
enough to be reached. Lines of test are all of `tests/**/*.py`.
"""


def page(before: Tree, now: Tree) -> str:
    table = zip(ROWS, figures(before), figures(now), strict=True)
    rows = [f"| {name} | {models} | {was} | {cell} | {target} |" for (name, models, target), was, cell in table]
    return PAGE.format(before=BEFORE[:7], rows="\n".join(rows))


def main() -> None:
    packed = subprocess.run(["git", "archive", BEFORE], cwd=ROOT, check=True, capture_output=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")
        sys.stdout.write(page(Tree(Path(folder)), Tree(ROOT)))


if __name__ == "__main__":
    main()
