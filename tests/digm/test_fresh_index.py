"""The fresh index, and that docs/fresh-index.schema.json and the code mean the same."""

import copy
import dataclasses
import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from digm.audits import Health, Outcome
from digm.chain_standing import MOST_UNITS, ChainStanding, NodeClass
from digm.errors import DigmError
from digm.fresh_index import (
    KIND,
    MAX_INDEX_BYTES,
    MAX_LIFETIME_S,
    STALE_AFTER_S,
    FreshIndex,
    IndexNode,
    LastAudit,
    best_first,
    check_newer,
    encode_fresh_index,
    fit,
    parse_fresh_index,
)
from digm.signed_document import signed_message
from tests.digm.signers import Signer, verify

AUTHOR = Signer("hub")
NOW = 1_800_000_000
HOUR = 3600
ROOT = bytes(range(32))
SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "fresh-index.schema.json").read_text(encoding="utf-8")
)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=64)
ids = st.binary(min_size=32, max_size=32)
shares = st.floats(0, 1, allow_nan=False)
ACCOUNT = "0x" + "Ab" * 20
counts, units = st.integers(0, 1 << 48), st.integers(0, MOST_UNITS)
standings = st.builds(
    ChainStanding,
    account=st.just(ACCOUNT),
    node_class=st.sampled_from(NodeClass),
    token=st.sampled_from(["digm", "0x" + "01" * 20]),
    stake=units,
    misses_in_a_row=counts,
    points=counts,
    slashed=units,
    jailed_until=st.none() | st.integers(0, NOW),
)
index_nodes = st.builds(
    IndexNode,
    node=ids,
    health=st.sampled_from(Health),
    score=shares,
    operator=names,
    network=names,
    tracks=st.dictionaries(ids, shares, max_size=3),
    latency_ms=st.none() | st.floats(0, 600_000),
    last_audit=st.none() | st.builds(LastAudit, st.integers(0, NOW), st.sampled_from(Outcome)),
    gateway_url=st.sampled_from([None, "https://node.example", "http://192.0.2.1:8080"]),
    signal_url=st.sampled_from([None, "wss://node.example/signal"]),
    relay_urls=st.sampled_from([(), ("turn:192.0.2.1:3478?transport=udp",)]),
    multiaddrs=st.sampled_from([(), ("/ip4/192.0.2.1/tcp/4001", "/dns/node.example/tcp/443/wss")]),
    chain=st.none() | standings,
)
JAILED = ChainStanding(ACCOUNT, NodeClass.ELDER, "digm", 800 * 10**18, 0, 0, 200 * 10**18, NOW + 100)


def node(name: str, **changes) -> IndexNode:
    fields = {
        "node": Signer(name).public,
        "health": Health.HEALTHY,
        "score": 0.9,
        "operator": name,
        "network": "AS64496",
        "tracks": {ROOT: 1.0},
        "last_audit": LastAudit(NOW - 60, Outcome.PASS),
    }
    return IndexNode(**{**fields, **changes})


def index_of(*nodes: IndexNode, **changes) -> FreshIndex:
    fields = {
        "author": AUTHOR.public,
        "sequence": 1,
        "issued_at": NOW,
        "valid_until": NOW + HOUR,
        "nodes": nodes,
    }
    return FreshIndex(**{**fields, **changes})


def signed(content: dict) -> bytes:
    content = {name: value for name, value in content.items() if name != "signature"}
    unsigned = json.dumps(content).encode()
    return unsigned[:-1] + f',"signature":"{AUTHOR.sign(signed_message(KIND, unsigned)).hex()}"}}'.encode()


def refusal(action) -> str:
    with pytest.raises(DigmError) as fault:
        action()
    return fault.value.code


@given(st.lists(index_nodes, max_size=5, unique_by=lambda item: item.node), st.integers(1, MAX_LIFETIME_S))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_what_is_written_is_read_and_as_the_schema_says(nodes, lifetime):
    index = index_of(*nodes, valid_until=NOW + lifetime)
    document = encode_fresh_index(index, AUTHOR.sign)
    VALIDATOR.validate(json.loads(document))
    read = parse_fresh_index(document, NOW, verify)
    assert dataclasses.replace(read, nodes=()) == dataclasses.replace(index, nodes=())
    assert sorted(read.nodes, key=lambda item: item.node) == sorted(nodes, key=lambda item: item.node)


