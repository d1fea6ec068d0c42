import pytest

from app.provider.simulator import Simulator
from tests.provider.simulator.caller import APP, OTHER_APP, OTHER_SECRET, SECRET, Caller, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def simulator(clock: Clock) -> Simulator:
    return Simulator({APP: SECRET, OTHER_APP: OTHER_SECRET}, time=clock, monotonic=clock)


@pytest.fixture
def caller(simulator: Simulator, clock: Clock) -> Caller:
    return Caller(simulator, clock)
