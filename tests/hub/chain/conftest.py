"""One devnet for all files (but the one that kills it), and accounts with money on it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from eth_account import Account

from hub.chain.client import ChainClient
from hub.chain.keystore import Signer
from hub.chain.outbox import Outbox
from hub.chain.rpc import Rpc
from hub.chain.sender import Patience, Sender
from tests.hub.chain.counter import counter
from tests.hub.chain.devnet import DevnetProcess
from tests.hub.chain.proxy import Proxy
from tests.needs import anvil

QUICK = Patience(poll_s=0.01, give_up_after_s=30)


@pytest.fixture(scope="session", params=["py-evm", "anvil"])
def devnet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevnetProcess]:
    if request.param == "anvil":
        anvil()
    process = DevnetProcess(tmp_path_factory.mktemp("devnet"), engine=request.param)
    yield process
    process.stop() if request.param == "anvil" else process.kill()


class House:
    """Clients of one fresh account that share an outbox file, on one devnet."""

    def __init__(self, devnet: DevnetProcess, folder: Path, stack: AsyncExitStack) -> None:
        self.devnet, self._folder, self._stack = devnet, folder, stack
        self.account = Account.create()
        rich = devnet.ask("eth_accounts")["result"][0]
        gift = {"from": rich, "to": self.account.address, "value": hex(10**19)}
        assert "result" in devnet.ask("eth_sendTransaction", gift)

    async def proxy(self) -> Proxy:
        return await self._stack.enter_async_context(Proxy(self.devnet.url).running())

    async def rpc(self, *urls: str, **options: float) -> Rpc:
        return await self._stack.enter_async_context(Rpc(urls or (self.devnet.url,), **options))  # type: ignore[arg-type]

    async def client(self, *urls: str, patience: Patience = QUICK) -> ChainClient:
        """As if in another process: nothing is shared but the file."""
        outbox = Outbox(self._folder, "test", self.account.address)
        self._stack.callback(outbox.close)
        rpc = await self.rpc(*urls, answer_within_s=5)
        return ChainClient(rpc, Sender(rpc, Signer(self.account), outbox, patience))

    async def deploy_counter(self) -> str:
        receipt = await (await self.client()).deploy("deploy", counter())
        assert receipt.contract_address is not None
        return receipt.contract_address


@pytest.fixture
async def house(devnet: DevnetProcess, tmp_path: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        yield House(devnet, tmp_path, stack)
