"""The links of one swarm: asked for chunks, told what is here, counted. Who is met is web.swarm's."""

from collections.abc import Callable
from typing import Any

from digm.errors import CallerFault, Unavailable
from digm.peer_session import PeerSession
from digm.signalling import LISTENER, NODE
from digm.wire import Reason
from web.browser import now_s
from web.data_channel import PeerLink


class Links:
    """Peers that are connected, or about to be, by their id."""

    def __init__(self) -> None:
        self._links: dict[str, PeerLink] = {}
        self._nodes: set[str] = set()
        self._given_before = 0

    @property
    def open_peers(self) -> int:
        """How many peers can be asked now."""
        return sum(link.is_open for link in self._links.values())

    @property
    def uploaded_bytes(self) -> int:
        return self._given_before + sum(link.given for link in self._links.values())

    def links(self) -> list[dict[str, Any]]:
        """For the panel: every open connection."""
        return [
            {
                "peer": peer,
                "kind": NODE if peer in self._nodes else LISTENER,
                "taken": link.taken,
                "given": link.given,
                "rtt_ms": None if link.rtt_s is None else round(1000 * link.rtt_s, 1),
                "relayed": link.is_relayed,
            }
            for peer, link in self._links.items()
            if link.is_open
        ]

    def request(self, peer: str, rendition: int, chunk: int, first_frame: int, frame_count: int) -> int | None:
        """Ask a peer. Returns the request id; None if it cannot be asked."""
        link = self._links.get(peer)
        if link is None or link.session is None:
            return None
        try:
            request_id = link.session.request(
                rendition, chunk, now_s(), first_frame=first_frame, frame_count=frame_count
            )
        except (Unavailable, CallerFault):
            return None
        link.pump()
        return request_id

    def cancel(self, peer: str, request_id: int) -> None:
        link = self._links.get(peer)
        if link is not None and link.session is not None:
            link.session.cancel(request_id, now_s(), Reason.NO_LONGER_WANTED)
            link.pump()

    def free_slots(self, peer: str) -> int:
        link = self._links.get(peer)
        return link.session.free_slots if link is not None and link.session is not None else 0

    def announce(self, rendition: int, chunk: int) -> None:
        """Tell everybody of a chunk that was verified."""
        self._tell(lambda session: session.have(rendition, chunk))

    def retract(self, rendition: int, chunk: int) -> None:
        """Tell everybody that a chunk is no longer here."""
        self._tell(lambda session: session.gone(rendition, chunk))

    def _tell(self, what: Callable[[PeerSession], None]) -> None:
        for link in list(self._links.values()):
            if link.session is not None:
                what(link.session)
                link.pump()
