"""Where DIGM's contracts are, for a process that was told little: a file, or somebody who hands it on.

A hub that was given an RPC URL and one bootstrap address asks the server (DIGM's devnet says it), then the
nodes it knows. What it is told is compared with the chain and kept in the data folder; it asks once.
"""

import asyncio
from collections.abc import Iterable

import msgspec
import structlog

from digm.errors import CallerFault, DigmError, PeerFault
from hub.chain.client import ChainClient
from hub.chain.deployment import (
    Deployment,
    check_code,
    check_deployment,
    parse_deployment,
    save_deployment,
)
from hub.chain.follower import AskOthers
from hub.chain.handing_on import FILE_NAME, document_of
from hub.chain.opening import folder_of
from hub.chain.rpc import Rpc
from hub.config import Settings

log = structlog.get_logger()
LOOKED_AT_S = 1.0
ASKED_AGAIN_S = 10.0
METHOD = "digm_deployment"


class Finder:
    """The deployment of one data folder."""

    def __init__(self, settings: Settings, ask_others: AskOthers) -> None:
        self._settings, self._ask_others = settings, ask_others
        self._path = folder_of(settings) / FILE_NAME
        self._seen = b""
        self._known: Deployment | None = None
        self._said = ""

    def known(self) -> Deployment | None:
        """What is written down here, read again when it is something else. Blocks.

        Raises:
            CallerFault: `bad_deployment`, `bad_setting`.
        """
        document = document_of(self._settings)
        if document is None:
            self._seen, self._known = b"", None
        elif document != self._seen:
            self._known, self._seen = parse_deployment(document), document
        return self._known

    async def look_for(self) -> Deployment:
        """Until it is known, for ever. Raises CallerFault `bad_deployment`."""
        while (found := self.known()) is None:
            if not self._settings.chain_rpc:
                self._say(
                    "neither DIGM_CHAIN_RPC nor DIGM_CHAIN_DEPLOYMENT, and no contracts in the data folder"
                )
                await asyncio.sleep(LOOKED_AT_S)
                continue
            try:
                found = await self._asked()
            except DigmError as fault:
                self._say(fault.message)
            else:
                if found is not None:
                    log.info("chain_contracts_found", registry=found.addresses["registry"])
                    save_deployment(self._path, found)
                    continue
                self._say(
                    f"neither the chain's server nor a node says it; put their {FILE_NAME} into DATA/chain"
                )
            await asyncio.sleep(ASKED_AGAIN_S)
        return found

    def _say(self, why: str) -> None:
        if why != self._said:
            log.info("chain_contracts_not_known", why=why)
            self._said = why

    async def _asked(self) -> Deployment | None:
        async with Rpc(self._settings.chain_rpc) as rpc:
            client = ChainClient(rpc)
            genesis = bytes.fromhex((await client.genesis())[2:])
            try:
                said = await rpc.ask(METHOD)
            except DigmError:  # every other server than our devnet
                said = None
            documents = [msgspec.json.encode(said)] if said else await self._ask_others(genesis)
            return await self._believed(client, documents)

    async def _believed(self, client: ChainClient, documents: Iterable[bytes]) -> Deployment | None:
        """The one deployment that all good answers name. Raises PeerFault `contracts_disputed`."""
        found: list[Deployment] = []
        for document in documents:
            try:
                one = parse_deployment(document)
                await check_deployment(client, one)
                await check_code(client, one)
            except (PeerFault, CallerFault) as fault:
                log.warning("chain_contracts_refused", code=fault.code, why=fault.message)
                continue
            if one not in found:
                found.append(one)
        if len(found) > 1:
            raise PeerFault(
                "contracts_disputed",
                f"Nodes name different contracts on this chain: put the right {FILE_NAME} into DATA/chain.",
            )
        return found[0] if found else None
