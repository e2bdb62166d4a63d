"""`digm pin`: the artist orders copies of published tracks; the hub gives the order to the network."""

import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from digm.errors import CallerFault, DigmError, Unavailable

if TYPE_CHECKING:
    from digm.manifest import Manifest
    from digm.pinning import PinOrder
    from hub.cli.hub_api import HubApi
    from hub.config import Settings
    from hub.publishing.vault import Vault

EXIT_FAILED = 2
Within = Annotated[float | None, typer.Option(help="With --watch: seconds to wait; then exit status 1.")]
Hub = Annotated[
    str | None, typer.Option(metavar="URL", help="The hub; default: DIGM_SIGNAL_URL, this machine's.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line for each order.")]


def pin(
    track_roots: Annotated[
        list[str] | None, typer.Argument(metavar="[TRACKROOT]...", help="Tracks that you published.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All tracks of the data folder.")] = False,
    replicas: Annotated[int, typer.Option(help="How many nodes shall keep a copy, 1 to 100.")] = 7,
    months: Annotated[int, typer.Option(help="For how long, 1 to 120.")] = 18,
    duration: Annotated[
        str | None, typer.Option(help="For how long, instead of --months, such as '90 days' or '36 hours'.")
    ] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="Take the order back.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Wait until the copies are held.")] = False,
    within: Within = None,
    hub: Hub = None,
    as_json: AsJson = False,
) -> None:
    """Order copies of your tracks on other nodes, signed with your vault."""
    import asyncio

    from digm.pinning import MAX_REPLICAS, MONTH_S, parse_duration
    from hub.cli.hub_api import HubApi
    from hub.config import load_settings

    if not 1 <= replicas <= MAX_REPLICAS:
        raise CallerFault("bad_option", f"--replicas is 1 to {MAX_REPLICAS}; to take an order back: --cancel.")
    if not 1 <= months <= 120:
        raise CallerFault("bad_option", "--months is 1 to 120.")
    if bool(track_roots) == every:
        raise CallerFault("bad_option", "Name tracks by their roots, or give --all.")
    settings = load_settings()
    asked = Asked(
        track_roots or _all_roots(settings),
        0 if cancel else replicas,
        parse_duration(duration) if duration else months * MONTH_S,
    )
    api = HubApi(hub or settings.signal_url)
    raise typer.Exit(asyncio.run(_pin(settings, api, asked, watch and not cancel, within, as_json)))


class Asked:
    """What the artist wants.

    Attributes:
        replicas: 0 cancels.
    """

    def __init__(self, roots: list[str], replicas: int, duration_s: int) -> None:
        from digm.ids import is_hex_id

        for root in roots:
            if not is_hex_id(root):
                raise CallerFault("bad_id", f"{root!r} is not a track root: that is 64 lower-case hex digits.")
        self.roots, self.replicas, self.duration_s = list(dict.fromkeys(roots)), replicas, duration_s


def _all_roots(settings: "Settings") -> list[str]:
    from hub.storage.catalogue import Catalogue

    with Catalogue.open_for_reading(settings.data) as catalogue:
        return [entry.track_root for entry in catalogue.tracks()]


async def _pin(
    settings: "Settings", api: "HubApi", asked: Asked, watch: bool, within_s: float | None, as_json: bool
) -> int:
    """Place the orders. One that fails does not keep the others from being placed.

    Returns:
        the exit status: 0; 1 when the copies were not held in time; 2 when an order was not taken.
    """
    from hub.cli.pins import follow, print_order
    from hub.publishing.sources import printable
    from hub.publishing.vault import FILE_NAME, Vault

    path: Path = settings.data / FILE_NAME
    placed: list[str] = []
    with Vault.open(path, settings.vault_passphrase, create=False, read_only=True) as vault:
        async with api:
            for root in asked.roots:
                try:
                    order = await signed_order(settings, api, vault, root, asked)
                    answer = await api.post("/api/pins", order.document)
                except DigmError as fault:
                    print(f"{root}: {printable(fault.message)}", file=sys.stderr, flush=True)
                    if fault.code == "hub_unreachable":
                        return EXIT_FAILED
                    continue
                placed.append(root)
                print_order(answer, as_json, is_new=True)
            status = await follow(api, placed, within_s, as_json) if watch and placed else 0
    return EXIT_FAILED if len(placed) < len(asked.roots) else status


async def signed_order(
    settings: "Settings", api: "HubApi", vault: "Vault", root: str, asked: Asked
) -> "PinOrder":
    """An order for one track, behind all that the hub knows. Raises as `HubApi`, `parse_manifest`."""
    from digm.ids import to_hex
    from digm.manifest import manifest_hash
    from digm.pinning import PinOrder, sign_pin_order

    document, manifest = await _manifest(settings, api, root)
    if manifest.artist_key != vault.artist_key:
        raise CallerFault(
            "not_your_track", "This track is by another artist than the vault's, who alone can order copies."
        )
    known = [
        order
        for order in (await api.get(f"/api/tracks/{root}/pins"))["orders"]
        if order["artist"] == to_hex(vault.artist_key)
    ]
    now_s, duration_s = time.time(), asked.duration_s
    if not asked.replicas:
        duration_s = _left_s(known, now_s)
    order = PinOrder(
        track_root=manifest.track_root,
        desired_replicas=asked.replicas,
        duration_s=duration_s,
        manifest_hash=manifest_hash(document),
        artist=vault.artist_key,
        # Behind the last one that the hub knows, also when this machine's clock went back.
        sequence=max(int(now_s * 1000), *(int(order["sequence"]) + 1 for order in known), 0),
        issued_at=int(now_s),
    )
    return sign_pin_order(order, vault.sign)


def _left_s(known: list[dict[str, Any]], now_s: float) -> int:
    """As long as the order that is taken back would have counted, so long the cancelling one has to."""
    if not any(order["desired"] for order in known):
        raise CallerFault("nothing_to_cancel", "The hub knows of no order of yours for this track.")
    return max(3600, *(math.ceil(float(order["expires_at"]) - now_s) for order in known))


async def _manifest(settings: "Settings", api: "HubApi", root: str) -> "tuple[bytes, Manifest]":
    """The signed manifest: from this machine, or from the hub if the vault lies elsewhere than the tracks."""
    from digm.ids import to_hex
    from digm.manifest import parse_manifest
    from hub.storage.chunk_store import ChunkStore
    from hub.storage.verification import signature_holds

    try:
        document = ChunkStore(settings.data).manifest(root)
    except Unavailable:
        document = await api.bytes_of((await api.get(f"/api/tracks/{root}"))["manifest_url"])
    manifest = parse_manifest(document)
    if to_hex(manifest.track_root) != root or not signature_holds(manifest):
        raise CallerFault("manifest_damaged", "The manifest is not what its artist signed: run digm verify.")
    return document, manifest