def test_the_schema_knows_every_member_that_is_written_and_no_other():
    content = json.loads(encode_fresh_index(index_of(node("a", chain=JAILED)), AUTHOR.sign))
    shapes = SCHEMA["$defs"]
    assert set(content) == set(SCHEMA["properties"])
    assert set(content["nodes"][0]) == set(shapes["node"]["properties"])
    assert set(content["nodes"][0]["last_audit"]) == set(shapes["last_audit"]["properties"])
    assert set(content["nodes"][0]["tracks"][0]) == set(shapes["track"]["properties"])
    assert set(content["nodes"][0]["chain"]) == set(shapes["chain"]["properties"])
    assert shapes["chain"]["properties"]["class"]["enum"] == list(NodeClass)
    assert shapes["node"]["properties"]["health"]["enum"] == list(Health)
    assert shapes["last_audit"]["properties"]["outcome"]["enum"] == list(Outcome)
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


WRONG = [
    None,
    True,
    -1,
    1.5,
    1 << 60,
    "",
    "x" * 300,
    "javascript:alert(1)",
    "A" * 64,
    [],
    ["x y"],
    ["turn:a b"],
    ["/a"] * 9,
    {},
    {"at": "now", "outcome": "pass"},
    "007",
    "1" + "0" * 39,
    "0x" + "g" * 40,
]


@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_the_schema_and_the_code_refuse_the_same(value):
    one = node("a", gateway_url="https://a.example", chain=JAILED)
    content = json.loads(encode_fresh_index(index_of(one), AUTHOR.sign))
    places = [(content, name) for name in content if name not in ("signature", "issued_at", "valid_until")]
    places += [(content["nodes"][0], name) for name in content["nodes"][0]]
    places += [(content["nodes"][0]["chain"], name) for name in content["nodes"][0]["chain"]]
    places += [(content["nodes"][0]["tracks"][0], name) for name in content["nodes"][0]["tracks"][0]]
    for holder, name in places:
        before = holder[name]
        holder[name] = value
        try:
            parse_fresh_index(signed(content), NOW, verify)
            is_taken = True
        except DigmError as fault:
            assert fault.code.startswith("fresh_index_")
            is_taken = False
        assert is_taken == VALIDATOR.is_valid(content), (name, value)
        holder[name] = before


def test_a_missing_member_is_refused_where_the_schema_requires_it():
    content = json.loads(encode_fresh_index(index_of(node("a")), AUTHOR.sign))
    content["nodes"][0]["chain"] = json.loads(
        encode_fresh_index(index_of(node("a", chain=JAILED)), AUTHOR.sign)
    )["nodes"][0]["chain"]
    shapes = [("node", lambda one: one["nodes"][0]), ("chain", lambda one: one["nodes"][0]["chain"])]
    places = [(place, name) for shape, place in shapes for name in SCHEMA["$defs"][shape]["required"]]
    for place, name in places:
        one = copy.deepcopy(content)
        del place(one)[name]
        assert refusal(lambda one=one: parse_fresh_index(signed(one), NOW, verify)) == "fresh_index_field"


@pytest.mark.parametrize(
    ("issued_at", "lifetime", "code"),
    [
        (NOW + HOUR, HOUR, None),
        (NOW + HOUR + 1, HOUR, "fresh_index_from_the_future"),
        (NOW - 2 * HOUR, HOUR, "fresh_index_expired"),
        (NOW, MAX_LIFETIME_S + 1, "fresh_index_field"),
        (NOW, 0, "fresh_index_field"),
    ],
)
def test_an_index_has_its_time(issued_at, lifetime, code):
    document = encode_fresh_index(index_of(issued_at=issued_at, valid_until=issued_at + lifetime), AUTHOR.sign)
    if code is None:
        assert parse_fresh_index(document, NOW, verify).issued_at == issued_at
    else:
        assert refusal(lambda: parse_fresh_index(document, NOW, verify)) == code


