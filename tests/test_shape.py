"""The code keeps its shape (docs/shape.md)."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import median

from tests.shape import LARGEST_FILE, ROOT, ROWS, Size, Tree, figures, percentile

HERE = Tree(ROOT)
REASONS = re.search(
    r"^\*\*Files over 300 lines\*\*.*?(?=^\*\*|^#|\Z)", (ROOT / "docs/decisions.md").read_text(), re.M | re.S
)


def unreasoned(files: list[Size]) -> list[str]:
    assert REASONS
    return [size.name for size in files if size.lines > LARGEST_FILE and f"`{size.name}`" not in REASONS[0]]


def test_functions_are_short() -> None:
    sizes = [size.lines for size in HERE.function_sizes]
    assert len(sizes) > 1000
    assert median(sizes) <= 9
    assert percentile(sizes, 0.9) <= 30


def test_each_long_file_has_its_reason() -> None:
    assert unreasoned(HERE.files) == []
    assert unreasoned([Size(301, "app/new.py"), Size(300, "app/other.py")]) == ["app/new.py"]


def test_nothing_imports_in_a_circle(tmp_path: Path) -> None:
    assert HERE.circle == []
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "a.py").write_text("from app.b import f")
    (tmp_path / "app" / "b.py").write_text("def f():\n    import app.a")
    assert set(Tree(tmp_path).circle) == {"app.a", "app.b"}


def test_the_page_shows_what_is_measured() -> None:
    page = (ROOT / "docs/shape.md").read_text()
    shown = [line.split(" | ")[0].removeprefix("| ") for line in page.splitlines() if line.startswith("| ")]
    assert shown[1:] == [name for name, _, _ in ROWS]
    assert len(figures(HERE)) == len(ROWS)


def test_a_percentile_is_a_number_that_stands_there() -> None:
    assert percentile([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 0.9) == 9
    assert percentile([7], 0.9) == 7
