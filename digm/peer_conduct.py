"""How a peer behaves in one session: what it may say how often, and when it has failed too often to be kept.

A single failure is ordinary (a chunk was just evicted, a radio was out of reach); a row of them without one
good answer in between costs an honest listener time at every request, so it ends the session, with a name.
"""

from collections.abc import Mapping

from digm import wire
from digm.errors import PeerFault
from digm.peer_states import SessionSettings
from digm.token_bucket import TokenBucket


class Conduct:
    """The record of one peer.

    Args:
        now: seconds on the shell's steady clock.
    """

    def __init__(self, settings: SessionSettings, now: float) -> None:
        self._settings = settings
        self._messages = TokenBucket(settings.messages_per_s, settings.message_burst, now)
        self._rare: Mapping[type, TokenBucket] = {
            wire.Peers: TokenBucket(settings.exchanges_per_s, settings.exchange_burst, now),
            wire.Relay: TokenBucket(settings.relays_per_s, settings.relay_burst, now),
        }
        self._false_claims = 0
        self._silences = 0

    def said(self, message: wire.Message, now: float) -> bool:
        """Count a message that is not DATA. False: one of its kind too many, to be ignored.

        Raises:
            PeerFault: `message_flood`.
        """
        if not self._messages.take(1, now):
            raise PeerFault("message_flood", "The peer sends more messages than a session needs.")
        rare = self._rare.get(type(message))
        return rare is None or rare.take(1, now)

    def gave(self) -> None:
        """A byte that was asked for came."""
        self._silences = 0

    def answered(self) -> None:
        """A request was answered in full."""
        self._false_claims = 0

    def did_not_hold(self) -> None:
        """It refused a chunk that it had claimed.

        Raises:
            PeerFault: `claims_false`.
        """
        self._false_claims += 1
        if self._false_claims >= self._settings.false_claims_allowed:
            raise PeerFault("claims_false", "The peer does not have what it says it has.")

    def was_silent(self) -> None:
        """A request timed out.

        Raises:
            PeerFault: `unresponsive`.
        """
        self._silences += 1
        if self._silences >= self._settings.silences_allowed:
            raise PeerFault("unresponsive", "The peer has not sent a byte for many requests in a row.")
