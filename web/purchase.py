"""Track keys that somebody paid for: opened with what this browser has, compared with the artist's word.

Two ways bring one. The wrapped key from the chain opens with the listening key of this browser's account
(static/digm-account.js); a page that was embedded elsewhere gets it from the window in which it was bought,
sealed to the session key that its grants are sealed to. Neither is believed before the commitment was compared.
"""

from typing import Any

from digm.errors import PeerFault
from digm.manifest import Manifest
from digm.purchases import PURCHASE_INFO, Suite, WrappedKey, check_track_key, key_at, purchase_aad
from web import unlock

UNLOCK_INFO = b"digm/1 unlock"
"""The `info` of the HPKE context of a key for a page's session; the `aad` is the track root."""

_ENC_BYTES = 32


async def open_owned(owned: Any, manifest: Manifest) -> bytes:
    """Open the wrapped key of a purchase.

    Args:
        owned: what static/digm-owned.js gives: the purchase, and this browser's listening key.
    Raises:
        PeerFault: `bad_wrapped_key`, `bad_purchase`, `wrapped_key_not_ours`, `wrong_track_key`.
    """
    wrapped = WrappedKey.decode(owned.wrapped.to_bytes())
    suite = Suite(int(owned.suite))
    if suite is not wrapped.suite:
        raise _not_ours()
    aad = purchase_aad(int(owned.chainId), *(_unhex(word) for word in (owned.sales, owned.item, owned.buyer)))
    opened = await unlock.hpke_open(
        owned.keys, wrapped.enc, wrapped.sealed, PURCHASE_INFO, aad, is_p256=suite is Suite.P256
    )
    if opened is None:
        raise _not_ours()
    key = key_at(opened, int(owned.place))
    check_track_key(key, manifest)
    return key


async def open_sealed(sealed: bytes, manifest: Manifest, key_pair: Any) -> bytes:
    """Open a key that the window of the purchase sealed to this page's session.

    Args:
        sealed: 32 bytes `enc`, then the HPKE ciphertext of the key.
    Raises:
        PeerFault: `wrapped_key_not_ours`, `wrong_track_key`.
    """
    enc, ciphertext = sealed[:_ENC_BYTES], sealed[_ENC_BYTES:]
    opened = None
    if len(enc) == _ENC_BYTES:
        opened = await unlock.hpke_open(key_pair, enc, ciphertext, UNLOCK_INFO, manifest.track_root)
    if opened is None:
        raise _not_ours()
    check_track_key(opened, manifest)
    return opened


def _unhex(word: str) -> bytes:
    try:
        return bytes.fromhex(word.removeprefix("0x"))
    except ValueError as fault:
        raise PeerFault("bad_purchase", "What is kept of this purchase is damaged; fetch it again.") from fault


def _not_ours() -> PeerFault:
    return PeerFault(
        "wrapped_key_not_ours",
        "The key that was delivered is for another buyer or another track, or was altered: it does not open "
        "here. The preview plays on; a purchase without its key can be refunded.",
    )
