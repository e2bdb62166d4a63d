"""Signs for who gave us music, where the listener agreed and the hub wants it (docs/paid-listening.md)."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace

from digm.ids import from_hex
from digm.receipts import BUCKET_S, Receipt, taken_of
from digm.scheduler import GATEWAY
from web import browser
from web.assembly import Assembly
from web.sharing import Sharing

EVERY_S = 5.0

Frames = dict[str, dict[tuple[int, int], int]]
"""Peer id -> (rendition, chunk) -> how many frames of it came from there, verified."""


def note(taken_from: Frames, place: tuple[int, int], assembly: Assembly) -> None:
    """A chunk is here and right: whose frames it is made of. One that comes again counts once."""
    for source, count in Counter(frame.source for frame in assembly.frames.values()).items():
        if source != GATEWAY:
            taken_from.setdefault(source, {})[place] = count


class Receipts:
    """What one track's givers get signed.

    Args:
        take: what came since the last time, whose it is from then on.
        signer: our id and what signs with it; None: we are in no swarm yet.
    """

    def __init__(
        self,
        track_root: bytes,
        sharing: Sharing,
        take: Callable[[], Frames],
        signer: Callable[[], tuple[str, Callable[[bytes], Awaitable[bytes]]] | None],
    ) -> None:
        self._track_root, self._sharing, self._take, self._signer = track_root, sharing, take, signer
        self._bucket = 0
        self._so_far: Frames = {}

    async def run(self) -> None:
        """Until cancelled. What came while the listener did not agree is never signed for."""
        while True:
            await asyncio.sleep(EVERY_S)
            came, signer = self._take(), self._signer()
            if came and signer and self._sharing.policy.receipts:
                self._add(came)
                signed = [await self._signed(giver, *signer) for giver in came]
                self._sharing.send_receipts(json.dumps({"receipts": signed}))

    def _add(self, came: Frames) -> None:
        bucket = int(browser.wall_clock_s()) // BUCKET_S
        if bucket != self._bucket:
            self._bucket, self._so_far = bucket, {}
        for giver, frames in came.items():
            self._so_far.setdefault(giver, {}).update(frames)

    async def _signed(self, giver: str, me: str, sign: Callable[[bytes], Awaitable[bytes]]) -> str:
        taken = taken_of(self._so_far[giver])
        receipt = Receipt(self._track_root, from_hex(giver), from_hex(me), self._bucket, taken)
        return replace(receipt, signature=await sign(receipt.signed_part)).encode().hex()
