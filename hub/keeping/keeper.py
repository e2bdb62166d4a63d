"""The node's part in the contract, as a task of the node: looks at each block, decides, does.

What to do is `digm.keeping`'s; here is when it is asked, and that each deed is done once at a time. Without a
chain, contracts, a key or a stake it waits, says so once, and everything else works as it does without.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from prometheus_client import Counter

from digm.errors import CallerFault, DigmError, PeerFault, Unavailable
from digm.ids import to_hex
from digm.keeping import Clock, Deed, Facts, Kind, Policy, may_begin, next_deeds
from digm.placement import Candidate
from hub.chain.state import ChainState, FoundTrack
from hub.keeping.offers import Offers, guilty_of, seal_turn
from hub.keeping.own import OwnCopies
from hub.pauses import Pauses
from hub.pinning.network import Network, Store

if TYPE_CHECKING:
    from hub.chain.deployment import Deployment
    from hub.config import Settings
    from hub.keeping.contract_view import ContractView, Member
    from hub.keeping.deeds import Deeds

log = structlog.get_logger()
LOOKED_AGAIN_S = 2.0
DEVNET_POLL_S, POLL_S = 0.3, 4.0
DEVNET_CHAIN_ID = 31_337
FIRST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_HASTE_S = 1.0, 300.0, 10.0
FETCHED_WITHIN_S = 3_600.0
MOST_TOLD = 1_000
DEEDS = Counter(
    "digm_chain_deeds", "What the node did for the contract, by what came of it.", ["deed", "result"]
)
_WAITING = ("no_key", "no_passphrase")


class Followed(Protocol):
    """What is needed of `hub.chain.follower.ChainFollower`."""

    @property
    def state(self) -> ChainState: ...


@dataclass(frozen=True)
class Neighbours:
    """What the keeper asks of the rest of the node.

    Attributes:
        me: this node, as others see it.
        present: nodes that are there, by the account that they and the chain name.
        claimants: peer ids of those that claim a track, the best first.
    """

    network: Network
    store: Store
    me: Candidate
    present: Callable[[], Mapping[str, Candidate]]
    claimants: Callable[[bytes], list[str]]


class Keeper:
    """One node's account. Run it as a task.

    Args:
        on_account: told the account's address when its key was opened.

    Attributes:
        account: its address; None: there is no key, or it was not opened yet.
        member: what the contract says of it; None: not known.
        trouble: the code of what keeps it from working; empty: nothing.
    """

    def __init__(
        self,
        settings: "Settings",
        chain: "Followed",
        neighbours: Neighbours,
        policy: Policy | None = None,
        on_account: Callable[[str], None] = lambda _address: None,
    ) -> None:
        self._settings, self._chain, self._neighbours = settings, chain, neighbours
        self._policy, self._on_account = policy or Policy(), on_account
        self.account: str | None = None
        self.member: Member | None = None
        self.clock: Clock | None = None
        self.trouble = ""
        self.done = dict.fromkeys((kind.name.lower() for kind in Kind), 0)
        self._busy: dict[Deed, asyncio.Task[None]] = {}
        self._told: dict[Deed, str] = {}
        self._ended, self._has_told_of_the_key = 0, False
        self._refused: set[int] = set()
        self._fruitless: set[Deed] = set()
        self._pauses = Pauses[Deed](FIRST_PAUSE_S, LONGEST_PAUSE_S, time.monotonic)
        self._haste = Pauses[Deed](FIRST_PAUSE_S, LONGEST_HASTE_S, time.monotonic)
        self._tracks: Mapping[int, FoundTrack] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            deployed = self._chain.state.deployed
            if deployed is not None:
                try:
                    await self._work_for(deployed)
                except DigmError as fault:
                    self._say(fault)
                except Exception:
                    log.exception("keeper_crashed")
            await asyncio.sleep(LOOKED_AGAIN_S)

    async def _work_for(self, deployed: "Deployment") -> None:
        """With one set of contracts, until others are named. Raises what looking again does not mend."""
        # Only now: eth-account and eth-abi take longer to import than all the rest of a node.
        work = await asyncio.to_thread(_imported)
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(work.open_account(self._settings, deployed))
            view = work.ContractView(client, deployed)
            self.account = view.address
            self._on_account(view.address)
            places = self._neighbours
            trees = work.AuditTrees(work.folder_of(self._settings), places.store)

            async def renditions(track: bytes) -> Any:
                return await view.of_registry("renditions", track)

            acquirer = work.Acquirer(places.network, places.store, trees, places.claimants, renditions)
            deeds = work.Deeds(view, acquirer, places.store, trees)
            copies = OwnCopies(places.store, trees, deployed)
            offers = Offers(view.address, places.me, self._policy.least_price)
            stack.push_async_callback(self._stop)
            log.info("keeper_began", account=view.address, contract=view.contracts)
            seen, looked_at = (0, 0, 0), 0.0
            while (state := self._chain.state).deployed == deployed:
                try:
                    head, time_s = await view.head()
                    if head < seen[0] or not seen[0]:  # what the chain took back, or a kill, may have lost
                        await self._send_again(view)
                    news = head, state.sequence, self._ended
                    # A pause may be over, or a turn have come, where no block tells it.
                    if news != seen or time.monotonic() > looked_at + LOOKED_AGAIN_S:
                        seen, looked_at = news, time.monotonic()
                        await self._turn(view, deeds, copies, offers, head, time_s)
                    self._is_well()
                except (Unavailable, PeerFault) as fault:  # the chain's servers come back, and to their senses
                    self._say(fault)
                await asyncio.sleep(DEVNET_POLL_S if deployed.chain_id == DEVNET_CHAIN_ID else POLL_S)

    async def _send_again(self, view: "ContractView") -> None:
        """Raises Unavailable, PeerFault."""
        try:
            await view.client.sender.resume()
        except CallerFault as fault:  # such as no money for gas: each deed says it again
            log.warning("not_sent_again", code=fault.code, reason=fault.message)

    async def _turn(
        self,
        view: "ContractView",
        deeds: "Deeds",
        copies: OwnCopies,
        offers: Offers,
        head: int,
        time_s: int,
    ) -> None:
        """Look at one block, and begin what is to be done."""
        state = self._chain.state
        clock, member = await view.look(head, time_s)
        self._tell_of_jail(member)
        self._tell_of_the_key(state, member)
        self.clock, self.member = clock, member
        rules = view.rules
        tracks = {one.said.track: one for one in (*state.withdrawn, *state.tracks)}
        self._tracks = {
            number: tracks[order.track] for number, order in state.pins.orders.items() if order.track in tracks
        }
        present = self._neighbours.present()
        facts = await asyncio.to_thread(
            _facts, state, clock, member, rules, copies, offers, present, self._tracks
        )
        policy = replace(
            self._policy,
            release_grace_s=rules["release_grace_s"],
            epoch_blocks=rules["epoch_blocks"],
        )
        for deed in next_deeds(replace(facts, resting=tuple(self._busy), given_up=self._given_up()), policy):
            if self._may_begin(deed):
                self._begin(deed, deeds, copies, state)

    # -- deeds

    def _may_begin(self, deed: Deed) -> bool:
        return may_begin(deed, self._busy) and not self._pause_of(deed).left_s(deed)

    def _given_up(self) -> frozenset[int]:
        """Orders whose bytes were wrong, or that nobody gave a moment ago."""
        self._fruitless = {one for one in self._fruitless if self._pauses.left_s(one)}
        return frozenset(self._refused | {one.order_id for one in self._fruitless})

    def _pause_of(self, deed: Deed) -> Pauses[Deed]:
        return self._haste if deed.kind in (Kind.PROVE, Kind.SEAL) else self._pauses

    def _begin(self, deed: Deed, deeds: "Deeds", copies: OwnCopies, state: ChainState) -> None:
        task = asyncio.create_task(self._do(deed, deeds, copies, state), name=f"keep-{deed.kind.name.lower()}")
        self._busy[deed] = task
        task.add_done_callback(lambda _task: self._has_ended(deed))

    def _has_ended(self, deed: Deed) -> None:
        self._busy.pop(deed, None)
        self._ended += 1

    async def _do(self, deed: Deed, deeds: "Deeds", copies: OwnCopies, state: ChainState) -> None:
        about = _fields(deed, self._tracks)
        try:
            track, order = self._tracks.get(deed.order_id), state.pins.orders.get(deed.order_id)
            ends_at = order.ends_at if order is not None else 0
            async with asyncio.timeout(FETCHED_WITHIN_S if deed.kind is Kind.FETCH else None):
                receipt = await deeds.do(deed, track, copies.name(deed.order_id), ends_at)
        except TimeoutError:
            slow = Unavailable("no_source", "Nobody gives the track in time.")
            self._pause_of(deed).failed(deed)
            await self._give_up(deed, slow, copies)
            self._tell_of_failure(deed, slow)
            return
        except DigmError as fault:
            self._pause_of(deed).failed(deed)
            if deed.kind is Kind.FETCH:
                await self._give_up(deed, fault, copies)
            self._tell_of_failure(deed, fault)
            return
        except Exception:
            self._pause_of(deed).failed(deed)
            DEEDS.labels(deed.kind.name.lower(), "crashed").inc()
            log.exception("deed_crashed", **about)
            return
        self._pause_of(deed).forget(deed)
        self.done[deed.kind.name.lower()] += 1
        self._told.pop(deed, None)
        DEEDS.labels(deed.kind.name.lower(), "done").inc()
        log.info("deed_done", **about, transaction=receipt.transaction_hash if receipt else None)

    def _tell_of_failure(self, deed: Deed, fault: DigmError) -> None:
        about = _fields(deed, self._tracks)
        if _is_nothing(deed, fault):
            DEEDS.labels(deed.kind.name.lower(), "not_needed").inc()
            log.info("deed_not_needed", **about, reason=fault.data.get("reason"))
            return
        DEEDS.labels(deed.kind.name.lower(), "failed").inc()
        is_new = self._told.get(deed) != fault.code  # it is tried again every few seconds
        tell = log.warning if is_new else log.debug
        tell("deed_failed", **about, code=fault.code, reason=fault.message)
        if len(self._told) >= MOST_TOLD:
            self._told.clear()
        self._told[deed] = fault.code

    async def _give_up(self, deed: Deed, fault: DigmError, copies: OwnCopies) -> None:
        """Nobody shall fill the disk with orders of which he never gives the bytes."""
        self._fruitless.add(deed)
        if fault.code == "chain_mismatch":
            self._refused.add(deed.order_id)
        is_promised = self.member is not None and deed.order_id in self.member.account.pins
        if not is_promised:
            await self._let_go(deed, copies)

    async def _let_go(self, deed: Deed, copies: OwnCopies) -> None:
        track = self._tracks.get(deed.order_id)
        if track is not None:
            root, name = to_hex(track.said.track_root), copies.name(deed.order_id)
            await asyncio.to_thread(self._neighbours.store.unpin, root, name)

    async def _stop(self) -> None:
        """What was begun is in the outbox or on the disk, and gone on with when the node starts again."""
        tasks: Sequence[asyncio.Task[None]] = list(self._busy.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- what it says of itself

    @property
    def doing(self) -> list[str]:
        """Deeds that are being done, as words."""
        return [" ".join(str(part) for part in _fields(deed, {}).values()) for deed in self._busy]

    def _say(self, fault: DigmError) -> None:
        if fault.code != self.trouble:
            self.trouble = fault.code
            tell = log.info if fault.code in _WAITING else log.warning
            tell("keeper_waits", code=fault.code, reason=fault.message)

    def _tell_of_jail(self, member: "Member") -> None:
        until, before = member.account.jailed_until, self.member
        if until and (before is None or not before.account.jailed_until):
            log.warning(
                "node_jailed",
                until_s=until,
                advice="its stake was cut for missed rounds; digm chain unjail is the way back",
            )

    def _tell_of_the_key(self, state: ChainState, member: "Member") -> None:
        known = state.pins.nodes.get(member.account.address)
        is_another = known is not None and known.node_key != self._neighbours.me.node
        if is_another and not self._has_told_of_the_key:
            self._has_told_of_the_key = True
            log.warning(
                "stake_names_another_node",
                advice="others do not know that this account is this node's: stake from this folder, after "
                "the node was started in it once",
            )

    def _is_well(self) -> None:
        if self.trouble:
            log.info("keeper_goes_on")
            self.trouble = ""


def _facts(
    state: ChainState,
    clock: Clock,
    member: "Member",
    rules: Mapping[str, int],
    copies: OwnCopies,
    offers: Offers,
    present: Mapping[str, Candidate],
    tracks: Mapping[int, FoundTrack],
) -> Facts:
    """Blocks: there may be thousands of orders."""
    own, account = copies.look(state, tracks), member.account
    also = own.kept | set(account.pins)
    return Facts(
        clock=clock,
        account=account,
        own=own,
        offers=offers.of(state, present, rules["min_pin_bytes"], clock.time_s, also),
        guilty=guilty_of(state.pins, account.address, clock.epoch, rules),
        seal_turn=seal_turn(state.pins, account.address, clock.epoch),
    )


def _is_nothing(deed: Deed, fault: DigmError) -> bool:
    """A refusal that says that nothing is left to do: somebody else did it, or the moment is over."""
    if not isinstance(fault, CallerFault) or fault.code != "reverted":
        return False
    # Two did it in one block: the reason of what failed there is not told.
    return fault.data.get("reason") in _NOTHING_LEFT or deed.kind in (Kind.SEAL, Kind.SLASH)


_NOTHING_LEFT = frozenset({
    "already_sealed", "already_answered", "already_accepted", "not_slashable", "no_open_round", "too_late",
    "order_full", "order_over", "no_such_pin", "nothing_to_withdraw", "challenge_open", "too_early",
})  # fmt: skip


def _fields(deed: Deed, tracks: Mapping[int, FoundTrack]) -> dict[str, object]:
    """For the log: what it was about."""
    said: dict[str, object] = {"deed": deed.kind.name.lower()}
    if deed.order_id:
        said["order"] = deed.order_id
    if deed.order_id in tracks:
        said["track_root"] = to_hex(tracks[deed.order_id].said.track_root)[:8]
    if deed.round:
        said["round"] = deed.round
    if deed.node:
        said["node"] = deed.node
    return said


def _imported() -> Any:
    from hub.keeping import working

    return working
