"""Whose account showed itself: the signature under a sign-in message (EIP-4361, EIP-191)."""

import binascii

from digm.errors import PeerFault
from digm.sign_in import MAX_MESSAGE_BYTES, SIGNATURE_BYTES, SignIn


def signed_in(message: str, signature_hex: str) -> SignIn:
    """Read a sign-in message and see that its account signed it.

    Accounts that are contracts (EIP-1271) have no such signature and are refused.

    Args:
        signature_hex: 65 bytes (`r || s || v`) with or without 0x, as `personal_sign` gives them.
    Raises:
        PeerFault: `bad_sign_in`, `sign_in_forged`.
    """
    from eth_account import Account
    from eth_account.messages import encode_defunct
    from eth_utils.address import to_checksum_address

    if len(message) > MAX_MESSAGE_BYTES or len(signature_hex) > 2 * SIGNATURE_BYTES + 2:
        raise _forged()
    signed = SignIn.decode(message)
    try:
        signature = binascii.unhexlify(signature_hex.removeprefix("0x"))
        if len(signature) != SIGNATURE_BYTES or signature[-1] not in (0, 1, 27, 28):
            raise _forged()
        signer = Account.recover_message(encode_defunct(text=message), signature=signature)
    except PeerFault:
        raise
    except Exception as error:  # eth-keys has classes of its own for each way in which it is none
        raise _forged() from error
    if to_checksum_address(signed.address) != signed.address:
        raise PeerFault("bad_sign_in", "The sign-in could not be read: its address has a wrong checksum.")
    if signer != signed.address:
        raise _forged()
    return signed


def _forged() -> PeerFault:
    return PeerFault("sign_in_forged", "The sign-in was not signed by the account that it names.")
