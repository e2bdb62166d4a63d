"""Audit-proofs off chain (blueprint §2.3): does a node still have what it claims?

An auditor that holds the same chunk asks for SHA-256(nonce || range) of a random range. The seed of the
challenge is random and decides everything: chunk, range, and the nonce, which the audited node's key goes into.
So a node that lacks a chunk cannot pass the question on to an honest one: that would answer with another nonce.
It can fetch the range elsewhere before the deadline; then others have it, and it is quicker to keep it.

What becomes of the answers is in `AuditScore`: docs/decisions/0017-audits.md says why these numbers.
"""

import hashlib
import hmac
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from digm.chunks import FRAME_BYTES, MAX_CHUNK_BYTES
from digm.errors import PeerFault
from digm.ids import ID_BYTES, to_hex
from digm.json_reader import JsonReader
from digm.rendezvous import is_among_first

MAX_CHALLENGE_BYTES = 1024
MAX_RANGE_BYTES = FRAME_BYTES
MAX_DEADLINE_S = 60
EPOCH_S = 3600
AUDITORS_PER_NODE = 3
CHALLENGES_PER_EPOCH = 4
"""What one auditor asks one node in one epoch."""
DEBT_TURN = 0.25
"""Part of the questions that are for chunks that a node did not answer for."""


@dataclass(frozen=True)
class Challenge:
    """One question to one node.

    Attributes:
        node: whom it is for.
        seed: 32 random bytes, fresh for each challenge.
        first_byte, length: the range of the encrypted chunk; at most 64 KiB.
        deadline_s: in so many seconds the answer must be there.
    """

    node: bytes
    track_root: bytes
    chunk_hash: bytes
    first_byte: int
    length: int
    seed: bytes
    deadline_s: int

    @property
    def nonce(self) -> bytes:
        """What goes before the range, 32 bytes; differs for each node."""
        return hashlib.sha256(b"digm/1 audit nonce" + self.seed + self.node).digest()

    def proof(self, chunk: bytes) -> bytes:
        """SHA-256(nonce || range), 32 bytes, of a whole chunk whose hash was checked."""
        return self.proof_of_range(chunk[self.first_byte : self.first_byte + self.length])

    def proof_of_range(self, data: bytes) -> bytes:
        """The same, of the range alone."""
        return hashlib.sha256(self.nonce + data).digest()

    def is_proven_by(self, proof: bytes, chunk: bytes) -> bool:
        """Whether a node's answer is right."""
        return hmac.compare_digest(proof, self.proof(chunk))


@dataclass(frozen=True)
class ChunkPlace:
    """A chunk that both hold: its hash and its size in bytes."""

    chunk_hash: bytes
    size: int


def draw_challenge(
    node: bytes, track_root: bytes, chunks: Sequence[ChunkPlace], seed: bytes, deadline_s: int
) -> Challenge:
    """Make the challenge that a seed stands for.

    Args:
        chunks: what the node claims and the auditor holds; not empty.
        seed: 32 random bytes.
    """
    place = chunks[_number(seed, b"chunk") % len(chunks)]
    length = min(MAX_RANGE_BYTES, place.size)
    first_byte = _number(seed, b"range") % (place.size - length + 1)
    return Challenge(node, track_root, place.chunk_hash, first_byte, length, seed, deadline_s)


def _number(seed: bytes, what: bytes) -> int:
    return int.from_bytes(hashlib.sha256(b"digm/1 audit " + what + seed).digest()[:8], "big")


def encode_challenge(challenge: Challenge) -> bytes:
    """The request on `/digm/audit/1.0.0`: UTF-8 JSON. It needs no signature, the stream names its sender."""
    return json.dumps(
        {
            "digm": 1,
            "node": to_hex(challenge.node),
            "track_root": to_hex(challenge.track_root),
            "chunk_hash": to_hex(challenge.chunk_hash),
            "first_byte": challenge.first_byte,
            "length": challenge.length,
            "seed": to_hex(challenge.seed),
            "deadline_s": challenge.deadline_s,
        },
        separators=(",", ":"),
    ).encode()


