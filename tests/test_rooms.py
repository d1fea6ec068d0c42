"""The picture of the rooms (docs/rooms.md) is the graph of imports."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from tests.shape import ROOT, Tree

PAGE = (ROOT / "docs" / "rooms.md").read_text()

Graph = Mapping[str, set[str]]


def room(module: str) -> str:
    """The simulator lives in the provider's folder, but is a program of its own."""
    return "simulator" if module.startswith("app.provider.simulator") else module.split(".")[1]


def rooms(imports: Graph) -> Graph:
    graph: dict[str, set[str]] = {room(module): set() for module in imports if "." in module}
    for module, imported in imports.items():
        if "." in module:
            graph[room(module)] |= {room(one) for one in imported} - {room(module)}
    return graph


def below(graph: Graph, name: str) -> set[str]:
    """All that it leads to."""
    return graph[name].union(*(below(graph, one) for one in graph[name]))


def arrows(graph: Graph) -> Iterator[str]:
    """The fewest that say who may lead where: none between two rooms that others connect already."""
    for name, imported in graph.items():
        beyond = set().union(*(below(graph, one) for one in imported))
        yield from (f"{name} --> {one}" for one in imported - beyond)


def test_the_picture_shows_the_imports_between_rooms() -> None:
    graph = rooms(Tree(ROOT).imports)
    drawn = re.findall(r"^    (\w+ --> \w+)$", PAGE, re.MULTILINE)
    assert sorted(drawn) == sorted(arrows(graph))
    told = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(told) == sorted(graph)


def test_an_arrow_is_left_out_where_others_lead_there() -> None:
    assert sorted(arrows({"a": {"b", "c"}, "b": {"c"}, "c": set()})) == ["a --> b", "b --> c"]
