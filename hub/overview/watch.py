"""Asks the nodes that the operator named (DIGM_WATCHED_NODES) for their fresh index and for how they are.

An index counts only if the node itself signed it. Who does not answer is asked again; its last words are kept
as long as they are good.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp
import structlog

from digm.errors import DigmError, PeerFault, Unavailable
from digm.fresh_index import MAX_INDEX_BYTES, FreshIndex, parse_fresh_index
from digm.node_ids import node_of
from hub.overview.network import Traffic
from hub.overview.status import MAX_STATUS_BYTES, Meter, NodeStatus, parse_status
from hub.signatures import verify

log = structlog.get_logger()
EVERY_S = 2.0
SELDOM_S = 20.0  # while nobody looks
LOOKED_FOR_S = 15.0
INDEX_EVERY_S = 10.0
ANSWER_WITHIN_S = 3.0
STATUS_GOOD_FOR_S = 30.0


@dataclass
class Watched:
    """One node: what it said last."""

    url: str
    status: NodeStatus | None = None
    said_at: float = 0.0
    index: FreshIndex | None = None
    index_asked_at: float = 0.0
    meter: Meter = field(default_factory=Meter)


class Watch:
    """The named nodes."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._nodes = [Watched(url.rstrip("/")) for url in urls]
        self._looked_at = -LOOKED_FOR_S
        self._wake = asyncio.Event()

    def look(self) -> None:
        """Somebody looks: ask more often for a while."""
        if time.monotonic() - self._looked_at > LOOKED_FOR_S:
            self._wake.set()
        self._looked_at = time.monotonic()

    def indexes(self) -> list[FreshIndex]:
        """The latest index of each node that gave one."""
        return [node.index for node in self._nodes if node.index is not None]

    def statuses(self) -> dict[str, tuple[NodeStatus, Traffic | None]]:
        """Peer id -> what the node said of itself a moment ago."""
        now = time.monotonic()
        return {
            node.status.peer_id: (node.status, _traffic(node.status, node.meter))
            for node in self._nodes
            if node.status is not None and now - node.said_at < STATUS_GOOD_FOR_S
        }

    async def run(self) -> None:
        """Ask until cancelled."""
        if not self._nodes:
            return
        timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                await asyncio.gather(*(self._ask(session, node) for node in self._nodes))
                is_looked_at = time.monotonic() - self._looked_at < LOOKED_FOR_S
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(EVERY_S if is_looked_at else SELDOM_S):
                        await self._wake.wait()
                self._wake.clear()

    async def _ask(self, session: aiohttp.ClientSession, node: Watched) -> None:
        try:
            node.status = parse_status(await _get(session, node.url + "/api/node", MAX_STATUS_BYTES))
            node.said_at = time.monotonic()
            node.meter.read(node.status.traffic, node.said_at)
            if time.monotonic() - node.index_asked_at > INDEX_EVERY_S or node.index is None:
                document = await _get(session, node.url + "/fresh-index.json", MAX_INDEX_BYTES)
                node.index = _own_index(document, node.status.peer_id)
                node.index_asked_at = time.monotonic()
        except DigmError as error:
            log.debug("watched_node_silent", url=node.url, code=error.code)


def _own_index(document: bytes, peer: str) -> FreshIndex:
    index = parse_fresh_index(document, time.time(), verify)
    if index.author != node_of(peer):
        raise PeerFault("fresh_index_author", "A node gave a fresh index that somebody else signed.")
    return index


async def _get(session: aiohttp.ClientSession, url: str, most_bytes: int) -> bytes:
    try:
        async with session.get(url, allow_redirects=False) as answer:
            if answer.status != 200:
                raise Unavailable("node_status_missing", f"{url} answers {answer.status}.")
            body = bytearray()
            async for piece in answer.content.iter_chunked(1 << 16):
                body += piece
                if len(body) > most_bytes:
                    raise PeerFault("node_status_too_large", f"{url} gives more than {most_bytes} bytes.")
            return bytes(body)
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
        raise Unavailable("node_silent", f"{url} does not answer.") from error


def _traffic(status: NodeStatus, meter: Meter) -> Traffic:
    moved = status.traffic
    return Traffic(
        moved.sent_bytes, moved.taken_bytes, meter.sent_per_s, meter.received_per_s, tuple(meter.rates)
    )
