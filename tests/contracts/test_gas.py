"""No call costs more than its budget (bench/gas.py) and 5 %."""

import pytest

from bench.gas import BUDGETS, TOLERANCE, measured


def test_every_call_stays_within_its_gas_budget():
    found = dict(measured())
    assert found.keys() == BUDGETS.keys()
    over = {name: gas for name, gas in found.items() if gas > BUDGETS[name] * (1 + TOLERANCE)}
    assert not over


def test_anvil_charges_the_same_gas(anvil_house):
    here, there = dict(measured()), dict(measured(anvil_house.machine))
    # Which place a node is asked for, and so which turns its paths take, hangs on the block's hash.
    assert there == {name: pytest.approx(gas, abs=400) for name, gas in here.items()}
