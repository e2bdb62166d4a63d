"""Asks other nodes for proofs of what they claim, and answers such questions about what lies here.

An answer is made from bytes whose hash was checked just now, or not at all: a node whose disk rots says that a
chunk is gone, and never gives a wrong proof. What came of each audit of a node is durable before its next one.
"""

import asyncio
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from digm.announcements import Announcement
from digm.audits import (
    CHALLENGES_PER_EPOCH,
    DEBT_TURN,
    EPOCH_S,
    MAX_CHALLENGE_BYTES,
    NOT_HELD,
    AuditScore,
    Challenge,
    ChunkPlace,
    Health,
    Outcome,
    audit_targets,
    draw_challenge,
    encode_challenge,
    epoch_of,
    judge,
    parse_challenge,
)
from digm.backbone_messages import AUDIT
from digm.errors import PeerFault, Unavailable
from digm.ids import from_hex, short, to_hex
from digm.manifest import Rendition, parse_manifest
from digm.node_ids import peer_id
from hub.pinning.herald import Herald
from hub.pinning.network import Identity, Network, Readable
from hub.pinning.records import Records

log = structlog.get_logger()
PROTOCOL = AUDIT.name
PLANNED_AGAIN_S = 60.0
NODES_AT_ONCE = 16
MOST_SCORES = 10_000  # nodes; who was not audited for longest goes
_TRACKS_PER_DRAW = 8
_OUR_TROUBLE = ("backbone_down",)
_SILENT = (Outcome.TIMED_OUT, Outcome.OFFLINE)


@dataclass(frozen=True)
class AuditSettings:
    """How this node audits."""

    epoch_s: int = EPOCH_S
    challenges: int = CHALLENGES_PER_EPOCH
    deadline_s: int = 15


@dataclass(frozen=True)
class _Denied:
    """A node said that it lacks a chunk that it claimed; its next word on the track decides."""

    challenge: Challenge
    sequence: int


