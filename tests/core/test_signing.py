import pytest

from app.core.signing import request_signature

SECRET = "9193cc662a4c0ec135ec71fb57194b38"


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
