"""No call costs more than its budget (bench/gas.py) and 5 %."""

from bench.gas import BUDGETS, TOLERANCE, measured


def test_every_call_stays_within_its_gas_budget():
    found = dict(measured())
    assert found.keys() == BUDGETS.keys()
    over = {name: gas for name, gas in found.items() if gas > BUDGETS[name] * (1 + TOLERANCE)}
    assert not over
