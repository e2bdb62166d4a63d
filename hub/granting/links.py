"""The hub's end of the vault links: artist processes dial in, prove their key, and answer grant requests.

The hub routes a request to the newest link of the artist who signed the track, waits a bounded time, and
passes the sealed answer on. It never holds a track key.
"""

import asyncio
import itertools
import secrets
from dataclasses import dataclass, field

import structlog
from aiohttp import WSMsgType, web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from digm.errors import DigmError, PeerFault, Unavailable
from digm.ids import from_hex, short
from hub.granting.messages import (
    MAX_MESSAGE_BYTES,
    SUBPROTOCOL,
    VERSION,
    Bye,
    Challenge,
    FromArtist,
    Granted,
    GrantRequest,
    Hello,
    PremiumTerm,
    Proof,
    Refused,
    Welcome,
    decode_from_artist,
    encode,
    hello_bytes,
)
from hub.granting.rate import address_group
from hub.granting.refusals import WORDS
from hub.metrics import VAULT_LINKS

log = structlog.get_logger()
ANSWER_TIMEOUT_S = 5.0
HELLO_TIMEOUT_S = 5.0
HEARTBEAT_S = 20.0
MAX_LINKS = 10_000
MAX_LINKS_PER_ADDRESS = 16  # keys are free to make, so the address is what is counted
MAX_LINKS_PER_ARTIST = 4
MAX_PENDING = 64  # grants asked of one artist process at once; more listeners are told to come back


@dataclass(eq=False)
class VaultLink:
    """One artist process. `pending` holds who waits for which answer, `premium` what is told of that."""

    artist_key: str
    socket: web.WebSocketResponse
    premium: tuple[PremiumTerm, ...] = ()
    pending: dict[int, asyncio.Future[Granted]] = field(default_factory=dict)

    def settle(self, answer: Granted | Refused) -> None:
        """Hand an answer to whoever waits for it; a late one is nobody's."""
        if isinstance(answer, Granted) and answer.premium is not None:
            self.premium = answer.premium
        waiter = self.pending.pop(answer.id, None)
        if waiter is None or waiter.done():
            return
        if isinstance(answer, Granted):
            waiter.set_result(answer)
        else:
            waiter.set_exception(grant_refused(answer.code[:64]))

    def drop(self) -> None:
        """The link is gone: everyone who waits is told."""
        for waiter in self.pending.values():
            if not waiter.done():
                waiter.set_exception(artist_offline())
        self.pending.clear()


def artist_offline() -> Unavailable:
    """The sentence for a track whose vault cannot be reached."""
    return Unavailable("artist_offline", "The artist's key vault is not connected just now: try again later.")


def artist_busy() -> Unavailable:
    """The sentence for a vault that is asked by too many at once."""
    return Unavailable(
        "artist_busy", "Many listeners are asking at once; try again in a moment.", retry_after_s=1
    )


def grant_refused(reason: str) -> Unavailable:
    """The sentence for a vault that says no."""
    if reason in WORDS:
        return Unavailable(reason, WORDS[reason])
    return Unavailable("grant_refused", "The artist's vault does not unlock this track.", reason=reason)