def parse_challenge(document: bytes, me: bytes) -> Challenge:
    """Read a challenge to this node.

    Raises:
        PeerFault: `audit_too_large`, `audit_not_json`, `audit_version`, `audit_field`, `audit_not_for_us`.
    """
    if len(document) > MAX_CHALLENGE_BYTES:
        raise PeerFault("audit_too_large", f"A challenge is at most {MAX_CHALLENGE_BYTES} bytes.")
    reader = JsonReader.parse(document, "audit")
    if reader.integer("digm", 0, 1 << 31) != 1:
        raise PeerFault("audit_version", "The challenge has a newer format than this node reads.")
    challenge = Challenge(
        node=reader.hash("node"),
        track_root=reader.hash("track_root"),
        chunk_hash=reader.hash("chunk_hash"),
        first_byte=reader.integer("first_byte", 0, MAX_CHUNK_BYTES - 1),
        length=reader.integer("length", 1, MAX_RANGE_BYTES),
        seed=reader.hash("seed"),
        deadline_s=reader.integer("deadline_s", 1, MAX_DEADLINE_S),
    )
    if challenge.node != me:
        raise PeerFault("audit_not_for_us", "The challenge is for another node.")
    return challenge


NOT_HELD = b"not held"
"""The answer of an honest node that does not have the chunk (any more)."""


class Outcome(StrEnum):
    """What came of a challenge.

    PASS: the proof is right. FAIL: it is wrong, or the node says that it lacks what it claims before and after.
    OFFLINE: not reached. TIMED_OUT: reached, no answer in time. UNKNOWN: it took its claim back, or the
    auditor's own copy is damaged; nothing follows.
    """

    PASS = "pass"  # noqa: S105 - the word of the specification
    FAIL = "fail"
    OFFLINE = "offline"
    TIMED_OUT = "timed_out"
    UNKNOWN = "unknown"


def judge(challenge: Challenge, answer: bytes, chunk: bytes, still_claims: bool) -> Outcome:
    """What an answer is worth.

    Args:
        answer: 32 bytes, or NOT_HELD, or nonsense.
        chunk: the auditor's own copy, its hash just checked.
        still_claims: whether the node has claimed the chunk anew since it answered.
    """
    if answer == NOT_HELD:
        return Outcome.FAIL if still_claims else Outcome.UNKNOWN
    return Outcome.PASS if len(answer) == ID_BYTES and challenge.is_proven_by(answer, chunk) else Outcome.FAIL


class Health(StrEnum):
    """How a node stands with one auditor."""

    UNPROVEN = "unproven"
    HEALTHY = "healthy"
    SLOW = "slow"
    ABSENT = "absent"
    FAILED = "failed"


CONSECUTIVE_FAILURES = 3
FAILED_AT = 3.0
"""The suspicion at which a node is failed; each FAIL adds 1."""
FORGIVEN_PER_PASS = 1 / 200
"""What each PASS takes off the suspicion; a failed node is believed again at 1."""
CERTAIN_BITS = 40.0
"""An unanswered chunk is a FAIL when chance alone would explain it once in 2^40 times."""
_RECENT = 1 / 16
_ABSENT_AFTER = 3
_HEALTHY_FROM = 0.5
_MOST_DEBTS = 256


