"""Grants for other hubs' pages: who asks over libp2p is answered by the vaults that are linked here, if any is.

The hub says in the DHT whose vaults these are (`digm.carried_grants.vault_record`). It asks its own links and
nobody else, so a question that came from a hub is never put to a third one. What strangers may ask is bounded,
each and all together, and leaves half of a vault's places to the pages of this hub.
"""

import struct
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from digm.backbone_messages import GRANT
from digm.carried_grants import CarriedGrant, CarriedRequest, vault_record
from digm.errors import DigmError, PeerFault, Unavailable
from digm.grants import SealedGrant
from digm.ids import from_hex, short, to_hex
from hub.granting.links import MAX_PENDING, VaultLinks
from hub.granting.messages import Granted, Proof
from hub.metrics import GRANTS
from hub.peer_rate import PeerRate
from hub.pinning.network import Handler

log = structlog.get_logger()
PARALLEL = 64
MOST_PENDING = MAX_PENDING // 2
# A hub asks once for each listener and track; a vault seals some hundred grants a second.
PER_PEER_S, PER_PEER_AT_ONCE = 20.0, 200.0
ALL_S, ALL_AT_ONCE = 100.0, 400.0
PROVIDES_AT_ONCE = 4  # of one turn: each costs 40 ms of CPU
PROVIDED_AGAIN_S = 300.0  # there may be nodes since that are nearer to the key
MOST_PROVIDED = 1_000  # artists; the pages of the others are answered here alone


class Providing(Protocol):
    """What is needed of the backbone."""

    async def provide(self, key: bytes) -> bool: ...
    async def withdraw(self, key: bytes) -> None: ...
    def serve(
        self, protocol: str, handler: Handler, *, most_bytes: int, timeout_s: float, parallel: int
    ) -> None: ...


class GrantCarrier:
    """Answers `/digm/grant/1.0.0`.

    Args:
        clock: seconds, never going back.
    """

    def __init__(
        self, network: Providing, vaults: VaultLinks, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._network, self._vaults, self._clock = network, vaults, clock
        self._provided: dict[str, float] = {}  # artist key -> when it is to be said again
        self._rate = PeerRate(PER_PEER_S, PER_PEER_AT_ONCE, ALL_S, ALL_AT_ONCE, clock())

    def serve(self) -> None:
        """Begin to answer."""
        self._network.serve(
            GRANT.name, self._on_request, most_bytes=GRANT.most_request_bytes,
            timeout_s=GRANT.timeout_s, parallel=PARALLEL,
        )  # fmt: skip

    async def tick(self) -> None:
        """Say in the DHT whose vaults are linked, and no longer say it of those that left; call it often.

        Raises:
            Unavailable: the backbone is down; the next call goes on.
        """
        linked = self._vaults.artists[:MOST_PROVIDED]
        for artist in self._provided.keys() - set(linked):
            del self._provided[artist]
            await self._network.withdraw(vault_record(from_hex(artist)))
        due = [artist for artist in linked if self._provided.get(artist, 0.0) <= self._clock()]
        for artist in due[:PROVIDES_AT_ONCE]:
            # Nobody takes it while we are alone: soon again. Who calls us asks us first, meanwhile.
            is_taken = await self._network.provide(vault_record(from_hex(artist)))
            self._provided[artist] = self._clock() + (PROVIDED_AGAIN_S if is_taken else 0.0)
            log.debug("vault_provided", artist=short(artist), is_taken=is_taken)

    async def _on_request(self, peer: str, frame: bytes) -> bytes:
        """Raises Unavailable: `artist_offline`, `artist_busy`, `grant_refused`, `too_many_requests`."""
        request = CarriedRequest.decode(frame)
        self._rate.take(peer, self._clock())
        try:
            answer = await self._vaults.ask(
                to_hex(request.artist_key), to_hex(request.track_root), to_hex(request.player_key),
                MOST_PENDING, Proof.decode(request.proof),
            )  # fmt: skip
            body = _carried(answer).encode()
        except DigmError as error:
            GRANTS.labels(f"carried_{error.code}").inc()
            raise
        GRANTS.labels("carried").inc()
        return body


def _carried(answer: Granted) -> CarriedGrant:
    """What a vault said, as it travels. A vault is its artist's program: it may say anything."""
    try:
        enc, sealed, signature, bond = (
            bytes.fromhex(text) for text in (answer.enc, answer.sealed, answer.signature, answer.bond)
        )
        carried = CarriedGrant(SealedGrant(enc, sealed, signature), answer.not_after, bond)
        return CarriedGrant.decode(carried.encode())
    except (ValueError, OverflowError, struct.error, PeerFault) as error:
        raise Unavailable("grant_refused", "The artist's vault gave nothing that can be carried.") from error
