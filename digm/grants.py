"""Listening grants: how a page gets the keys of what it may play, and of nothing else (protocol: Grants).

The artist's vault writes a grant, seals it with HPKE (RFC 9180) to the page's X25519 key and signs the sealed
bytes with the artist's Ed25519 key. Sealing, opening and checking the signature belong to the rooms around this
one; here are the bytes of all three. A preview is a grant that holds the chunk keys of the first seconds: what
it does not hold cannot be played, whatever the player does.
"""

import json
from dataclasses import dataclass

from digm.chunks import MAX_CHUNKS, MAX_RENDITIONS
from digm.errors import PeerFault
from digm.ids import ID_BYTES, to_hex
from digm.json_reader import JsonReader
from digm.keys import KEY_BYTES, chunk_key, key_commitment
from digm.manifest import Manifest, Rendition

GRANT_INFO = b"digm/1 grant"
"""The `info` of the HPKE context; the `aad` is the track root."""

MAX_GRANT_BYTES = 4 * 1024 * 1024
_SIGNATURE_BYTES = 64


@dataclass(frozen=True)
class ChunkKeys:
    """The keys of consecutive chunks of one rendition."""

    rendition: int
    first_chunk: int
    keys: tuple[bytes, ...]


@dataclass(frozen=True)
class Grant:
    """What one player may decrypt, and until when.

    Attributes:
        player_key: the X25519 public key of the page that asked; its session.
        not_after: seconds since 1970; a player asks again before it, and plays nothing behind it.
        track_key: where everything is granted.
        chunk_keys: where a part is granted.
    """

    track_root: bytes
    player_key: bytes
    not_after: int
    track_key: bytes | None = None
    chunk_keys: tuple[ChunkKeys, ...] = ()

    def key_for(self, rendition: int, chunk: int) -> bytes | None:
        """The AES-256 key of a chunk; None where this grant does not reach."""
        if self.track_key is not None:
            return chunk_key(self.track_key, rendition, chunk)
        for run in self.chunk_keys:
            if run.rendition == rendition and 0 <= chunk - run.first_chunk < len(run.keys):
                return run.keys[chunk - run.first_chunk]
        return None

    def check(self, manifest: Manifest, player_key: bytes, now_s: float) -> None:
        """Refuse a grant that is for another track, another page, another time or another key.

        Raises:
            PeerFault: `grant_mismatch`, `grant_expired`, `grant_wrong_key`.
        """
        if self.track_root != manifest.track_root or self.player_key != player_key:
            raise PeerFault("grant_mismatch", "The listening grant is for another track or another page.")
        if self.not_after <= now_s:
            raise PeerFault(
                "grant_expired", "The listening grant has expired: check this device's clock, then reload."
            )
        if self.track_key is not None and key_commitment(self.track_key) != manifest.key_commitment:
            raise PeerFault("grant_wrong_key", "The key that came is not the key of this track.")


def preview_chunks(rendition: Rendition, preview_s: int) -> range:
    """The chunks whose keys a preview holds: those that start inside it.

    Publishing ends a chunk with the access unit in which the preview ends (digm.packing), so these keys open
    nothing behind it; of a track that was published before it did, at most 8 s.
    """
    return range(sum(rendition.chunk_start_s(chunk) < preview_s for chunk in range(rendition.chunk_count)))


def make_grant(manifest: Manifest, track_key: bytes, player_key: bytes, not_after: int) -> Grant:
    """What anyone may hear of a track: all of it, or its preview."""
    if manifest.preview_s is None:
        return Grant(manifest.track_root, player_key, not_after, track_key=track_key)
    runs = []
    for rendition in manifest.renditions:
        chunks = preview_chunks(rendition, manifest.preview_s)
        runs.append(ChunkKeys(rendition.id, 0, tuple(chunk_key(track_key, rendition.id, i) for i in chunks)))
    return Grant(manifest.track_root, player_key, not_after, chunk_keys=tuple(runs))


