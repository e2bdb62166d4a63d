"""A contract by its ABI: calls and answers, events and reasons, to and from bytes. No network.

Importing this imports eth-abi.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from eth_abi.abi import decode, encode, is_encodable
from eth_abi.exceptions import DecodingError, EncodingError
from eth_utils.crypto import keccak

from digm.errors import CallerFault
from hub.chain.model import Event, Log
from hub.chain.words import checksummed, lie

_ERROR_STRING = keccak(text="Error(string)")[:4]
_PANIC = keccak(text="Panic(uint256)")[:4]
_BEGINNING, _MOST_IMMUTABLES = 64, 2_048  # bytes
Abi = Sequence[Mapping[str, Any]]


class Contract:
    """What a contract understands and writes.

    Args:
        name: for people and for `Event.contract`.
        abi: as the compiler writes it.
        bytecode: what deploys it; empty where it is not deployed from here.
    """

    def __init__(self, name: str, abi: Abi, bytecode: bytes = b"") -> None:
        self.name, self.bytecode = name, bytecode
        self._constructor: Mapping[str, Any] = {"inputs": []}
        self._functions: dict[str, list[Mapping[str, Any]]] = {}
        self._events: dict[bytes, Mapping[str, Any]] = {}
        self._errors: dict[bytes, Mapping[str, Any]] = {}
        for entry in abi:
            kind = entry.get("type", "function")
            if kind == "constructor":
                self._constructor = entry
            elif kind == "function":
                self._functions.setdefault(entry["name"], []).append(entry)
            elif kind == "event" and not entry.get("anonymous"):
                self._events[keccak(text=_signature(entry))] = entry
            elif kind == "error":
                self._errors[keccak(text=_signature(entry))[:4]] = entry

    # -- calls

    def call_data(self, function: str, arguments: Sequence[Any]) -> bytes:
        """The bytes that call a function.

        Raises:
            CallerFault: `no_such_function`, `bad_argument`.
        """
        entry = self._function(function, len(arguments))
        return keccak(text=_signature(entry))[:4] + _encoded(entry, arguments, f"{self.name}.{function}")

    def deployment(self, arguments: Sequence[Any]) -> bytes:
        """The bytes that make the contract. Raises as `call_data`."""
        if not self.bytecode:
            raise CallerFault("no_bytecode", f"{self.name} cannot be deployed from here: it has no bytecode.")
        return self.bytecode + _encoded(self._constructor, arguments, self.name)

    def answer(self, function: str, arguments: int, data: bytes) -> Any:
        """What a call returned: nothing, one value, or a tuple; structs as mappings.

        Args:
            arguments: how many the call had.
        Raises:
            PeerFault: `rpc_lies`: no such answer can come from this contract.
        """
        outputs = self._function(function, arguments).get("outputs", [])
        values = _decoded(outputs, data, f"the answer of {self.name}.{function}")
        if not outputs:
            return None
        return values[0] if len(outputs) == 1 else values

    def is_view(self, function: str, arguments: int) -> bool:
        """Whether it changes nothing, so that asking is enough."""
        return self._function(function, arguments).get("stateMutability") in ("view", "pure")

    def _function(self, name: str, arguments: int) -> Mapping[str, Any]:
        for entry in self._functions.get(name, ()):
            if len(entry["inputs"]) == arguments:
                return entry
        raise CallerFault(
            "no_such_function", f"The contract {self.name} has no {name} with {arguments} arguments."
        )

    def is_code(self, code: bytes) -> bool:
        """Whether this is what the bytecode deploys, whatever it was deployed with.

        A constructor copies the code out of its own, puts immutables behind it, and leaves out what the
        compiler wrote behind that (Vyper's sizes and version, less than 64 bytes).
        """
        begin = self.bytecode.find(code[:_BEGINNING]) if len(code) >= _BEGINNING else -1
        if begin < 0:
            return False
        inside = self.bytecode[begin:]
        same = next((n for n, (a, b) in enumerate(zip(code, inside, strict=False)) if a != b), len(code))
        immutables = len(code) - same
        return len(inside) - same < _BEGINNING and immutables <= _MOST_IMMUTABLES

    # -- events

    def topic(self, event: str) -> bytes:
        """What an event's logs begin with, 32 bytes. Raises CallerFault `no_such_event`."""
        for topic, entry in self._events.items():
            if entry["name"] == event:
                return topic
        raise CallerFault("no_such_event", f"The contract {self.name} writes no {event}.")

    @property
    def event_names(self) -> list[str]:
        return sorted(entry["name"] for entry in self._events.values())

    def event(self, log: Log) -> Event | None:
        """A log decoded; None where it is no event of this ABI.

        Raises:
            PeerFault: `rpc_lies`: it has the event's topic, and other fields.
        """
        entry = self._events.get(log.topics[0]) if log.topics else None
        if entry is None:
            return None
        inputs, where = entry["inputs"], f"the event {self.name}.{entry['name']}"
        indexed = [one for one in inputs if one["indexed"]]
        if len(indexed) != len(log.topics) - 1:
            raise lie(f"{where} has {len(log.topics) - 1} indexed fields")
        in_topics = {
            one["name"]: _decoded([one], topic, where)[0] if _is_word(_type(one)) else topic
            for one, topic in zip(indexed, log.topics[1:], strict=True)
        }
        rest = [one for one in inputs if not one["indexed"]]
        values = _decoded(rest, log.data, where)
        in_data = {one["name"]: value for one, value in zip(rest, values, strict=True)}
        ordered = {one["name"]: (in_topics | in_data)[one["name"]] for one in inputs}
        return Event(self.name, entry["name"], ordered, log)

    # -- reasons

    def reason(self, data: bytes) -> str:
        """Why a call reverted, in the contract's words; empty where it gave none."""
        return reason_of(data, self._errors)


def reason_of(data: bytes, errors: Mapping[bytes, Mapping[str, Any]] | None = None) -> str:
    """What a revert says: `Error(string)`, `Panic(uint256)`, or an error of the ABI."""
    selector, rest = data[:4], data[4:]
    try:
        if selector == _ERROR_STRING:
            return str(decode(["string"], rest)[0])[:500]
        if selector == _PANIC:
            return f"panic {decode(['uint256'], rest)[0]:#x}"
        entry = (errors or {}).get(selector)
        if entry is None:
            return ""
        values = decode([_type(one) for one in entry["inputs"]], rest)
    except (DecodingError, OverflowError, ValueError):
        return ""
    return f"{entry['name']}({', '.join(str(value) for value in values)})"


def _signature(entry: Mapping[str, Any]) -> str:
    return f"{entry['name']}({','.join(_type(one) for one in entry['inputs'])})"


def _type(field: Mapping[str, Any]) -> str:
    kind = str(field["type"])
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(_type(one) for one in field['components'])}){kind[5:]}"


