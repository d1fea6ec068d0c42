"""Survivors are named by what was changed, and must be accounted for."""

import json
from pathlib import Path

import pytest

from tests.mutants import Module, modules, report

MUTATED = """
def x_wait__mutmut_orig(failures: int) -> int:
    if failures > 5:
        return 60
    return failures

def x_wait__mutmut_1(failures: int) -> int:
    if failures >= 5:
        return 60
    return failures

class Task:
    def xǁTaskǁsettle__mutmut_orig(self, now=1):
        return now

    def xǁTaskǁsettle__mutmut_1(self, now=2):
        return now
"""


def test_what_mutmut_left_is_read(tmp_path: Path) -> None:
    verdicts = {"x_wait__mutmut_1": 0, "x_wait__mutmut_2": 1, "x_wait__mutmut_3": None, "xǁTaskǁsettle__mutmut_1": 33}
    (tmp_path / "schedule.py").write_text(MUTATED)
    keys = {f"app.core.schedule.{name}": verdict for name, verdict in verdicts.items()}
    (tmp_path / "schedule.py.meta").write_text(json.dumps({"exit_code_by_key": keys}))
    (tmp_path / "told.py.meta").write_text(json.dumps({"exit_code_by_key": {}}))
    survivors = [
        "schedule.wait: if failures > 5: → if failures >= 5:",
        "schedule.Task.settle: self, now=1 → self, now=2",
    ]
    assert list(modules(tmp_path)) == [Module("schedule", 4, 1, survivors)]


@pytest.mark.parametrize(
    ("mutants", "never_run", "survivors", "listed", "well"),
    [
        (100, 0, [], [], True),
        (100, 0, ["a"], ["a"], True),
        (100, 0, ["a"], [], False),
        (20, 0, ["a"], ["a", "b"], True),
        (19, 0, ["a"], ["a"], False),
        (20, 1, ["a"], ["a"], False),
    ],
)
def test_all_is_well_where_few_survive_and_each_is_listed(
    mutants: int, never_run: int, survivors: list[str], listed: list[str], well: bool
) -> None:
    said, is_well = report([Module("schedule", mutants, never_run, survivors)], listed)
    assert is_well is well
    assert said[0].startswith("schedule")
    assert ("NOT IN docs/mutants.md  a" in said) is (survivors != [] and not listed)
