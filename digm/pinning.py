"""Pin orders: an artist asks the network to keep copies of a track; nodes answer, and the latest order counts.

The order follows the blueprint (§2.2): `{"trackRoot", "desiredReplicas", "duration": "18 months"}`, and
adds the manifest hash, the artist's key, a sequence number and a date. An order for 0 replicas cancels.
Who shall hold copies and who repairs is in `digm.placement`. Escrow, stake and payment come with the contract:
an order's id is what they will refer to.
"""

import hashlib
import math
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from digm.errors import CallerFault, PeerFault
from digm.ids import to_hex
from digm.manifest import Manifest, manifest_hash
from digm.signed_document import (
    MAX_SEQUENCE,
    MAX_TIME_S,
    Sign,
    Verify,
    check_times,
    encode_signed,
    open_signed,
)

ORDER_KIND, ANSWER_KIND = "pin_order", "pin_answer"
MAX_ORDER_BYTES = 2048
MAX_ANSWER_BYTES = 1024
MAX_REPLICAS = 100
DAY_S = 86_400
MONTH_S = 2_629_746
"""A twelfth of the Gregorian year of 365.2425 days, so that 18 months are a year and a half."""
MAX_DURATION_S = 120 * MONTH_S
MAX_ANSWER_LIFETIME_S = DAY_S
_ROOM_EVERY_S = 10.0  # a flood on a full book must not make every message cost a walk over all of it
_UNITS_S = {"months": MONTH_S, "days": DAY_S, "hours": 3600, "seconds": 1}
_DURATION = re.compile(r"([1-9][0-9]{0,9}) (month|day|hour|second)s?")


@dataclass(frozen=True)
class PinOrder:
    """What an artist asks for; get one with `parse_pin_order`.

    Attributes:
        desired_replicas: 1 to MAX_REPLICAS; 0 cancels what was ordered before.
        duration_s: from `issued_at` on, in seconds.
        manifest_hash: SHA-256 of the manifest that the copies belong to.
        artist: the Ed25519 key that signed the manifest and signs this.
        sequence: grows with each order of the artist for this track.
        issued_at: seconds since 1970.
        document: the exact signed bytes, to be passed on and kept; empty before signing.
    """

    track_root: bytes
    desired_replicas: int
    duration_s: int
    manifest_hash: bytes
    artist: bytes
    sequence: int
    issued_at: int
    document: bytes = field(default=b"", repr=False)

    @property
    def order_id(self) -> bytes:
        """SHA-256 of the signed document."""
        return hashlib.sha256(self.document).digest()

    @property
    def expires_at(self) -> int:
        return self.issued_at + self.duration_s

    @property
    def is_cancelling(self) -> bool:
        return self.desired_replicas == 0

    def check_manifest(self, document: bytes, manifest: Manifest) -> None:
        """Refuse an order for somebody else's track, or for another edition of it.

        Raises:
            PeerFault: `pin_order_mismatch`.
        """
        expected = (self.track_root, self.manifest_hash, self.artist)
        if (manifest.track_root, manifest_hash(document), manifest.artist_key) != expected:
            raise PeerFault(
                "pin_order_mismatch", "The pin order is not for this manifest, or not by its artist."
            )


def parse_duration(text: str) -> int:
    """Seconds of `18 months`, `90 days`, `36 hours` or `600 seconds`.

    Raises:
        CallerFault: `bad_duration`.
    """
    found = _DURATION.fullmatch(text)
    seconds = int(found[1]) * _UNITS_S[found[2] + "s"] if found else 0
    if not 0 < seconds <= MAX_DURATION_S:
        raise CallerFault(
            "bad_duration", "Write how long as '18 months', '90 days' or '36 hours', at most 10 years."
        )
    return seconds


def format_duration(seconds: int) -> str:
    """The same in the largest unit that needs no fraction."""
    unit = next(name for name, size in _UNITS_S.items() if seconds % size == 0)
    count = seconds // _UNITS_S[unit]
    return f"{count} {unit[:-1] if count == 1 else unit}"


def sign_pin_order(order: PinOrder, sign: Sign) -> PinOrder:
    """Sign an order with the artist's key.

    Returns:
        the order with its document.
    """
    members = {
        "trackRoot": to_hex(order.track_root),
        "desiredReplicas": order.desired_replicas,
        "duration": format_duration(order.duration_s),
        "manifestHash": to_hex(order.manifest_hash),
        "artist": to_hex(order.artist),
        "sequence": order.sequence,
        "issuedAt": order.issued_at,
    }
    document = encode_signed(ORDER_KIND, members, sign, MAX_ORDER_BYTES)
    fields = {name: getattr(order, name) for name in PinOrder.__dataclass_fields__}
    return PinOrder(**{**fields, "document": document})


