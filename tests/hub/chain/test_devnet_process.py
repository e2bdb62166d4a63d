"""The devnet as a process: kill -9, pages of other sites, and garbage."""

import json
import time
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from hub.chain.deployment import FILE_NAME, contract, load_deployment
from hub.chain.devnet.accounts import demo_accounts
from hub.cli.chain import chain
from tests.hub.chain.counter import BYTECODE, counter
from tests.hub.chain.devnet import DevnetProcess

COUNTER = counter()
DEPLOYER = demo_accounts()[0].address.lower()


@pytest.fixture(scope="module")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevnetProcess]:
    process = DevnetProcess(tmp_path_factory.mktemp("devnet"), with_contracts=True)
    yield process
    process.kill()


def test_what_was_acknowledged_is_there_after_kill_9_and_nothing_twice(devnet: DevnetProcess) -> None:
    alice = devnet.ask("eth_accounts")["result"][1]  # the contracts' deployer, just now, is 0
    deployed = devnet.ask("eth_sendTransaction", {"from": alice, "data": "0x" + BYTECODE.hex()})["result"]
    address = devnet.ask("eth_getTransactionReceipt", deployed)["result"]["contractAddress"]
    add = "0x" + COUNTER.call_data("add", [1]).hex()
    total = "0x" + COUNTER.call_data("total", []).hex()
    acknowledged = []
    for _ in range(3):
        sent = devnet.ask("eth_sendTransaction", {"from": alice, "to": address, "data": add})["result"]
        acknowledged.append(sent)
    devnet.kill()
    devnet.start()
    for sent in acknowledged:
        assert devnet.ask("eth_getTransactionReceipt", sent)["result"]["status"] == "0x1"
    assert int(devnet.ask("eth_call", {"to": address, "data": total}, "latest")["result"], 16) == 3


def test_the_contracts_are_deployed_once_although_it_was_killed_while_it_did_so(devnet: DevnetProcess) -> None:
    deployment = devnet.data / "chain" / FILE_NAME
    deadline = time.monotonic() + 60
    while not deployment.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    addresses = load_deployment(deployment).addresses
    for address in addresses.values():
        assert len(devnet.ask("eth_getCode", address, "latest")["result"]) > 1_000
    blocks = range(int(devnet.ask("eth_blockNumber")["result"], 16) + 1)
    made = [
        receipt["contractAddress"]
        for number in blocks
        for receipt in devnet.ask("eth_getBlockReceipts", hex(number))["result"]
        if receipt["contractAddress"] and receipt["from"] == DEPLOYER
    ]
    assert sorted(made) == sorted(address.lower() for address in addresses.values())


def test_an_account_is_given_coins_and_tokens(devnet: DevnetProcess) -> None:
    poor = "0x00000000000000000000000000000000000000AA"
    with pytest.MonkeyPatch.context() as patch, capture_logs():
        patch.setattr("hub.logs.configure_logs", lambda *_: None)
        patch.setenv("DIGM_DATA", str(devnet.data))
        patch.setenv("DIGM_CHAIN_PORT", str(devnet.port))
        result = CliRunner().invoke(chain, ["fund", poor])
    assert result.exit_code == 0, result.exception
    assert int(devnet.ask("eth_getBalance", poor, "latest")["result"], 16) == 100 * 10**18
    token = load_deployment(devnet.data / "chain" / FILE_NAME).addresses["digm"]
    asked = {"to": token, "data": "0x" + contract("digm").call_data("balanceOf", [poor]).hex()}
    assert int(devnet.ask("eth_call", asked, "latest")["result"], 16) == 100_000 * 10**18


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.example"},
        {"Host": "evil.example:8545"},
    ],
)
def test_pages_of_other_sites_and_rebound_names_are_refused(
    devnet: DevnetProcess, headers: dict[str, str]
) -> None:
    answer = devnet.ask("eth_accounts", headers=headers)
    assert answer["error"]["code"] == "not_local"


def test_a_page_of_this_machine_may_read_the_answer(devnet: DevnetProcess) -> None:
    answer = devnet.ask("eth_chainId", headers={"Origin": "http://localhost:8080"})
    assert answer["result"] == "0x7a69"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"\xff\xfe", -32700),
        (b"5", -32600),
        (b"[]", -32600),
        (b'{"method": 5}', -32600),
        (b'{"method": "eth_chainId", "params": {"a": 1}}', -32602),
        (b'{"method": "eth_nothing"}', -32601),
        (json.dumps([{"method": "eth_chainId"}] * 101).encode(), -32600),
    ],
)
def test_garbage_is_answered_as_json_rpc_says(devnet: DevnetProcess, body: bytes, code: int) -> None:
    status, answer = devnet.post(body)
    assert status == 200 and answer["error"]["code"] == code


def test_a_body_that_is_too_large_is_refused(devnet: DevnetProcess) -> None:
    status, _ = devnet.post(b" " * (2 << 20))
    assert status >= 400
    assert devnet.ask("eth_chainId")["result"] == "0x7a69"


def test_several_questions_are_answered_in_one_request(devnet: DevnetProcess) -> None:
    questions = [{"jsonrpc": "2.0", "id": n, "method": "eth_chainId"} for n in (7, 8)]
    _, answers = devnet.post(json.dumps(questions).encode())
    assert [(one["id"], one["result"]) for one in answers] == [(7, "0x7a69"), (8, "0x7a69")]


def test_a_second_one_on_its_data_is_refused_in_one_sentence_and_sigterm_ends_the_first(
    devnet: DevnetProcess,
) -> None:
    with pytest.raises(AssertionError, match="Another devnet runs"):
        DevnetProcess(devnet.data, "other.log")
    assert devnet.ask("eth_chainId")["result"] == "0x7a69"
    assert devnet.stop() == 0
