"""Who holds the copies that an order asks for, and who steps in when one is lost.

Everybody computes the same from the same facts, so nobody has to be asked. Rendezvous hashing gives an order of
all nodes for a track; copies go first to operators and networks that have none yet. When copies are missing,
the first nodes of that order step in at once and each further one a step later, so that a word of those before
it arrives in between: a loss is repaired by as many nodes as are missing, not by all that notice.
"""

import hashlib
import heapq
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from digm.announcements import Announcement
from digm.pinning import AnswerState, Decline, PinAnswer, PinOrder

STEP_S = 30.0
"""What one rank waits for the other; longer than any message takes through the network (p95 is below 1 s)."""
LOSS_GRACE_S = 300.0
"""How long a copy may be missing before it is repaired: an ordinary restart is over by then."""
BROKEN_PROMISE_S = 3600.0
"""How long a node that accepted and did not deliver is passed over."""
MAX_ANSWERS = 1000
"""Of one order: so many nodes' answers are kept."""


@dataclass(frozen=True)
class Candidate:
    """A node that could hold a copy. Operator and network are what it says of itself."""

    node: bytes
    operator: str
    network: str

    @classmethod
    def of(cls, announcement: Announcement) -> "Candidate":
        return cls(announcement.node, announcement.operator, announcement.network)


def placement(track_root: bytes, candidates: Iterable[Candidate], most: int | None = None) -> list[bytes]:
    """The nodes in the order in which they are to hold a track, the same on every node.

    Args:
        most: how many are wanted; all if None.
    Returns:
        node keys. Each next one is of the operator, then of the network, that has the fewest copies by then.
    """
    operators: Counter[str] = Counter()
    networks: Counter[str] = Counter()
    by_node = {item.node: item for item in candidates}
    waiting = [(0, 0, hashlib.sha256(track_root + node).digest(), node) for node in by_node]
    heapq.heapify(waiting)
    placed: list[bytes] = []
    while waiting and (most is None or len(placed) < most):
        # Counts only grow, so an entry whose counts are still right is the least of all.
        *counts, weight, node = waiting[0]
        item = by_node[node]
        now = (operators[item.operator], networks[item.network])
        if tuple(counts) != now:
            heapq.heapreplace(waiting, (*now, weight, node))
            continue
        heapq.heappop(waiting)
        operators[item.operator] += 1
        networks[item.network] += 1
        placed.append(node)
    return placed


def surplus(order: PinOrder, holders: Iterable[Candidate]) -> list[bytes]:
    """The holders beyond what is asked for, whose copies need not be kept.

    Args:
        holders: those whose copies are proven; a liar among them would make an honest node let go.
    """
    return placement(order.track_root, holders)[order.desired_replicas :]


