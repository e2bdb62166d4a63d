"""One peer of the swarm as a source of chunks: a data channel (aiortc) around digm.peer_session."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiortc import RTCDataChannel

from digm.bitfield import Bitfield
from digm.errors import PeerFault, Unavailable
from digm.ids import short
from digm.manifest import Manifest
from digm.peer_events import (
    Closed,
    DataReceived,
    Event,
    PeerReady,
    RequestDone,
    RequestRejected,
    RequestTimedOut,
)
from digm.peer_session import PeerSession
from digm.signalling import IceServer
from digm.wire import Reason
from hub.fetching.allotment import Wanted
from hub.fetching.sources import Progress
from hub.seeding.negotiation import Negotiation, as_bytes

log = structlog.get_logger()
CONNECT_WITHIN_S = 15.0
ANSWER_WITHIN_S = 10.0


@dataclass
class _Request:
    """A chunk on its way."""

    done: "asyncio.Future[bytes]"
    on_progress: Progress
    data: bytearray = field(default_factory=bytearray)


class PeerLink:
    """A listener or a node of the swarm; it is asked, and gets nothing from us: we are gone in a moment.

    Args:
        peer: its id, as the hub proved it.
        on_ready: told when it can be asked.
        on_fault: told of the rule that it broke.
    """

    kind = "webrtc"
    slots = 2  # one chunk flows while the request for the next is under way (docs/peers.md)
    silence_s = 10.0  # the session's own time-out comes first
    wrongs_allowed = 1

    def __init__(
        self,
        manifest: Manifest,
        peer: str,
        ice_servers: tuple[IceServer, ...],
        on_ready: "Callable[[PeerLink], None]",
        on_fault: "Callable[[PeerLink, str], None]",
    ) -> None:
        self.name = peer
        self.negotiation = Negotiation(ice_servers, self._on_channel, self.stop)
        self._manifest = manifest
        self._on_ready, self._on_fault = on_ready, on_fault
        self._channel: RTCDataChannel | None = None
        self._session: PeerSession | None = None
        self._requests: dict[int, _Request] = {}
        self._fault: PeerFault | None = None
        self._opened = asyncio.Event()
        self._wake = asyncio.Event()
        self._is_over = False

    # -- a source

    def holds(self, wanted: Wanted) -> bool:
        """Whether it said that it has a chunk."""
        if self._session is None:
            return False
        return wanted.chunk in self._session.availability.get(wanted.rendition, ())

    def claimed(self, wanted: Sequence[Wanted]) -> int | None:
        """How many of these it said that it has."""
        return sum(map(self.holds, wanted))

    async def fetch(self, wanted: Wanted, on_progress: Progress) -> bytes:
        """A chunk, not verified.

        Raises:
            Unavailable: `not_held`, `busy`, `silent`, `gone`. PeerFault: it broke a rule.
        """
        if self._is_over or self._session is None:
            raise self._fault or Unavailable("gone", "It has left.")
        if not self._session.free_slots:
            raise Unavailable("busy", "It gives nothing just now.")
        number = self._session.request(wanted.rendition, wanted.chunk, time.monotonic())
        request = _Request(asyncio.get_running_loop().create_future(), on_progress)
        self._requests[number] = request
        self._wake.set()
        try:
            return await request.done
        finally:
            if self._requests.pop(number, None) is not None:
                self._session.cancel(number, time.monotonic())
                self._wake.set()

    def part(self, code: str) -> None:
        """Leave it."""
        self._on_fault(self, code)
        self.stop()

    async def manifest(self) -> bytes:
        """Raises Unavailable: peers of a swarm have it already."""
        raise Unavailable("not_held", "Peers do not give manifests.")

    # -- its life

    async def run(self, negotiate: Coroutine[Any, Any, None]) -> None:
        """Connect, be a source, clean up. Never raises because of the peer."""
        try:
            async with asyncio.TaskGroup() as tasks:
                async with asyncio.timeout(CONNECT_WITHIN_S):
                    await negotiate
                    taking = tasks.create_task(self.negotiation.take_candidates(), name="candidates")
                    await self._opened.wait()
                try:
                    await self._serve()
                finally:
                    taking.cancel()
        except* TimeoutError:
            log.info("peer_not_reached", peer_id=short(self.name))
        except* PeerFault as faults:
            log.info("description_refused", peer_id=short(self.name), error=str(faults.exceptions[0]))
        finally:
            self.stop()
            await self.negotiation.close()

    def stop(self) -> None:
        """End it now."""
        self._is_over = True
        self._opened.set()
        self._wake.set()
        self.negotiation.take_answer(None)
        for request in self._requests.values():
            if not request.done.done():
                request.done.set_exception(self._fault or Unavailable("gone", "It has left."))

    def _on_channel(self, channel: RTCDataChannel) -> None:
        nothing = {it.id: Bitfield(it.chunk_count) for it in self._manifest.renditions}
        self._channel = channel
        self._session = PeerSession(
            self._manifest.track_root, self._manifest.renditions, nothing, time.monotonic(), is_sharing=False
        )
        channel.on("message", self._on_message)
        channel.on("close", self.stop)
        self._opened.set()

    def _on_message(self, message: bytes | str) -> None:
        assert self._session is not None
        self._handle(self._session.receive(as_bytes(message), time.monotonic()))
        self._wake.set()

    async def _serve(self) -> None:
        """Say what is to be said, whenever something happened or a deadline came."""
        session = self._session
        while session is not None and not self._is_over:
            self._wake.clear()
            now = time.monotonic()
            self._handle(session.tick(now))
            if self._channel is None or self._channel.readyState != "open":
                return
            for message in session.to_send():
                self._channel.send(message)
            deadline = session.next_deadline(now)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if deadline is None else max(0.001, deadline - now)):
                    await self._wake.wait()

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case PeerReady():
                    self._on_ready(self)
                case DataReceived(request_id):
                    if request := self._requests.get(request_id):
                        request.data += event.payload
                        request.on_progress(len(request.data))
                case RequestDone(request_id):
                    if request := self._requests.pop(request_id, None):
                        _settle(request.done, bytes(request.data))
                case RequestRejected(request_id):
                    is_missing = event.reason is Reason.NOT_HELD
                    why = Unavailable(
                        "not_held" if is_missing else "busy", f"It says no: {event.reason.name.lower()}."
                    )
                    self._give_up(request_id, why)
                case RequestTimedOut(request_id):
                    self._give_up(request_id, Unavailable("silent", "It stopped sending."))
                case Closed(_, fault):
                    self._fault = fault
                    if fault is not None:
                        self._on_fault(self, fault.code)
                    self.stop()

    def _give_up(self, request_id: int, why: Unavailable) -> None:
        if request := self._requests.pop(request_id, None):
            _settle(request.done, why)


def _settle(future: "asyncio.Future[bytes]", result: bytes | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
