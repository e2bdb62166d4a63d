"""How a program gets a track's keys, and into its swarm: somebody gives the key, or a hub carries a grant.

A hub is asked over HTTP, where one is named; over libp2p any hub that the artist's vault is linked to, so that
whoever knows one node needs to know no hub.
"""

import asyncio
import time

from digm.errors import DigmError, Unavailable
from digm.grants import Grant
from digm.ids import to_hex
from digm.manifest import Manifest
from hub.fetching.hub_answers import GrantAnswer, ask_grant
from hub.fetching.search import LIBP2P, PLACES, WEBRTC, Search
from hub.fetching.unlocking import Session, whole_grant

MEET_WITHIN_S = 6.0  # ICE and DTLS over a bad link; and then it goes on without being waited for
LOOK_EVERY_S = 0.05
NOT_OF_THIS_MANIFEST = ("grant_signature", "grant_wrong_key", "wrong_key")


async def obtain_access(
    search: Search, artist: str | None, track_key: bytes | None
) -> tuple[Manifest, bytes, Grant]:
    """The track's manifest, its exact bytes, and what may be opened of it.

    Anybody can sign chunks of somebody else: a manifest whose artist did not sign the grant, or to which the
    key does not belong, is put aside, and another one is asked for.

    Args:
        artist: the artist's key in hex, if it is known.
    Raises:
        Unavailable: `no_manifest`, `no_key`. CallerFault: `wrong_key`. PeerFault: `grant_signature`.
    """
    refused: set[bytes] = set()
    last: DigmError | None = None
    while True:
        try:
            manifest, document = await search.manifest(artist, refused)
        except Unavailable as fault:
            raise last or fault from fault
        try:
            return manifest, document, await obtain_grant(search, manifest, track_key)
        except DigmError as fault:
            if fault.code not in NOT_OF_THIS_MANIFEST:
                raise
            refused.add(manifest.artist_key)
            last = fault


async def obtain_grant(search: Search, manifest: Manifest, track_key: bytes | None) -> Grant:
    """What may be opened: everything with the track's key, otherwise what the artist grants to anyone.

    Joins the swarm as well, where there is one.

    Raises:
        CallerFault: `wrong_key`. Unavailable: `no_key`, with the reasons of all hubs.
        PeerFault: `grant_signature`, another artist signed the grant.
    """
    if track_key is not None:
        grant = whole_grant(manifest, track_key)
        join_swarm(search, manifest)
        return grant
    reasons = []
    for hub in search.target.hubs:
        try:
            grant, answer = await ask_hub(search, manifest, hub)
        except DigmError as fault:
            if fault.code in NOT_OF_THIS_MANIFEST:
                raise
            search.ledger.problem(hub, fault)
            reasons.append(f"{hub}: {fault.message}")
        else:
            join_swarm(search, manifest, answer.swarm_token)
            return grant
    try:
        return await _ask_network(search, manifest)
    except Unavailable as fault:
        if fault.code != "no_network":
            reasons.append(f"libp2p: {fault.message}")
    raise Unavailable(
        "no_key",
        "There is no key for this track: give one (--key), name a hub or a node that finds its artist's vault "
        f"(--hub, --bootstrap), or fetch it encrypted (--raw). {' '.join(reasons)}".rstrip(),
    )


async def ask_hub(search: Search, manifest: Manifest, hub: str) -> tuple[Grant, GrantAnswer]:
    """One hub's grant, opened, and the answer that it came in.

    Raises:
        Unavailable: the hub's code. PeerFault: the answer or the grant is not right.
    """
    session = Session()
    answer = await ask_grant(search.http, hub, search.target.track_root, session.public_key)
    return session.open(answer.sealed(), manifest), answer


async def _ask_network(search: Search, manifest: Manifest) -> Grant:
    """A grant through whichever hub has the artist's link.

    Raises:
        Unavailable: `no_network`, as nobody named a node; `artist_offline`, `artist_busy`, `grant_refused`.
        PeerFault: the grant is not right.
    """
    await search.settled(PLACES)
    if search.backbone is None:
        raise Unavailable("no_network", "Nobody named a node.")
    from hub.granting.elsewhere import VaultsElsewhere  # late, as libp2p is

    session, vaults = Session(), VaultsElsewhere(search.backbone)
    holders = [name for name, source in search.givers.items() if source.kind == LIBP2P]
    lookups = asyncio.create_task(vaults.run(), name="vault lookups")
    try:
        answer = await vaults.ask(
            to_hex(manifest.artist_key), search.target.track_root, session.public_key.hex(), holders
        )
    finally:
        lookups.cancel()
        await asyncio.gather(lookups, return_exceptions=True)
    return session.open(GrantAnswer(answer.grant, "", answer.not_after).sealed(), manifest)


def join_swarm(search: Search, manifest: Manifest, token: str | None = None) -> None:
    """Look for peers as well, where there is a hub to meet them.

    Args:
        token: of the swarm; None: it is in the grant that a hub gives.
    """
    if WEBRTC in search.via and search.target.hubs:
        search.begin(WEBRTC, _meet(search, manifest, token))


async def _meet(search: Search, manifest: Manifest, token: str | None) -> None:
    await search.settled(PLACES)
    if token is None:
        token = await _token(search, manifest)
    if token is None or not search.signal_urls:
        return
    # Late: aiortc takes half a second to import.
    from hub.fetching.swarm import Swarm
    from hub.seeding.ice import offer_loopback, quicken_gathering
    from hub.seeding.sctp import quicken_retransmission

    offer_loopback(True)
    quicken_gathering()
    quicken_retransmission()
    swarm = Swarm(manifest, token, search.signal_urls, search.add, search.remove)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(swarm.run(), name="swarm")
        until = time.monotonic() + MEET_WITHIN_S
        while not swarm.is_settled and time.monotonic() < until:
            await asyncio.sleep(LOOK_EVERY_S)
        if swarm.refusal is not None:
            search.ledger.problem(WEBRTC, Unavailable("swarm_refused", swarm.refusal))
        elif not swarm.is_settled:
            search.ledger.problem(
                WEBRTC, Unavailable("peers_not_reached", "Not everybody in the swarm could be reached.")
            )
        search.looked(WEBRTC)


async def _token(search: Search, manifest: Manifest) -> str | None:
    """A swarm opens only with what comes with a grant, whether its keys are needed or not."""
    for hub in search.target.hubs:
        try:
            return (await ask_hub(search, manifest, hub))[1].swarm_token
        except DigmError as fault:
            search.ledger.problem(WEBRTC, fault)
    return None
