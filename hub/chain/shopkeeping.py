"""What people who sell music tell the contracts: prices, albums, passes, keys that are given; and their income.

Each is said again where it may be: what stands already is not sent a second time.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from digm.chain_sales import COIN, ChainSales, PurchaseOnChain
from digm.errors import CallerFault, DigmError
from digm.ids import from_hex, is_hex_id, to_hex
from digm.manifest import Manifest, parse_manifest
from digm.purchases import Suite, purchase_aad
from hub.chain.amounts import read_amount, say_amount
from hub.chain.client import ChainClient
from hub.chain.deployment import SELLING, Deployment, contract
from hub.chain.opening import checked_address
from hub.chain.rules import TOKENS
from hub.chain.selling import album_title
from hub.chain.state import ChainState
from hub.chain.telling import WHOLE_BPS, payees_of, tell, track_of
from hub.publishing.vault import Vault
from hub.storage.catalogue import Catalogue, TrackEntry
from hub.storage.chunk_store import ChunkStore
from hub.vault.track_keys import OwnTrackKeys
from hub.vault.wrapping import wrap

COIN_NAME = "coin"
MOST_TRACKS = 64
Said = dict[str, Any]


@dataclass(frozen=True)
class Price:
    """What something costs. `amount`: in smallest units. `token`: its address, `COIN` for the chain's own."""

    amount: int
    token: str
    is_at_least: bool = False


def price_of(deployed: Deployment, amount: str, token: str, is_at_least: bool = False) -> Price:
    """A price as somebody typed it, in whole tokens.

    Args:
        token: `coin`, or one of `TOKENS`, in any case.
    Raises:
        CallerFault: `bad_amount`, `bad_option`.
    """
    part = token.lower()
    if part != COIN_NAME and part not in TOKENS:
        raise CallerFault(
            "bad_option", f"{token!r:.40} is nothing to pay with: {COIN_NAME}, {', '.join(TOKENS)}."
        )
    units = read_amount(amount)
    if not 0 < units < 1 << 88:
        raise CallerFault(
            "bad_amount", "A price is more than 0; what costs nothing is published without a preview."
        )
    return Price(units, COIN if part == COIN_NAME else deployed.addresses[part], is_at_least)


def token_name(deployed: Deployment, address: str) -> str:
    """What people call a token."""
    parts = {deployed.addresses[part]: part for part in TOKENS}
    return COIN_NAME if address == COIN else parts.get(address, address)


# -- what is sold


async def sell_track(client: ChainClient, deployed: Deployment, data: Path, track: str, price: Price) -> Said:
    """Put a price on a track.

    Args:
        track: its root, or its id on the chain with 0x.
    Raises:
        CallerFault: `track_is_free`: everybody is given its key; `not_on_chain`; as `tell`.
    """
    where, item = deployed.address("sales"), await track_of(client, deployed, track)
    if not track.startswith("0x"):
        _check_has_preview(data, track)
    await _check_is_on_chain(client, deployed, item, track)
    try:
        known = await client.call(contract("sales"), where, "offer", item)
    except CallerFault as fault:
        if fault.code != "reverted":
            raise
        known = None
    said = {
        "item": "0x" + item.hex(),
        "price": f"{say_amount(price.amount)} {token_name(deployed, price.token)}",
    }
    if known == {"token": price.token, "price": price.amount, "is_at_least": price.is_at_least}:
        return said | {"transaction": None}
    arguments = (item, price.token, price.amount, price.is_at_least)
    purpose = f"offer {item.hex()} {price.amount} {price.token} {price.is_at_least} *"
    return await tell(client, deployed, "sales", purpose, "set_offer", *arguments) | said


async def sell_album(
    client: ChainClient, deployed: Deployment, data: Path, tracks: Sequence[str], price: Price,
    shares: Sequence[str] = (),
) -> Said:  # fmt: skip
    """Put a price on tracks together.

    Args:
        tracks: their roots or ids in order; or one release of this data folder: its tracks with a preview.
        shares: ADDRESS=PERCENT each; none: all is the caller's.
    Raises:
        CallerFault: `bad_album`, `track_is_free`, `not_on_chain`, `bad_split`; as `tell`.
    """
    deployed.address("sales")
    roots = list(tracks) if len(tracks) > 1 else _release(data, tracks[0] if tracks else "")
    items = [await track_of(client, deployed, root) for root in roots]
    if not 2 <= len(set(items)) == len(items) <= MOST_TRACKS:
        raise CallerFault(
            "bad_album", f"An album that is sold has 2 to {MOST_TRACKS} tracks, each of them once."
        )
    for root, item in zip(roots, items, strict=True):
        if not root.startswith("0x"):
            _check_has_preview(data, root)
        await _check_is_on_chain(client, deployed, item, root)
    me = client.sender.address
    payees = payees_of(shares) if shares else [{"account": me, "share_bps": WHOLE_BPS}]
    arguments = (items, payees, price.token, price.amount, price.is_at_least)
    purpose = f"album {to_hex(items[0])} {len(items)} {price.amount} {price.token} *"
    return await tell(client, deployed, "sales", purpose, "set_album", *arguments)


