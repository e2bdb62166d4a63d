"""Following the chain for ever: where the contracts are, what they write, and patience with servers.

Runs in the thread of `hub.chain.follower`, on a loop of its own, so that it may block for the journal.
"""

import asyncio
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import structlog

from digm.errors import DigmError, Unavailable
from hub.chain.client import ChainClient
from hub.chain.deployment import Deployment, check_deployment, contract
from hub.chain.events import PASSING, EventReader
from hub.chain.finding import Finder
from hub.chain.follower import AskOthers
from hub.chain.opening import DEVNET_CHAIN_ID, confirmations_of, open_journal, urls_of
from hub.chain.picture import Picture
from hub.chain.rpc import Rpc
from hub.chain.state import ChainState
from hub.config import Settings

log = structlog.get_logger()
# Every process of the machine that follows asks as often as this; a devnet is on the same machine as the music.
DEVNET_POLL_S, POLL_S = 0.5, 4.0
TROUBLE_POLL_S = 2.0


class Following:
    """One process's view.

    Args:
        tell: is given every new state.
    """

    def __init__(self, settings: Settings, tell: Callable[[ChainState], None], ask_others: AskOthers) -> None:
        self._settings, self._tell = settings, tell
        self._finder = Finder(settings, ask_others)
        self._trouble = ""

    async def run(self) -> None:
        """Until cancelled. What goes wrong is said once, and tried again."""
        while True:
            try:
                await self._follow(await self._finder.look_for())
            except DigmError as fault:
                self._say(fault)
            await asyncio.sleep(TROUBLE_POLL_S)

    async def _follow(self, deployed: Deployment) -> None:
        """Until other contracts are named. What was read before is told before any server is asked."""
        is_devnet = deployed.chain_id == DEVNET_CHAIN_ID
        confirmations = confirmations_of(self._settings, deployed.chain_id)
        async with Rpc(urls_of(self._settings)) as rpc:
            with closing(open_journal(self._settings, deployed)) as journal:
                reader = EventReader(
                    rpc, journal, deployed.contracts(), deployed.first_block, confirmations,
                    poll_s=DEVNET_POLL_S if is_devnet else POLL_S,
                )  # fmt: skip
                picture = Picture(deployed)
                picture.look(reader)
                self._tell(picture.state)
                while self._finder.known() == deployed:
                    await self._turn(deployed, rpc, reader, picture)

    async def _turn(self, deployed: Deployment, rpc: Rpc, reader: EventReader, picture: Picture) -> None:
        """Raises what waiting does not mend."""
        known = picture.state
        try:
            if not known.is_current:  # it may be another server now, or a chain begun anew
                await check_deployment(ChainClient(rpc), deployed)
            if not known.rules:
                began = deployed.first_block, await ChainClient(rpc).time(deployed.first_block)
                rules = await _rules(ChainClient(rpc), deployed)
                within_s = await _deliver_within(ChainClient(rpc), deployed)
                picture.state = replace(picture.state, rules=rules, began=began, deliver_within_s=within_s)
            head = await reader.catch_up()
            if head != known.head:
                picture.state = replace(picture.state, time=await ChainClient(rpc).time())
            picture.look(reader)
            counted = head - reader.confirmations + 1
            picture.state = replace(picture.state, head=head, counted=counted, is_current=True, trouble="")
        except DigmError as fault:
            picture.state = replace(picture.state, is_current=False, trouble=fault.code)
            if picture.state != known:
                self._tell(picture.state)
            if not (isinstance(fault, Unavailable) and fault.code in PASSING):
                raise
            self._say(fault)
            await asyncio.sleep(TROUBLE_POLL_S)
            return
        if picture.state != known:
            self._tell(picture.state)
        if self._trouble:
            log.info("chain_followed_again", head=head)
            self._trouble = ""
        await asyncio.sleep(reader.poll_s)

    def _say(self, fault: DigmError) -> None:
        if fault.code != self._trouble:
            log.warning("chain_not_followed", code=fault.code, reason=fault.message)
            self._trouble = fault.code


async def _deliver_within(client: ChainClient, deployed: Deployment) -> int:
    """Of `Sales`, in seconds; it never changes either. Raises as `ChainClient.call`."""
    if "sales" not in deployed.addresses:
        return 0
    return int(await client.call(contract("sales"), deployed.addresses["sales"], "deliver_within_s"))


async def _rules(client: ChainClient, deployed: Deployment) -> dict[str, int]:
    """What `Pinning` was deployed with; it never changes. Raises as `ChainClient.call`."""
    pinning, address = contract("pinning"), deployed.addresses["pinning"]
    rules: dict[str, int] = dict(await client.call(pinning, address, "rules"))
    return rules | {"start_block": await client.call(pinning, address, "start_block")}
