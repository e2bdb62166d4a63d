"""docs/signalling.asyncapi.json says what the decoders do: good and bad messages, in both directions."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from digm import signalling as messages
from digm.errors import PeerFault
from hub.signalling.asyncapi import document
from tests.digm.test_signalling import EXAMPLES

FILE = Path(__file__).parents[3] / "docs" / "signalling.asyncapi.json"
WRITTEN = json.loads(FILE.read_text(encoding="utf-8"))
BEYOND_JSON_SCHEMA = {"sdp_media", "sdp_malformed", "sdp_too_long"}
PAYLOADS = {name: message["payload"] for name, message in WRITTEN["components"]["messages"].items()}
DIRECTIONS = {
    "fromPeer": messages.decode_from_peer,
    "fromHub": messages.decode_from_hub,
}


def allowed(direction: str) -> set[str]:
    return {entry["$ref"].rpartition("/")[2] for entry in WRITTEN["operations"][direction]["messages"]}


def schema_takes(body: Any, direction: str) -> bool:
    name = body.get("type") if isinstance(body, dict) else None
    if not isinstance(name, str) or name not in allowed(direction):
        return False
    return Draft202012Validator(PAYLOADS[name]).is_valid(body)


def decoder_takes(body: Any, direction: str) -> str | None:
    """None when it is taken, else the code."""
    try:
        DIRECTIONS[direction](json.dumps(body))
    except PeerFault as fault:
        return fault.code
    return None


def test_the_file_is_what_the_table_of_messages_makes() -> None:
    assert document() == WRITTEN, "run: python -m hub.signalling.asyncapi > docs/signalling.asyncapi.json"


def test_every_schema_is_one() -> None:
    for schema in PAYLOADS.values():
        Draft202012Validator.check_schema(schema)
        assert all(schema["properties"][key] for key in schema["properties"]), "a field without a schema"


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_good_messages_are_good_in_their_direction_only(message: messages.Message, direction: str) -> None:
    body = json.loads(messages.encode(message))
    assert schema_takes(body, direction) == (decoder_takes(body, direction) is None)


def is_plain(value: Any) -> bool:
    """No value about which JSON Schema differs by design: 1.0 for 1, letters of two bytes."""
    if isinstance(value, float):
        return math.isfinite(value) and value != int(value)
    if isinstance(value, str):
        return value.isascii()
    if isinstance(value, list):
        return all(map(is_plain, value))
    return not isinstance(value, dict) or all(is_plain(k) and is_plain(v) for k, v in value.items())


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70)
    | st.sampled_from(["ab" * 32, "ab" * 32 + "\n", "ab" * 64, "node", "wss://x.example/signal", "v=0", "a\n"]),
    lambda inner: st.lists(inner, max_size=11)
    | st.dictionaries(st.sampled_from(["urls", "peer", "share", "username", "role", "x"]), inner, max_size=4),
    max_leaves=14,
).filter(is_plain)  # fmt: skip


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(EXAMPLES), st.sampled_from(sorted(DIRECTIONS)), st.data())
def test_a_message_with_a_field_replaced_or_gone_is_judged_the_same(
    message: messages.Message, direction: str, data: st.DataObject
) -> None:
    body = json.loads(messages.encode(message))
    key = data.draw(st.sampled_from(sorted(body)))
    if data.draw(st.booleans()):
        del body[key]
    else:
        body[key] = data.draw(values)
    code = decoder_takes(body, direction)
    if code in BEYOND_JSON_SCHEMA:
        return
    assert schema_takes(body, direction) == (code is None), (body, code)
