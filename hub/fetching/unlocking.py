"""Keys and seals at the listener's end: manifests and grants are believed by their signatures, frames by tags.

What web.unlock does in a page with WebCrypto, this does with `cryptography`. A key pair is made for one grant.
"""

import time
from pathlib import Path

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.bindings._rust import openssl as rust_openssl
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from digm.chunks import FRAME_BYTES, FRAME_PLAINTEXT_BYTES, frame_additional_data, frame_nonce
from digm.errors import CallerFault, PeerFault
from digm.grants import GRANT_INFO, Grant, SealedGrant, decode_grant
from digm.ids import is_hex_id, to_hex
from digm.keys import key_commitment
from digm.manifest import Manifest, Rendition, parse_manifest
from hub.granting.issue import SUITE
from hub.storage.verification import signature_holds

_MAX_KEY_FILE_BYTES = 4_096


def check_manifest(document: bytes, track_root: str, artist: str | None = None) -> Manifest:
    """Read a manifest and check all of it, the artist's signature too.

    Args:
        artist: the artist's key in hex, if it is known; without it the manifest names its own.
    Raises:
        PeerFault: a `manifest_*` code; `manifest_other_track`, `manifest_other_artist`, `manifest_signature`.
    """
    manifest = parse_manifest(document)
    if to_hex(manifest.track_root) != track_root:
        raise PeerFault("manifest_other_track", "What came is the manifest of another track.")
    if artist is not None and to_hex(manifest.artist_key) != artist:
        raise PeerFault("manifest_other_artist", "What came is a manifest by another artist.")
    if not signature_holds(manifest):
        raise PeerFault("manifest_signature", "The artist's signature on this track is not genuine.")
    return manifest


class Session:
    """A key pair for one grant: whoever has the private key may open it."""

    def __init__(self) -> None:
        self._private = X25519PrivateKey.generate()

    @property
    def public_key(self) -> bytes:
        """What the artist seals to, 32 bytes."""
        return self._private.public_key().public_bytes_raw()

    def open(self, sealed: SealedGrant, manifest: Manifest) -> Grant:
        """Check who signed a grant, open it, check that it is ours.

        Raises:
            PeerFault: `grant_signature`, `grant_sealed_wrong`, and what `decode_grant` and `Grant.check` raise.
        """
        try:
            artist = Ed25519PublicKey.from_public_bytes(manifest.artist_key)
            artist.verify(sealed.signature, sealed.signed_part)
        except (InvalidSignature, ValueError) as error:
            raise PeerFault(
                "grant_signature", "The listening grant is not signed by the artist of this track."
            ) from error
        # As in hub.granting.issue: cryptography 50 takes an `aad` only here.
        try:
            opened = rust_openssl.hpke._decrypt_with_aad(
                SUITE, sealed.enc + sealed.sealed, self._private, info=GRANT_INFO, aad=manifest.track_root
            )
        except (InvalidTag, ValueError) as error:
            raise PeerFault("grant_sealed_wrong", "The listening grant does not open with our key.") from error
        grant = decode_grant(opened)
        grant.check(manifest, self.public_key, time.time())
        return grant


def read_key(text: str) -> bytes:
    """The track key that an option gives: 64 hex digits, or the name of a file that holds them (or 32 bytes).

    Raises:
        CallerFault: `bad_key`; the sentence does not repeat what was given.
    """
    text = text.strip()
    if is_hex_id(text.lower()):
        return bytes.fromhex(text)
    try:
        with Path(text).expanduser().open("rb") as file:
            held = file.read(_MAX_KEY_FILE_BYTES)
    except (OSError, ValueError) as error:
        raise CallerFault(
            "bad_key", "--key takes 64 hex digits, or a file that holds them; it is neither."
        ) from error
    if len(held) == 32:
        return held
    written = held.decode("ascii", "replace").strip().lower()
    if not is_hex_id(written):
        raise CallerFault("bad_key", "The file that --key names holds no key: 64 hex digits, or 32 bytes.")
    return bytes.fromhex(written)


def whole_grant(manifest: Manifest, track_key: bytes) -> Grant:
    """All of a track, for somebody who has its key.

    Raises:
        CallerFault: `wrong_key`.
    """
    if key_commitment(track_key) != manifest.key_commitment:
        raise CallerFault("wrong_key", "This is not the key of this track.")
    return Grant(manifest.track_root, b"", 0, track_key=track_key)


def open_chunk(rendition: Rendition, chunk: int, sealed: bytes, key: bytes) -> bytes:
    """The plaintext of a verified chunk (docs/format.md, Encryption).

    Args:
        key: the chunk's key, not the track's.
    Raises:
        PeerFault: `frame_tag`, a frame is not what the artist encrypted with this key.
    """
    frames, cipher, source = rendition.chunk_frames(chunk), AESGCM(key), memoryview(sealed)
    opened = bytearray(frames * FRAME_PLAINTEXT_BYTES)
    target = memoryview(opened)
    for frame in range(frames):
        place = frame_additional_data(rendition.id, chunk, frame, rendition.is_last_frame(chunk, frame))
        try:
            cipher.decrypt_into(
                frame_nonce(frame),
                source[frame * FRAME_BYTES : (frame + 1) * FRAME_BYTES],
                place,
                target[frame * FRAME_PLAINTEXT_BYTES : (frame + 1) * FRAME_PLAINTEXT_BYTES],
            )
        except InvalidTag as error:
            raise PeerFault("frame_tag", "A part of this track does not open with its key.") from error
    return bytes(opened)
