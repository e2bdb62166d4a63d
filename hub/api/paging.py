"""Long lists, a page at a time: `?page=2`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from aiohttp import web

from digm.errors import CallerFault

T = TypeVar("T")
MOST_PAGES = 1_000_000


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list.

    Attributes:
        number: from 1.
        next: of the page behind it; None: this is the last.
    """

    items: Sequence[T]
    number: int
    next: int | None


def page_of(request: web.Request, items: Sequence[T], size: int) -> Page[T]:
    """The page that a request asks for; one behind the last is empty.

    Raises:
        CallerFault: `bad_page`.
    """
    said = request.query.get("page", "1")
    if not (said.isascii() and said.isdigit() and 1 <= len(said) <= 7 and 1 <= int(said) <= MOST_PAGES):
        raise CallerFault("bad_page", "A page is a number from 1 on.")
    number = int(said)
    first = (number - 1) * size
    return Page(items[first : first + size], number, number + 1 if first + size < len(items) else None)
