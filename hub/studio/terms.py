"""What the artist says about a release: price, preview, shares, copies; read from what the page sends."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from digm.errors import CallerFault
from digm.pinning import MAX_REPLICAS, MONTH_S
from hub.chain.amounts import read_amount
from hub.storage.catalogue import TrackEntry

MOST_MONTHS = 120
MOST_PREVIEW_S = 3_600
TOKENS = ("para", "coin")


class Share(msgspec.Struct, frozen=True):
    """One payee: `percent` as it was typed."""

    account: str
    percent: str


class TermsBody(msgspec.Struct, frozen=True, kw_only=True):
    """As the page sends them. Texts are what was typed.

    Attributes:
        is_on_chain: False: at the own hub only, for everybody and free.
        price: for each track; empty: free.
        album_price: for all of them together; empty: they are not sold together.
        preview_s: how much is free to hear; None: all.
        copy_price: PARA for a GiB and day of one copy.
    """

    is_on_chain: bool = True
    price: str = ""
    album_price: str = ""
    token: str = "para"  # noqa: S105 - of money
    is_at_least: bool = False
    preview_s: int | None = None
    shares: tuple[Share, ...] = ()
    copies: int = 0
    months: int = 18
    copy_price: str = "1"


@dataclass(frozen=True)
class Terms:
    """Read and found possible, as far as that can be said without the chain.

    Attributes:
        price: units of the token; 0: it is free.
        album_price: of all together; 0: they are not sold together.
        shares: `ADDRESS=PERCENT` each; empty: all of it is the artist's.
    """

    is_on_chain: bool
    price: int
    album_price: int
    token: str
    is_at_least: bool
    preview_s: int | None
    shares: tuple[str, ...]
    copies: int
    duration_s: int
    copy_price: int


def read_terms(body: TermsBody, lengths_s: Sequence[float]) -> Terms:
    """Check what was typed.

    Args:
        lengths_s: of the recordings.
    Raises:
        CallerFault: `bad_terms`, `bad_amount`, `bad_split`, `bad_address`: a sentence for whoever typed it.
    """
    price, album_price = _amount(body.price), _amount(body.album_price)
    if body.token not in TOKENS:
        raise _bad("The price is in PARA or in the chain's coin.")
    if not body.is_on_chain and (price or body.shares or body.copies):
        raise _bad("Prices, shares and copies stand on the chain: publish there, or leave them out.")
    if album_price and (not price or len(lengths_s) < 2):
        raise _bad("An album's price is for two or more tracks that are sold.")
    _check_preview(body.preview_s, price, lengths_s)
    if not 0 <= body.copies <= MAX_REPLICAS or not 1 <= body.months <= MOST_MONTHS:
        raise _bad(f"Copies are 0 to {MAX_REPLICAS}, for 1 to {MOST_MONTHS} months.")
    shares = tuple(f"{share.account.strip()}={share.percent.strip()}" for share in body.shares)
    if shares:
        from hub.chain.telling import payees_of

        payees_of(shares)
    return Terms(
        body.is_on_chain,
        price,
        album_price,
        body.token,
        body.is_at_least,
        body.preview_s,
        shares,
        body.copies,
        body.months * MONTH_S,
        read_amount(body.copy_price.strip() or "1"),
    )


def check_free(terms: Terms, published: Sequence[TrackEntry]) -> None:
    """What is everybody's stays so. Raises CallerFault `free_already`."""
    for entry in published:
        if terms.price and entry.preview_s is None:
            raise CallerFault(
                "free_already",
                f"{entry.title} was published before, free for everybody, and cannot be sold any more: take it "
                "off the desk, or make another recording of it.",
            )


def _amount(text: str) -> int:
    return read_amount(text.strip()) if text.strip() else 0


def _check_preview(preview_s: int | None, price: int, lengths_s: Sequence[float]) -> None:
    if price and preview_s is None:
        # What is free to hear as a whole is there for everybody: its key is no secret worth money.
        raise _bad("A track that is sold has a free beginning: say how many seconds.")
    if preview_s is None:
        return
    if not 1 <= preview_s <= MOST_PREVIEW_S:
        raise _bad(f"The free beginning is 1 to {MOST_PREVIEW_S} seconds.")
    if lengths_s and preview_s >= min(lengths_s):
        shortest = min(lengths_s)
        raise _bad(
            f"The shortest recording lasts {shortest:.0f} seconds: a free beginning is shorter than that."
        )


def _bad(sentence: str) -> CallerFault:
    return CallerFault("bad_terms", sentence)
