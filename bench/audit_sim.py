"""How many audits find a node that lacks a part of a track, and whether honest ones are ever failed.

    python -m bench.audit_sim [--seeds 200]

A simulation with fixed seeds: no clock, no network. Nodes of four kinds answer one auditor, which counts with
`digm.audits.AuditScore` and asks again for what was not answered, as `hub.pinning.auditor` does.
"""

import argparse
import random
import statistics
from dataclasses import dataclass

from digm.audits import DEBT_TURN, AuditScore, Health, Outcome

MOST_AUDITS = 100_000


@dataclass(frozen=True)
class Honest:
    """Holds everything; does not answer in time for a share of the questions, and restarts now and then."""

    silent_share: float
    restart_share: float = 0.0

    def answer(self, _lacks: bool, rng: random.Random) -> Outcome:
        if rng.random() < self.restart_share:
            return Outcome.OFFLINE
        return Outcome.TIMED_OUT if rng.random() < self.silent_share else Outcome.PASS


@dataclass(frozen=True)
class Lacking:
    """Lacks a share of the chunks and answers something, or says so and goes on claiming them."""

    share: float

    def answer(self, lacks: bool, _rng: random.Random) -> Outcome:
        return Outcome.FAIL if lacks else Outcome.PASS


@dataclass(frozen=True)
class Silent:
    """Lacks a share of the chunks and keeps silent when asked for those; for others too, as a disguise."""

    share: float
    disguise: float = 0.0

    def answer(self, lacks: bool, rng: random.Random) -> Outcome:
        return Outcome.TIMED_OUT if lacks or rng.random() < self.disguise else Outcome.PASS


Node = Honest | Lacking | Silent


def audits_until_failed(node: Lacking | Silent, chunks: int, seed: int) -> int | None:
    """How many audits until the node is failed; None if it never is."""
    rng, score = random.Random(seed), AuditScore()
    lacking = set(rng.sample(range(chunks), max(1, round(node.share * chunks))))
    for number in range(1, MOST_AUDITS + 1):
        chunk = next_chunk(score, chunks, rng)
        score.record(chunk.to_bytes(32, "big"), node.answer(chunk in lacking, rng), number)
        if score.health is Health.FAILED:
            return number
    return None


def audits_until_three_in_a_row(share: float, chunks: int, seed: int) -> int:
    """The blueprint's rule alone, for a node that answers wrongly for what it lacks."""
    rng, row = random.Random(seed), 0
    lacking = round(share * chunks)
    for number in range(1, MOST_AUDITS + 1):
        row = row + 1 if rng.randrange(chunks) < lacking else 0
        if row == 3:
            return number
    return MOST_AUDITS


def run_honest(node: Honest, chunks: int, audits: int, seed: int) -> AuditScore:
    """The score of an honest node after so many audits; it stops at the first that counts as failed."""
    rng, score = random.Random(seed), AuditScore()
    for number in range(1, audits + 1):
        chunk = next_chunk(score, chunks, rng)
        score.record(chunk.to_bytes(32, "big"), node.answer(False, rng), number)
        if score.failed:
            break
    return score


def next_chunk(score: AuditScore, chunks: int, rng: random.Random) -> int:
    """Mostly any chunk; every fourth question is for one that was not answered."""
    if score.debts and rng.random() < DEBT_TURN:
        return int(rng.choice(sorted(score.debts)), 16)
    return rng.randrange(chunks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    seeds = range(parser.parse_args().seeds)
    print(f"{len(seeds)} seeds, a track of 120 chunks (60 MB); audits until found: median, 95 %, most")
    for share in (0.01, 0.05, 0.1, 0.3):
        row = [audits_until_three_in_a_row(share, 120, seed) for seed in seeds]
        _print(f"{share:4.0%} lost, 3 in a row only", row)
        _print(
            f"{share:4.0%} lost, answers wrongly", [audits_until_failed(Lacking(share), 120, s) for s in seeds]
        )
        _print(f"{share:4.0%} lost, keeps silent", [audits_until_failed(Silent(share), 120, s) for s in seeds])
    _print(" 10% lost, silent for 20 % more", [audits_until_failed(Silent(0.1, 0.2), 120, s) for s in seeds])
    for silent in (0.0, 0.02, 0.1, 0.3, 0.6, 0.9):
        scores = [run_honest(Honest(silent, 0.05), 120, 2_000, seed) for seed in seeds]
        failed = sum(score.failed > 0 for score in scores)
        reliability = statistics.median(score.reliability for score in scores)
        print(
            f"honest, {silent:4.0%} of answers late, 5 % restarts: {failed} of {len(scores)} nodes failed "
            f"in 2,000 audits each; median score {reliability:.2f}"
        )


def _print(what: str, counts: list[int] | list[int | None]) -> None:
    found = sorted(count for count in counts if count is not None)
    missed = len(counts) - len(found)
    if not found:
        print(f"{what:32}: never")
        return
    late = found[min(len(found) - 1, round(0.95 * len(found)))]
    print(
        f"{what:32}: {statistics.median(found):8.0f} {late:8} {found[-1]:8}"
        + f"  missed {missed}" * (missed > 0)
    )


if __name__ == "__main__":
    main()