def test_forged_replayed_doubled_and_oversized_indexes_are_refused():
    forged = encode_fresh_index(index_of(), Signer("mallory").sign)
    assert refusal(lambda: parse_fresh_index(forged, NOW, verify)) == "fresh_index_forged"
    assert refusal(lambda: check_newer(index_of(), index_of())) == "fresh_index_replayed"
    check_newer(index_of(sequence=2), index_of())
    doubled = encode_fresh_index(index_of(node("a"), node("a")), AUTHOR.sign)
    assert refusal(lambda: parse_fresh_index(doubled, NOW, verify)) == "fresh_index_field"
    large = b" " * (MAX_INDEX_BYTES + 1)
    assert refusal(lambda: parse_fresh_index(large, NOW, verify)) == "fresh_index_too_large"


@given(st.binary(max_size=300))
def test_garbage_is_refused_by_name(garbage):
    document = encode_fresh_index(index_of(node("a")), AUTHOR.sign)
    for wrong in (garbage, document[: len(garbage)], garbage + document[-144:]):
        assert refusal(lambda wrong=wrong: parse_fresh_index(wrong, NOW, verify)).startswith("fresh_index_")


def test_healthy_nodes_come_first_and_failed_absent_and_stale_ones_not_at_all():
    stale = LastAudit(NOW - STALE_AFTER_S, Outcome.PASS)
    index = index_of(
        node("slow", health=Health.SLOW, score=0.4),
        node("failed", health=Health.FAILED, score=0),
        node("stale", last_audit=stale),
        node("new", health=Health.UNPROVEN, score=0, last_audit=None),
        node("absent", health=Health.ABSENT),
        node("far", latency_ms=200.0),
        node("near", latency_ms=20.0),
        node("best", score=0.99),
    )
    assert [item.operator for item in best_first(index, NOW)] == ["best", "near", "far", "new", "slow"]
    assert best_first(index, NOW + HOUR) == []


def test_nodes_in_jail_come_behind_all_others_and_an_older_index_knows_of_no_jail():
    index = index_of(
        node("jailed", score=1.0, chain=JAILED),
        node("slow", health=Health.SLOW, score=0.1),
        node("free", chain=dataclasses.replace(JAILED, jailed_until=None)),
    )
    assert [item.operator for item in best_first(index, NOW)] == ["free", "slow", "jailed"]
    assert [item.operator for item in best_first(index, NOW, ROOT)] == ["free", "slow", "jailed"]
    content = json.loads(encode_fresh_index(index, AUTHOR.sign))
    for item in content["nodes"]:
        del item["chain"]
    assert [item.chain for item in parse_fresh_index(signed(content), NOW, verify).nodes] == [None] * 3


def test_for_a_track_only_its_holders_count():
    part = node("part", tracks={ROOT: 0.5})
    other = node("other", tracks={bytes(32): 1.0})
    none = node("none", tracks={ROOT: 0.0})
    index = index_of(other, part, node("whole"), none)
    assert [item.operator for item in best_first(index, NOW, ROOT)] == ["whole", "part"]


@given(st.integers(1, 3))
@settings(max_examples=3)
def test_what_fits_is_written_and_is_the_best(scale):
    tracks = {n.to_bytes(32, "big"): 1.0 for n in range(50 * scale)}
    long = {"operator": "\x01" * 64, "network": "\x01" * 64, "gateway_url": "https://" + "a" * 248}
    many = [
        node(str(n), tracks=tracks, score=n / 400, multiaddrs=("/" + "m" * 255,) * 8, **long)
        for n in range(400)
    ]
    chosen = fit(many)
    assert chosen and min(item.score for item in chosen) > max(
        item.score for item in many if item not in chosen
    )
    document = encode_fresh_index(index_of(*chosen), AUTHOR.sign)
    assert parse_fresh_index(document, NOW, verify).nodes == chosen