def parse_pin_order(document: bytes, now_s: float, verify: Verify) -> PinOrder:
    """Read and check an order: everything but whether it is the latest, and the manifest.

    Raises:
        PeerFault: `pin_order_too_large`, `_unsigned`, `_not_json`, `_version`, `_forged`, `_field`
            (data: field), `_from_the_future`, `_expired`.
    """
    reader, artist = open_signed(ORDER_KIND, document, verify, "artist", MAX_ORDER_BYTES)
    try:
        duration_s = parse_duration(reader.text("duration", 32))
    except CallerFault as fault:
        raise PeerFault("pin_order_field", f"The pin order's duration: {fault}", field="duration") from fault
    order = PinOrder(
        track_root=reader.hash("trackRoot"),
        desired_replicas=reader.integer("desiredReplicas", 0, MAX_REPLICAS),
        duration_s=duration_s,
        manifest_hash=reader.hash("manifestHash"),
        artist=artist,
        sequence=reader.integer("sequence", 0, MAX_SEQUENCE),
        issued_at=reader.integer("issuedAt", 0, MAX_TIME_S),
        document=document,
    )
    # The hour that clocks may differ by comes off: an order that is over is of no use to anybody.
    check_times(ORDER_KIND, order.issued_at, order.expires_at, now_s)
    if order.expires_at <= now_s:
        raise PeerFault("pin_order_expired", "The pin order has expired.")
    return order


class AnswerState(StrEnum):
    """What a node says to an order: it will hold the track, it will not, every byte is on its disk."""

    ACCEPTED = "accepted"
    DECLINED = "declined"
    HELD = "held"


class Decline(StrEnum):
    """Why a node says no."""

    NO_SPACE = "no_space"
    POLICY = "policy"
    MISMATCH = "mismatch"
    NO_SOURCE = "no_source"
    NOT_NEEDED = "not_needed"


@dataclass(frozen=True)
class PinAnswer:
    """What one node says of one order, signed by the node so that it can be passed on and kept as evidence.

    Attributes:
        valid_until: ACCEPTED: by then it holds the track or has broken its word; DECLINED: until then there is
            no use in asking again; HELD: until then it need not be said again. Seconds since 1970.
    """

    node: bytes
    order_id: bytes
    state: AnswerState
    reason: Decline | None
    issued_at: int
    valid_until: int


def encode_pin_answer(answer: PinAnswer, sign: Sign) -> bytes:
    """Write and sign an answer with the node's key."""
    members = {
        "node": to_hex(answer.node),
        "orderId": to_hex(answer.order_id),
        "state": answer.state.value,
        "reason": answer.reason and answer.reason.value,
        "issuedAt": answer.issued_at,
        "validUntil": answer.valid_until,
    }
    return encode_signed(ANSWER_KIND, members, sign, MAX_ANSWER_BYTES)


def parse_pin_answer(document: bytes, now_s: float, verify: Verify) -> PinAnswer:
    """Read and check an answer.

    Raises:
        PeerFault: `pin_answer_` and the endings of `parse_pin_order`.
    """
    reader, node = open_signed(ANSWER_KIND, document, verify, "node", MAX_ANSWER_BYTES)
    state, reason = reader.text("state", 16), reader.optional_text("reason", 32)
    if state not in set(AnswerState):
        reader.refuse("state", "accepted, declined or held")
    if reason is not None and reason not in set(Decline):
        reason = Decline.POLICY  # a reason of a newer version is still a no
    if (state == AnswerState.DECLINED) != (reason is not None):
        reader.refuse("reason", "given exactly where an order is declined")
    answer = PinAnswer(
        node=node,
        order_id=reader.hash("orderId"),
        state=AnswerState(state),
        reason=Decline(reason) if reason else None,
        issued_at=reader.integer("issuedAt", 0, MAX_TIME_S),
        valid_until=reader.integer("validUntil", 0, MAX_TIME_S),
    )
    check_times(ANSWER_KIND, answer.issued_at, answer.valid_until, now_s)
    if answer.valid_until - answer.issued_at > MAX_ANSWER_LIFETIME_S:
        reader.refuse("validUntil", "at most a day after issuedAt")
    return answer


