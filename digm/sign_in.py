"""The message with which a listener shows an account to an artist's vault: EIP-4361 ("Sign-In with Ethereum").

    hub.example wants you to sign in with your Ethereum account:
    0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266

    Hear what this account may hear. This pays nothing and gives nothing away.

    URI: https://hub.example/track/…
    Version: 1
    Chain ID: 31337
    Nonce: 8f3c…
    Issued At: 2026-11-23T14:00:00Z
    Expiration Time: 2026-11-23T22:00:00Z
    Resources:
    - digm:player:<the page's X25519 session key, 64 hex digits>

Of what the standard allows, this one form is taken and no other: what a person signed and what a vault read
are the same bytes. The message is bound to the session key, and a grant is sealed to that key: whoever sees
message and signature can do nothing with them, so a nonce need not be remembered. The signature itself, and the
address's checksum (Keccak), are for the room around this one (`hub/chain/accounts.py`).
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from digm.errors import CallerFault, PeerFault

STATEMENT = "Hear what this account may hear. This pays nothing and gives nothing away."
MAX_MESSAGE_BYTES = 2_048
SIGNATURE_BYTES = 65
LONGEST_S = 24 * 3600
"""So long a message may be good for: a wallet asks its person once a day at most."""
CLOCK_OFF_S = 300
"""So much a page's clock may go ahead of the vault's."""
_DOMAIN = r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?(?::[0-9]{1,5})?|\[[0-9a-f:.]{2,45}\](?::[0-9]{1,5})?"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"
_MESSAGE = re.compile(
    rf"(?P<domain>{_DOMAIN}) wants you to sign in with your Ethereum account:\n"
    r"(?P<address>0x[0-9a-fA-F]{40})\n\n"
    rf"{re.escape(STATEMENT)}\n\n"
    r"URI: (?P<uri>https?://[!-~]{1,512})\n"
    r"Version: 1\n"
    r"Chain ID: (?P<chain_id>[1-9][0-9]{0,18})\n"
    r"Nonce: (?P<nonce>[0-9a-zA-Z]{8,64})\n"
    rf"Issued At: (?P<issued_at>{_TIME})\n"
    rf"Expiration Time: (?P<expires_at>{_TIME})\n"
    r"Resources:\n- digm:player:(?P<player_key>[0-9a-f]{64})"
)


@dataclass(frozen=True)
class SignIn:
    """What is signed.

    Attributes:
        domain: host and port of the page, as `location.host` has it.
        address: `0x` and 40 hex digits, with the checksum of EIP-55.
        uri: of the page; on the same host.
        issued_at, expires_at: seconds since 1970, whole ones.
        player_key: the page's session key, 32 bytes.
    """

    domain: str
    address: str
    uri: str
    chain_id: int
    nonce: str
    issued_at: int
    expires_at: int
    player_key: bytes

    def encode(self) -> str:
        """The text that the wallet shows and signs.

        Raises:
            CallerFault: `bad_sign_in`: no such message can be made of these values.
        """
        text = (
            f"{self.domain} wants you to sign in with your Ethereum account:\n{self.address}\n\n{STATEMENT}\n\n"
            f"URI: {self.uri}\nVersion: 1\nChain ID: {self.chain_id}\nNonce: {self.nonce}\n"
            f"Issued At: {_time(self.issued_at)}\nExpiration Time: {_time(self.expires_at)}\n"
            f"Resources:\n- digm:player:{self.player_key.hex()}"
        )
        try:
            read = SignIn.decode(text)
        except PeerFault as error:
            raise CallerFault("bad_sign_in", f"No sign-in message can be made of this: {error}") from error
        if read != self:
            raise CallerFault("bad_sign_in", "No sign-in message can be made of this: it reads as another.")
        return text

    @classmethod
    def decode(cls, text: str) -> "SignIn":
        """Read a message, byte for byte as `encode` writes it.

        Raises:
            PeerFault: `bad_sign_in`.
        """
        if len(text) > MAX_MESSAGE_BYTES or not (found := _MESSAGE.fullmatch(text)):
            raise _bad("it is not written as this artist's vault reads it")
        uri = found["uri"]
        if re.split(r"[/?#]", uri.partition("://")[2], maxsplit=1)[0] != found["domain"]:
            raise _bad("its address and its site differ")
        try:
            issued_at, expires_at = (_seconds(found[name]) for name in ("issued_at", "expires_at"))
        except ValueError as error:
            raise _bad("it names a time that there is not") from error
        return cls(
            domain=found["domain"],
            address=found["address"],
            uri=uri,
            chain_id=int(found["chain_id"]),
            nonce=found["nonce"],
            issued_at=issued_at,
            expires_at=expires_at,
            player_key=bytes.fromhex(found["player_key"]),
        )

    def check(self, player_key: bytes, chain_id: int, now_s: float) -> None:
        """Whether it was made for this page and chain, and is good now.

        Args:
            now_s: seconds since 1970.
        Raises:
            PeerFault: `sign_in_other_page`, `sign_in_other_chain`, `sign_in_expired`, `sign_in_early`,
                `sign_in_too_long`.
        """
        if self.player_key != player_key:
            raise PeerFault("sign_in_other_page", "The account was shown by another page: sign in again here.")
        if self.chain_id != chain_id:
            raise PeerFault(
                "sign_in_other_chain",
                f"The account was shown for chain {self.chain_id}; here it is {chain_id}.",
            )
        if self.expires_at <= now_s:
            raise PeerFault(
                "sign_in_expired", "The sign-in is over: sign in again, and check this device's clock."
            )
        if self.issued_at > now_s + CLOCK_OFF_S:
            raise PeerFault("sign_in_early", "The sign-in is of a time to come: check this device's clock.")
        if not 0 < self.expires_at - self.issued_at <= LONGEST_S:
            raise PeerFault("sign_in_too_long", "A sign-in is good for a day at most: sign in again.")


def _time(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError) as error:
        raise CallerFault(
            "bad_sign_in", "No sign-in message can be made of this: there is no such time."
        ) from error


def _seconds(text: str) -> int:
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())


def _bad(what: str) -> PeerFault:
    return PeerFault("bad_sign_in", f"The sign-in could not be read: {what}.")
