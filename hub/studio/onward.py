"""The journey's second half: on the chain, shares, price, copies. Imported only by who goes that far."""

import time
from collections.abc import Sequence
from typing import Any

from digm.chain_sales import COIN
from digm.errors import CallerFault
from hub.chain.amounts import say_amount
from hub.chain.client import ChainClient
from hub.chain.deployment import Deployment
from hub.chain.going_public import GoingPublic, check_ready
from hub.chain.opening import open_deployed
from hub.chain.ordering import CopyTerms
from hub.chain.publishing import bind_artist, publish_track
from hub.chain.shopkeeping import COIN_NAME, Price, sell_album, sell_track
from hub.chain.telling import payees_of, tell, track_of
from hub.cli.hub_api import HubApi
from hub.cli.publish_onward import HubSwarm
from hub.config import Settings
from hub.publishing.identity import open_vault
from hub.publishing.model import PublishedTrack
from hub.studio.journey import COPIES_WITHIN_S, Journey
from hub.studio.terms import Terms


async def check(settings: Settings, terms: Terms) -> None:
    """Whether there are chain, contracts, key, and terms that they take. Raises as `check_ready`."""
    if terms.copies:
        settings = await check_ready(settings, _copy_terms(terms))
    async with open_deployed(settings, with_key=True) as (_, deployed):
        _check_sales(deployed, terms)


def _check_sales(deployed: Deployment, terms: Terms) -> None:
    if terms.price and "sales" not in deployed.addresses:
        raise CallerFault(
            "no_sales", "The contracts here sell nothing: digm chain deploy puts the one that does beside them."
        )


async def _sell(
    settings: Settings, client: ChainClient, deployed: Deployment, terms: Terms, roots: Sequence[str],
    journey: Journey,
) -> None:  # fmt: skip
    journey.on("price")
    token = COIN if terms.token == COIN_NAME else deployed.addresses[terms.token]
    price = Price(terms.price, token, terms.is_at_least)
    for number, root in enumerate(roots):
        await sell_track(client, deployed, settings.data, root, price)
        journey.on("price", done=(number + 1) / (len(roots) + 1))
    words = f"{'from ' if terms.is_at_least else ''}{say_amount(terms.price)} {_money(terms)}"
    if terms.album_price:
        price = Price(terms.album_price, token, terms.is_at_least)
        await sell_album(client, deployed, settings.data, roots, price, terms.shares)
        words += f", together {say_amount(terms.album_price)} {_money(terms)}"
    journey.done("price", words)


def _money(terms: Terms) -> str:
    return "coins" if terms.token == COIN_NAME else terms.token.upper()


def _copy_terms(terms: Terms) -> CopyTerms:
    return CopyTerms(terms.copies, terms.duration_s, terms.copy_price)


async def go_on(settings: Settings, terms: Terms, tracks: Sequence[PublishedTrack], journey: Journey) -> None:
    """Every step that is wanted.

    Raises:
        as `GoingPublic.go`, `tell`.
    """
    roots = [track.track_root for track in tracks]
    journey.on("chain")
    async with open_deployed(settings, with_key=True) as (client, deployed):
        with open_vault(settings) as vault:
            await bind_artist(client, deployed, vault)
            for number, root in enumerate(roots):
                said = await publish_track(client, deployed, settings.data, vault, root)
                journey.on("chain", done=(number + 1) / len(roots))
            journey.done("chain", "there already" if said["block"] is None else f"in block {said['block']}")
        if terms.shares:
            journey.on("split")
            payees = payees_of(terms.shares)
            for number, root in enumerate(roots):
                name = await track_of(client, deployed, root)
                purpose = f"split {name.hex()} *"
                await tell(client, deployed, "registry", purpose, "set_split", name, payees, False)
                journey.on("split", done=(number + 1) / len(roots))
            journey.done("split", f"{len(payees)} payees")
        if terms.price:
            await _sell(settings, client, deployed, terms, roots, journey)
    if terms.copies:
        await _copies(settings, terms, roots, journey)


async def _copies(settings: Settings, terms: Terms, roots: Sequence[str], journey: Journey) -> None:
    found: dict[str, dict[str, int]] = {"accepted": {}, "advertised": {}}
    escrow: dict[str, str] = {}

    def say(root: str, step: str, facts: dict[str, Any]) -> None:
        if step == "ordered":
            escrow[root] = facts["escrow"]
            until = time.strftime("%Y-%m-%d", time.gmtime(facts["ends_at"]))
            count = f"{facts['replicas']} cop{'ies' if facts['replicas'] > 1 else 'y'}"
            of_each = " of each" if len(roots) > 1 else ""
            together = sum(float(one) for one in escrow.values())  # for reading; the chain counts exactly
            words = f"{count}{of_each} until {until}, {together:.4g} PARA in escrow"
            _part(journey, "order", len(escrow), len(roots), words)
        elif step in ("told", "not_told"):
            words = "the hub told the nodes" if step == "told" else "the nodes read it on the chain"
            journey.done("tell", words)
        elif step in found:
            found[step][root] = int(facts.get("accepted", facts.get("nodes", 0)))
            least = min(found[step].get(one, 0) for one in roots)
            words = (
                f"{least} of {terms.copies}" if step == "accepted" else f"by {least} node{'s' * (least != 1)}"
            )
            _part(journey, step, least, terms.copies, words)

    async with HubApi(settings.signal_url or "") as api:
        going = GoingPublic(settings, _copy_terms(terms), HubSwarm(settings, api), say)
        journey.on("order")
        is_there = await going.go(roots, COPIES_WITHIN_S)
    if not is_there:
        journey.notes.append("Not all copies are there yet; the orders stand, and the list below shows them.")


def _part(journey: Journey, name: str, count: int, whole: int, words: str) -> None:
    if count >= whole:
        journey.done(name, words)
    else:
        journey.on(name, words, count / whole)
