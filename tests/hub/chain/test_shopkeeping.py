"""An artist sells from the command line, and a listener's account buys on the devnet."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from structlog.testing import capture_logs
from typer.testing import CliRunner

from digm.errors import CallerFault, DigmError
from digm.purchases import Suite, WrappedKey, key_at, purchase_aad
from hub.chain import words
from hub.chain.deployment import contract
from hub.chain.devnet.accounts import demo_accounts
from hub.chain.keystore import create_key
from hub.chain.shopkeeping import listening_key_of
from hub.cli import app
from hub.vault.wrapping import unwrap
from tests.hub.chain.devnet import DevnetProcess
from tests.hub.chain.publisher import contracts_on
from tests.hub.house import publish_track

PASSPHRASE, UNIT = "correct horse", 10**18


class Stall:
    """An artist's data folder, its commands, and a buyer on the same devnet."""

    def __init__(self, data: Path, devnet: DevnetProcess) -> None:
        self.data, self.devnet, self.deployed = data, devnet, contracts_on(devnet)
        self.account = create_key(data / "chain" / "key.json", PASSPHRASE, work=16)
        (data / "chain" / "deployment.json").write_bytes(
            (devnet.data / "chain" / "deployment.json").read_bytes()
        )
        self.rich, self.buyer = (account.address for account in demo_accounts()[:2])
        self.listening = X25519PrivateKey.generate()
        self.rpc("eth_sendTransaction", {"from": self.rich, "to": self.account, "value": hex(UNIT)})
        self.tell(self.rich, "para", "transfer", self.buyer, 100 * UNIT)
        self.tell(self.buyer, "para", "approve", self.deployed.addresses["sales"], 2**200)

    def rpc(self, method: str, *parameters: Any) -> Any:
        answer = self.devnet.ask(method, *parameters)
        assert "result" in answer, answer
        return answer["result"]

    def tell(self, who: str, part: str, function: str, *arguments: Any, value: int = 0) -> None:
        data = words.data(contract(part).call_data(function, arguments))
        fields = {"from": who, "to": self.deployed.addresses[part], "data": data, "value": hex(value)}
        receipt = self.rpc("eth_getTransactionReceipt", self.rpc("eth_sendTransaction", fields))
        assert receipt["status"] == "0x1", function

    def buy(self, item: str, price: int) -> None:
        key = self.listening.public_key().public_bytes_raw()
        self.tell(
            self.buyer, "sales", "buy", bytes.fromhex(item[2:]), self.deployed.addresses["para"], price, key
        )

    def run(self, *arguments: str, refusal: str = "") -> list[dict[str, Any]]:
        ours = {
            "DIGM_DATA": str(self.data), "DIGM_CHAIN_RPC": self.devnet.url, "DIGM_CHAIN_PASSPHRASE": PASSPHRASE,
        }  # fmt: skip
        with pytest.MonkeyPatch.context() as patch, capture_logs():
            for name, value in ours.items():
                patch.setenv(name, value)
            patch.setattr("hub.logs.configure_logs", lambda *_: None)
            result = CliRunner().invoke(app, [*arguments, "--json"])
        if refusal:
            assert isinstance(result.exception, DigmError), result.output
            assert result.exception.code == refusal or refusal in str(result.exception), result.exception
            return []
        assert result.exit_code == 0, result.exception
        return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def stall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stall]:
    process = DevnetProcess(tmp_path_factory.mktemp("chain"), with_contracts=True)
    try:
        yield Stall(tmp_path_factory.mktemp("artist"), process)
    finally:
        process.kill()


def test_a_track_is_sold_bought_refunded_and_given_from_the_command_line(stall: Stall) -> None:
    song = publish_track(stall.data, "Song", preview_s=8, seed=1)
    stall.run("sell", song.root, "--for", "2.5", refusal="not_on_chain")
    stall.run("chain", "publish", song.root)
    (offered,) = stall.run("sell", song.root, "--for", "2.5", "--at-least")
    assert offered["price"] == "2.5 para" and offered["event"] == "OfferSet" and offered["is_at_least"]
    assert stall.run("sell", song.root, "--for", "2.5", "--at-least")[0]["transaction"] is None  # it stands
    item = offered["item"]
    stall.buy(item, 3 * UNIT)
    (row,) = stall.run("sales")
    assert (row["title"], row["buyer"], row["state"], row["amount"]) == (
        "Song",
        stall.buyer,
        "waiting",
        "3 para",
    )
    stall.run("refund", song.root, stall.buyer, refusal="too_early")
    stall.rpc("evm_setNextBlockTimestamp", hex(int(time.time()) + 8_000))
    stall.rpc("evm_mine")
    (said,) = stall.run("refund", song.root, stall.buyer)
    assert said["event"] == "Refunded" and stall.run("sales")[0]["state"] == "refunded"
    # The key that the buyer named then is known, so the artist can give the track nevertheless.
    (said,) = stall.run("give", song.root, stall.buyer)
    assert said["event"] == "KeyGiven" and stall.run("sales")[0]["state"] == "given"
    assert opened(stall, item) == song.track_key
    stall.run("give", song.root, stall.account, refusal="no_listening_key")
    stall.run("give", song.root, stall.account, "ab", refusal="bad_key")
    assert stall.run("sell", song.root, "--end")[0]["event"] == "OfferEnded"
    stall.run("sell", song.root, "--end", refusal="not_for_sale")