class Promises:
    """What nodes answered to one order: who is about to hold it, and who is out for a while.

    How long an answer is good for is counted on our clock, from when it came: the node's may be an hour off.
    """

    def __init__(self) -> None:
        self._answers: dict[bytes, PinAnswer] = {}
        self._until: dict[bytes, float] = {}
        self._broken: dict[bytes, float] = {}
        self._settled: dict[bytes, PinAnswer] = {}

    def record(self, answer: PinAnswer, now_s: float) -> bool:
        """Take an answer. Returns whether it is news: a newer one of that node than is known."""
        known = self._answers.get(answer.node)
        if known is None and len(self._answers) >= MAX_ANSWERS:
            self._forget_old(now_s)
        if known is None and len(self._answers) >= MAX_ANSWERS:
            return False
        if known and _moment(answer) <= _moment(known):
            return False
        self._answers[answer.node] = answer
        self._until[answer.node] = now_s + answer.valid_until - answer.issued_at
        return True

    def promised(self, holders: Collection[bytes], now_s: float) -> set[bytes]:
        """Who accepted, is not among the holders yet, and still has time."""
        promised = set()
        for node, answer in self._answers.items():
            if answer.state is not AnswerState.ACCEPTED or self._settled.get(node) is answer:
                continue
            if node in holders:
                self._settled[node] = answer  # who held it and is gone promises nothing any more
            elif now_s < self._until[node]:
                promised.add(node)
            else:
                self._broken.setdefault(node, self._until[node])
                self._settled[node] = answer
        return promised

    def out(self, now_s: float) -> set[bytes]:
        """Who declined or broke its word, and is not to be waited for."""
        return set(self.declined(now_s)) | self.broken(now_s)

    def declined(self, now_s: float) -> dict[bytes, Decline]:
        """Who said no and means it still, and why."""
        return {
            node: answer.reason or Decline.POLICY
            for node, answer in self._answers.items()
            if answer.state is AnswerState.DECLINED and now_s < self._until[node]
        }

    def broken(self, now_s: float) -> set[bytes]:
        """Who accepted lately and did not deliver."""
        self._broken = {node: at for node, at in self._broken.items() if now_s < at + BROKEN_PROMISE_S}
        return set(self._broken)

    def _forget_old(self, now_s: float) -> None:
        """Make room: what is over says nothing any more, but for promises that `promised` has yet to judge."""
        for node in [node for node, until in self._until.items() if until <= now_s]:
            answer = self._answers[node]
            if answer.state is not AnswerState.ACCEPTED or self._settled.get(node) is answer:
                del self._answers[node], self._until[node]
                self._settled.pop(node, None)

    def states(self) -> dict[bytes, AnswerState]:
        """The last word of each node."""
        return {node: answer.state for node, answer in self._answers.items()}


def _moment(answer: PinAnswer) -> tuple[int, int]:
    """Seconds are coarse: of two answers within one, the promise was the first."""
    return answer.issued_at, answer.state is not AnswerState.ACCEPTED


class RepairPlan:
    """When one node steps in for one order.

    Tell it what is known with `look`, whenever that changes or every few seconds; when `is_due`, accept the
    order, say so to everybody, and look again.

    Args:
        me: this node.
        step_s, grace_s: see STEP_S, LOSS_GRACE_S. The first copies of an order need no grace.
    """

    def __init__(
        self, order: PinOrder, me: bytes, step_s: float = STEP_S, grace_s: float = LOSS_GRACE_S
    ) -> None:
        self.order = order
        self.due_at: float | None = None
        self._me = me
        self._step_s = step_s
        self._grace_s = grace_s
        self._was_enough = False
        self._missing = 0
        self._turn: int | None = None
        self._since = 0.0

    def look(
        self,
        holders: Collection[bytes],
        promised: Collection[bytes],
        candidates: Iterable[Candidate],
        now_s: float,
    ) -> None:
        """Take in who holds the track, who is about to, and who could: this node among the candidates."""
        counted = set(holders) | set(promised)
        missing = self.order.desired_replicas - len(counted)
        if missing <= 0 or self._me in counted:
            self._was_enough = self._was_enough or len(holders) >= self.order.desired_replicas
            self._missing, self._turn, self.due_at = 0, None, None
            return
        # Over all nodes, holders too: so the order does not depend on whose promise has arrived here already.
        waiting = [node for node in placement(self.order.track_root, candidates) if node not in counted]
        turn = max(0, waiting.index(self._me) - missing + 1) if self._me in waiting else None
        self._wait_again_if_the_view_changed(missing, turn, now_s)
        if turn is None:
            self.due_at = None
            return
        self.due_at = self._since + (self._grace_s if self._was_enough else 0.0) + turn * self._step_s

    def is_due(self, now_s: float) -> bool:
        """Whether this node is to step in now."""
        return self.due_at is not None and now_s >= self.due_at

    def _wait_again_if_the_view_changed(self, missing: int, turn: int | None, now_s: float) -> None:
        # When somebody steps in, there is one less to wait for and one less missing: the turn stays, the clock
        # runs on. When more is lost, or those before us turn out to be gone, the time that has passed would
        # make several turns due at one moment: everybody waits anew.
        came_closer = self._turn is None or (turn is not None and turn < self._turn)
        if missing > self._missing or came_closer:
            self._since = now_s
        self._missing, self._turn = missing, turn