async def end_sale(client: ChainClient, deployed: Deployment, track: str) -> Said:
    """Sell a track or an album (0x and its id) no longer. Raises as `tell`."""
    deployed.address("sales")
    item = await track_of(client, deployed, track)
    return await tell(client, deployed, "sales", f"end offer {item.hex()} *", "end_offer", item)


def _check_has_preview(data: Path, root: str) -> None:
    """A track without one is everybody's: each page that asks is given all of its keys."""
    manifest = _manifest(data, root)
    if manifest is not None and manifest.preview_s is None:
        raise CallerFault(
            "track_is_free",
            f"“{manifest.title}” was published without a preview, so everybody may hear all of it and nobody "
            "would pay. Change the file's tags and publish it with --preview-seconds 30: as another track.",
        )


def _manifest(data: Path, root: str) -> Manifest | None:
    try:
        return parse_manifest(ChunkStore(data).manifest(root))
    except DigmError:
        return None  # published from another data folder


async def _check_is_on_chain(client: ChainClient, deployed: Deployment, item: bytes, track: str) -> None:
    facts = await client.call(contract("registry"), deployed.addresses["registry"], "track", item)
    if not facts["published_at"]:
        raise CallerFault(
            "not_on_chain", f"The track is not on the chain: first digm chain publish {track:.70}."
        )


def _release(data: Path, release_id: str) -> list[str]:
    """The roots of a release's tracks that have a preview."""
    if not is_hex_id(release_id):
        raise CallerFault("bad_album", "Name an album's tracks, or the release by its id (64 hex digits).")
    with Catalogue.open_for_reading(data) as catalogue:
        found = [one for one in catalogue.tracks_of(release_id) if one.preview_s is not None]
    if not found:
        raise CallerFault("bad_album", "There is no such release here, or all of it is free: name its tracks.")
    return [one.track_root for one in found]


# -- keys that are given


def listening_key_of(text: str) -> tuple[Suite, bytes]:
    """A listening key as a page shows it: 64 hex digits, or a P-256 key as an uncompressed point (SEC 1).

    `p256:` before 64 digits makes them the x of one whose y is even, as they are on the chain.

    Raises:
        CallerFault: `bad_key`.
    """
    name, _, digits = text.rpartition(":")
    suites = {"": Suite.X25519, "x25519": Suite.X25519, "p256": Suite.P256}
    digits = digits.removeprefix("0x").lower()
    if len(digits) == 2 * 65 and digits.startswith("04") and name.lower() in ("", "p256"):
        name, digits = "p256", digits[2:66] if int(digits[-1], 16) % 2 == 0 else ""
    if name.lower() not in suites or not is_hex_id(digits):
        raise CallerFault(
            "bad_key", f"{text!r:.90} is no listening key: 64 hex digits, as the listener's page shows it."
        )
    return suites[name.lower()], from_hex(digits)


def known_listening_key(sales: ChainSales, account: str) -> tuple[Suite, bytes]:
    """What an account named when it last bought something. Raises CallerFault `no_listening_key`."""
    bought = [one for one in sales.purchases_of(account) if one.buyer_key]
    if not bought:
        raise CallerFault(
            "no_listening_key",
            "This account has bought nothing yet, so its listening key is not on the chain: name it "
            "(the listener's page shows it).",
        )
    latest = max(bought, key=lambda one: one.block)
    return Suite(latest.suite), latest.buyer_key


async def give(
    client: ChainClient, deployed: Deployment, state: ChainState, vault: Vault, data: Path, track: str,
    account: str, listening_key: str = "",
) -> Said:  # fmt: skip
    """Give somebody the key of a track or an album of this vault's, for nothing or for what was paid elsewhere.

    Args:
        state: what the chain says now.
        listening_key: as `listening_key_of` reads it; empty: the one that the account used last.
    Raises:
        CallerFault: `bad_address`, `bad_key`, `no_listening_key`, `not_on_chain`, `vault_key_wrong`; as `tell`.
        Unavailable: `track_key_missing`.
    """
    where, item, who = (
        deployed.address("sales"),
        await track_of(client, deployed, track),
        checked_address(account),
    )
    roots = {one.said.track: one.said.track_root for one in (*state.tracks, *state.withdrawn)}
    wanted = [roots.get(one) for one in state.sales.tracks_of(item)]
    found = [root for root in wanted if root is not None]
    if len(found) != len(wanted):
        raise CallerFault(
            "not_on_chain", f"The chain knows no such track: first digm chain publish {track:.70}."
        )
    suite, key = listening_key_of(listening_key) if listening_key else known_listening_key(state.sales, who)
    aad = purchase_aad(deployed.chain_id, _canonical(where), item, _canonical(who))
    wrapped = wrap(OwnTrackKeys(vault, ChunkStore(data)).keys(found), key, suite, aad).encode()
    purchase = state.sales.purchase(item, who)
    function = "deliver" if purchase is not None and purchase.is_waiting else "give"
    purpose = f"{function} {item.hex()} to {who} *"
    said = await tell(client, deployed, "sales", purpose, function, item, who, wrapped)
    return {name: value for name, value in said.items() if name != "wrapped_key"}


