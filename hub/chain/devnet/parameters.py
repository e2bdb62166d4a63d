"""What JSON-RPC callers may say: read strictly, refused with a sentence that names it."""

from collections.abc import Mapping, Sequence
from typing import Any

from digm.errors import CallerFault
from hub.chain.devnet.machine import Call

ADDRESS_BYTES, HASH_BYTES = 20, 32
MOST_ADDRESSES = 100
MAX_WORD = 2**256 - 1
_LATEST = ("latest", "pending", "safe", "finalized")


def bad(why: str) -> CallerFault:
    """The fault for a parameter that cannot be used."""
    return CallerFault("bad_parameter", f"{why}.")


def at(parameters: Sequence[Any], position: int, fallback: Any = None) -> Any:
    """A parameter by its position."""
    return parameters[position] if position < len(parameters) else fallback


def read_number(value: Any, name: str = "a quantity", most: int = MAX_WORD) -> int:
    """A quantity: hex as the specification says, or a JSON number."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise bad(f"{name} has to be a hex quantity")
    try:
        number = value if isinstance(value, int) else int(value, 16) if value[:2] == "0x" else int(value)
    except ValueError as error:
        raise bad(f"{name} {value!r:.80} is no quantity") from error
    if not 0 <= number <= most:
        raise bad(f"{name} {value!r:.80} is out of range")
    return number


def read_bytes(value: Any, name: str, size: int | None = None) -> bytes:
    """Bytes in hex; of one size if it is given."""
    if not isinstance(value, str) or value[:2] != "0x":
        raise bad(f"{name} has to be hex data that begins with 0x")
    try:
        content = bytes.fromhex(value[2:])
    except ValueError as error:
        raise bad(f"{name} {value!r:.80} is no hex data") from error
    if size is not None and len(content) != size:
        raise bad(f"{name} has {len(content)} bytes, not {size}")
    return content


def read_address(value: Any, name: str = "the address") -> bytes:
    return read_bytes(value, name, ADDRESS_BYTES)


def read_hash(value: Any) -> str:
    """A hash in lower-case hex."""
    return "0x" + read_bytes(value, "the hash", HASH_BYTES).hex()


def read_block(value: Any, head: int) -> int | None:
    """A block's number; None for the newest, with what would be in the next."""
    if value is None or value in _LATEST:
        return None
    if value == "earliest":
        return 0
    if isinstance(value, Mapping):
        value = value.get("blockNumber")
    number = read_number(value, "the block")
    if number > head:
        raise CallerFault("unknown_block", f"There is no block {number}.")
    return number


def read_call(value: Any) -> Call:
    """A call object."""
    if not isinstance(value, Mapping):
        raise bad("the call has to be an object")
    content = value.get("input", value.get("data"))
    return Call(
        sender=read_address(value["from"], "from") if value.get("from") else bytes(ADDRESS_BYTES),
        to=read_address(value["to"], "to") if value.get("to") else None,
        data=read_bytes(content, "the data") if content is not None else b"",
        value=read_number(value.get("value") or 0, "value"),
        gas=read_number(value["gas"], "gas") if value.get("gas") else None,
    )


def read_filter(value: Any) -> tuple[list[str], list[list[str]]]:
    """Addresses and topics of a log filter: an empty list stands for anything."""
    if not isinstance(value, Mapping):
        raise bad("the filter has to be an object")
    given = value.get("address") or []
    addresses = [given] if isinstance(given, str) else given
    topics = value.get("topics") or []
    if not isinstance(addresses, list) or len(addresses) > MOST_ADDRESSES:
        raise bad(f"address is one address or up to {MOST_ADDRESSES}")
    if not isinstance(topics, list) or len(topics) > 4:
        raise bad("topics are at most four")
    return ["0x" + read_address(one).hex() for one in addresses], [_choices(one) for one in topics]


def _choices(topic: Any) -> list[str]:
    if topic is None:
        return []
    choices = [topic] if isinstance(topic, str) else topic
    if not isinstance(choices, list) or len(choices) > MOST_ADDRESSES:
        raise bad("a topic is null, a hash, or a list of hashes")
    return [read_hash(choice) for choice in choices if choice is not None]
