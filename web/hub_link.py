"""The connection with a swarm's hub: opened again when it ends, elsewhere when one fails or says where to go.

digm.signalling_client has what is said, digm.hub_choice which hub it is said to. Peers that are connected need
none of it.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from digm import signalling as messages
from digm.hub_choice import HubChoice
from digm.signalling_client import Event, HubFault, SignallingClient, SignatureWanted
from web import browser
from web.browser import now_s
from web.timer import Timer

PATIENCE_S = 15.0  # for the first word of a hub: TLS on a bad link, and then it is tried elsewhere


class HubLink:
    """One swarm's way to its hub.

    Args:
        client: what is said; the caller joins with it, then `flush`es.
        identity: the Ed25519 key pair of the page.
        urls: `/signal` addresses of the swarm's hubs, its home first.
        connect: opens a socket to an address (static/digm-head-start.js, EarlySocket).
        on_event: told what the hub says, in order.
        on_lost: told that the hub is gone, for now.
    """

    def __init__(
        self,
        client: SignallingClient,
        identity: Any,
        urls: list[str],
        *,
        connect: Callable[[str], Any],
        on_event: Callable[[Event], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._client = client
        self._identity = identity
        self._choice = HubChoice(urls)
        self._connect = connect
        self._on_event = on_event
        self._on_lost = on_lost
        self._socket: Any = None
        self._timer = Timer(self._on_time)

    async def run(self, first_socket: Any) -> None:
        """Keep the connection until cancelled."""
        socket = first_socket
        while True:
            if not await self._talk(socket):
                self._choice.failed()
                wait_s = self._client.disconnected(now_s()) - now_s()
                self._on_lost()
                await asyncio.sleep(max(0.0, wait_s))
            socket = self._connect(self._choice.url)

    def flush(self) -> None:
        """Send what the client has to say."""
        if self._socket is None:
            return
        for text in self._client.to_send():
            self._socket.send(text)
        self._timer.set(self._client.next_deadline())

    async def _talk(self, socket: Any) -> bool:
        """One connection to the hub, from its first message to its end. True: go on at once, where it said."""
        inbox: asyncio.Queue[str | None] = asyncio.Queue()
        listener = browser.lasting_proxy(lambda text: inbox.put_nowait(text if isinstance(text, str) else None))
        self._socket = socket
        self._client.connected(now_s())
        socket.listen(listener)
        try:
            async with asyncio.timeout(PATIENCE_S):
                text = await inbox.get()
            while text is not None:
                for event in self._client.receive(text, now_s()):
                    if isinstance(event, HubFault):
                        return False
                    if isinstance(event, messages.Redirect) and self._choice.redirected(event.url):
                        return True
                    await self._take(event)
                self.flush()
                text = await inbox.get()
        except TimeoutError:
            return False
        finally:
            socket.close()
            listener.destroy()
            self._socket = None
            self._timer.stop()
        return False

    async def _take(self, event: Event) -> None:
        if isinstance(event, SignatureWanted):
            self._client.signed(await browser.ed25519_sign(self._identity, event.message))
            return
        if isinstance(event, messages.Peers):
            self._choice.settled()
        self._on_event(event)

    def _on_time(self) -> None:
        self._client.tick(now_s())
        self.flush()
