"""What elder nodes tell each other on the topic `digm.audio.v1`: who holds which chunks of a track, and where.

One announcement per track and node, signed by the node's key, at most 8 KiB, valid for an hour or so. A node
announces again before that. `AnnouncementLedger` keeps the latest of each and says which to pass on.

Clocks may be an hour apart (`CLOCK_SKEW_S`). So how long an announcement is believed is counted on the
receiver's own clock, from the moment it came; its dates only say whether to believe it at all.

A node also announces that it is there: the track root of 32 zero bytes, nothing held, valid for a few minutes.
That is cheap, so it can be short: a node whose last word of that kind is over is believed nothing more.
"""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from digm.bitfield import Bitfield
from digm.chain_standing import read_account
from digm.chunks import MAX_CHUNKS, MAX_RENDITIONS
from digm.errors import CallerFault, PeerFault
from digm.ids import from_hex, is_hex_id, to_hex
from digm.json_reader import JsonReader
from digm.signed_document import (
    CLOCK_SKEW_S,
    MAX_SEQUENCE,
    MAX_TIME_S,
    Sign,
    Verify,
    check_times,
    encode_signed,
    open_signed,
)

KIND = "announcement"
MAX_ANNOUNCEMENT_BYTES = 8192
MAX_LIFETIME_S = 2 * 3600
PRESENCE = bytes(32)
"""The track root under which a node says that it is there."""
MAX_MULTIADDRS = 8
MAX_PINS = 8
MAX_ADDRESS = 256
MAX_NAME = 64
_BITFIELD_BYTES = MAX_CHUNKS // 8
_SWEEP_EVERY_S = 10  # a flood on a full ledger must not make every message cost a walk over all of it


@dataclass(frozen=True)
class Announcement:
    """What one node says of one track. All text is untrusted wherever it is shown.

    Attributes:
        node: the node's Ed25519 key (`digm.node_ids.peer_id` makes the libp2p peer id of it).
        instance: 16 bytes that the node's process drew when it started: two processes with one key differ here.
        held: per rendition id, which chunks; their counts are what the manifest says, or it is a lie.
            No chunk at all takes an earlier announcement back.
        gateway_url, signal_url: where the node serves HTTP and signalling, if it does.
        multiaddrs: how libp2p reaches it.
        pinned_for: ids of the pin orders for which it keeps the track; without one it may let it go.
        operator, network: who runs it and in which network (such as an AS number), as it says itself.
        sequence: grows with each announcement of the node, whatever the track.
        issued_at, valid_until: seconds since 1970 on the node's clock.
        account: its account on the chain, 0x and 40 hex digits, as it says itself; None: it has none.
    """

    node: bytes
    instance: bytes
    track_root: bytes
    manifest_hash: bytes
    held: Mapping[int, Bitfield]
    operator: str
    network: str
    sequence: int
    issued_at: int
    valid_until: int
    gateway_url: str | None = None
    signal_url: str | None = None
    multiaddrs: tuple[str, ...] = ()
    pinned_for: tuple[bytes, ...] = ()
    account: str | None = None

    @property
    def lifetime_s(self) -> int:
        return self.valid_until - self.issued_at

    @property
    def is_whole(self) -> bool:
        """Whether it claims every chunk of every rendition that it names."""
        return bool(self.held) and all(field.is_full for field in self.held.values())

    def is_copy(self, chunk_counts: Mapping[int, int] | None) -> bool:
        """Whether it claims every chunk that there is.

        Args:
            chunk_counts: by rendition id, as the manifest has them; None: not known here, so its word counts.
        """
        counts = {rendition: held.count for rendition, held in self.held.items()}
        return self.is_whole and (chunk_counts is None or counts == chunk_counts)

    @property
    def share(self) -> float:
        """Part of the chunks that is claimed, 0.0 to 1.0."""
        count = sum(field.count for field in self.held.values())
        return sum(map(len, self.held.values())) / count if count else 0.0


