"""One house for each machine and module; what a test does in it is undone behind it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.contracts.house import House, build_house
from tests.contracts.machine import Anvil, PyEvm, Reverted
from tests.needs import anvil

Refused = Callable[[str], "object"]


@pytest.fixture(scope="session")
def py_evm_house() -> House:
    return build_house(PyEvm())


@pytest.fixture(scope="session")
def anvil_house() -> Iterator[House]:
    machine = Anvil(anvil())
    try:
        yield build_house(machine)
    finally:
        machine.stop()


@contextmanager
def undone(house: House) -> Iterator[House]:
    """A house of the test's own, on the machine that all share."""
    snapshot = house.machine.snapshot()
    try:
        yield replace(house, tracks=dict(house.tracks))
    finally:
        house.machine.revert(snapshot)


@pytest.fixture(params=["py-evm", "anvil"])
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    """The same on both machines."""
    with undone(request.getfixturevalue(request.param.replace("-", "_") + "_house")) as fresh:
        yield fresh


@pytest.fixture
def refused() -> Refused:
    """`with refused("reason"):` the contract says no, with this reason."""

    @contextmanager
    def check(reason: str) -> Iterator[None]:
        with pytest.raises(Reverted) as caught:
            yield
        assert caught.value.reason == reason

    return check
