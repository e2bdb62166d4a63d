"""The rest of a published track's way (blueprint §4): on chain, copies ordered, told, accepted, advertised.

Each step looks at what there is, so that whoever was killed anywhere goes on there: what is on the chain is not
published again, an order that runs is not placed again, and what was sent and not heard of is waited for.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from digm.errors import CallerFault, DigmError, Unavailable
from digm.manifest import Manifest, parse_manifest
from hub.chain.amounts import say_amount
from hub.chain.client import ChainClient
from hub.chain.deployment import Deployment, contract
from hub.chain.opening import folder_of, open_deployed
from hub.chain.ordering import CopyTerms, Placed, check_funds, cost_of, place_order, running_order, state_now
from hub.chain.passphrase import ask_passphrase
from hub.chain.publishing import bind_artist, publish_track
from hub.config import Settings
from hub.publishing.identity import open_vault
from hub.publishing.vault import Vault
from hub.storage.chunk_store import ChunkStore
from hub.storage.durable import folder_locked

LOOK_EVERY_S = 0.5
# While these last, waiting goes on: servers and hubs are started again.
_PASSING = ("chain_unreachable", "chain_refused", "chain_behind", "chain_moved", "hub_unreachable")
_WAITS = (*_PASSING, "hub_answer", "too_many_requests", "track_not_found", "backbone_off")
Say = Callable[[str, str, dict[str, Any]], None]
"""Is told of each step: track root, step, and its facts."""


class Swarm(Protocol):
    """The network as a hub shows it. Raises as `HubApi`.

    Attributes:
        url: of the hub.
    """

    url: str

    async def tell(self, root: str, vault: Vault, terms: CopyTerms) -> bool:
        """Give the artist's signed order to the nodes (`PinTrack`). Returns whether it was new to them."""

    async def holders(self, root: str) -> int:
        """How many nodes say that they hold something of a track."""


@dataclass
class _Track:
    """One on its way. `accepted`, `advertised`: -1: not looked at yet."""

    root: str
    manifest: Manifest
    name: bytes = b""
    placed: Placed | None = None
    accepted: int = -1
    advertised: int = -1

    @property
    def byte_size(self) -> int:
        return sum(
            one.chunk_bytes(number) for one in self.manifest.renditions for number in range(one.chunk_count)
        )

    @property
    def chunk_count(self) -> int:
        return sum(one.chunk_count for one in self.manifest.renditions)


async def check_ready(settings: Settings, terms: CopyTerms) -> Settings:
    """Whether there is a chain, with the contracts, a key that opens, and terms that the contract takes.

    Returns:
        the settings with the key's passphrase, so that it is asked for once.
    Raises:
        as `open_deployed`, `cost_of`.
    """
    async with open_deployed(settings, with_key=False) as (client, deployed):
        await cost_of(client, deployed, 0, terms)
    async with open_deployed(opened := _opened(settings), with_key=True):
        return opened


def _opened(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, chain_passphrase=ask_passphrase(settings))