def encode_announcement(announcement: Announcement, sign: Sign) -> bytes:
    """Write and sign an announcement with the node's key.

    Raises:
        CallerFault: `announcement_too_large`: announce whole renditions, or fewer addresses.
    """
    members: dict[str, object] = {
        "node": to_hex(announcement.node),
        "instance": announcement.instance.hex(),
        "track_root": to_hex(announcement.track_root),
        "manifest_hash": to_hex(announcement.manifest_hash),
        "held": [
            {"rendition": rendition, "chunks": held.count, "bitfield": _write_bitfield(held)}
            for rendition, held in sorted(announcement.held.items())
        ],
        "operator": announcement.operator,
        "network": announcement.network,
        "gateway_url": announcement.gateway_url,
        "signal_url": announcement.signal_url,
        "multiaddrs": list(announcement.multiaddrs),
        "pinned_for": [to_hex(order_id) for order_id in announcement.pinned_for],
        "sequence": announcement.sequence,
        "issued_at": announcement.issued_at,
        "valid_until": announcement.valid_until,
    }
    if announcement.account is not None:
        members["account"] = announcement.account
    return encode_signed(KIND, members, sign, MAX_ANNOUNCEMENT_BYTES)


def parse_announcement(document: bytes, now_s: float, verify: Verify) -> Announcement:
    """Read and check an announcement: everything but whether it is newer than what is known.

    Args:
        now_s: seconds since 1970.
    Raises:
        PeerFault: `announcement_too_large`, `_unsigned`, `_not_json`, `_version`, `_forged`, `_field`
            (data: field), `_from_the_future`, `_expired`.
    """
    reader, node = open_signed(KIND, document, verify, "node", MAX_ANNOUNCEMENT_BYTES)
    announcement = Announcement(
        node=node,
        instance=read_hex(reader, "instance", 16),
        track_root=reader.hash("track_root"),
        manifest_hash=reader.hash("manifest_hash"),
        held=_read_held(reader),
        operator=reader.text("operator", MAX_NAME),
        network=reader.text("network", MAX_NAME),
        gateway_url=read_url(reader, "gateway_url", ("https://", "http://")),
        signal_url=read_url(reader, "signal_url", ("wss://", "ws://")),
        multiaddrs=read_multiaddrs(reader),
        pinned_for=_read_ids(reader, "pinned_for"),
        sequence=reader.integer("sequence", 0, MAX_SEQUENCE),
        issued_at=reader.integer("issued_at", 0, MAX_TIME_S),
        valid_until=reader.integer("valid_until", 0, MAX_TIME_S),
        account=read_account(reader, "account") if reader.value("account") is not None else None,
    )
    check_times(KIND, announcement.issued_at, announcement.valid_until, now_s)
    if announcement.lifetime_s > MAX_LIFETIME_S:
        reader.refuse("valid_until", f"at most {MAX_LIFETIME_S} seconds after issued_at")
    return announcement


def _read_ids(reader: JsonReader, field_name: str) -> tuple[bytes, ...]:
    ids = reader.items(field_name, 0, MAX_PINS)
    if not all(map(is_hex_id, ids)):
        reader.refuse(field_name, f"a list of at most {MAX_PINS} ids")
    return tuple(map(from_hex, ids))


def read_hex(reader: JsonReader, field_name: str, size: int) -> bytes:
    """A member of `size` bytes in lower-case hex. Raises PeerFault `<kind>_field`."""
    text = reader.text(field_name, 2 * size)
    if len(text) != 2 * size or not set(text) <= set("0123456789abcdef"):
        reader.refuse(field_name, f"{2 * size} lower-case hex digits")
    return bytes.fromhex(text)


def read_url(reader: JsonReader, field_name: str, schemes: tuple[str, ...]) -> str | None:
    """A member that is missing or a URL of one of these schemes. Raises PeerFault `<kind>_field`."""
    url = reader.optional_text(field_name, MAX_ADDRESS)
    if url is not None and not (url.startswith(schemes) and _is_one_word(url)):
        reader.refuse(field_name, f"a URL that begins with {' or '.join(schemes)}")
    return url


def read_multiaddrs(reader: JsonReader) -> tuple[str, ...]:
    """The member `multiaddrs`, only looked at from outside. Raises PeerFault `<kind>_field`."""
    items = reader.items("multiaddrs", 0, MAX_MULTIADDRS)
    if not all(isinstance(item, str) and len(item) <= MAX_ADDRESS and item[:1] == "/" for item in items):
        reader.refuse("multiaddrs", f"a list of multiaddrs of at most {MAX_ADDRESS} characters each")
    if not all(map(_is_one_word, items)):
        reader.refuse("multiaddrs", "a list of multiaddrs")
    return tuple(items)


