"""The devnet's chain in this process: blocks, calls, reverts, time, forks, and what it refuses."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from digm.errors import CallerFault
from hub.chain.devnet.accounts import BALANCE_WEI, demo_accounts
from hub.chain.devnet.machine import Machine
from hub.chain.devnet.methods import Methods
from hub.chain.devnet.store import DevnetStore
from tests.hub.chain.counter import BYTECODE, REASON, counter

ALICE, BOB = (account.address.lower() for account in demo_accounts()[:2])
BEGUN_AT = 1_700_000_000
COUNTER = counter()


class Devnet:
    """A devnet on a folder, with a clock that stands still."""

    def __init__(self, folder: Path) -> None:
        self.store, self.time = DevnetStore(folder), float(BEGUN_AT)
        balances = {bytes.fromhex(account.address[2:]): BALANCE_WEI for account in demo_accounts()}
        self.machine = Machine(self.store, 31_337, balances, lambda: self.time)
        self._methods = Methods(self.machine, self.store)

    def ask(self, method: str, *parameters: Any) -> Any:
        return self._methods.answer(method, parameters)

    def receipt(self, transaction: dict[str, Any]) -> Any:
        return self.ask("eth_getTransactionReceipt", self.ask("eth_sendTransaction", transaction))

    def deploy(self) -> str:
        return str(self.receipt({"from": ALICE, "data": "0x" + BYTECODE.hex()})["contractAddress"])

    def add(self, address: str, amount: int, **fields: Any) -> Any:
        data = "0x" + COUNTER.call_data("add", [amount]).hex()
        return self.receipt({"from": ALICE, "to": address, "data": data, **fields})

    def total(self, address: str, block: str = "latest") -> int:
        data = "0x" + COUNTER.call_data("total", []).hex()
        return int(self.ask("eth_call", {"to": address, "data": data}, block), 16)


@pytest.fixture
def devnet(tmp_path: Path) -> Iterator[Devnet]:
    one = Devnet(tmp_path)
    yield one
    one.store.close()


def test_a_contract_is_deployed_called_and_remembered_over_a_restart(tmp_path: Path) -> None:
    first = Devnet(tmp_path)
    address = first.deploy()
    receipt = first.add(address, 42)
    assert receipt["status"] == "0x1" and int(receipt["gasUsed"], 16) > 40_000
    head = first.ask("eth_getBlockByNumber", "latest", True)
    assert head["transactions"][0]["hash"] == receipt["transactionHash"]
    first.store.close()

    again = Devnet(tmp_path)
    assert again.ask("eth_getBlockByNumber", "latest", True) == head
    assert again.total(address) == 42
    assert again.total(address, "0x1") == 0
    assert int(again.add(address, 8)["blockNumber"], 16) == 3
    assert again.total(address) == 50
    again.store.close()


def test_money_moves_and_gas_is_paid_for(devnet: Devnet) -> None:
    receipt = devnet.receipt({"from": ALICE, "to": BOB, "value": hex(10**18)})
    spent = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
    assert int(receipt["gasUsed"], 16) == 21_000
    assert int(devnet.ask("eth_getBalance", BOB, "latest"), 16) == BALANCE_WEI + 10**18
    assert int(devnet.ask("eth_getBalance", ALICE, "latest"), 16) == BALANCE_WEI - 10**18 - spent
    assert int(devnet.ask("eth_getBalance", ALICE, "0x0"), 16) == BALANCE_WEI
    assert devnet.ask("eth_getTransactionCount", ALICE, "latest") == "0x1"


def test_a_revert_says_why_and_one_in_a_block_changes_nothing_but_the_nonce(devnet: Devnet) -> None:
    address = devnet.deploy()
    call = {"from": ALICE, "to": address, "data": "0x" + COUNTER.call_data("add", [101]).hex()}
    for method in ("eth_call", "eth_estimateGas"):
        with pytest.raises(CallerFault) as caught:
            devnet.ask(method, call)
        assert caught.value.code == "reverted"
        assert COUNTER.reason(caught.value.data["data"]) == REASON  # type: ignore[arg-type]
    receipt = devnet.receipt({**call, "gas": "0x186a0"})
    assert receipt["status"] == "0x0" and receipt["logs"] == []
    assert devnet.total(address) == 0


def test_an_estimate_is_enough_and_little_more(devnet: Devnet) -> None:
    address = devnet.deploy()
    call = {"from": ALICE, "to": address, "data": "0x" + COUNTER.call_data("add", [7]).hex()}
    estimate = int(devnet.ask("eth_estimateGas", call), 16)
    used = int(devnet.add(address, 7, gas=hex(estimate))["gasUsed"], 16)
    assert used <= estimate <= used * 1.05


def test_logs_are_found_by_block_address_and_topic(devnet: Devnet) -> None:
    one, other = devnet.deploy(), devnet.deploy()
    for address, amount in ((one, 1), (other, 2), (one, 3)):
        devnet.add(address, amount)
    everything = {"fromBlock": "0x0", "toBlock": "latest"}

    def amounts(**wanted: Any) -> list[int]:
        return [int(log["data"][2:66], 16) for log in devnet.ask("eth_getLogs", {**everything, **wanted})]

    topic = "0x" + COUNTER.topic("Added").hex()
    alice = "0x" + ALICE[2:].rjust(64, "0")
    assert amounts() == [1, 2, 3]
    assert amounts(address=one) == [1, 3]
    assert amounts(address=[other]) == [2]
    assert amounts(address=other.upper().replace("0X", "0x")) == [2]
    assert amounts(topics=[topic, alice]) == [1, 2, 3]
    assert amounts(topics=[None, [alice]]) == [1, 2, 3]
    assert amounts(topics=[alice]) == []
    assert amounts(topics=[topic, None, None]) == []
    assert amounts(fromBlock="0x4") == [2, 3]
    assert amounts(fromBlock="0x9") == []


def test_a_filter_tells_what_is_new_since_it_was_last_asked(devnet: Devnet) -> None:
    address = devnet.deploy()
    logs, blocks = devnet.ask("eth_newFilter", {"address": address}), devnet.ask("eth_newBlockFilter")
    devnet.add(address, 5)
    devnet.ask("evm_mine")
    assert [int(log["data"][2:66], 16) for log in devnet.ask("eth_getFilterChanges", logs)] == [5]
    newest = devnet.ask("eth_getBlockByNumber", "latest", False)
    assert devnet.ask("eth_getFilterChanges", blocks) == [newest["parentHash"], newest["hash"]]
    assert devnet.ask("eth_getFilterChanges", logs) == devnet.ask("eth_getFilterChanges", blocks) == []
    assert devnet.ask("eth_uninstallFilter", logs) and not devnet.ask("eth_uninstallFilter", logs)
    with pytest.raises(CallerFault, match="filter not found"):
        devnet.ask("eth_getFilterChanges", logs)


def test_the_time_of_a_block_is_what_contracts_see_and_can_be_moved_on(devnet: Devnet) -> None:
    devnet.ask("evm_increaseTime", 3_600)
    devnet.ask("evm_mine")
    newest = devnet.ask("eth_getBlockByNumber", "latest", False)
    assert int(newest["timestamp"], 16) == BEGUN_AT + 3_600
    devnet.ask("evm_setNextBlockTimestamp", BEGUN_AT + 9_000)
    devnet.ask("anvil_mine", "0x3")
    times = [int(devnet.ask("eth_getBlockByNumber", hex(n), False)["timestamp"], 16) for n in (2, 3, 4)]
    assert times == [BEGUN_AT + 9_000, BEGUN_AT + 9_001, BEGUN_AT + 9_002]
    with pytest.raises(CallerFault, match="not after the newest block"):
        devnet.ask("evm_setNextBlockTimestamp", BEGUN_AT)


def test_a_fork_takes_back_what_was_done_and_the_new_blocks_have_other_hashes(devnet: Devnet) -> None:
    address = devnet.deploy()
    devnet.add(address, 5)
    raw = devnet.add(address, 6)
    old = [devnet.ask("eth_getBlockByNumber", hex(n), False)["hash"] for n in range(4)]
    devnet.ask("anvil_reorg", 2, [])
    new = [devnet.ask("eth_getBlockByNumber", hex(n), False)["hash"] for n in range(4)]
    assert old[:2] == new[:2] and old[2] != new[2] and old[3] != new[3]
    assert devnet.total(address) == 0
    assert devnet.ask("eth_getTransactionReceipt", raw["transactionHash"]) is None
    assert devnet.ask("eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest"}) == []
    devnet.add(address, 9)
    assert devnet.total(address) == 9


def test_transactions_that_cannot_be_are_refused_by_name_and_leave_the_chain_as_it_is(devnet: Devnet) -> None:
    account = demo_accounts()[0]
    good = {
        "type": 2, "chainId": 31_337, "nonce": 0, "to": bytes.fromhex(BOB[2:]), "value": 1, "gas": 21_000,
        "maxFeePerGas": 10**10, "maxPriorityFeePerGas": 1, "data": b"",
    }  # fmt: skip

    def send(**changes: Any) -> str:
        signed = account.sign_transaction({**good, **changes})
        return str(devnet.ask("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex()))

    for changes, code in (
        ({"nonce": 1}, "nonce_too_high"),
        ({"chainId": 1}, "bad_transaction"),
        ({"value": 2 * BALANCE_WEI}, "no_funds"),
        ({"maxFeePerGas": 1}, "underpriced"),
        ({"gas": 20_000}, "bad_transaction"),
        ({"gas": 31_000_000}, "bad_transaction"),
    ):
        with pytest.raises(CallerFault) as caught:
            send(**changes)
        assert caught.value.code == code, changes
    assert devnet.machine.head == 0
    send()
    with pytest.raises(CallerFault) as caught:
        send()
    assert caught.value.code == "nonce_too_low"
    assert devnet.machine.head == 1


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("eth_sendRawTransaction", ["0x"]),
        ("eth_sendRawTransaction", ["0x02c0"]),
        ("eth_sendRawTransaction", ["0x" + "ff" * 300]),
        ("eth_sendRawTransaction", ["f8"]),
        ("eth_sendRawTransaction", [5]),
        ("eth_getBalance", []),
        ("eth_getBalance", ["0x12", "latest"]),
        ("eth_getBalance", ["0x" + "00" * 20, "0xffff"]),
        ("eth_getBalance", ["0x" + "00" * 20, "soon"]),
        ("eth_call", [None]),
        ("eth_call", [{"to": "0x" + "00" * 20, "value": hex(2**256)}]),
        ("eth_call", [{"to": "0x" + "00" * 20, "value": "-1"}]),
        ("eth_getLogs", [{"address": ["0x" + "00" * 20] * 101}]),
        ("eth_getLogs", [{"topics": [None] * 5}]),
        ("eth_getLogs", [[]]),
        ("eth_getLogs", [{"blockHash": "0x" + "00" * 32}]),
        ("eth_getTransactionReceipt", ["0x00"]),
        ("eth_feeHistory", ["0xffff", "latest", []]),
        ("anvil_mine", ["0xffffff"]),
        ("anvil_rollback", [1]),
        ("eth_sendTransaction", [{"from": "0x" + "11" * 20, "to": "0x" + "22" * 20}]),
        ("personal_sign", []),
        ("personal_sign", ["words", ALICE]),
        ("personal_sign", [ALICE, "0x" + "11" * 20]),
        ("eth_sign", ["0x12", "0x1234"]),
        ("eth_signTypedData_v4", [ALICE, "{"]),
        ("eth_signTypedData_v4", [ALICE, "[]"]),
        ("eth_signTypedData_v4", [ALICE, {"types": {"A": [{"name": "a", "type": "A"}]}, "primaryType": "A"}]),
        ("eth_signTypedData_v4", [ALICE, {"types": {}, "primaryType": 5, "domain": [], "message": None}]),
        ("eth_nothing", []),
    ],
)
def test_bad_parameters_are_refused_by_name(devnet: Devnet, method: str, parameters: list[Any]) -> None:
    with pytest.raises(CallerFault):
        devnet.ask(method, *parameters)
    assert devnet.machine.head == 0


def test_a_second_devnet_on_the_same_file_is_refused(devnet: Devnet, tmp_path: Path) -> None:
    with pytest.raises(CallerFault) as caught:
        DevnetStore(tmp_path)
    assert caught.value.code == "devnet_in_use"
