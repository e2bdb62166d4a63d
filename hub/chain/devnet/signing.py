"""What a page has accounts sign that is no transaction: texts and permits; everybody knows the keys."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from eth_account.messages import SignableMessage, encode_defunct, encode_typed_data
from eth_account.signers.local import LocalAccount

from digm.errors import CallerFault
from hub.chain.devnet import parameters as read
from hub.chain.devnet.accounts import demo_accounts
from hub.chain.devnet.wording import data

Parameters = Sequence[Any]


def account_of(address: bytes) -> LocalAccount:
    """The account whose key everybody has.

    Raises:
        CallerFault: `unknown_account`.
    """
    for account in demo_accounts():
        if bytes.fromhex(account.address[2:]) == address:
            return account
    raise CallerFault("unknown_account", "The key of this account is not here: sign it where it is.")


SIGNING: dict[str, Callable[[Parameters], str]] = {
    # The one has the address behind the text, the other before it.
    "personal_sign": lambda p: _sign(read.at(p, 1), _text(read.at(p, 0))),
    "eth_sign": lambda p: _sign(read.at(p, 0), _text(read.at(p, 1))),
    "eth_signTypedData_v4": lambda p: _sign(read.at(p, 0), _typed(read.at(p, 1))),
}
"""By name; each returns 65 bytes of signature in hex."""


def _sign(address: Any, message: SignableMessage) -> str:
    return data(bytes(account_of(read.read_address(address)).sign_message(message).signature))


def _text(given: Any) -> SignableMessage:
    """EIP-191: what is signed begins so that it can never be a transaction."""
    return encode_defunct(read.read_bytes(given, "the text"))


def _typed(given: Any) -> SignableMessage:
    """EIP-712."""
    try:
        document = msgspec.json.decode(given) if isinstance(given, str) else given
        return encode_typed_data(full_message=document)
    except Exception as error:  # the library raises many kinds
        raise read.bad("the typed data is not as EIP-712 says") from error