def _canonical(address: str) -> bytes:
    return bytes.fromhex(address[2:])


# -- passes


async def set_pass(client: ChainClient, deployed: Deployment, price: Price, duration_s: int) -> Said:
    """Sell passes of the account's. Raises as `tell`."""
    deployed.address("passes")
    purpose = f"pass {price.amount} {price.token} {duration_s} *"
    arguments = (price.token, price.amount, duration_s)
    return await tell(client, deployed, "passes", purpose, "set_pass", *arguments)


async def end_pass(client: ChainClient, deployed: Deployment) -> Said:
    """Sell none any more. Raises as `tell`."""
    deployed.address("passes")
    return await tell(client, deployed, "passes", "end pass *", "end_pass")


async def give_pass(client: ChainClient, deployed: Deployment, account: str, duration_s: int) -> Said:
    """A pass for nothing. Raises CallerFault `bad_address`; as `tell`."""
    deployed.address("passes")
    who = checked_address(account)
    return await tell(client, deployed, "passes", f"give pass to {who} *", "give_pass", who, duration_s)


# -- money


async def refund(client: ChainClient, deployed: Deployment, track: str, account: str = "") -> Said:
    """Have what was paid for a key that did not come given back. Raises as `checked_address`, `tell`."""
    deployed.address("sales")
    who = checked_address(account) if account else client.sender.address
    item = await track_of(client, deployed, track)
    return await tell(client, deployed, "sales", f"refund {item.hex()} to {who} *", "refund", item, who)


async def withdraw_income(client: ChainClient, deployed: Deployment) -> dict[str, str]:
    """Fetch what was earned, and what was given back.

    Returns:
        amounts by token; empty if nothing is owed.
    Raises:
        CallerFault: `no_sales`; as `ChainClient.transact`.
    """
    deployed.address("sales")
    found: dict[str, int] = {}
    for part in SELLING:
        for token in (COIN, *(deployed.addresses[one] for one in TOKENS)):
            where, name = deployed.address(part), token_name(deployed, token)
            owed = await client.call(contract(part), where, "credits", token, client.sender.address)
            if owed:
                await tell(client, deployed, part, f"withdraw {name} of {part} *", "withdraw", token)
                found[name] = found.get(name, 0) + owed
    return {name: say_amount(owed) for name, owed in found.items()}


# -- what was sold


@dataclass(frozen=True)
class Sale:
    """One purchase of something that an account sells.

    Attributes:
        title: of the track or the album, where its manifests are here.
        roots: of its tracks.
    """

    purchase: PurchaseOnChain
    title: str
    roots: tuple[str, ...]


def sales_of(state: ChainState, owner: str, tracks: Sequence[TrackEntry]) -> list[Sale]:
    """What was bought from an account, and given by it, the latest first.

    Args:
        tracks: what is published here, for titles.
    """
    known = {one.said.track: one.said for one in (*state.withdrawn, *state.tracks)}
    entries = {one.track_root: one for one in tracks}
    found: list[Sale] = []
    for purchase in state.sales.all_purchases():
        album = state.sales.albums.get(purchase.item)
        track = known.get(purchase.item)
        if (album.owner if album else track.owner if track else None) != owner:
            continue
        roots = tuple(
            to_hex(known[one].track_root) for one in state.sales.tracks_of(purchase.item) if one in known
        )
        named = [entries.get(root) for root in roots]
        title = album_title(named) if album else named[0].title if named and named[0] else "?"
        found.append(Sale(purchase, title, roots))
    return sorted(found, key=lambda sale: sale.purchase.block, reverse=True)


def sale_rows(state: ChainState, sales: Sequence[Sale]) -> Iterator[Said]:
    """Sales as commands show them."""
    assert state.deployed is not None
    for sale in sales:
        one = sale.purchase
        yield {
            "title": sale.title,
            "buyer": one.buyer,
            "state": one.state.value,
            "amount": f"{say_amount(one.amount)} {token_name(state.deployed, one.token)}",
            "deliver_before": _minute(one.deliver_before) if one.is_waiting else None,
            "block": one.block,
            "item": "0x" + one.item.hex(),
            "tracks": list(sale.roots),
        }


def _minute(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
