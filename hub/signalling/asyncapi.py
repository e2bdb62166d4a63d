"""The signalling protocol as an AsyncAPI 3 document with JSON Schemas, made from digm.signalling's own table.

    python -m hub.signalling.asyncapi > docs/signalling.asyncapi.json

A test holds the file to this module, and the schemas to what the decoders take and refuse. What JSON Schema
cannot say (that a description has one section, and no more bytes than characters) stands in the descriptions.
"""

import json
from typing import Any

from digm import signalling as messages
from digm import signalling_fields as fields
from digm.sdp import MAX_CANDIDATE_BYTES, MAX_CANDIDATES, MAX_SDP_BYTES

Schema = dict[str, Any]
_END = r"(?![\s\S])"  # to ECMA 262 and to Python the same; `$` is not
_ID: Schema = {"type": "string", "pattern": rf"^[0-9a-f]{{64}}{_END}"}
_ROLE: Schema = {"enum": list(fields.ROLES)}
_SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}


def _text(most: int) -> Schema:
    return {"type": "string", "maxLength": most}


def _number(least: float, most: float) -> Schema:
    return {"type": "number", "minimum": least, "maximum": most}


def _integer(least: int, most: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": most}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


_ICE_SERVERS: Schema = {
    "type": "array",
    "maxItems": fields.MAX_ICE_SERVERS,
    "items": {
        "type": "object",
        "required": ["urls"],
        "properties": {
            "urls": {
                "type": "array",
                "minItems": 1,
                "maxItems": fields.MAX_URLS,
                "items": _text(fields.MAX_TEXT_CHARS),
            },
            "username": _or_null(_text(fields.MAX_TEXT_CHARS)),
            "credential": _or_null(_text(fields.MAX_TEXT_CHARS)),
        },
    },
}
_PEERS: Schema = {
    "type": "array",
    "maxItems": messages.MAX_PEERS,
    "items": {
        "type": "object",
        "required": ["peer"],
        "properties": {"peer": _ID, "share": _SHARE, "role": _ROLE},
    },
}
# What a field holds, by its name; by message and name where a name means two things.
_FIELDS: dict[str, Schema] = {
    "track": _ID,
    "from": _ID,
    "to": _ID,
    "peer": _ID,
    "nonce": _ID,
    "signature": {"type": "string", "pattern": rf"^[0-9a-f]{{128}}{_END}"},
    "version": _text(32),
    "role": _ROLE,
    "session": _text(64),
    "heartbeat_s": _number(1, 3_600),
    "ice_servers": _ICE_SERVERS,
    "limits": {
        "type": "object",
        "maxProperties": fields.MAX_LIMITS,
        "additionalProperties": {"type": "integer"},
    },
    "ice_ttl_s": _number(0, 86_400),
    "ttl_s": _number(0, 86_400),
    "token": _text(messages.MAX_TOKEN_CHARS),
    "share": _SHARE,
    "want": _integer(0, messages.MAX_PEERS),
    "peers": _PEERS,
    "listeners": _integer(0, 2**31),
    "sdp": {
        "type": "string",
        "maxLength": MAX_SDP_BYTES,
        "pattern": "^v=0",
        "description": f"RFC 8866, exactly one data channel section, at most {MAX_CANDIDATES} candidates.",
    },
    "candidate": _or_null({"type": "string", "maxLength": MAX_CANDIDATE_BYTES, "pattern": rf"^[^\r\n]*{_END}"}),
    "sdp_mid": _or_null(_text(64)),
    "sdp_m_line_index": _or_null(_integer(0, 255)),
    "url": {"type": "string", "pattern": rf"^{fields.HUB_URL.pattern}{_END}"},
    "urls": {
        "type": "array",
        "minItems": 1,
        "maxItems": fields.MAX_URLS,
        "items": {"type": "string", "pattern": rf"^{fields.TURN_URL.pattern}{_END}"},
    },
    "secret": _or_null(_ID),
    "code": _text(64),
    "message": _text(fields.MAX_TEXT_CHARS),
    "error.track": _or_null(_ID),
    "reconnect_after_s": _number(0, 3_600),
}


def payload(kind: type) -> Schema:
    """The JSON Schema of one message."""
    name, checks = messages.SCHEMA[kind]
    properties: dict[str, Schema] = {"type": {"const": name}}
    required = ["type"]
    for key in checks:
        schema = dict(_FIELDS.get(f"{name}.{key}", _FIELDS.get(key, {})))
        if key in messages.DEFAULTS:
            schema["default"] = messages.DEFAULTS[key]
        elif {"type": "null"} not in schema.get("anyOf", []):
            required.append(key)
        properties[key] = schema
    return {"type": "object", "required": required, "properties": properties}


def document() -> dict[str, Any]:
    """The whole description."""
    names = {kind: name for kind, (name, _) in messages.SCHEMA.items()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "DIGM signalling",
            "version": messages.VERSION,
            "description": (
                "How peers of one swarm find each other: `GET /signal`, a WebSocket with the subprotocol "
                f"{messages.SUBPROTOCOL}, one JSON object a message, at most {messages.MAX_MESSAGE_BYTES} "
                "bytes. Unknown fields are ignored. Lengths are bytes of UTF-8. Codes and limits: peers.md."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "channels": {
            "signal": {
                "address": "/signal",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names.values()},
                "bindings": {"ws": {"method": "GET"}},
            }
        },
        "operations": {
            "fromPeer": _operation("receive", [names[kind] for kind in messages.FROM_PEER]),
            "fromHub": _operation("send", [names[kind] for kind in messages.FROM_HUB]),
        },
        "components": {
            "messages": {
                name: {"name": name, "summary": _summary(kind), "payload": payload(kind)}
                for kind, name in names.items()
            }
        },
    }


def _operation(action: str, names: list[str]) -> dict[str, Any]:
    """One direction; AsyncAPI's point of view is the hub's."""
    references = [{"$ref": f"#/channels/signal/messages/{name}"} for name in names]
    return {"action": action, "channel": {"$ref": "#/channels/signal"}, "messages": references}


def _summary(kind: type) -> str:
    return (kind.__doc__ or "").partition("\n")[0]


if __name__ == "__main__":
    print(json.dumps(document(), indent=2))
