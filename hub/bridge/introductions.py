"""Nodes that only the DHT names: each is asked for its announcement, and then known as if it had been heard.

A provider record names a node and its addresses. How much of the track it holds, and where its gateway is, says
its announcement, which gossip may not have brought yet: to a hub that has just started, say.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from digm.announcements import AnnouncementLedger
from digm.backbone_messages import ANNOUNCEMENT
from digm.errors import CallerFault, DigmError
from digm.node_ids import node_of

log = structlog.get_logger()
MOST_ASKED = 8
_SILENT = ("peer_unreachable", "backbone_timeout")


class Asking(Protocol):
    """What is needed of the backbone."""

    async def request(
        self, peer: str, protocol: str, payload: bytes, *, timeout_s: float, most_bytes: int
    ) -> bytes: ...


async def ask_strangers(
    network: Asking,
    hear: Callable[[bytes], None],
    ledger: AnnouncementLedger,
    track_root: bytes,
    providers: Iterable[str],
    now_s: float,
    silent: Callable[[str], None] = lambda _peer: None,
) -> bool:
    """Ask those of a track's providers whose announcement of it is not known, all at once.

    Args:
        hear: takes an announcement in; raises DigmError where it is not valid.
        providers: peer ids; the first MOST_ASKED strangers among them are asked.
        silent: told of each one that does not answer.
    Returns:
        whether all are known now; who has just started may have said nothing yet.
    """
    strangers = [peer for peer in providers if _is_stranger(peer, ledger, track_root, now_s)]

    async def ask(peer: str) -> None:
        try:
            document = await network.request(
                peer, ANNOUNCEMENT.name, track_root,
                timeout_s=ANNOUNCEMENT.timeout_s, most_bytes=ANNOUNCEMENT.most_answer_bytes,
            )  # fmt: skip
            hear(document)
        except DigmError as error:
            log.info("not_introduced", peer=peer[-8:], code=error.code)
            if error.code in _SILENT:
                silent(peer)

    await asyncio.gather(*(ask(peer) for peer in strangers[:MOST_ASKED]))
    return not any(_is_stranger(peer, ledger, track_root, now_s) for peer in strangers)


def _is_stranger(peer: str, ledger: AnnouncementLedger, track_root: bytes, now_s: float) -> bool:
    try:
        return ledger.claim(node_of(peer), track_root, now_s) is None
    except CallerFault:  # not one of our kind of names
        return False
