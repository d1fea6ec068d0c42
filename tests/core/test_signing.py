import hashlib
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.signing import callback_signature, request_signature

SECRET = "9193cc662a4c0ec135ec71fb57194b38"
CALLBACK_SECRET = "f9c1a2b3c4d5e6f708192a3b4c5d6e7f"


# -- our requests


@pytest.mark.parametrize(
    ("app_id", "nonce", "timestamp", "signature"),
    [
        (12345, "4fd24687296dd9f3", 1615186943, "43e5cfcca828314675f91b001390566a"),
        (1234567890, "0123456789abcdef", 1700000000, "0bbf70a7bfa873c89673019c58c74369"),
    ],
    ids=["printed by the vendor", "computed apart"],
)
def test_a_request_is_signed_as_documented(app_id: int, nonce: str, timestamp: int, signature: str) -> None:
    assert request_signature(app_id, nonce, SECRET, timestamp) == signature


def test_the_secret_stands_after_the_nonce() -> None:
    """An integrator was seen signing in another order; that signature must not come out."""
    swapped = "baa6123b85a70b671d0eb7bcc36b368f"
    assert request_signature(12345, "4fd24687296dd9f3", SECRET, 1615186943) != swapped
    assert request_signature(12345, SECRET, "4fd24687296dd9f3", 1615186943) == swapped


# -- the provider's callbacks


@pytest.mark.parametrize(
    ("secret", "timestamp", "nonce", "signature"),
    [
        ("secret", "1470820198", "123412", "5bd59fd62953a8059fb7eaba95720f66d19e4517"),
        (CALLBACK_SECRET, "1637753949", "100480", "45f63cb9f6c85aea1977820e2dd9300f5df2f5b4"),
        (CALLBACK_SECRET, "1637753949", "987654", "81b772ecfcf61a1e943364e9cfc5d16c8c281ebe"),
        (
            "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
            "1637753949",
            "100480",
            "c8035f99ed2558fe8691b5968b305928b0ff002d",
        ),
        ("12ab34cd56ef", "1637753949", "100480", "b16eab0685063ff194c4986b0dd780d153d26658"),
        ("zz", "1637753949", "99", "f0c06eeff7b00954e0c2c579e3d3d348e5f5d2e9"),
    ],
    ids=[
        "printed by the vendor",
        "the secret sorts last",
        "the nonce sorts after the time",
        "the secret sorts first",
        "the secret sorts in the middle",
        "sorted as text, not as numbers",
    ],
)
def test_a_callback_is_signed_as_documented(secret: str, timestamp: str, nonce: str, signature: str) -> None:
    assert callback_signature(secret, timestamp, nonce) == signature


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=12), st.text(max_size=12), st.text(max_size=12))
def test_the_three_signed_values_are_joined_in_the_order_of_text(secret: str, timestamp: str, nonce: str) -> None:
    signature = callback_signature(secret, timestamp, nonce)
    assert signature == hashlib.sha1("".join(sorted([nonce, timestamp, secret])).encode()).hexdigest()
    assert {callback_signature(*order) for order in permutations([secret, timestamp, nonce])} == {signature}
