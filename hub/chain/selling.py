"""What is for sale, as a hub tells it: offers, albums, passes and keys of one moment of the chain.

From facts alone (`ChainState`); whoever asks servers is `hub.chain.desk`. Importing it costs nothing.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from digm.chain_sales import COIN, AlbumOnChain, OfferOnChain, PurchaseOnChain, PurchaseState
from digm.ids import to_hex
from hub.chain.rules import TOKENS
from hub.chain.state import ChainState, FoundTrack
from hub.granting.messages import PremiumTerm

if TYPE_CHECKING:  # nodes tell of keys as well, and know no catalogue
    from hub.storage.catalogue import TrackEntry

DECIMALS = 18
COIN_SYMBOL = "ETH"
FOR_SALE, FREE, WITHDRAWN, NOT_FOR_SALE = "for_sale", "free", "withdrawn", "not_for_sale"
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
Json = dict[str, Any]
Titles = Callable[[str], "TrackEntry | None"]
"""By its root: a track as pages show it; None: it is not listed here."""


def token_json(state: ChainState, address: str) -> Json:
    """What something is paid in. A token that is none of the deployment's has its address for a symbol."""
    if address == COIN:
        return {"address": COIN, "symbol": COIN_SYMBOL, "decimals": DECIMALS, "kind": "coin"}
    parts = {where: part for part, where in state.deployed.addresses.items()} if state.deployed else {}
    part = parts.get(address)
    symbol, name = (TOKENS[part][1], TOKENS[part][0]) if part in TOKENS else (address, "")
    return {"address": address, "symbol": symbol, "decimals": DECIMALS, "kind": "erc20", "name": name}


def hex_of(content: bytes) -> str:
    """Bytes as pages get them."""
    return "0x" + content.hex()