@dataclass
class AuditScore:
    """What one auditor knows of one node; plain values, so that it can be kept.

    Two rules side by side. Three FAILs in a row, as the blueprint has it: `is_slashable`. And a suspicion that
    every FAIL raises by 1 and every PASS lowers a little: `is_failed`, which finds a node that lacks a part.

    A time-out alone is never a FAIL: nodes are slow and start again. But a node could keep silent exactly where
    it lacks a chunk. So a chunk that it did not answer for is a debt: it is asked for again, and if that is
    silent while the node answers other questions, each silence is evidence, as much as the node's usual silence
    makes it improbable. A slow node's debts are paid by its next answer; a liar's never.

    Attributes:
        consecutive_failures: FAILs with no PASS between them.
        debts: chunk hash in hex -> bits of evidence that it is missing.
        reliability: mean of recent outcomes, PASS is 1, all but UNKNOWN is 0.
        last_at, last_outcome: of the last audit that was not UNKNOWN; seconds since 1970.
    """

    passed: int = 0
    failed: int = 0
    fresh_asked: int = 0
    fresh_silent: int = 0
    consecutive_failures: int = 0
    silent_in_a_row: int = 0
    suspicion: float = 0.0
    is_failed: bool = False
    reliability: float = 0.0
    last_at: float = 0.0
    last_outcome: str = ""
    debts: dict[str, float] = field(default_factory=dict)

    def record(self, chunk_hash: bytes, outcome: Outcome, now_s: float) -> Outcome:
        """Take in what came of a challenge.

        Returns:
            the outcome that counts: FAIL for a TIMED_OUT that is one silence too many on the same chunk.
        """
        if outcome is Outcome.UNKNOWN:
            return outcome
        name = to_hex(chunk_hash)
        is_debt = name in self.debts
        if not is_debt and outcome in (Outcome.PASS, Outcome.FAIL, Outcome.TIMED_OUT):
            self.fresh_asked += 1
            self.fresh_silent += outcome is Outcome.TIMED_OUT
        if outcome is Outcome.TIMED_OUT and self._is_certain(name, is_debt):
            outcome = Outcome.FAIL
        self._count(outcome)
        if outcome in (Outcome.PASS, Outcome.FAIL):
            self.debts.pop(name, None)
        weight = max(_RECENT, 1 / (self.passed + self.failed + self.silent_in_a_row))
        self.reliability += ((outcome is Outcome.PASS) - self.reliability) * weight
        self.last_at, self.last_outcome = now_s, outcome.value
        return outcome

    def _is_certain(self, name: str, is_debt: bool) -> bool:
        """Take in a silence. A node that is silent everywhere gives no evidence about this chunk."""
        if is_debt:
            usual = (self.fresh_silent + 2) / (self.fresh_asked + 4)
            answered_since = self.silent_in_a_row == 0
            self.debts[name] += -math.log2(min(1.0, usual)) if answered_since else 0.0
            return self.debts[name] >= CERTAIN_BITS
        if len(self.debts) < _MOST_DEBTS:
            self.debts[name] = 0.0
        return False

    def _count(self, outcome: Outcome) -> None:
        if outcome is Outcome.PASS:
            self.passed += 1
            self.consecutive_failures = 0
            self.suspicion = max(0.0, self.suspicion - FORGIVEN_PER_PASS)
            self.is_failed = self.is_failed and self.suspicion > 1
        if outcome is Outcome.FAIL:
            self.failed += 1
            self.consecutive_failures += 1
            self.suspicion = min(self.suspicion + 1, 2 * FAILED_AT)
            self.is_failed = self.is_failed or self.suspicion >= FAILED_AT
        answered = outcome in (Outcome.PASS, Outcome.FAIL)
        self.silent_in_a_row = 0 if answered else self.silent_in_a_row + 1

    @property
    def is_slashable(self) -> bool:
        """The blueprint's rule: three failures, none passed between them."""
        return self.consecutive_failures >= CONSECUTIVE_FAILURES

    @property
    def health(self) -> Health:
        """How the node stands now."""
        if self.is_failed or self.is_slashable:
            return Health.FAILED
        if self.silent_in_a_row >= _ABSENT_AFTER:
            return Health.ABSENT
        if not self.passed:
            return Health.UNPROVEN
        return Health.HEALTHY if self.reliability >= _HEALTHY_FROM else Health.SLOW

    @property
    def score(self) -> float:
        """0.0 (failed) to 1.0 (answers always and rightly), for lists."""
        if self.health is Health.FAILED:
            return 0.0
        return round(self.reliability * (1 - self.suspicion / FAILED_AT), 4)


def epoch_of(now_s: float, epoch_s: int = EPOCH_S) -> int:
    """The number of the epoch that a moment is in."""
    return int(now_s // epoch_s)


def audit_targets(
    me: bytes, epoch: int, claims: Mapping[bytes, Iterable[bytes]], auditors: int = AUDITORS_PER_NODE
) -> list[bytes]:
    """Whom this node audits in an epoch.

    Each node is audited by the first `auditors` of those that hold a track in common with it, in an order that
    changes with every epoch. Everybody can compute it; nobody stays the auditor of a friend for long.

    Args:
        claims: node -> track roots that it claims; this node with what it really has.
    """
    holdings = {node: frozenset(roots) for node, roots in claims.items()}
    names = {node: to_hex(node) for node in holdings}
    mine = holdings.get(me, frozenset())
    targets = []
    for node, roots in holdings.items():
        if node == me or roots.isdisjoint(mine):
            continue
        # Names cost nothing: ten thousand of them must not cost a comparison of each with each.
        others = (
            names[other]
            for other, held in holdings.items()
            if other not in (node, me) and not roots.isdisjoint(held)
        )
        if is_among_first(f"digm/1 epoch {epoch} {names[node]}", names[me], others, auditors):
            targets.append(node)
    return sorted(targets)
