import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.errors import SecretUnreadable
from app.secret_box import SecretBox

SECRET = b"\x00\xff thirty-two bytes of a secret"


def box(*keys: str, on_loopback: bool = False) -> SecretBox:
    return SecretBox(keys, on_loopback=on_loopback)


@pytest.mark.parametrize("keys", [["k"], ["new", "old"], ["ein Schlüssel, mit Leerzeichen \U0001f511"]])
def test_a_sealed_secret_opens_again_in_any_process_with_the_key(keys: Sequence[str]) -> None:
    assert box(*keys).open(box(*keys).seal(SECRET)) == SECRET


def test_a_copy_of_the_database_does_not_show_the_secret(tmp_path: Path) -> None:
    file = tmp_path / "copy.db"
    with sqlite3.connect(file) as database:
        database.execute("create table secrets (sealed text)")
        database.execute("insert into secrets values (?)", [box("key").seal(SECRET)])
    database.close()
    assert SECRET not in file.read_bytes()
    (sealed,) = sqlite3.connect(file).execute("select sealed from secrets").fetchone()
    assert box(on_loopback=True).seal(SECRET).removeprefix("plain:") not in sealed


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    locked = box("key")
    assert locked.seal(SECRET) != locked.seal(SECRET)


def test_another_key_opens_nothing() -> None:
    sealed = box("key").seal(SECRET)
    for other in (box("other"), box("KEY"), box(on_loopback=True), box()):
        with pytest.raises(SecretUnreadable):
            other.open(sealed)


def test_a_sealed_secret_that_was_tampered_with_does_not_open() -> None:
    sealed = box("key").seal(SECRET)
    middle = len(sealed) // 2
    flipped = "A" if sealed[middle] != "A" else "B"
    for spoilt in (sealed[:middle] + flipped + sealed[middle + 1 :], sealed[:-10], "f1:", "", "f1:é"):
        with pytest.raises(SecretUnreadable):
            box("key").open(spoilt)
    with pytest.raises(SecretUnreadable):
        box("key").open("plain:é")


def test_keys_rotate_the_first_seals_and_all_open() -> None:
    old, both, new = box("old"), box("new", "old"), box("new")
    sealed = old.seal(SECRET)
    assert both.open(sealed) == SECRET
    again = both.seal(both.open(sealed))
    assert new.open(again) == SECRET


@pytest.mark.parametrize("text", ["new,old", " new , old ,", ",new,,old\n"])
def test_keys_are_separated_by_commas(text: str) -> None:
    told = SecretBox.of(text, on_loopback=False)
    assert box("new").open(told.seal(SECRET)) == SECRET
    assert told.open(box("old").seal(SECRET)) == SECRET


@pytest.mark.parametrize("text", [None, "", " , "])
def test_no_key_is_no_key(text: str | None) -> None:
    assert not SecretBox.of(text, on_loopback=False).can_keep


def test_without_a_key_secrets_are_kept_on_loopback_only() -> None:
    on_loopback, outside = box(on_loopback=True), box()
    assert (on_loopback.can_keep, on_loopback.is_locked) == (True, False)
    assert (outside.can_keep, outside.is_locked) == (False, False)
    plain = on_loopback.seal(SECRET)
    assert on_loopback.open(plain) == SECRET
    with pytest.raises(SecretUnreadable):
        outside.seal(SECRET)
    with pytest.raises(SecretUnreadable):
        outside.open(plain)


def test_a_key_set_later_still_opens_what_was_plain() -> None:
    plain = box(on_loopback=True).seal(SECRET)
    locked = box("key")
    assert (locked.can_keep, locked.is_locked) == (True, True)
    assert locked.open(plain) == SECRET


def test_no_message_holds_a_key_or_a_secret() -> None:
    for opened in ("f1:" + "A" * 100, "plain:" + "A" * 32):
        with pytest.raises(SecretUnreadable) as caught:
            box(*(["the-key"] if opened.startswith("f1:") else [])).open(opened)
        assert "the-key" not in str(caught.value)
        assert "AAAA" not in str(caught.value)
