import dataclasses
import hashlib
import json
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.audit_sim import Honest, Lacking, Silent, audits_until_failed, run_honest
from digm import rendezvous
from digm.audits import (
    AUDITORS_PER_NODE,
    MAX_CHALLENGE_BYTES,
    MAX_RANGE_BYTES,
    NOT_HELD,
    AuditScore,
    Challenge,
    ChunkPlace,
    Health,
    Outcome,
    audit_targets,
    draw_challenge,
    encode_challenge,
    judge,
    parse_challenge,
)
from digm.chunks import FRAME_BYTES, FRAMES_PER_CHUNK
from digm.errors import PeerFault
from digm.rendezvous import is_among_first, ranked

ME, OTHER = b"m" * 32, b"o" * 32
ROOT = bytes(range(32))
NOW = 1_800_000_000.0
seeds = st.binary(min_size=32, max_size=32)
sizes = st.sampled_from([frames * FRAME_BYTES for frames in FRAMES_PER_CHUNK])


def refusal(action) -> str:
    with pytest.raises(PeerFault) as fault:
        action()
    return fault.value.code


@given(seeds, st.lists(sizes, min_size=1, max_size=20))
def test_a_challenge_asks_for_a_range_inside_of_a_chunk_that_both_hold(seed, chunk_sizes):
    chunks = [ChunkPlace(hashlib.sha256(bytes([n])).digest(), size) for n, size in enumerate(chunk_sizes)]
    challenge = draw_challenge(ME, ROOT, chunks, seed, 15)
    sizes_by_hash = {place.chunk_hash: place.size for place in chunks}
    assert 0 < challenge.length <= MAX_RANGE_BYTES
    assert challenge.first_byte + challenge.length <= sizes_by_hash[challenge.chunk_hash]
    assert parse_challenge(encode_challenge(challenge), ME) == challenge


def test_every_chunk_and_every_byte_has_its_turn():
    chunks = [ChunkPlace(bytes([n]) * 32, 8 * FRAME_BYTES) for n in range(10)]
    rng = random.Random(1)
    drawn = [draw_challenge(ME, ROOT, chunks, rng.randbytes(32), 15) for _ in range(2000)]
    counts = Counter(challenge.chunk_hash for challenge in drawn)
    assert len(counts) == 10 and min(counts.values()) > 120
    assert min(challenge.first_byte for challenge in drawn) < 4096
    assert max(challenge.first_byte for challenge in drawn) > 7 * FRAME_BYTES - 4096


@given(seeds, st.binary(min_size=1, max_size=400), st.data())
def test_only_the_bytes_themselves_give_the_proof(seed, chunk, data):
    challenge = draw_challenge(ME, ROOT, [ChunkPlace(bytes(32), len(chunk))], seed, 15)
    proof = challenge.proof(chunk)
    assert judge(challenge, proof, chunk, True) is Outcome.PASS
    place = data.draw(st.integers(challenge.first_byte, challenge.first_byte + challenge.length - 1))
    wrong = bytearray(chunk)
    wrong[place] ^= data.draw(st.integers(1, 255))
    assert judge(challenge, challenge.proof(bytes(wrong)), chunk, True) is Outcome.FAIL


@given(seeds, st.binary(min_size=1, max_size=100))
def test_a_node_cannot_have_another_node_answer_for_it(seed, chunk):
    challenge = draw_challenge(ME, ROOT, [ChunkPlace(bytes(32), len(chunk))], seed, 15)
    assert refusal(lambda: parse_challenge(encode_challenge(challenge), OTHER)) == "audit_not_for_us"
    passed_on = dataclasses.replace(challenge, node=OTHER)
    assert not challenge.is_proven_by(passed_on.proof(chunk), chunk)


@given(seeds)
def test_an_old_proof_is_worth_nothing(seed):
    chunk, places = b"x" * 100, [ChunkPlace(bytes(32), 100)]
    old = draw_challenge(ME, ROOT, places, seed, 15)
    fresh = draw_challenge(ME, ROOT, places, hashlib.sha256(seed).digest(), 15)
    assert judge(fresh, old.proof(chunk), chunk, True) is Outcome.FAIL


@given(st.binary(max_size=64))
def test_a_nonsensical_answer_fails_and_breaks_nothing(answer):
    challenge = Challenge(ME, ROOT, bytes(32), 0, 5, bytes(32), 15)
    if answer not in (NOT_HELD, challenge.proof(b"chunk")):
        assert judge(challenge, answer, b"chunk", False) is Outcome.FAIL


def test_who_says_that_a_chunk_is_gone_fails_only_if_it_goes_on_claiming_it():
    challenge = Challenge(ME, ROOT, bytes(32), 0, 5, bytes(32), 15)
    assert judge(challenge, NOT_HELD, b"chunk", still_claims=False) is Outcome.UNKNOWN
    assert judge(challenge, NOT_HELD, b"chunk", still_claims=True) is Outcome.FAIL


@given(st.binary(max_size=200))
def test_a_garbled_challenge_is_refused_by_name(garbage):
    right = encode_challenge(Challenge(ME, ROOT, bytes(32), 0, 5, bytes(32), 15))
    for wrong in (garbage, right[: len(garbage)], right + b" " * MAX_CHALLENGE_BYTES):
        assert refusal(lambda wrong=wrong: parse_challenge(wrong, ME)).startswith("audit_")


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"length": 0}, "audit_field"),
        ({"length": MAX_RANGE_BYTES + 1}, "audit_field"),
        ({"first_byte": -1}, "audit_field"),
        ({"first_byte": 1 << 20}, "audit_field"),
        ({"deadline_s": 3600}, "audit_field"),
        ({"seed": "00"}, "audit_field"),
        ({"digm": 2}, "audit_version"),
    ],
)
def test_a_challenge_that_is_not_right_is_refused(members, code):
    right = json.loads(encode_challenge(Challenge(ME, ROOT, bytes(32), 0, 5, bytes(32), 15)))
    assert refusal(lambda: parse_challenge(json.dumps({**right, **members}).encode(), ME)) == code


