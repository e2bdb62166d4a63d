"""What is published here, and how it fares: copies, listeners, nodes; asked of this machine's hub."""

import asyncio
from collections.abc import Collection
from typing import Any

import structlog

from digm.errors import DigmError
from digm.ids import to_hex
from hub.chain.keystore import FILE_NAME as KEY_FILE
from hub.chain.keystore import address_of
from hub.chain.opening import folder_of
from hub.chain.state import ChainState
from hub.cli.hub_api import HubApi
from hub.config import Settings
from hub.granting.plays import TrackPlays, load_plays
from hub.publishing.vault import Vault
from hub.storage.catalogue import Catalogue, TrackEntry
from hub.studio.sales import Till

log = structlog.get_logger()
_MOST_NODES = 50


async def music_of(settings: Settings, vault: Vault, state: ChainState) -> dict[str, Any]:
    """Everything for the page. What cannot be asked is None, with a sentence in `trouble`."""
    entries = await asyncio.to_thread(_listed, settings)
    till = Till(state, [entry for entry in entries if entry.artist_key == to_hex(vault.artist_key)])
    found: dict[str, Any] = {"hub": settings.public_url or settings.signal_url, "trouble": []}
    network = await _ask(settings, "/api/nodes", found["trouble"])
    swarms = await _ask(settings, "/api/operator/swarms", found["trouble"]) if network is not None else None
    found["is_hub_up"] = network is not None
    copies = {one["track_root"]: one for one in (network or {}).get("tracks", ())}
    heard = {one["track"]: one for one in (swarms or {}).get("swarms", ())}
    plays = await asyncio.to_thread(load_plays, settings.data)
    found["tracks"] = [
        _track(entry, vault, copies.get(entry.track_root), heard.get(entry.track_root))
        | till.of(entry)
        | _plays(plays.get(entry.track_root))
        for entry in entries
    ]
    found["sales"], found["income"] = till.latest(), till.income()
    own = {entry.track_root for entry in entries}
    found["nodes"] = [_node(one, own) for one in (network or {}).get("nodes", ())][:_MOST_NODES]
    found["chain"] = _chain(settings, state)
    return found


def _listed(settings: Settings) -> list[TrackEntry]:
    catalogue = Catalogue.open(settings.data)
    try:
        return catalogue.tracks()
    finally:
        catalogue.close()


async def _ask(settings: Settings, path: str, trouble: list[str]) -> Any:
    try:
        async with HubApi(settings.signal_url or "") as api:
            return await api.get(path)
    except DigmError as fault:
        if fault.message not in trouble:
            trouble.append(fault.message)
        return None


def _track(entry: TrackEntry, vault: Vault, copies: Any, heard: Any) -> dict[str, Any]:
    return {
        "track_root": entry.track_root,
        "title": entry.title,
        "artist": entry.artist,
        "album": entry.album,
        "duration_s": entry.duration_s,
        "preview_s": entry.preview_s,
        "cover": entry.cover_hash,
        "has_key": vault.secret(entry.track_root) is not None,
        "is_own": entry.artist_key == to_hex(vault.artist_key),
        "held": None if copies is None else copies["held"],
        "desired": None if copies is None else copies["desired"],
        "listeners": heard["listeners"] if heard else 0,
    }


def _plays(counted: TrackPlays | None) -> dict[str, Any]:
    """In all, and in the last 30 days that had any."""
    if counted is None:
        return {"plays": 0, "recent_plays": []}
    return {"plays": counted.total, "recent_plays": [counted.days[day] for day in sorted(counted.days)[-30:]]}


def _node(node: Any, own: Collection[str]) -> dict[str, Any]:
    said = {name: node.get(name) for name in ("operator", "network", "peer_id", "state", "is_self")}
    latency_ms, chain = node.get("latency_ms"), node.get("chain")
    return said | {
        # As a page shows it, so that not every look is news.
        "latency_ms": None if latency_ms is None else round(latency_ms),
        "holds": sum(one["track_root"] in own and one["share"] >= 1 for one in node.get("tracks", ())),
        "is_jailed": bool(chain) and chain.get("jailed_until") is not None,
    }


def _chain(settings: Settings, state: ChainState) -> dict[str, Any]:
    account = address_of(folder_of(settings) / KEY_FILE)
    return {
        "account": account,
        "is_known": state.deployed is not None,
        "sells": state.deployed is not None and "sales" in state.deployed.addresses,
        "is_current": state.is_current,
        "trouble": state.trouble,
    }