class OrderBook:
    """The latest order of each artist for each track; what is over is dropped. Bounded, and full books refuse.

    A cancelled or finished order is remembered as long as its forerunner could be replayed.

    Attributes:
        claimed: the roots of the tracks of which somebody claims chunks. A full book forgets orders for others:
            anybody can sign 20,000 of them for ten years, and go. None: not known; then nothing is forgotten.

    Args:
        most_orders: all together.
        most_per_artist: keys are free, so this only bounds what one honest mistake can do.
    """

    def __init__(self, most_orders: int = 20_000, most_per_artist: int = 5_000) -> None:
        self._most_orders = most_orders
        self._most_per_artist = most_per_artist
        self._orders: dict[tuple[bytes, bytes], PinOrder] = {}
        self._remember_until: dict[tuple[bytes, bytes], float] = {}
        self._per_artist: dict[bytes, int] = {}
        self.claimed: Callable[[], Collection[bytes] | None] = lambda: None
        self._gone: list[PinOrder] = []
        self._made_room_at = -math.inf

    def add(self, order: PinOrder, now_s: float) -> PinOrder | None:
        """Take an order that `parse_pin_order` has let through.

        Returns:
            the order that this one takes the place of.
        Raises:
            PeerFault: `pin_order_replayed`; `pin_order_conflict`: two different orders with one number.
            CallerFault: `order_book_full`: not wrong, but not kept.
        """
        place = (order.artist, order.track_root)
        known = self._orders.get(place)
        if known and order.sequence <= known.sequence:
            if order.sequence == known.sequence and order.order_id != known.order_id:
                raise PeerFault(
                    "pin_order_conflict", "The artist signed two different pin orders with one number."
                )
            raise PeerFault("pin_order_replayed", "The pin order is not newer than the one that is known.")
        if known is None:
            self._check_room(order, now_s)
            self._per_artist[order.artist] = self._per_artist.get(order.artist, 0) + 1
        self._orders[place] = order
        self._remember_until[place] = max(order.expires_at, self._remember_until.get(place, 0))
        return known

    def drop(self, order: PinOrder) -> None:
        """Forget an order that turned out to be for somebody else's track."""
        place = (order.artist, order.track_root)
        if self._orders.get(place) == order:
            self._forget(place)

    def latest(self, artist: bytes, track_root: bytes) -> PinOrder | None:
        """The latest order, also if it cancels or is over."""
        return self._orders.get((artist, track_root))

    def active(self, now_s: float) -> Iterator[PinOrder]:
        """The orders that ask for copies now."""
        return (order for order in list(self._orders.values()) if is_active(order, now_s))

    def sweep(self, now_s: float) -> list[PinOrder]:
        """Forget what could not be replayed any more either. Returns it, and what had to make room."""
        self._forget_over(now_s)
        gone, self._gone = self._gone, []
        return gone

    def __len__(self) -> int:
        return len(self._orders)

    def _forget(self, place: tuple[bytes, bytes]) -> None:
        del self._remember_until[place], self._orders[place]
        self._per_artist[place[0]] -= 1
        if not self._per_artist[place[0]]:
            del self._per_artist[place[0]]

    def _forget_over(self, now_s: float) -> None:
        for place in [place for place, until in self._remember_until.items() if until <= now_s]:
            self._gone.append(self._orders[place])
            self._forget(place)

    def _make_room(self, now_s: float) -> None:
        self._forget_over(now_s)
        if len(self._orders) < self._most_orders or now_s < self._made_room_at + _ROOM_EVERY_S:
            return
        self._made_room_at, claimed = now_s, self.claimed()
        for place in [place for place in self._orders if claimed is not None and place[1] not in claimed]:
            self._gone.append(self._orders[place])
            self._forget(place)

    def _check_room(self, order: PinOrder, now_s: float) -> None:
        if len(self._orders) >= self._most_orders:
            self._make_room(now_s)
        if (
            self._per_artist.get(order.artist, 0) >= self._most_per_artist
            or len(self._orders) >= self._most_orders
        ):
            raise CallerFault("order_book_full", "More pin orders came than this node keeps.")


def is_active(order: PinOrder, now_s: float) -> bool:
    """Whether an order asks for copies now."""
    return not order.is_cancelling and now_s < order.expires_at