def _is_one_word(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _write_bitfield(held: Bitfield) -> str:
    return "all" if held.is_full else base64.b64encode(held.encode()).decode()


def _read_held(reader: JsonReader) -> dict[int, Bitfield]:
    held: dict[int, Bitfield] = {}
    chunks = 0
    for item in reader.objects("held", 0, MAX_RENDITIONS):
        rendition = item.integer("rendition", 0, MAX_RENDITIONS - 1)
        count = item.integer("chunks", 1, MAX_CHUNKS)
        chunks += count
        # All together, because "all" is a short word for many bits: memory is bounded by what is sent.
        if rendition in held or chunks > MAX_CHUNKS:
            reader.refuse("held", f"each rendition once, with at most {MAX_CHUNKS} chunks together")
        if item.value("bitfield") == "all":
            held[rendition] = Bitfield.full(count)
            continue
        try:
            held[rendition] = Bitfield.decode(item.binary("bitfield", _BITFIELD_BYTES), count)
        except PeerFault as fault:
            item.refuse("bitfield", f"'all' or a bitfield ({fault.message})")
    return held


@dataclass
class _Kept:
    announcement: Announcement
    believed_until: float
    remembered_until: float

    @property
    def cost(self) -> int:
        return 1024 + sum(held.count // 8 for held in self.announcement.held.values())


@dataclass
class _Node:
    instance: bytes
    instance_since: int
    former: list[bytes] = field(default_factory=list)
    tracks: dict[bytes, _Kept] = field(default_factory=dict)

    def believes(self, kept: _Kept, now_s: float) -> bool:
        """Whether a word of this node counts now: not over, not taken back, and the node itself not gone."""
        presence = self.tracks.get(PRESENCE)
        if now_s >= kept.believed_until or (presence and now_s >= presence.believed_until):
            return False
        return kept is presence or any(len(held) for held in kept.announcement.held.values())


class AnnouncementLedger:
    """The latest announcement of each node and track. Bounded.

    A full one refuses what is new and forgets nothing, so that a flood of names pushes nobody out.

    Args:
        most_bytes: of memory, roughly.
        most_tracks_per_node: a node with more must be asked directly.
    """

    _FORMER_INSTANCES = 8
    _MOST_HEARD = 20_000

    def __init__(self, most_bytes: int = 64 << 20, most_tracks_per_node: int = 10_000) -> None:
        self._most_bytes = most_bytes
        self._most_tracks_per_node = most_tracks_per_node
        self._nodes: dict[bytes, _Node] = {}
        self._heard_at: dict[bytes, float] = {}
        self._bytes = 0
        self._swept_at = 0.0

    def add(self, announcement: Announcement, now_s: float) -> None:
        """Take an announcement that `parse_announcement` has let through.

        Raises:
            PeerFault: `announcement_replayed`: not newer than what is known;
                `announcement_two_nodes`: two processes use one key.
            CallerFault: `announcement_ledger_full`: not wrong, but not kept.
        """
        node = self._nodes.get(announcement.node)
        known = node.tracks.get(announcement.track_root) if node else None
        if known and announcement.sequence <= known.announcement.sequence:
            self._refuse_old(announcement, known.announcement)
        if node:
            _check_instance(node, announcement)
        believed_until = now_s + announcement.lifetime_s
        remembered_until = max(believed_until, announcement.valid_until + CLOCK_SKEW_S)
        kept = _Kept(announcement, believed_until, remembered_until)
        self._make_room(node, known, kept, now_s)
        if announcement.node not in self._nodes:
            self._nodes[announcement.node] = _Node(announcement.instance, announcement.issued_at)
        self._nodes[announcement.node].tracks[announcement.track_root] = kept
        self._bytes += kept.cost - (known.cost if known else 0)
        self._note_heard(announcement.node, now_s)

    def present(self, now_s: float) -> list[Announcement]:
        """The latest word of every node that is there, whatever it is about: who runs it, where it is."""
        found = []
        for node in self._nodes.values():
            believed = [kept.announcement for kept in node.tracks.values() if node.believes(kept, now_s)]
            if believed:
                found.append(max(believed, key=lambda announcement: announcement.sequence))
        return found

    def of_track(self, track_root: bytes, now_s: float) -> list[Announcement]:
        """Who claims chunks of a track, in no order; what was taken back or is over is left out."""
        found = ((node, node.tracks.get(track_root)) for node in self._nodes.values())
        return [kept.announcement for node, kept in found if kept and node.believes(kept, now_s)]

    def is_present(self, node: bytes, now_s: float) -> bool:
        """Whether a node is there."""
        known = self._nodes.get(node)
        return known is not None and any(known.believes(kept, now_s) for kept in known.tracks.values())

    def last_word(self, node: bytes) -> Announcement | None:
        """What a node said of itself, also if it is gone; None where that is forgotten."""
        known = self._nodes.get(node)
        if known is None:
            return None
        return (known.tracks.get(PRESENCE) or next(iter(known.tracks.values()))).announcement

    def heard_at(self, node: bytes) -> float | None:
        """When the latest word of a node came, also if what it said is forgotten; None: none is known."""
        return self._heard_at.get(node)

    def nodes(self, now_s: float) -> Iterator[bytes]:
        """The keys of the nodes that are there."""
        return (announcement.node for announcement in self.present(now_s))

    def of_node(self, node: bytes, now_s: float) -> list[Announcement]:
        """What a node claims to hold."""
        known = self._nodes.get(node)
        if known is None:
            return []
        believed = [kept.announcement for kept in known.tracks.values() if known.believes(kept, now_s)]
        return [announcement for announcement in believed if announcement.held]

    def claim(self, node: bytes, track_root: bytes, now_s: float) -> Announcement | None:
        """What a node claims of a track; None where it claims nothing."""
        known = self._nodes.get(node)
        kept = known.tracks.get(track_root) if known else None
        return kept.announcement if known and kept and known.believes(kept, now_s) else None

    def instance_of(self, node: bytes) -> bytes | None:
        """Which process of a node spoke last; None: no word of it is known."""
        known = self._nodes.get(node)
        return known.instance if known else None

    def knows(self, announcement: Announcement) -> bool:
        """Whether this very announcement is the latest of its node and track: said again, not replayed."""
        node = self._nodes.get(announcement.node)
        kept = node.tracks.get(announcement.track_root) if node else None
        return kept is not None and kept.announcement == announcement

    def sweep(self, now_s: float) -> None:
        """Forget what could not be replayed any more either."""
        self._swept_at = now_s
        for name, node in list(self._nodes.items()):
            for track_root, kept in list(node.tracks.items()):
                if kept.remembered_until <= now_s:
                    del node.tracks[track_root]
                    self._bytes -= kept.cost
            if not node.tracks:
                del self._nodes[name]

    def __len__(self) -> int:
        """Announcements in memory, those that are over included."""
        return sum(len(node.tracks) for node in self._nodes.values())

    def _note_heard(self, node: bytes, now_s: float) -> None:
        self._heard_at.pop(node, None)  # so that the one who has been silent for longest stands first
        self._heard_at[node] = now_s
        if len(self._heard_at) > self._MOST_HEARD:
            del self._heard_at[next(iter(self._heard_at))]

    def _refuse_old(self, announcement: Announcement, known: Announcement) -> None:
        if announcement.instance != known.instance and announcement.issued_at > known.issued_at:
            # A restarted node goes on counting behind what it said before; a second process does not know it.
            raise _two_nodes()
        if announcement.sequence == known.sequence and announcement != known:
            raise _two_nodes()
        raise PeerFault("announcement_replayed", "An announcement is not newer than the one that is known.")

    def _make_room(self, node: _Node | None, known: _Kept | None, kept: _Kept, now_s: float) -> None:
        if known is None and node and len(node.tracks) >= self._most_tracks_per_node:
            raise CallerFault("announcement_ledger_full", "A node announces more tracks than are kept of one.")
        needed = kept.cost - (known.cost if known else 0)
        if self._bytes + needed > self._most_bytes and now_s >= self._swept_at + _SWEEP_EVERY_S:
            self.sweep(now_s)
        if self._bytes + needed > self._most_bytes:
            raise CallerFault("announcement_ledger_full", "More announcements came than are kept in memory.")


def _check_instance(node: _Node, announcement: Announcement) -> None:
    if announcement.instance == node.instance:
        return
    if announcement.issued_at <= node.instance_since:
        raise PeerFault("announcement_replayed", "An announcement is of a process that was replaced since.")
    if announcement.instance in node.former:
        raise _two_nodes()
    node.former = [*node.former, node.instance][-AnnouncementLedger._FORMER_INSTANCES :]
    node.instance, node.instance_since = announcement.instance, announcement.issued_at


def _two_nodes() -> PeerFault:
    return PeerFault(
        "announcement_two_nodes", "Two running nodes use one identity: stop one, or give it a key of its own."
    )
