"""A peer's WebSocket to its hub: opened again whenever it ends. What is said is digm.signalling_client's."""

import asyncio
import time
from collections.abc import Callable

import aiohttp
import structlog

from digm import signalling as messages
from digm.signalling_client import Event, HubFault, SignallingClient, SignatureWanted

log = structlog.get_logger()
HEARTBEAT_S = 25.0
CLOSE_WITHIN_S = 2.0


class HubSocket:
    """One client's way to its hub.

    Args:
        client: joins, offers and answers through it go out with the next `flush`.
        sign: makes an Ed25519 signature with the peer's key.
        url: the `/signal` address, asked for before every connection.
        on_open: called when a socket is open: time to join with tokens that are valid now.
        on_event: told what the hub says, in order.
        on_lost: called when a hub cannot be reached or has gone.
    """

    def __init__(
        self,
        client: SignallingClient,
        sign: Callable[[bytes], bytes],
        url: Callable[[], str],
        *,
        on_event: Callable[[Event], None],
        on_open: Callable[[], None] = lambda: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._client, self._sign, self._url = client, sign, url
        self._on_event, self._on_open, self._on_lost = on_event, on_open, on_lost
        self._changed = asyncio.Event()
        self._is_moving = False

    def flush(self) -> None:
        """Send what the client has to say."""
        self._changed.set()

    def move(self) -> None:
        """Leave this hub for the one that `url` names now, without a pause; call it from `on_event`."""
        self._is_moving = True

    async def run(self) -> None:
        """Stay connected until cancelled."""
        async with aiohttp.ClientSession() as http:
            while True:
                self._is_moving = False
                try:
                    async with http.ws_connect(
                        self._url(),
                        protocols=[messages.SUBPROTOCOL],
                        max_msg_size=messages.MAX_MESSAGE_BYTES,
                        heartbeat=HEARTBEAT_S,
                        timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_WITHIN_S),
                    ) as socket:
                        await self._talk(socket)
                except* (aiohttp.ClientError, OSError, TimeoutError) as errors:
                    log.info("hub_not_reached", error=type(errors.exceptions[0]).__name__)
                if not self._is_moving:
                    self._on_lost()
                    now = time.monotonic()
                    await asyncio.sleep(self._client.disconnected(now) - now)

    async def _talk(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """One connection to the hub, from its challenge to its end."""
        self._client.connected(time.monotonic())
        self._on_open()
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(self._write(socket), name="signal-writer")
            async for frame in socket:
                if frame.type is not aiohttp.WSMsgType.TEXT:
                    break
                for event in self._client.receive(frame.data, time.monotonic()):
                    await self._take(event, socket)
                self._changed.set()
            writer.cancel()
        log.info("hub_connection_closed", code=socket.close_code)

    async def _take(self, event: Event, socket: aiohttp.ClientWebSocketResponse) -> None:
        if isinstance(event, SignatureWanted):
            self._client.signed(self._sign(event.message))
            return
        self._on_event(event)
        if isinstance(event, HubFault | messages.Bye):
            log.info("hub_left", code=event.code)
        if self._is_moving or isinstance(event, HubFault | messages.Bye):
            await socket.close()

    async def _write(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            self._changed.clear()
            now = time.monotonic()
            self._client.tick(now)
            for text in self._client.to_send():
                await socket.send_str(text)
            deadline = self._client.next_deadline()
            try:
                async with asyncio.timeout(None if deadline is None else max(0.01, deadline - now)):
                    await self._changed.wait()
            except TimeoutError:
                continue
