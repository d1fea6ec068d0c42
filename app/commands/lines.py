"""Lists of tasks as people keep them, CSV or JSON lines, read line by line: a bad line spoils no other."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Literal

from app.commands.service import Failed, Json

LONGEST = 64 * 1024
"""Bytes of a line."""

FIELDS = ("task_id", "app_id", "started_at", "labels")
LABEL = "label."
"""Columns that hold one label each begin so."""

Kind = Literal["auto", "csv", "jsonl"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A task to register, and the line it stands in."""

    line: int
    task: Json


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line that cannot be taken, and why."""

    line: int
    task_id: str | None
    detail: str
    code: str = "unreadable"


class Unreadable(Exception):
    """What is wrong with one line."""


class Lines:
    """Reads a stream of bytes. Raises Failed if it is no list of tasks at all."""

    def __init__(self, stream: BinaryIO, kind: Kind = "auto") -> None:
        self._stream, self._kind = stream, kind
        self._columns: list[str] = []
        self._delimiter = ","
        self.ignored: set[str] = set()
        """Names of columns or members that say nothing of a task."""
        self.bytes_read = self.number = 0

    def __iter__(self) -> Iterator[Entry | RefusedLine]:
        begun = False
        for line in self._raw():
            try:
                text = _decoded(line)
            except Unreadable as error:
                begun = True
                yield RefusedLine(self.number, None, str(error))
                continue
            if not text.strip() or (text.startswith("#") and self._kind != "jsonl"):
                continue
            if not begun:
                begun = True
                if self._begin(text):
                    continue
            yield self._entry(text)

    def _raw(self) -> Iterator[bytes | None]:
        """Each line without its end; None for one that is too long."""
        while line := self._stream.readline(LONGEST + 2):
            self.number += 1
            self.bytes_read += len(line)
            if len(line) <= LONGEST + 1 and (line.endswith(b"\n") or len(line) <= LONGEST):
                if self.number == 1:
                    line = _without_mark(line)
                yield line.rstrip(b"\r\n")
                continue
            while not line.endswith(b"\n") and (line := self._stream.readline(LONGEST)):
                self.bytes_read += len(line)
            yield None

    def _begin(self, text: str) -> bool:
        """Learn from the first line what the others are; whether it is nothing but a heading."""
        if self._kind == "auto":
            if text.lstrip().startswith("["):
                raise Failed("the file is one JSON list", "one object a line is needed: jq -c '.[]' makes them")
            self._kind = "jsonl" if text.lstrip().startswith("{") else "csv"
        if self._kind == "jsonl":
            return False
        self._delimiter = max(",;\t", key=text.count)
        try:
            cells = [cell.strip() for cell in self._cells(text)]
        except Unreadable as error:
            raise Failed(f"the first line cannot be read: {error}") from error
        names = [_column(cell) for cell in cells]
        if "task_id" in names:
            if len(set(names)) < len(names):
                raise Failed("the first line names a column twice")
            self._columns = names
            self.ignored = {name for name in names if name not in FIELDS and not name.startswith(LABEL)}
            return True
        if len(cells) > 1:
            raise Failed(
                "no column is named task_id", "the first line names the columns: task_id,started_at,label.team"
            )
        self._columns = ["task_id"]
        return False

    def _entry(self, text: str) -> Entry | RefusedLine:
        try:
            given = self._object(text) if self._kind == "jsonl" else self._row(text)
            _check(given)
        except Unreadable as error:
            return RefusedLine(self.number, None, str(error))
        return Entry(self.number, given)

    def _object(self, text: str) -> Json:
        try:
            found = json.loads(text, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"is not JSON: {str(error) or 'too deep'}") from error
        if not isinstance(found, dict):
            raise Unreadable("is no JSON object")
        self.ignored |= found.keys() - set(FIELDS)
        return {name: found[name] for name in FIELDS if found.get(name) is not None}

    def _row(self, text: str) -> Json:
        cells = self._cells(text)
        if len(cells) > len(self._columns):
            raise Unreadable(f"has {len(cells)} columns, the first line {len(self._columns)}")
        values = {name: cell.strip() for name, cell in zip(self._columns, cells, strict=False) if cell.strip()}
        labels = _labels(values.pop("labels", ""))
        labels |= {name.removeprefix(LABEL): values.pop(name) for name in list(values) if name.startswith(LABEL)}
        found: Json = {name: value for name, value in values.items() if name in FIELDS}
        if found.get("app_id", "").isdecimal():
            found["app_id"] = int(found["app_id"][:30])
        return found | ({"labels": labels} if labels else {})

    def _cells(self, text: str) -> list[str]:
        try:
            return next(csv.reader([text], delimiter=self._delimiter, strict=True), [])
        except csv.Error as error:
            raise Unreadable(f"is not CSV: {error}") from error


def _decoded(line: bytes | None) -> str:
    if line is None:
        raise Unreadable(f"is longer than {LONGEST} bytes")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(f"is not UTF-8: byte {error.start + 1}") from error
    if "\x00" in text or "\r" in text:
        raise Unreadable("holds a character that no list has (NUL or a carriage return)")
    return text


def _without_mark(line: bytes) -> bytes:
    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Failed("the file is UTF-16", "save it as UTF-8, or: iconv -f utf-16 -t utf-8")
    return line.removeprefix(b"\xef\xbb\xbf")


def _column(title: str) -> str:
    name = title.lower()
    return {"taskid": "task_id", "appid": "app_id"}.get(name, name)


def _labels(text: str) -> dict[str, str]:
    """A cell of labels: a JSON object, or key=value separated by spaces or semicolons."""
    if text.startswith("{"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"labels: is not JSON: {error}") from error
        return dict(found)
    pairs = [one.partition("=") for one in text.replace(";", " ").split()]
    if not all(equals for _, equals, _ in pairs):
        raise Unreadable("labels: takes key=value;key=value or a JSON object")
    return {key: value for key, _, value in pairs}


def _check(task: Mapping[str, object]) -> None:
    """What would spoil the request it travels in; all else is for the service to judge."""
    if "task_id" not in task:
        raise Unreadable("names no task_id")
    labels = task.get("labels", {})
    if not isinstance(labels, dict) or any(not isinstance(value, str) for value in labels.values()):
        raise Unreadable("labels: takes an object of texts")
    for name in ("task_id", "app_id", "started_at"):
        if isinstance(task.get(name), (dict, list, float, bool)):
            raise Unreadable(f"{name}: is neither text nor a whole number")


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no JSON")
