"""Who provides a key (trio side): asked of the network, without repetitions, without us, without the dead.

The library's own lookup ends at the first local record, repeats itself and believes what it is told.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio
from libp2p.abc import IHost
from libp2p.kad_dht.kad_dht import KadDHT
from libp2p.kad_dht.utils import sort_peer_ids_by_distance
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo

from hub.backbone.model import PeerAddress

IsReached = Callable[[PeerInfo], Awaitable[bool]]
PARALLEL = 8
MOST_ASKED = 40
CLOSEST = 20  # Kademlia's k
ASK_TIMEOUT_S = 3.0  # four round trips around the world and back
LOOKUP_TIMEOUT_S = 10.0  # strangers who connect and say nothing must not use up a caller's patience
TELL_TIMEOUT_S = 8.0
MOST_ADDRESSES = 8


async def provide(host: IHost, dht: KadDHT, tasks: trio.Nursery, key: bytes) -> bool:
    """Tell the nodes closest to a key that we provide it. False when none could be told.

    Args:
        tasks: bears calls that do not end when they are cancelled.
    """
    store: Any = dht.provider_store
    store.providing_keys.add(key)
    store.add_provider(key, PeerInfo(host.get_id(), list(host.get_addrs())))
    told: list[ID] = []

    async def tell(peer: ID) -> None:
        async def send() -> None:
            if await store._send_add_provider(peer, key):
                told.append(peer)

        async with places:
            await _within(ASK_TIMEOUT_S, tasks, send)

    places = trio.CapacityLimiter(PARALLEL)
    closest = await _closest(host, dht, tasks, key)
    with trio.move_on_after(TELL_TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            for peer in closest:
                nursery.start_soon(tell, peer)
    return bool(told)


async def _within(seconds: float, tasks: trio.Nursery, work: Callable[[], Awaitable[None]]) -> bool:
    """Wait for a call to a peer no longer than this. Returns whether it ended by itself.

    The library closes streams behind a shield: with a peer that does not read, cancelling does not end it.
    """
    done, scope = trio.Event(), trio.CancelScope()

    async def run() -> None:
        with scope:
            try:
                await work()
            except Exception as error:  # gone, or talks nonsense: the library has an exception for each
                _ = error
        done.set()

    tasks.start_soon(run)
    with trio.move_on_after(seconds):
        await done.wait()
    scope.cancel()
    return done.is_set()


async def _closest(
    host: IHost,
    dht: KadDHT,
    tasks: trio.Nursery,
    key: bytes,
    also_ask: Callable[[ID], Awaitable[None]] | None = None,
) -> list[ID]:
    """The nodes closest to a key that can be reached now; who is connected and keeps silent is not among them.

    The library's own lookup also tries everybody who was ever here, which takes minutes after a crowd has left.

    Args:
        also_ask: something else of each node on the way, at the same time.
    """
    routing: Any = dht.peer_routing
    network = host.get_network()
    known = {*routing.routing_table.find_local_closest_peers(key, CLOSEST), *host.get_connected_peers()}
    asked, silent = {host.get_id()}, set[ID]()

    async def ask(peer: ID) -> None:
        nearer: list[ID] = []
        query = routing._query_single_peer_for_closest
        if not await _within(ASK_TIMEOUT_S, tasks, lambda: query(peer, key, nearer)):
            silent.add(peer)
        known.update(nearer)

    with trio.move_on_after(LOOKUP_TIMEOUT_S):
        while len(asked) <= MOST_ASKED:
            nearest = sort_peer_ids_by_distance(key, list(known))[:CLOSEST]
            batch = [peer for peer in nearest if peer not in asked][:PARALLEL]
            if not batch:
                break
            asked.update(batch)
            async with trio.open_nursery() as nursery:
                for peer in batch:
                    nursery.start_soon(ask, peer)
                    if also_ask is not None:
                        nursery.start_soon(_within, ASK_TIMEOUT_S, tasks, partial(also_ask, peer))
    reached = [peer for peer in known - silent if peer != host.get_id() and network.get_connections(peer)]
    return sort_peer_ids_by_distance(key, reached)[:CLOSEST]


async def find_providers(
    host: IHost,
    dht: KadDHT,
    tasks: trio.Nursery,
    key: bytes,
    most: int,
    is_reached: IsReached,
    on_found: Callable[[PeerAddress], object],
) -> list[PeerAddress]:
    """Providers that answered a call just now, at most `most`, in no order; `on_found` hears of each then.

    Args:
        is_reached: calls one who was named.
    """
    store: Any = dht.provider_store
    found: dict[ID, PeerInfo] = {}
    checking: set[ID] = set()
    alive: dict[ID, PeerAddress] = {}
    places = trio.CapacityLimiter(PARALLEL)

    async with trio.open_nursery() as checks:

        def heard_of(provider: PeerInfo) -> None:
            name = provider.peer_id
            if name == host.get_id() or (name not in found and len(found) >= 2 * most):
                return
            found[name] = _merged(found.get(name), provider)
            if name not in alive and name not in checking:
                checking.add(name)
                checks.start_soon(check, name)

        async def check(name: ID) -> None:
            tried = None
            while name not in alive and found[name] != tried:  # a better address may have come meanwhile
                tried = found[name]
                async with places:
                    if await is_reached(tried) and len(alive) < most:
                        alive[name] = _address(tried)
                        on_found(alive[name])
            checking.discard(name)

        async def ask(peer: ID) -> None:
            providers, _ = await store._get_providers_from_peer_with_closers(peer, key)
            for provider in providers:
                heard_of(provider)

        for provider in store.get_providers(key):
            heard_of(provider)
        await _closest(host, dht, tasks, key, ask)
    return list(alive.values())


def _merged(known: PeerInfo | None, provider: PeerInfo) -> PeerInfo:
    addresses = [*(known.addrs if known else []), *provider.addrs]
    unique = {str(address): address for address in addresses}
    return PeerInfo(provider.peer_id, list(unique.values())[:MOST_ADDRESSES])


def _address(provider: PeerInfo) -> PeerAddress:
    addresses = (str(address).split("/p2p/")[0] for address in provider.addrs)
    return PeerAddress(str(provider.peer_id), tuple(dict.fromkeys(addresses)))
