"""Members out of untrusted JSON, each with its type and range; what does not fit is a named error.

A document of some kind ("manifest", "grant", ...) is refused with `<kind>_not_json` or `<kind>_field`.
"""

import base64
import json
from typing import Any, NoReturn

from digm.errors import PeerFault
from digm.ids import from_hex, is_hex_id

MAX_TEXT = 500


class JsonReader:
    """One JSON object of a document.

    Args:
        kind: what the document is called in errors.
        path: where in the document this object stands: "", "renditions[0].", ...
    Raises:
        PeerFault: `<kind>_field`, if `members` is not an object; every reading method too (data: field).
    """

    def __init__(self, members: Any, kind: str, path: str = "") -> None:
        self._kind = kind
        self._path = path
        if not isinstance(members, dict):
            self.refuse("", "an object")
        self._members = members

    @classmethod
    def parse(cls, document: bytes | str, kind: str) -> "JsonReader":
        """Read a whole document.

        Raises:
            PeerFault: `<kind>_not_json`: not JSON, a member named twice, NaN, too deep.
        """
        code = f"{kind}_not_json"

        def unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            members = dict(pairs)
            if len(members) != len(pairs):
                # Two readers that keep different twins would see two different documents under one hash.
                raise PeerFault(code, f"The {kind} names a member twice.")
            return members

        def no_constant(name: str) -> NoReturn:
            raise PeerFault(code, f"The {kind} holds {name}, which is not JSON.")

        try:
            members = json.loads(document, object_pairs_hook=unique_members, parse_constant=no_constant)
        except PeerFault:
            raise
        except (ValueError, RecursionError) as fault:
            raise PeerFault(code, f"The {kind} is not a JSON document.") from fault
        return cls(members, kind)

    def refuse(self, field: str, wanted: str) -> NoReturn:
        """Say that a member is not what it should be."""
        name = f"{self._path}{field}".rstrip(".") or "body"
        raise PeerFault(f"{self._kind}_field", f"The {self._kind}'s {name} is not {wanted}.", field=name)

    def value(self, field: str) -> Any:
        """A member as it is; None where it is missing."""
        return self._members.get(field)

    def integer(self, field: str, low: int, high: int) -> int:
        value = self.value(field)
        if type(value) is not int or not low <= value <= high:
            self.refuse(field, f"a whole number from {low} to {high}")
        return value

    def optional_integer(self, field: str, low: int, high: int) -> int | None:
        return None if self.value(field) is None else self.integer(field, low, high)

    def number(self, field: str, low: float, high: float) -> float:
        value = self.value(field)
        if type(value) not in (int, float) or not low <= value <= high:
            self.refuse(field, f"a number from {low} to {high}")
        return float(value)

    def optional_number(self, field: str, low: float, high: float) -> float | None:
        return None if self.value(field) is None else self.number(field, low, high)

    def text(self, field: str, most: int = MAX_TEXT) -> str:
        value = self.value(field)
        if not isinstance(value, str) or not 0 < len(value) <= most:
            self.refuse(field, f"text of 1 to {most} characters")
        try:
            value.encode()
        except UnicodeEncodeError:  # a lone surrogate, "\ud800", is valid JSON and no text
            self.refuse(field, "text")
        return value

    def optional_text(self, field: str, most: int = MAX_TEXT) -> str | None:
        return None if self.value(field) is None else self.text(field, most)

    def hash(self, field: str) -> bytes:
        """32 bytes, written as 64 lower-case hex digits."""
        value = self.value(field)
        if not is_hex_id(value):
            self.refuse(field, "64 lower-case hex digits")
        return from_hex(value)

    def binary(self, field: str, most: int) -> bytes:
        """Bytes, written in base64."""
        value = self.value(field)
        try:
            data = base64.b64decode(value, validate=True) if isinstance(value, str) else None
        except ValueError:
            data = None
        if data is None or len(data) > most:
            self.refuse(field, f"base64 of at most {most} bytes")
        return data

    def items(self, field: str, least: int, most: int) -> list[Any]:
        value = self.value(field)
        if not isinstance(value, list) or not least <= len(value) <= most:
            self.refuse(field, f"a list of {least} to {most} items")
        return value

    def objects(self, field: str, least: int, most: int) -> list["JsonReader"]:
        return [
            JsonReader(item, self._kind, f"{self._path}{field}[{number}].")
            for number, item in enumerate(self.items(field, least, most))
        ]

    def nested(self, field: str) -> "JsonReader":
        return JsonReader(self.value(field), self._kind, f"{self._path}{field}.")