def chunk(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_three_failures_in_a_row_are_three_with_no_pass_between_them():
    score = AuditScore()
    for outcome in (Outcome.FAIL, Outcome.FAIL, Outcome.PASS, Outcome.FAIL, Outcome.OFFLINE, Outcome.FAIL):
        score.record(chunk(1), outcome, NOW)
        assert not score.is_slashable
    score.record(chunk(1), Outcome.UNKNOWN, NOW)
    score.record(chunk(1), Outcome.FAIL, NOW)
    assert score.is_slashable
    assert score.health is Health.FAILED
    assert score.score == 0.0


def test_one_chunk_lost_by_accident_is_forgiven():
    score = AuditScore()
    score.record(chunk(1), Outcome.FAIL, NOW)
    for number in range(200):
        score.record(chunk(number), Outcome.PASS, NOW)
    assert score.suspicion < 1e-9
    assert score.health is Health.HEALTHY


def test_a_failed_node_is_believed_again_only_after_hundreds_of_right_answers():
    score = AuditScore()
    for _ in range(3):
        score.record(chunk(1), Outcome.FAIL, NOW)
    passes = 0
    while score.health is Health.FAILED:
        score.record(chunk(2), Outcome.PASS, NOW)
        passes += 1
    assert 390 <= passes <= 410


@given(st.lists(st.sampled_from([Outcome.OFFLINE, Outcome.TIMED_OUT, Outcome.UNKNOWN]), max_size=300))
@settings(max_examples=50)
def test_a_node_that_is_away_is_never_failed_for_it(outcomes):
    score = AuditScore()
    for number, outcome in enumerate(outcomes):
        score.record(chunk(number % 5), outcome, NOW)
    assert score.failed == 0
    assert score.health in (Health.UNPROVEN, Health.ABSENT)


def test_a_good_node_that_hangs_for_a_long_time_is_absent_and_not_failed():
    score = AuditScore()
    for number in range(500):
        score.record(chunk(number), Outcome.PASS, NOW)
    for number in range(300):
        score.record(chunk(number % 3), Outcome.TIMED_OUT, NOW)
    assert score.failed == 0
    assert score.health is Health.ABSENT
    score.record(chunk(0), Outcome.PASS, NOW)
    assert chunk(0).hex() not in score.debts


@given(st.lists(st.sampled_from(list(Outcome)), max_size=200), st.integers(1, 9))
@settings(max_examples=50)
def test_whatever_comes_a_score_is_between_0_and_1_and_can_be_kept(outcomes, chunks):
    score = AuditScore()
    for number, outcome in enumerate(outcomes):
        score.record(chunk(number % chunks), outcome, NOW)
        assert 0.0 <= score.score <= 1.0
    assert AuditScore(**json.loads(json.dumps(dataclasses.asdict(score)))) == score


@pytest.mark.parametrize("liar", [Lacking(0.1), Silent(0.1)], ids=["answers-wrongly", "keeps-silent"])
def test_a_node_that_deleted_a_tenth_of_a_track_is_found(liar):
    found = [audits_until_failed(liar, chunks=120, seed=seed) for seed in range(20)]
    assert all(found)


@pytest.mark.parametrize("silence", [0.02, 0.3, 0.6, 0.9])
def test_an_honest_node_that_is_slow_or_restarted_is_never_failed(silence):
    for seed in range(10):
        score = run_honest(Honest(silence, restart_share=0.05), chunks=120, audits=3000, seed=seed)
        assert score.failed == 0
        assert score.health is not Health.FAILED


def holdings(count: int, tracks: int) -> dict[bytes, list[bytes]]:
    rng = random.Random(count)
    return {
        rng.randbytes(32): [bytes([t]) * 32 for t in range(tracks) if rng.random() < 0.8] for _ in range(count)
    }


@given(st.integers(2, 20), st.integers(1, 5), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_each_node_has_three_auditors_an_epoch_who_hold_what_it_holds(count, tracks, epoch):
    claims = holdings(count, tracks)
    auditors = Counter(target for node in claims for target in audit_targets(node, epoch, claims))
    for node, roots in claims.items():
        able = sum(other != node and bool(set(roots) & set(held)) for other, held in claims.items())
        assert auditors[node] == min(able, AUDITORS_PER_NODE)


@given(st.integers(0, 60), st.integers(1, 9), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_being_among_the_first_is_what_the_whole_order_says(count, first, epoch):
    names, key = [f"node {number}" for number in range(count)], f"epoch {epoch}"
    order = ranked(key, [*names, "me"])
    assert is_among_first(key, "me", names, first) == ("me" in order[:first])


def test_a_flood_of_names_does_not_make_the_auditors_draw_a_comparison_of_each_with_each(monkeypatch):
    weighed = 0

    def counting(key: str, name: str) -> bytes:
        nonlocal weighed
        weighed += 1
        return weigh(key, name)

    weigh = rendezvous._weight
    monkeypatch.setattr(rendezvous, "_weight", counting)
    claims = {number.to_bytes(32, "big"): [ROOT] for number in range(2000)}
    audit_targets((5).to_bytes(32, "big"), 1, claims)
    assert weighed < 2000 * 40


def test_auditors_change_with_the_epoch():
    claims = holdings(12, 1)
    audited = next(node for node, roots in claims.items() if roots)
    seen = {node for epoch in range(40) for node in claims if audited in audit_targets(node, epoch, claims)}
    assert len(seen) == sum(bool(roots) for roots in claims.values()) - 1