def test_an_album_is_sold_as_one_and_its_income_fetched(stall: Stall) -> None:
    release = "c" * 64
    tracks = [
        publish_track(stall.data, title, preview_s=8, seed=10 + n, release=release, track_number=n)
        for n, title in enumerate(("One", "Two"))
    ]
    roots = [one.root for one in tracks]
    stall.run("chain", "publish", *roots)
    stall.run("sell", "--as-album", roots[0], roots[0], "--for", "7", refusal="bad_album")
    stall.run("sell", "--as-album", roots[0], "--for", "7", refusal="bad_album")
    said = stall.run("sell", "--as-album", release, "--for", "7")[-1]
    stall.buy(said["item"], 7 * UNIT)
    stall.run("give", said["item"], stall.buyer)  # who paid is delivered to
    row = stall.run("sales")[0]
    assert (row["title"], row["state"], row["tracks"]) == ("2 tracks", "delivered", roots)
    assert [opened(stall, said["item"], place) for place in (0, 1)] == [one.track_key for one in tracks]
    assert stall.run("withdraw") == [{"para": "7"}]
    assert stall.run("withdraw") == [{"owed": "nothing"}]


def test_a_listening_key_is_read_as_pages_show_it() -> None:
    x, even, odd = "11" * 32, "22" * 31 + "24", "22" * 31 + "25"
    assert listening_key_of("AB" * 32) == (Suite.X25519, bytes.fromhex("ab" * 32))
    assert listening_key_of("x25519:" + "ab" * 32)[0] is Suite.X25519
    assert listening_key_of(f"p256:{x}") == listening_key_of(f"04{x}{even}") == (Suite.P256, bytes.fromhex(x))
    for wrong in ("", "ab", f"04{x}{odd}", f"05{x}{even}", f"rsa:{x}", f"x25519:04{x}{even}", "z" * 64):
        with pytest.raises(CallerFault, match="no listening key"):
            listening_key_of(wrong)


def test_what_is_free_or_costs_nothing_is_not_sold_and_options_that_make_no_sense_are_named(
    stall: Stall,
) -> None:
    free = publish_track(stall.data, "Free", seed=20)
    stall.run("chain", "publish", free.root)
    stall.run("sell", free.root, "--for", "1", refusal="track_is_free")
    stall.run("sell", free.root, refusal="bad_option")
    stall.run("sell", free.root, "--for", "1", "--end", refusal="bad_option")
    stall.run("sell", free.root, "--for", "1", "--share", f"{stall.account}=100", refusal="bad_option")
    stall.run("sell", free.root, "--for", "0", refusal="bad_amount")
    stall.run("sell", free.root, "--for", "1", "--token", "gold", refusal="bad_option")


def test_passes_are_sold_and_given(stall: Stall) -> None:
    (said,) = stall.run("chain", "pass", "--for", "5", "--lasts", "30 days")
    assert said["event"] == "PassSet" and said["duration_s"] == 30 * 86_400
    (said,) = stall.run("chain", "give-pass", stall.buyer, "--lasts", "1 hours")
    assert said["event"] == "PassGiven" and said["account"] == stall.buyer
    assert stall.run("chain", "pass", "--end")[0]["event"] == "PassEnded"
    stall.run("chain", "pass", refusal="bad_option")


def opened(stall: Stall, item: str, place: int = 0) -> bytes:
    """The key of the buyer's latest `KeyGiven` or `KeyDelivered`, as the buyer's page opens it."""
    sales = stall.deployed.addresses["sales"]
    wanted = {"fromBlock": "0x0", "toBlock": "latest", "address": sales}
    found = [contract("sales").event(words.log_of(one)) for one in stall.rpc("eth_getLogs", wanted)]
    wrapped = [
        bytes(one.arguments["wrapped_key"])
        for one in found
        if one is not None and "wrapped_key" in one.arguments and one.arguments["item"].hex() == item[2:]
    ]
    aad = purchase_aad(
        stall.deployed.chain_id,
        bytes.fromhex(sales[2:]),
        bytes.fromhex(item[2:]),
        bytes.fromhex(stall.buyer[2:]),
    )
    return key_at(unwrap(WrappedKey.decode(wrapped[-1]), stall.listening, aad), place)
