"""An elder node's relay: offered by its seeding peer, asked by the hub, handed to listeners, and it works."""

import asyncio
import time
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aioice import stun

from digm.signalling_client import Ready
from hub.config import Settings
from hub.seeding.peer import SeedingPeer
from hub.seeding.source import SeedSource
from hub.signalling import add_signalling
from hub.storage.catalogue import Catalogue
from tests.hub.relay.conftest import Relay
from tests.hub.relay.turn_client import TurnClient
from tests.hub.seeding.listener import listening
from tests.hub.seeding.noise_track import publish_noise


@pytest.mark.parametrize("engine", ["embedded"], indirect=True)
async def test_a_listener_gets_the_relay_of_an_elder_node_with_credentials_that_work(
    relay: Relay, tmp_path: Path
) -> None:
    url = f"turn:127.0.0.1:{relay.port}"
    manifest = publish_noise(tmp_path)
    catalogue, stop = Catalogue.open(relay.data), asyncio.Event()
    source = SeedSource.of_hub(Settings(data=relay.data), catalogue)
    name = SeedingPeer(Settings(data=relay.data), source).peer_id
    app = web.Application()
    add_signalling(app, Settings(data=tmp_path, elder_nodes=(name,)))
    async with TestServer(app, host="127.0.0.1") as server:
        hub_url = f"http://127.0.0.1:{server.port}"
        node = SeedingPeer(Settings(data=relay.data, signal_url=hub_url, offer_relay=(url,)), source)
        running = asyncio.create_task(node.run(stop))
        try:
            async with asyncio.timeout(20):
                while True:
                    async with listening(hub_url, manifest) as listener:
                        ready = await listener.event(Ready)
                    assert isinstance(ready, Ready)
                    if ready.ice_servers:
                        break
        finally:
            stop.set()
            await running
            catalogue.close()
    (server_entry,) = ready.ice_servers
    assert server_entry.urls == (url,)
    assert int(server_entry.username.partition(":")[0]) <= time.time() + 600
    with TurnClient(relay.address, (server_entry.username, server_entry.credential)) as client:
        assert client.allocate().message_class is stun.Class.RESPONSE