class VaultLinks:
    """All links of this hub, by artist key."""

    def __init__(self) -> None:
        self._links: dict[str, list[VaultLink]] = {}
        self._open: dict[web.WebSocketResponse, str] = {}
        self._ids = itertools.count(1)

    def is_connected(self, artist_key: str) -> bool:
        """True while a vault for this artist can be asked."""
        return artist_key in self._links

    def premium_of(self, artist_key: str) -> tuple[PremiumTerm, ...]:
        """When accounts hear whole tracks of an artist's, as the vault that is linked says."""
        links = self._links.get(artist_key)
        return links[-1].premium if links else ()

    @property
    def artists(self) -> list[str]:
        """The keys of the artists whose vaults are linked here."""
        return list(self._links)

    async def ask(
        self,
        artist_key: str,
        track_root: str,
        player_key: str,
        most_pending: int = MAX_PENDING,
        proof: Proof | None = None,
    ) -> Granted:
        """Ask the artist's vault for a grant.

        Args:
            most_pending: with so many questions open already this one is not put.
            proof: of an account that may hear more than everybody.
        Raises:
            Unavailable: `artist_offline`, `artist_busy`, `grant_refused`; `WORDS`: of the proof.
        """
        links = self._links.get(artist_key)
        if not links:
            raise artist_offline()
        link = links[-1]
        if len(link.pending) >= most_pending:
            raise artist_busy()
        request_id = next(self._ids)
        waiter: asyncio.Future[Granted] = asyncio.get_running_loop().create_future()
        link.pending[request_id] = waiter
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await link.socket.send_str(encode(GrantRequest(request_id, track_root, player_key, proof)))
                return await waiter
        except (TimeoutError, ConnectionError) as error:
            raise artist_offline() from error
        finally:
            link.pending.pop(request_id, None)

    async def serve(self, request: web.Request, host: str, client: str) -> web.WebSocketResponse:
        """Serve one WebSocket on `/vault` until it ends.

        Args:
            host: the host as the artist dialled it; it is part of what the artist signs.
            client: the artist's address.
        """
        socket = web.WebSocketResponse(
            protocols=(SUBPROTOCOL,), heartbeat=HEARTBEAT_S, max_msg_size=MAX_MESSAGE_BYTES, compress=False
        )
        await socket.prepare(request)
        group = address_group(client)
        if len(self._open) >= MAX_LINKS or [*self._open.values()].count(group) >= MAX_LINKS_PER_ADDRESS:
            await socket.close(code=1013, message=b"too many vault links")
            return socket
        self._open[socket] = group
        try:
            await self._serve_link(socket, host)
        except DigmError as error:
            log.info("vault_link_refused", code=error.code)
            if not socket.closed:
                await socket.send_str(encode(Bye(error.code)))
                await socket.close(code=1008, message=error.code.encode())
        except TimeoutError:
            await socket.close(code=1008, message=b"hello_timeout")
        finally:
            del self._open[socket]
        return socket

    async def _serve_link(self, socket: web.WebSocketResponse, host: str) -> None:
        nonce = secrets.token_bytes(32)
        await socket.send_str(encode(Challenge(nonce.hex())))
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            first = await socket.receive()
        if first.type is not WSMsgType.TEXT:
            return
        hello = decode_from_artist(first.data)
        key = _proven_key(hello, nonce, host)
        link = VaultLink(key, socket, hello.premium if isinstance(hello, Hello) else ())
        siblings = self._links.setdefault(link.artist_key, [])
        if len(siblings) >= MAX_LINKS_PER_ARTIST:
            raise PeerFault("too_many_links", "This artist has too many links already.")
        siblings.append(link)
        VAULT_LINKS.inc()
        log.info("vault_linked", artist=short(link.artist_key))
        try:
            await socket.send_str(encode(Welcome()))
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    raise PeerFault("bad_message", "Messages on the vault link are JSON text.")
                answer = decode_from_artist(message.data)
                if isinstance(answer, Hello):
                    raise PeerFault("bad_message", "One hello is enough.")
                link.settle(answer)
        finally:
            siblings.remove(link)
            if not siblings:
                del self._links[link.artist_key]
            link.drop()
            VAULT_LINKS.dec()
            log.info("vault_unlinked", artist=short(link.artist_key))

    async def close(self) -> None:
        """End every link, for a drain; the artist processes come back by themselves."""
        for socket in list(self._open):
            await socket.close(code=1001, message=b"going away")


def _proven_key(hello: FromArtist, nonce: bytes, host: str) -> str:
    if not isinstance(hello, Hello):
        raise PeerFault("bad_message", "The first message on the vault link is a hello.")
    if hello.version != VERSION:
        raise PeerFault("unknown_version", f"This hub speaks version {VERSION} of the vault link.")
    try:
        key = Ed25519PublicKey.from_public_bytes(from_hex(hello.artist_key))
        key.verify(bytes.fromhex(hello.signature), hello_bytes(nonce, host))
    except (InvalidSignature, ValueError, DigmError) as error:
        raise PeerFault("bad_signature", "The artist key could not be proven.") from error
    return hello.artist_key
