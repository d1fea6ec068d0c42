import pytest

from app.provider.simulator import DESCRIBE, Simulator, signature
from tests.provider.simulator.caller import OTHER_APP, OTHER_SECRET, SECRET, Caller, Clock

TASK = {"TaskId": "A" * 16}


def test_signatures_match_the_vectors_of_the_provider() -> None:
    assert signature("12345", "4fd24687296dd9f3", SECRET, "1615186943") == "43e5cfcca828314675f91b001390566a"
    assert signature("1234567890", "0123456789abcdef", SECRET, "1700000000") == "0bbf70a7bfa873c89673019c58c74369"


def test_a_call_signed_as_the_provider_shows_is_let_in() -> None:
    clock = Clock(1615186943.0)
    caller = Caller(Simulator({12345: SECRET}, time=clock, monotonic=clock), clock)
    nonce, signed = "4fd24687296dd9f3", "43e5cfcca828314675f91b001390566a"
    assert caller.ask(TASK, SignatureNonce=nonce, Signature=signed)["Code"] == 300001000


def test_secret_before_nonce_is_a_wrong_signature() -> None:
    clock = Clock(1615186943.0)
    caller = Caller(Simulator({12345: SECRET}, time=clock, monotonic=clock), clock)
    nonce, signed = "4fd24687296dd9f3", "baa6123b85a70b671d0eb7bcc36b368f"
    assert caller.ask(TASK, SignatureNonce=nonce, Signature=signed)["Code"] == 100000005


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"AppId": None}, 100000001),
        ({"AppId": "abc"}, 100000001),
        ({"AppId": "4294967296"}, 100000001),
        ({"AppId": "-1"}, 100000001),
        ({"AppId": "54321"}, 100000011),
        ({"Timestamp": None}, 100000002),
        ({"Timestamp": "yesterday"}, 100000003),
        ({"Timestamp": "1767323045678"}, 100000003),
        ({"Timestamp": "1767323045.6"}, 100000003),
        ({"Timestamp": "1767322444"}, 100000004),
        ({"Timestamp": "1767323646"}, 100000004),
        ({"Timestamp": "1767323046"}, 100000005),
        ({"Signature": "0" * 32}, 100000005),
        ({"AppId": str(OTHER_APP)}, 100000005),
        ({"Action": None}, 100000006),
        ({"Action": "StartRecord"}, 100000007),
        ({"SignatureNonce": None}, 100000008),
        ({"SignatureNonce": ""}, 100000008),
        ({"Signature": None}, 100000009),
        ({"SignatureVersion": None}, 100000013),
        ({"SignatureVersion": "1.0"}, 100000014),
    ],
)
def test_a_call_with_a_flaw_gets_the_code_of_that_flaw(
    caller: Caller, changed: dict[str, str | None], code: int
) -> None:
    reply = caller.reply(TASK, DESCRIBE, "POST", **changed)
    answer = caller.ask(TASK, DESCRIBE, "POST", **changed)
    assert (reply.status, answer["Code"]) == (200, code)
    assert answer["Message"]
    assert answer["RequestId"]
    assert "Data" not in answer


def test_a_method_other_than_post_is_not_supported(caller: Caller) -> None:
    assert caller.ask(TASK, method="GET")["Code"] == 100000007


def test_a_nonce_used_again_within_ten_minutes_is_refused_and_the_message_says_so(caller: Caller) -> None:
    query = caller.query()
    assert caller.ask(TASK, **query)["Code"] == 300001000
    again = caller.ask(TASK, **query)
    assert again["Code"] == 100000005
    assert "SignatureNonce" in again["Message"]


def test_a_nonce_may_be_used_again_after_ten_minutes(caller: Caller, clock: Clock) -> None:
    caller.ask(TASK)
    clock.now += 600
    same_nonces_again = Caller(caller.simulator, clock)
    assert same_nonces_again.ask(TASK)["Code"] == 300001000


def test_an_unsigned_call_does_not_use_up_its_nonce(caller: Caller) -> None:
    query = caller.query()
    assert caller.ask(TASK, **{**query, "Signature": "0" * 32})["Code"] == 100000005
    assert caller.ask(TASK, **query)["Code"] == 300001000


def test_two_apps_may_use_the_same_nonce(caller: Caller, clock: Clock) -> None:
    caller.ask(TASK)
    other = Caller(caller.simulator, clock).query(app_id=OTHER_APP, secret=OTHER_SECRET)
    assert caller.ask(TASK, **other)["Code"] == 300001000
