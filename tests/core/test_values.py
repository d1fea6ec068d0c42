"""Values: made again with other fields, compared by what they hold."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from app.core.recording import Polling, Task
from app.core.values import replace
from tests.core.test_shown import TASK


def test_a_value_made_again_is_as_dataclasses_would_make_it() -> None:
    new: dict[str, Any] = {"version": 7, "labels": {"team": "x"}, "polling": Polling(poll_count=3)}
    made = replace(TASK, **new)
    assert made == dataclasses.replace(TASK, **new) != TASK
    assert type(made) is Task
    assert made.__dict__.keys() == TASK.__dict__.keys()


def test_a_field_that_is_not_there_is_told() -> None:
    other: dict[str, Any] = {"verison": 7}
    with pytest.raises(TypeError, match=r"Task has no .'verison'"):
        replace(TASK, **other)