def _is_word(kind: str) -> bool:
    """Whether an indexed field of this type stands in its topic itself, and not as a hash."""
    return kind not in ("string", "bytes") and not kind.endswith(("]", ")"))


def _encoded(entry: Mapping[str, Any], arguments: Sequence[Any], where: str) -> bytes:
    inputs = entry["inputs"]
    if len(arguments) != len(inputs):
        raise CallerFault("bad_argument", f"{where} takes {len(inputs)} arguments, not {len(arguments)}.")
    plain = [_plain(field, argument) for field, argument in zip(inputs, arguments, strict=True)]
    for field, argument in zip(inputs, plain, strict=True):
        kind = _type(field)
        if not is_encodable(kind, argument) or _is_padded(kind, argument):
            raise CallerFault("bad_argument", f"{where}: {argument!r:.80} is no {kind} ({field.get('name')}).")
    try:
        return encode([_type(one) for one in inputs], plain)
    except (EncodingError, OverflowError) as error:
        raise CallerFault("bad_argument", f"{where}: {error}.") from error


def _plain(field: Mapping[str, Any], value: Any) -> Any:
    """Structs that are given as mappings, as tuples in the order of the ABI."""
    kind = str(field["type"])
    if kind.endswith("]") and isinstance(value, list | tuple):
        return [_plain({**field, "type": kind[: kind.rindex("[")]}, one) for one in value]
    if kind == "tuple" and isinstance(value, Mapping):
        names = [one["name"] for one in field["components"]]
        if set(names) != set(value):
            raise CallerFault("bad_argument", f"{field.get('name')} has the members {', '.join(names)}.")
        return tuple(_plain(one, value[one["name"]]) for one in field["components"])
    return value


def _is_padded(kind: str, argument: Any) -> bool:
    """eth-abi fills short fixed bytes up with zeros: a root of 31 bytes would become another."""
    size = kind.removeprefix("bytes")
    return kind != size and size.isdigit() and isinstance(argument, bytes) and len(argument) != int(size)


def _decoded(fields: Sequence[Mapping[str, Any]], data: bytes, where: str) -> tuple[Any, ...]:
    try:
        values = decode([_type(one) for one in fields], data)
    except (DecodingError, OverflowError, ValueError) as error:
        raise lie(f"{where} cannot be decoded ({type(error).__name__})") from error
    return tuple(_readable(field, value) for field, value in zip(fields, values, strict=True))


def _readable(field: Mapping[str, Any], value: Any) -> Any:
    """Addresses with their checksum, structs as mappings, wherever they are."""
    kind = str(field["type"])
    if kind.endswith("]"):
        return tuple(_readable({**field, "type": kind[: kind.rindex("[")]}, one) for one in value)
    if kind == "address":
        return checksummed(bytes.fromhex(value[2:]))
    if kind == "tuple":
        names = zip(field["components"], value, strict=True)
        return {one["name"]: _readable(one, member) for one, member in names}
    return value