def encode_grant(grant: Grant) -> bytes:
    """The plaintext that is sealed: UTF-8 JSON."""
    return json.dumps(
        {
            "digm": 1,
            "track_root": to_hex(grant.track_root),
            "player_key": to_hex(grant.player_key),
            "not_after": grant.not_after,
            "track_key": grant.track_key and to_hex(grant.track_key),
            "chunk_keys": [
                {"rendition": run.rendition, "first_chunk": run.first_chunk, "keys": b"".join(run.keys).hex()}
                for run in grant.chunk_keys
            ],
        },
        separators=(",", ":"),
    ).encode()


def decode_grant(plaintext: bytes) -> Grant:
    """Read what was sealed.

    Raises:
        PeerFault: `grant_not_json`, `grant_field` (data: field), `grant_too_large`.
    """
    if len(plaintext) > MAX_GRANT_BYTES:
        raise PeerFault("grant_too_large", f"The listening grant is larger than {MAX_GRANT_BYTES} bytes.")
    reader = JsonReader.parse(plaintext, "grant")
    reader.integer("digm", 1, 1)
    return Grant(
        track_root=reader.hash("track_root"),
        player_key=reader.hash("player_key"),
        not_after=reader.integer("not_after", 0, 1 << 53),
        track_key=None if reader.value("track_key") is None else reader.hash("track_key"),
        chunk_keys=tuple(_chunk_keys(run) for run in reader.objects("chunk_keys", 0, MAX_RENDITIONS)),
    )


def _chunk_keys(run: JsonReader) -> ChunkKeys:
    keys = _hexadecimal(run, "keys", MAX_CHUNKS * KEY_BYTES)
    if len(keys) % KEY_BYTES:
        run.refuse("keys", "whole keys of 32 bytes")
    return ChunkKeys(
        rendition=run.integer("rendition", 0, MAX_RENDITIONS),
        first_chunk=run.integer("first_chunk", 0, MAX_CHUNKS),
        keys=tuple(keys[i : i + KEY_BYTES] for i in range(0, len(keys), KEY_BYTES)),
    )


def _hexadecimal(reader: JsonReader, field: str, most: int) -> bytes:
    value = reader.value(field)
    if not isinstance(value, str) or len(value) > 2 * most:
        reader.refuse(field, f"at most {2 * most} hex digits")
    try:
        return bytes.fromhex(value)
    except ValueError:
        reader.refuse(field, f"at most {2 * most} hex digits")


@dataclass(frozen=True)
class SealedGrant:
    """A grant on its way: the hub carries it and cannot read it.

    Attributes:
        enc: the encapsulated HPKE key, 32 bytes.
        sealed: the HPKE ciphertext of `encode_grant`.
        signature: the artist's, over `signed_part`: a hub cannot make a grant of its own.
    """

    enc: bytes
    sealed: bytes
    signature: bytes

    @property
    def signed_part(self) -> bytes:
        return signed_part(self.enc, self.sealed)

    def to_json(self) -> dict[str, str]:
        return {"enc": self.enc.hex(), "sealed": self.sealed.hex(), "signature": self.signature.hex()}

    @classmethod
    def from_reader(cls, reader: JsonReader) -> "SealedGrant":
        """Read the members `enc`, `sealed` and `signature` of a message.

        Raises:
            PeerFault: `<kind>_field` (data: field).
        """
        grant = cls(
            enc=_hexadecimal(reader, "enc", ID_BYTES),
            sealed=_hexadecimal(reader, "sealed", MAX_GRANT_BYTES),
            signature=_hexadecimal(reader, "signature", _SIGNATURE_BYTES),
        )
        if len(grant.enc) != ID_BYTES or len(grant.signature) != _SIGNATURE_BYTES:
            reader.refuse("enc", "32 bytes, with a signature of 64")
        return grant


def signed_part(enc: bytes, sealed: bytes) -> bytes:
    """What the artist's key signs of a sealed grant."""
    return GRANT_INFO + enc + sealed
