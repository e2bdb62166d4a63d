"""Keys and seals: opening the artist's grant (HPKE, RFC 9180), checking signatures, opening frames of audio.

The private key of the page lives in WebCrypto and cannot leave it. Chunk keys exist here, in the page, for
what the grant covers and for nothing else: what is not granted cannot be computed from what is.
"""

import hmac
from typing import Any

from digm.chunks import FRAME_BYTES, FRAME_PLAINTEXT_BYTES, frame_additional_data, frame_nonce
from digm.errors import PeerFault
from digm.grants import GRANT_INFO, Grant, SealedGrant, decode_grant
from digm.ids import to_hex
from digm.manifest import Manifest, Rendition, parse_manifest
from web import browser
from web.browser import JsBytes

# DHKEM(X25519 or P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM: RFC 9180 §7.
_X25519, _P256 = b"\x00\x20", b"\x00\x10"
_KDF_AND_AEAD = b"\x00\x01\x00\x02"
_KEY_BYTES, _NONCE_BYTES = 32, 12
_MODE_BASE = b"\x00"


def _extract(suite: bytes, salt: bytes, label: bytes, key_material: bytes) -> bytes:
    """LabeledExtract (RFC 9180 §4)."""
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + key_material, "sha256")


def _expand(suite: bytes, secret: bytes, label: bytes, info: bytes, length: int) -> bytes:
    """LabeledExpand (RFC 9180 §4) for at most one block."""
    labelled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.digest(secret, labelled + b"\x01", "sha256")[:length]


def hpke_schedule(
    shared: bytes, enc: bytes, public_key: bytes, info: bytes, kem: bytes = _X25519
) -> tuple[bytes, bytes]:
    """From the Diffie-Hellman result to the AEAD's key and nonce (RFC 9180 §4.1 and §5.1, base mode)."""
    kem_suite, suite = b"KEM" + kem, b"HPKE" + kem + _KDF_AND_AEAD
    prk = _extract(kem_suite, b"", b"eae_prk", shared)
    secret = _expand(kem_suite, prk, b"shared_secret", enc + public_key, 32)
    psk_id_hash = _extract(suite, b"", b"psk_id_hash", b"")
    context = _MODE_BASE + psk_id_hash + _extract(suite, b"", b"info_hash", info)
    secret = _extract(suite, secret, b"secret", b"")
    key = _expand(suite, secret, b"key", context, _KEY_BYTES)
    return key, _expand(suite, secret, b"base_nonce", context, _NONCE_BYTES)


async def hpke_open(
    key_pair: Any, enc: bytes, sealed: bytes, info: bytes, aad: bytes, *, is_p256: bool = False
) -> bytes | None:
    """Open a single HPKE message (RFC 9180 §6.1); None if it is not genuine, or not for this key.

    Raises:
        PeerFault: `bad_public_key`: `enc` is none.
    """
    public_key = await browser.raw_public_key(key_pair)
    shared = await browser.diffie_hellman(key_pair.privateKey, enc, is_p256=is_p256)
    key, nonce = hpke_schedule(shared, enc, public_key, info, _P256 if is_p256 else _X25519)
    return await browser.aes_gcm_open(key, nonce, aad, sealed)


async def check_manifest(document: bytes, track_root: str) -> Manifest:
    """Read a manifest and check all of it, the artist's signature too.

    Raises:
        PeerFault: a `manifest_*` code; `manifest_other_track`, `manifest_signature`.
    """
    manifest = parse_manifest(document)
    if to_hex(manifest.track_root) != track_root:
        raise PeerFault(
            "manifest_other_track", "What came is the manifest of another track; nothing of it is played."
        )
    if not await browser.ed25519_verify(manifest.artist_key, manifest.signature, manifest.signed_part):
        raise PeerFault(
            "manifest_signature", "The artist's signature on this track is not genuine; it is not played."
        )
    return manifest


async def open_grant(sealed: SealedGrant, manifest: Manifest, key_pair: Any) -> Grant:
    """Check who signed a grant, open it, check that it is ours.

    Raises:
        PeerFault: `grant_signature`, `grant_sealed_wrong`, and what `decode_grant` and `Grant.check` raise.
    """
    if not await browser.ed25519_verify(manifest.artist_key, sealed.signature, sealed.signed_part):
        raise PeerFault("grant_signature", "The listening grant is not signed by the artist of this track.")
    opened = await hpke_open(key_pair, sealed.enc, sealed.sealed, GRANT_INFO, manifest.track_root)
    if opened is None:
        raise PeerFault("grant_sealed_wrong", "The listening grant does not open with this page's key.")
    grant = decode_grant(opened)
    grant.check(manifest, await browser.raw_public_key(key_pair), browser.wall_clock_s())
    return grant


async def open_chunk(rendition: Rendition, chunk: int, data: JsBytes, key: bytes, start: int) -> JsBytes:
    """Decrypt a verified chunk from plaintext byte `start` on; frames before it are not touched.

    Raises:
        PeerFault: `frame_tag`, a frame is not what the artist encrypted: the whole chunk is refused.
    """
    first = start // FRAME_PLAINTEXT_BYTES
    sealed = data[first * FRAME_BYTES :]
    opened = await open_frames(rendition, chunk, first, sealed, key)
    if len(opened) // FRAME_PLAINTEXT_BYTES < len(sealed) // FRAME_BYTES:
        raise PeerFault("frame_tag", "A part of this track does not open with its key; it is not played.")
    return opened[start - first * FRAME_PLAINTEXT_BYTES :]


async def open_frames(rendition: Rendition, chunk: int, first: int, sealed: JsBytes, key: bytes) -> JsBytes:
    """Decrypt consecutive frames of a chunk, from number `first` on, verified or not.

    Returns:
        The plaintext of the frames in front of the first that is not what the artist encrypted.
    """
    places = b"".join(
        frame_nonce(frame)
        + frame_additional_data(rendition.id, chunk, frame, rendition.is_last_frame(chunk, frame))
        for frame in range(first, first + len(sealed) // FRAME_BYTES)
    )
    return await browser.open_frames(key, sealed, places)