class GoingPublic:
    """Takes tracks of a data folder all the way.

    Args:
        settings: of `check_ready`.
    """

    def __init__(self, settings: Settings, terms: CopyTerms, swarm: Swarm, say: Say) -> None:
        self._settings, self._terms, self._swarm, self._say = settings, terms, swarm, say
        self._store = ChunkStore(settings.data)

    async def go(self, roots: Sequence[str], within_s: float) -> bool:
        """All steps.

        Args:
            within_s: so long copies are waited for.
        Returns:
            whether all copies were accepted and advertised by then.
        Raises:
            CallerFault: `not_enough_para`, before anything is sent; as `ChainClient.transact`.
        """
        tracks = [self._stored(root) for root in dict.fromkeys(roots)]
        async with open_deployed(self._settings, with_key=True) as (client, deployed):
            with open_vault(self._settings) as vault:
                # One at a time: two that look whether there is an order would both place it.
                with folder_locked(folder_of(self._settings)):
                    await self._put_on_chain(client, deployed, tracks, vault)
                is_told = await self._tell(tracks, vault)
            return await self._wait(client, deployed, tracks, within_s, is_told)

    async def _put_on_chain(
        self, client: ChainClient, deployed: Deployment, tracks: Sequence[_Track], vault: Vault
    ) -> None:
        await self._check_funds(client, deployed, tracks)
        await bind_artist(client, deployed, vault)
        for track in tracks:
            said = await publish_track(client, deployed, self._settings.data, vault, track.root)
            self._say(track.root, "on_chain", said)
        for track in tracks:
            await self._order(client, deployed, track)

    def _stored(self, root: str) -> _Track:
        track = _Track(root, parse_manifest(self._store.manifest(root)))
        for rendition in track.manifest.renditions:
            for name in rendition.chunk_hashes:
                self._store.size(name.hex())  # says which chunk is missing
        self._say(root, "stored", {"chunks": track.chunk_count, "bytes": track.byte_size})
        return track

    async def _check_funds(self, client: ChainClient, deployed: Deployment, tracks: Sequence[_Track]) -> None:
        registry, address = contract("registry"), deployed.addresses["registry"]
        pins, now_s, needed = (await state_now(self._settings)).pins, await client.time(), 0
        for track in tracks:
            root = bytes.fromhex(track.root)
            track.name = await client.call(registry, address, "track_id", client.sender.address, root)
            is_begun = client.sender.begun(f"order {track.name.hex()}") is not None
            if not is_begun and running_order(pins, track.name, client.sender.address, now_s) is None:
                needed += await cost_of(client, deployed, track.byte_size, self._terms)
        if needed:
            await check_funds(client, deployed, needed)

    async def _order(self, client: ChainClient, deployed: Deployment, track: _Track) -> None:
        pins = (await state_now(self._settings)).pins
        track.placed = placed = await place_order(client, deployed, track.name, self._terms, pins)
        facts = {
            "order": placed.order_id,
            "replicas": placed.replicas,
            "ends_at": placed.ends_at,
            "escrow": say_amount(placed.escrow),
            "transaction": placed.transaction,
        }
        self._say(track.root, "ordered", facts)

    async def _tell(self, tracks: Sequence[_Track], vault: Vault) -> bool:
        """Whether there is a hub. Without one, nodes learn of the orders from the chain."""
        for track in tracks:
            try:
                is_new = await self._swarm.tell(track.root, vault, self._terms)
            except DigmError as fault:
                self._say(track.root, "not_told", {"code": fault.code, "why": fault.message})
                if fault.code == "hub_unreachable":
                    return False
                continue
            self._say(track.root, "told", {"hub": self._swarm.url, "is_new": is_new})
        return True

    async def _wait(
        self, client: ChainClient, deployed: Deployment, tracks: Sequence[_Track], within_s: float, told: bool
    ) -> bool:
        if not within_s:
            return True
        try:
            async with asyncio.timeout(within_s):
                while True:
                    for track in tracks:
                        await _patiently(self._look_at_order(client, deployed, track))
                        if told:
                            await _patiently(self._look_at_holders(track))
                    if all(_is_done(track, told) for track in tracks):
                        return True
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError:
            return False

    async def _look_at_order(self, client: ChainClient, deployed: Deployment, track: _Track) -> None:
        assert track.placed is not None
        pinning, where = contract("pinning"), deployed.addresses["pinning"]
        order = await client.call(pinning, where, "order", track.placed.order_id)
        if order["taken"] != track.accepted:
            track.accepted = order["taken"]
            self._say(track.root, "accepted", {"accepted": track.accepted, "replicas": order["replicas"]})

    async def _look_at_holders(self, track: _Track) -> None:
        found = await self._swarm.holders(track.root)
        if found != track.advertised:
            track.advertised = found
            self._say(track.root, "advertised", {"nodes": found})


def _is_done(track: _Track, is_told: bool) -> bool:
    assert track.placed is not None
    is_accepted = track.accepted >= track.placed.replicas
    return is_accepted and (not is_told or track.advertised >= track.placed.replicas)


async def _patiently(look: Awaitable[None]) -> None:
    try:
        await look
    except (Unavailable, CallerFault) as fault:
        if fault.code not in _WAITS:
            raise
