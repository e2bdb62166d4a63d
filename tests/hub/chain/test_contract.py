"""ABIs: what is encoded and decoded, and what is refused."""

from typing import Any

import pytest
from eth_utils.crypto import keccak

from digm.errors import CallerFault, PeerFault
from hub.chain.contract import Contract
from hub.chain.model import Log
from tests.hub.chain.counter import counter

ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
FUNCTION: dict[str, Any] = {
    "type": "function",
    "name": "put",
    "stateMutability": "nonpayable",
    "inputs": [
        {"name": "root", "type": "bytes32"},
        {
            "name": "parts",
            "type": "tuple[]",
            "components": [{"name": "who", "type": "address"}, {"name": "share", "type": "uint16"}],
        },
    ],
    "outputs": [{"name": "", "type": "address"}, {"name": "", "type": "uint256"}],
}
PUT = Contract(
    "Put", [FUNCTION, {"type": "error", "name": "Late", "inputs": [{"name": "by", "type": "uint256"}]}]
)


def log(topics: list[bytes], data: bytes) -> Log:
    return Log(ADDRESS, tuple(topics), data, 1, "0x" + "11" * 32, "0x" + "22" * 32, 0)


def word(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_structs_lists_and_several_answers_go_there_and_back() -> None:
    data = PUT.call_data("put", [b"\x01" * 32, [(ADDRESS, 7), (ADDRESS, 8)]])
    named = [{"who": ADDRESS, "share": 7}, {"share": 8, "who": ADDRESS}]
    assert PUT.call_data("put", [b"\x01" * 32, named]) == data
    assert data[:4] == keccak(text="put(bytes32,(address,uint16)[])")[:4]
    answer = bytes(12) + bytes.fromhex(ADDRESS[2:]) + word(9)
    assert PUT.answer("put", 2, answer) == (ADDRESS, 9)


@pytest.mark.parametrize(
    "arguments",
    [
        [b"\x01" * 32],
        [b"\x01" * 31, []],
        [b"\x01" * 33, []],
        ["0x" + "01" * 32, [("0x12", 7)]],
        [b"\x01" * 32, [(ADDRESS, 65_536)]],
        [b"\x01" * 32, [(ADDRESS, -1)]],
        [b"\x01" * 32, None],
        [b"\x01" * 32, [{"who": ADDRESS}]],
    ],
)
def test_arguments_of_the_wrong_number_type_or_size_are_refused(arguments: list[Any]) -> None:
    with pytest.raises(CallerFault) as caught:
        PUT.call_data("put", arguments)
    assert caught.value.code in ("bad_argument", "no_such_function")


@pytest.mark.parametrize("data", [b"", bytes(31), bytes([255] * 64), bytes(32)])
def test_answers_that_no_such_contract_gives_are_lies(data: bytes) -> None:
    with pytest.raises(PeerFault) as caught:
        PUT.answer("put", 2, data)
    assert caught.value.code == "rpc_lies"


def test_an_event_is_decoded_with_its_indexed_fields_in_the_order_of_the_abi() -> None:
    one = counter()
    who = bytes(12) + bytes.fromhex(ADDRESS[2:])
    event = one.event(log([one.topic("Added"), who], word(3) + word(45)))
    assert event is not None and event.name == "Added" and event.contract == "Counter"
    assert list(event.arguments.items()) == [("who", ADDRESS), ("amount", 3), ("total", 45)]
    assert one.event(log([], b"")) is None
    assert one.event(log([b"\x07" * 32], b"")) is None


@pytest.mark.parametrize(("topics", "data"), [(0, 64), (2, 64), (1, 63), (1, 0)])
def test_an_event_with_other_fields_than_its_name_says_is_a_lie(topics: int, data: int) -> None:
    one = counter()
    with pytest.raises(PeerFault):
        one.event(log([one.topic("Added"), *[bytes(32)] * topics], bytes(data)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", ""),
        (keccak(text="Error(string)")[:4] + word(32) + word(4) + b"late".ljust(32, b"\0"), "late"),
        (keccak(text="Error(string)")[:4] + word(2**255), ""),
        (keccak(text="Panic(uint256)")[:4] + word(0x11), "panic 0x11"),
        (keccak(text="Late(uint256)")[:4] + word(5), "Late(5)"),
        (b"\x01\x02\x03\x04" + word(5), ""),
    ],
)
def test_the_reasons_of_reverts(data: bytes, reason: str) -> None:
    assert PUT.reason(data) == reason
