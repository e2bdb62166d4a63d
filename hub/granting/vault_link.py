"""The artist's end of the vault link: dials the hub, proves the artist key, answers grant requests.

Reconnects for ever, with jittered exponential back-off. Decides nothing: `GrantIssuer` does.
"""

import asyncio
import random
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import aiohttp
import structlog

from digm.errors import DigmError, PeerFault, Unavailable
from digm.ids import short, to_hex
from hub.granting.issue import GrantIssuer
from hub.granting.messages import (
    MAX_MESSAGE_BYTES,
    SUBPROTOCOL,
    Bye,
    Challenge,
    FromHub,
    Granted,
    GrantRequest,
    Hello,
    PremiumTerm,
    Refused,
    Welcome,
    decode_from_hub,
    encode,
    hello_bytes,
)
from hub.publishing.vault import Vault
from hub.vault.premium import Premium, premium_none

log = structlog.get_logger()
CONNECT_TIMEOUT_S = 10.0
HEARTBEAT_S = 20.0
BACKOFF_FIRST_S = 0.25
BACKOFF_MOST_S = 30.0
MAX_AT_ONCE = 4  # sealing takes a millisecond; more threads would only wait for each other


class VaultLink:
    """Keeps one vault connected to one hub.

    Args:
        signal_url: the hub's http(s) URL.
        premium: who says what an account may hear; None: nothing more than everybody.
        on_grant: is told the root of a track of which keys were given.
    """

    def __init__(
        self,
        vault: Vault,
        issuer: GrantIssuer,
        signal_url: str,
        premium: Premium | None = None,
        on_grant: Callable[[str], None] = lambda _root: None,
    ) -> None:
        self._on_grant = on_grant
        self._vault = vault
        self._issuer = issuer
        self._url = signal_url + "/vault"
        self._premium = premium
        self.is_linked = False

    async def run(self) -> None:
        """Stay connected until cancelled."""
        delay_s = BACKOFF_FIRST_S
        while True:
            began = time.monotonic()
            try:
                await self._serve_once()
                log.info("vault_link_ended")
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                log.info("vault_link_lost", reason=type(error).__name__)
            except DigmError as error:
                log.warning("vault_link_refused", code=error.code, reason=str(error))
            if time.monotonic() - began > BACKOFF_MOST_S:
                delay_s = BACKOFF_FIRST_S
            await asyncio.sleep(random.uniform(delay_s / 2, delay_s))
            delay_s = min(2 * delay_s, BACKOFF_MOST_S)

    async def _serve_once(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.ws_connect(
                self._url, protocols=(SUBPROTOCOL,), heartbeat=HEARTBEAT_S, max_msg_size=MAX_MESSAGE_BYTES
            ) as socket,
        ):
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._prove(socket)
            log.info("vault_linked", artist=short(self._vault.artist_key))
            self.is_linked = True
            try:
                await self._answer_all(socket)
            finally:
                self.is_linked = False

    async def _prove(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        challenge = await _receive(socket)
        if not isinstance(challenge, Challenge):
            raise PeerFault("bad_message", "The hub did not begin with a challenge.")
        try:
            nonce = bytes.fromhex(challenge.nonce)
        except ValueError as error:
            raise PeerFault("bad_message", "The hub's nonce is not hexadecimal.") from error
        signature = self._vault.sign(hello_bytes(nonce, urlsplit(self._url).netloc))
        premium = await self._terms()
        await socket.send_str(encode(Hello(to_hex(self._vault.artist_key), signature.hex(), premium=premium)))
        answer = await _receive(socket)
        if isinstance(answer, Bye):
            raise Unavailable(answer.code[:64], "The hub refused the vault link.")
        if not isinstance(answer, Welcome):
            raise PeerFault("bad_message", "The hub did not answer the hello.")

    async def _answer_all(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        slots = asyncio.Semaphore(MAX_AT_ONCE)

        async def answer(request: GrantRequest) -> None:
            try:
                reply = await self._answer(request)
                if not socket.closed:
                    await socket.send_str(encode(reply))
            except ConnectionError:
                log.info("grant_not_sent")
            finally:
                slots.release()

        async with asyncio.TaskGroup() as tasks:
            async for message in socket:
                request = decode_from_hub(message.data)
                if isinstance(request, GrantRequest):
                    # The next message is not read before there is a slot: the hub waits, nothing piles up
                    # here.
                    await slots.acquire()
                    tasks.create_task(answer(request), name="grant")
                elif isinstance(request, Bye):
                    return

    async def _answer(self, request: GrantRequest) -> Granted | Refused:
        try:
            whole_until_s = await self._whole_until_s(request)
            made = await asyncio.to_thread(
                self._issuer.issue, request.track_root, request.player_key, time.time(), whole_until_s
            )
        except DigmError as error:
            log.info("grant_refused", code=error.code, track_root=short(request.track_root))
            return Refused(request.id, error.code)
        self._on_grant(request.track_root)
        log.info("grant_issued", track_root=short(request.track_root), not_after=made.not_after)
        premium = await self._terms()
        return Granted(
            request.id, not_after=made.not_after, bond=made.bond.hex(), premium=premium, **made.grant.to_json()
        )

    async def _terms(self) -> tuple[PremiumTerm, ...]:
        return await asyncio.to_thread(self._premium.terms) if self._premium is not None else ()

    async def _whole_until_s(self, request: GrantRequest) -> int | None:
        """Raises what is wrong with the account that shows itself."""
        if request.proof is None or await asyncio.to_thread(self._issuer.is_whole_for_all, request.track_root):
            return None
        if self._premium is None:
            raise premium_none()
        return await self._premium.until_s(request.proof, request.player_key, time.time())


async def _receive(socket: aiohttp.ClientWebSocketResponse) -> FromHub:
    message = await socket.receive()
    if message.type is not aiohttp.WSMsgType.TEXT:
        raise Unavailable("hub_hung_up", "The hub closed the vault link.")
    return decode_from_hub(message.data)