@dataclass(frozen=True)
class Shop:
    """What is sold at one moment.

    Args:
        state: what is known of the chain.
    """

    state: ChainState
    by_root: Mapping[bytes, tuple[FoundTrack, ...]] = field(default_factory=dict)
    by_name: Mapping[bytes, FoundTrack] = field(default_factory=dict)

    @classmethod
    def of(cls, state: ChainState, before: "Shop | None" = None) -> "Shop":
        """The shop of a state. What an earlier one knew of the same tracks is taken over."""
        if before is not None and (before.state.tracks, before.state.withdrawn) == (
            state.tracks, state.withdrawn
        ):  # fmt: skip
            return cls(state, before.by_root, before.by_name)
        by_root: dict[bytes, tuple[FoundTrack, ...]] = {}
        for one in state.tracks:
            by_root[one.said.track_root] = (*by_root.get(one.said.track_root, ()), one)
        by_name = {one.said.track: one for one in (*state.tracks, *state.withdrawn)}
        return cls(state, by_root, by_name)

    # -- tracks

    def claim(self, entry: "TrackEntry") -> FoundTrack | None:
        """The track on the chain that a page shows: its artist's, if there are several the one that is sold."""
        root = bytes.fromhex(entry.track_root)
        claims = [
            one
            for one in self.by_root.get(root, ())
            if one.artist_key is not None and to_hex(one.artist_key) == entry.artist_key
        ]
        sold = [one for one in claims if one.said.track in self.state.sales.offers]
        return (sold or claims or [None])[0]  # type: ignore[list-item]

    def roots_of(self, item: bytes) -> list[str]:
        """The roots of an item's tracks, in the order of its keys; empty for one that nobody here knows."""
        found = [self.by_name.get(track) for track in self.state.sales.tracks_of(item)]
        return [to_hex(one.said.track_root) for one in found if one is not None]

    def roots_beside(self, entry: "TrackEntry") -> set[str]:
        """The tracks of the albums that a track is sold in: those whose titles an offer needs."""
        found = self.claim(entry)
        albums = self.state.sales.albums_with(found.said.track) if found is not None else []
        return {root for album in albums for root in self.roots_of(album.item)}

    def roots_bought(self, buyer: str) -> set[str]:
        """The tracks that an account has bought or was given."""
        return {root for one in self.state.sales.purchases_of(buyer) for root in self.roots_of(one.item)}

    # -- what pages get

    def offer(self, entry: "TrackEntry", titles: Titles) -> Json:
        """A track's offer (`GET /api/tracks/{root}/offer`)."""
        state, found = self.state, self.claim(entry)
        offered = state.sales.offers.get(found.said.track) if found is not None else None
        if entry.preview_s is None:
            offered = None  # its key is everybody's
        owner = found.said.owner if found is not None else None
        albums = state.sales.albums_with(found.said.track) if found is not None else []
        passes = state.sales.passes.get(owner) if owner else None
        for_sale = offered is not None or (entry.preview_s is not None and bool(albums))
        return {
            **self._where(),
            "track_root": entry.track_root,
            "title": entry.title,
            "artist": entry.artist,
            "album": entry.album,
            "preview_s": entry.preview_s,
            "item": hex_of(found.said.track) if found is not None else None,
            "account": owner,
            **self._price(offered),
            "albums": [self._album(one, titles) for one in albums] if entry.preview_s is not None else [],
            "passes": [] if passes is None else [
                {
                    "issuer": passes.issuer,
                    "coin_or_token": token_json(state, passes.token),
                    "price": str(passes.price),
                    "seconds": passes.duration_s,
                }
            ],
            "state": FOR_SALE if for_sale else FREE if entry.preview_s is None else NOT_FOR_SALE,
        }  # fmt: skip

    def gone(self, root: str) -> Json:
        """The offer of a track that was withdrawn."""
        return {
            **self._where(), "track_root": root, "title": None, "artist": None, "album": None,
            "preview_s": None, "item": None, "account": None, **self._price(None), "albums": [],
            "passes": [], "state": WITHDRAWN,
        }  # fmt: skip

    def keys(self, buyer: str, titles: Titles) -> list[Json]:
        """What an account has bought or was given (`GET /api/keys/{address}`)."""
        return [self._key(one, titles) for one in self.state.sales.purchases_of(buyer)]

    def premium(self, terms: Iterable[PremiumTerm]) -> list[Json]:
        """Under which conditions an account hears whole tracks, as far as they are understood here."""
        found: list[Json] = []
        for term in terms:
            if term.kind == "hold" and _is_address(term.token) and term.amount.isdecimal():
                token = token_json(self.state, term.token)
                found.append({"kind": "hold", "coin_or_token": token, "amount": term.amount})
            elif term.kind == "pass" and _is_address(term.issuer):
                found.append({"kind": "pass", "issuer": term.issuer})
        return found

    # -- parts

    def _where(self) -> Json:
        deployed = self.state.deployed
        return {
            "chain_id": deployed.chain_id if deployed else None,
            "sales": deployed.addresses.get("sales") if deployed else None,
            "passes_contract": deployed.addresses.get("passes") if deployed else None,
            "deliver_within_s": self.state.deliver_within_s or None,
        }

    def _price(self, offered: OfferOnChain | None) -> Json:
        if offered is None:
            return {"coin_or_token": None, "price": None, "is_at_least": False}
        return {
            "coin_or_token": token_json(self.state, offered.token),
            "price": str(offered.price),
            "is_at_least": offered.is_at_least,
        }

    def _album(self, album: AlbumOnChain, titles: Titles) -> Json:
        roots = self.roots_of(album.item)
        return {
            "item": hex_of(album.item),
            "title": album_title([titles(root) for root in roots]),
            "tracks": roots,
            **self._price(self.state.sales.offers.get(album.item)),
        }

    def _key(self, one: PurchaseOnChain, titles: Titles) -> Json:
        roots = self.roots_of(one.item)
        is_given = one.state is PurchaseState.GIVEN
        entries = [titles(root) for root in roots]
        title = entries[0].title if len(entries) == 1 and entries[0] else album_title(entries)
        return {
            "item": hex_of(one.item),
            "tracks": roots,
            "title": title,
            "wrapped": one.wrapped_key.hex() if one.has_key else None,
            "state": PurchaseState.DELIVERED if is_given else one.state,
            "is_given": is_given,
            "amount": str(one.amount),
            "coin_or_token": token_json(self.state, one.token),
            "deliver_before": one.deliver_before,
            "listening_key": hex_of(one.buyer_key) if one.buyer_key else None,
            "suite": one.suite,
            "block": max(one.block, one.answered_in),
        }


def _is_address(text: str) -> bool:
    return _ADDRESS.fullmatch(text) is not None


def album_title(entries: "Iterable[TrackEntry | None]") -> str:
    """What an album is called: what all its tracks call it, else how many they are."""
    found = list(entries)
    names = {one.album for one in found if one is not None and one.album}
    return names.pop() if len(names) == 1 else f"{len(found)} tracks"
