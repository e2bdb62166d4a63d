"""`digm publish --pin`: the rest of the way, told step by step."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from digm.errors import CallerFault

if TYPE_CHECKING:
    from hub.chain.ordering import CopyTerms
    from hub.cli.hub_api import HubApi
    from hub.config import Settings
    from hub.publishing.model import PublishedTrack
    from hub.publishing.vault import Vault

EXIT_NOT_THERE = 1
MONTHS, PRICE, WITHIN_S = 18, "1", 600.0
MOST_MONTHS = 120


def onward_of(
    copies: int | None,
    months: int | None,
    duration: str | None,
    price: str | None,
    within_s: float | None,
    hub: str | None,
) -> "Onward | None":
    """The options, read. Raises CallerFault `bad_option`, `bad_amount`, `bad_duration`."""
    if copies is None:
        if any(one is not None for one in (months, duration, price, within_s, hub)):
            raise CallerFault(
                "bad_option", "--months, --duration, --price, --within and --hub go with --pin COPIES."
            )
        return None
    from digm.pinning import MAX_REPLICAS, MONTH_S, parse_duration
    from hub.chain.amounts import read_amount
    from hub.chain.ordering import CopyTerms

    months = MONTHS if months is None else months
    if not 1 <= copies <= MAX_REPLICAS:
        raise CallerFault("bad_option", f"--pin takes 1 to {MAX_REPLICAS} copies.")
    if not 1 <= months <= MOST_MONTHS:
        raise CallerFault("bad_option", f"--months is 1 to {MOST_MONTHS}.")
    within_s = WITHIN_S if within_s is None else within_s
    if not 0 <= within_s < float("inf"):
        raise CallerFault("bad_option", "--within takes seconds; 0: not to wait for the copies.")
    seconds = parse_duration(duration) if duration else months * MONTH_S
    return Onward(CopyTerms(copies, seconds, read_amount(price or PRICE)), within_s, hub)


class Onward:
    """Where it goes on to.

    Args:
        hub: its URL; None: as the settings say.
    """

    def __init__(self, terms: "CopyTerms", within_s: float, hub: str | None) -> None:
        self._terms, self._within_s, self._hub = terms, within_s, hub

    def check_ready(self, settings: "Settings") -> None:
        """Before any work is done: is there all that the chain will need? Raises as `going_public`'s."""
        from hub.chain.going_public import check_ready

        _quiet()
        self._settings = asyncio.run(check_ready(settings, self._terms))

    def go(self, tracks: "Sequence[PublishedTrack]", as_json: bool) -> int:
        """Take them all the way.

        Returns:
            the exit status: 0; 1 when not all copies were accepted and advertised in time.
        Raises:
            as `GoingPublic.go`.
        """
        return asyncio.run(self._go(tracks, as_json))

    async def _go(self, tracks: "Sequence[PublishedTrack]", as_json: bool) -> int:
        from hub.chain.going_public import GoingPublic
        from hub.cli.hub_api import HubApi

        teller = _Teller({track.track_root: track.title for track in tracks}, as_json)
        async with HubApi(self._hub or self._settings.signal_url) as api:
            going = GoingPublic(self._settings, self._terms, HubSwarm(self._settings, api), teller.say)
            if await going.go([track.track_root for track in tracks], self._within_s):
                return 0
        print(
            f"Not all copies were there after {self._within_s:g} s; the orders stand: digm chain pins and "
            "digm pins show how far they are.",
            file=sys.stderr,
        )
        return EXIT_NOT_THERE


def _quiet() -> None:
    from hub.logs import configure_logs

    configure_logs("publish", "error")  # what goes wrong is said in a sentence


class HubSwarm:
    """The network behind a hub."""

    def __init__(self, settings: "Settings", api: "HubApi") -> None:
        self._settings, self._api, self.url = settings, api, api.url

    async def tell(self, root: str, vault: "Vault", terms: "CopyTerms") -> bool:
        from digm.ids import to_hex
        from hub.cli.pin import Asked, signed_order

        known = (await self._api.get(f"/api/tracks/{root}/pins"))["orders"]
        if any(one["artist"] == to_hex(vault.artist_key) and one["desired"] for one in known):
            return False
        asked = Asked([root], terms.replicas, terms.duration_s)
        order = await signed_order(self._settings, self._api, vault, root, asked)
        await self._api.post("/api/pins", order.document)
        return True

    async def holders(self, root: str) -> int:
        return len((await self._api.get(f"/api/tracks/{root}/sources"))["nodes"])


class _Teller:
    """A line for each step."""

    def __init__(self, titles: dict[str, str], as_json: bool) -> None:
        self._titles, self._as_json = titles, as_json

    def say(self, root: str, step: str, facts: dict[str, Any]) -> None:
        import msgspec

        from hub.publishing.sources import printable

        if self._as_json:
            said = {"track_root": root, "step": step} | facts
            print(msgspec.json.encode(said).decode(), flush=True)
            return
        title = f"{printable(self._titles[root])}: " if len(self._titles) > 1 else ""
        print(f"  {title}{_WORDS[step](facts)}", flush=True)


def _stored(facts: dict[str, Any]) -> str:
    return f"stored: {facts['chunks']} chunks, {facts['bytes'] / 1e6:.1f} MB"


def _on_chain(facts: dict[str, Any]) -> str:
    if facts["transaction"] is None:
        return "on chain: published by this account before"
    return f"on chain: block {facts['block']}, transaction {facts['transaction']}"


def _ordered(facts: dict[str, Any]) -> str:
    from hub.chain.ordering import say_until

    done = "ordered" if facts["transaction"] else "ordered already"
    until = say_until(facts["ends_at"])
    escrow = f"{facts['escrow']} PARA in escrow (order {facts['order']})"
    return f"{done}: {facts['replicas']} copies until {until}, {escrow}"


def _told(facts: dict[str, Any]) -> str:
    return f"told: {facts['hub']} gives the order to the nodes" if facts["is_new"] else "told: already"


_WORDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "stored": _stored,
    "on_chain": _on_chain,
    "ordered": _ordered,
    "told": _told,
    "not_told": lambda facts: f"not told: {facts['why']} Nodes know the order from the chain.",
    "accepted": lambda facts: f"accepted: {facts['accepted']} of {facts['replicas']}",
    "advertised": lambda facts: f"advertised: by {facts['nodes']} node{'s' * (facts['nodes'] != 1)}",
}