class Auditor:
    """The audits of one node. Call `start` once, and `tick` every few seconds.

    Args:
        seed: draws 32 random bytes.
    """

    def __init__(
        self,
        network: Network,
        identity: Identity,
        store: Readable,
        herald: Herald,
        records: Records,
        settings: AuditSettings | None = None,
        now: Callable[[], float] = time.time,
        seed: Callable[[], bytes] = lambda: secrets.token_bytes(32),
    ) -> None:
        self.scores: dict[bytes, AuditScore] = {}
        self._network, self._me, self._store, self._herald = network, identity.node_key, store, herald
        self._records, self._settings, self._now, self._seed = records, settings or AuditSettings(), now, seed
        self._plan: list[tuple[float, bytes]] = []
        self._epoch = -1
        self._planned: set[bytes] = set()
        self._planned_for: object = None
        self._planned_at = 0.0
        self._denied: dict[tuple[bytes, bytes], _Denied] = {}

    async def start(self) -> None:
        """Take up the scores that were kept, and answer challenges."""
        self.scores = await asyncio.to_thread(self._records.scores)
        self._network.serve(
            AUDIT.name, self._on_challenge, most_bytes=MAX_CHALLENGE_BYTES, timeout_s=AUDIT.timeout_s,
            parallel=4,
        )  # fmt: skip

    def health(self, node: bytes) -> Health:
        """How a node stands with us."""
        score = self.scores.get(node)
        return score.health if score else Health.UNPROVEN

    async def tick(self) -> None:
        """Ask what is due by now.

        Raises:
            Unavailable: our own records or store fail.
        """
        await self._judge_denials()
        due = self._due()  # of an epoch that is just over, too
        await self._make_plan(epoch_of(self._now(), self._settings.epoch_s))
        await self._ask([*due, *self._due()])

    async def audit(self, node: bytes) -> Outcome | None:
        """Ask a node once, now.

        Returns:
            what counts; None where there is nothing that both hold, or the answer has to wait.
        """
        seed = self._seed()
        drawn = await self._draw(node, seed)
        if drawn is None:
            return None
        claim, challenge = drawn
        try:
            own = await asyncio.to_thread(self._store.read, to_hex(challenge.chunk_hash))
        except Unavailable:
            return None  # ours is gone: nobody can be judged by it
        try:
            async with asyncio.timeout(self._settings.deadline_s):
                answer = await self._network.request(
                    peer_id(node),
                    AUDIT.name,
                    encode_challenge(challenge),
                    timeout_s=self._settings.deadline_s,
                    most_bytes=MAX_CHALLENGE_BYTES,
                )
        except (Unavailable, PeerFault, TimeoutError) as fault:
            return await self._record(challenge, _outcome_of(fault))
        if answer == NOT_HELD:
            self._denied[node, challenge.chunk_hash] = _Denied(challenge, claim.sequence)
            return None
        return await self._record(challenge, judge(challenge, answer, own, still_claims=True))

    def _due(self) -> list[bytes]:
        due = [node for moment, node in self._plan if moment <= self._now()]
        del self._plan[: len(due)]
        return due

    async def _ask(self, nodes: list[bytes]) -> None:
        """Ask each as often as it is named, several at once: who is silent must not take the others' turns."""
        places = asyncio.Semaphore(NODES_AT_ONCE)

        async def ask(node: bytes, times: int) -> None:
            async with places:
                for left in reversed(range(times)):
                    if await self.audit(node) in _SILENT and left:
                        self._plan[:0] = [(0.0, node)] * left  # in the next turn: the others wait for this one
                        break

        asked = await asyncio.gather(*(ask(*item) for item in Counter(nodes).items()), return_exceptions=True)
        for failed in asked:
            if failed is not None:
                raise failed

    async def _on_challenge(self, _peer: str, request: bytes) -> bytes:
        challenge = parse_challenge(request, self._me)
        try:
            chunk = await asyncio.to_thread(self._store.read, to_hex(challenge.chunk_hash))
        except Unavailable:
            return NOT_HELD
        if challenge.first_byte + challenge.length > len(chunk):
            raise PeerFault("audit_field", "The challenge asks beyond the end of the chunk.", field="length")
        return challenge.proof(chunk)

    async def _make_plan(self, epoch: int) -> None:
        """Plan the epoch when it begins, and for those who come while it runs."""
        now_s, ledger = self._now(), self._herald.ledger
        if epoch == self._epoch and now_s < self._planned_at + PLANNED_AGAIN_S:
            return
        held = await asyncio.to_thread(self._store.tracks)
        claims = {
            node: [claim.track_root for claim in ledger.of_node(node, now_s)] for node in ledger.nodes(now_s)
        }
        claims[self._me] = [from_hex(track.track_root) for track in held]
        planned_for = (epoch, {node: len(roots) for node, roots in claims.items()})
        self._planned_at = now_s
        if planned_for == self._planned_for:
            return
        if epoch != self._epoch:
            self._plan.clear()
            self._planned.clear()
        self._epoch, self._planned_for = epoch, planned_for
        targets = set(await asyncio.to_thread(audit_targets, self._me, epoch, claims)) - self._planned
        self._planned |= targets
        # Spread over what is left of the epoch, at moments that nobody can foresee.
        draw, ends = random.Random(self._seed()), (epoch + 1) * self._settings.epoch_s
        times = self._settings.challenges
        moments = ((draw.uniform(now_s, max(now_s, ends)), node) for node in sorted(targets) * times)
        self._plan = sorted([*self._plan, *moments])

    async def _draw(self, node: bytes, seed: bytes) -> tuple[Announcement, Challenge] | None:
        claims = self._herald.ledger.of_node(node, self._now())
        score, rng = self.scores.get(node), random.Random(seed)
        rng.shuffle(claims)
        common = await asyncio.to_thread(self._in_common, claims[:_TRACKS_PER_DRAW])
        if not common:
            return None
        known = {place.chunk_hash for _, places in common for place in places}
        debts = set(map(from_hex, score.debts)) & known if score else set()
        if debts and rng.random() < DEBT_TURN:
            common = [(claim, [at for at in places if at.chunk_hash in debts]) for claim, places in common]
        claim, places = next((claim, places) for claim, places in common if places)
        return claim, draw_challenge(node, claim.track_root, places, seed, self._settings.deadline_s)

    def _in_common(self, claims: list[Announcement]) -> list[tuple[Announcement, list[ChunkPlace]]]:
        """What they claim and we have, of the tracks that the claims are about."""
        found = []
        for claim in claims:
            try:
                root = to_hex(claim.track_root)
                ours = self._store.availability(root)
                manifest = parse_manifest(self._store.chunks.manifest(root))
            except Unavailable:
                continue
            places = [
                ChunkPlace(rendition.chunk_hashes[chunk], rendition.chunk_bytes(chunk))
                for rendition in manifest.renditions
                for chunk in _claimed(claim, rendition)
                if chunk in ours.get(rendition.id, ())
            ]
            if places:
                found.append((claim, places))
        return found

    async def _judge_denials(self) -> None:
        for key, denied in list(self._denied.items()):
            node, chunk_hash = key
            claim = self._herald.ledger.claim(node, denied.challenge.track_root, self._now())
            if claim is not None and claim.sequence <= denied.sequence:
                continue
            del self._denied[key]
            still_claims = claim is not None and await asyncio.to_thread(self._is_claimed, claim, chunk_hash)
            await self._record(denied.challenge, judge(denied.challenge, NOT_HELD, b"", still_claims))

    def _is_claimed(self, claim: Announcement, chunk_hash: bytes) -> bool:
        return any(at.chunk_hash == chunk_hash for _, places in self._in_common([claim]) for at in places)

    async def _record(self, challenge: Challenge, outcome: Outcome) -> Outcome:
        score = self.scores.setdefault(challenge.node, AuditScore())
        was = score.health
        counted = score.record(challenge.chunk_hash, outcome, self._now())
        await asyncio.to_thread(
            self._records.keep_result, challenge.node, score, challenge.chunk_hash, counted.value, self._now()
        )
        if score.health is not was:
            log.info("node_health_changed", node=short(challenge.node), was=was.value, now=score.health.value)
        await self._forget_some()
        return counted

    async def _forget_some(self) -> None:
        """Nodes come and go for years, and names cost nothing: what is known of them has an end."""
        many = len(self.scores) - MOST_SCORES
        if many > 0:
            gone = sorted(self.scores, key=lambda node: self.scores[node].last_at)[:many]
            for node in gone:
                del self.scores[node]
            await asyncio.to_thread(self._records.drop_scores, gone)


def _claimed(claim: Announcement, rendition: Rendition) -> Iterable[int]:
    """The chunks that a node has to have: of a copy for an order all, whatever counts it gives itself."""
    if claim.is_whole and claim.pinned_for:
        return range(rendition.chunk_count)
    return claim.held.get(rendition.id, ())


def _outcome_of(fault: Exception) -> Outcome:
    """A failure is only ever a wrong proof: whatever else goes wrong is silence, absence or our own trouble."""
    code = getattr(fault, "code", "")
    if code in _OUR_TROUBLE:
        return Outcome.UNKNOWN
    return Outcome.OFFLINE if code == "peer_unreachable" else Outcome.TIMED_OUT
