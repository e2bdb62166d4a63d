"""Two listeners' pages behind NATs: how they reach each other, and what their network gets to see.

One command: `python -m pytest tests/net`. Needs root: without it it is skipped, and fails where CI is set.
"""

import asyncio
import json
import re
import time
from typing import Any

import pytest

from tests.browser.player_page import PlayerPage
from tests.net.conftest import GATHERED, SELECTED_PAIRS, Homes, House, listen
from tests.net.lab import HOME, NAT, Lab

CONNECTED_WITHIN_S = 75.0  # a second try, on a machine that is busy
DIRECT = {"host", "srflx", "prflx"}


async def connected(*pages: PlayerPage) -> list[dict[str, Any]]:
    """Wait until every page has a connection that music has come over; the pairs that ICE chose."""
    deadline = time.monotonic() + CONNECTED_WITHIN_S
    while True:
        found = [await page.page.evaluate(SELECTED_PAIRS) for page in pages]
        if all(any(pair["received"] > 1000 for pair in pairs) for pairs in found):
            return [pair for pairs in found for pair in pairs]
        assert time.monotonic() < deadline, (found, [await page.state() for page in pages])
        await asyncio.sleep(0.1)


async def both(homes: Homes, house: House, *, hiding: str = "") -> list[PlayerPage]:
    first = await listen(homes["a"], house, hides_address="a" in hiding)
    await first.until_sound()
    return [first, await listen(homes["b"], house, hides_address="b" in hiding)]


async def test_behind_port_restricted_nats_they_connect_directly(lab: Lab, house: House, homes: Homes) -> None:
    lab.set_nats("port_restricted", "port_restricted")
    for pair in await connected(*await both(homes, house)):
        assert {pair["local"], pair["remote"]} <= DIRECT, pair
    assert lab.packets_to_listeners("a") > 0


async def test_behind_symmetric_nats_they_connect_through_the_relay(
    lab: Lab, house: House, homes: Homes
) -> None:
    lab.set_nats("symmetric", "symmetric")
    for pair in await connected(*await both(homes, house)):
        assert "relay" in {pair["local"], pair["remote"]}, pair


async def test_where_udp_is_blocked_they_connect_through_the_relay_over_tcp(
    lab: Lab, house: House, homes: Homes
) -> None:
    lab.set_nats("udp_blocked", "port_restricted")
    pages = await both(homes, house)
    await connected(*pages)
    for pair in await pages[0].page.evaluate(SELECTED_PAIRS):
        assert (pair["local"], pair["relayProtocol"]) == ("relay", "tcp")


async def test_a_page_that_hides_its_address_shows_nobody_but_the_relay(
    lab: Lab, house: House, homes: Homes
) -> None:
    lab.set_nats("port_restricted", "port_restricted")
    pages = await both(homes, house, hiding="a")
    await connected(*pages)
    hiding = pages[0].page
    assert await hiding.evaluate(GATHERED) == ["relay"]
    said = [json.loads(text) for text in await hiding.evaluate("() => noted.sent") if text.startswith("{")]
    shown = [text for message in said for text in (message.get("sdp"), message.get("candidate")) if text]
    assert shown, said
    types = [kind for text in shown for kind in re.findall(r" typ (\w+)", text)]
    assert types and set(types) == {"relay"}, types
    for address in (HOME["a"], NAT["a"], ".local"):
        assert not any(address in text for text in shown), shown
    assert lab.packets_to_listeners("a") == 0


@pytest.mark.parametrize("house", ["embedded"], indirect=True)
async def test_two_pages_that_hide_their_addresses_meet_within_the_relay(
    lab: Lab, house: House, homes: Homes
) -> None:
    lab.set_nats("port_restricted", "symmetric")
    for pair in await connected(*await both(homes, house, hiding="ab")):
        assert (pair["local"], pair["remote"]) == ("relay", "relay")
    assert lab.packets_to_listeners("a") == lab.packets_to_listeners("b") == 0
