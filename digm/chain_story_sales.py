"""What happened in `Sales` and `Passes`, in words; a part of `digm.chain_story`."""

from collections.abc import Callable, Mapping
from typing import Any

from digm.chain_sentences import Sentence, Token, amount, day

Said = Mapping[str, Any]
DAY_S, HOUR_S = 86_400, 3_600


def _price(said: Said, token: Token, name: str = "price") -> str:
    return f"{amount(said[name])} {token(said['token'])}"


def _offered(said: Said, token: Token) -> Sentence:
    more = " or more" if said["is_at_least"] else ""
    return Sentence(f"{{track}} is for sale: {_price(said, token)}{more}", track=said["item"])


def _ended(said: Said, _token: Token) -> Sentence:
    return Sentence("{track} is no longer for sale", track=said["item"])


def _album(said: Said, _token: Token) -> Sentence:
    return Sentence(f"{{who}} put {len(said['tracks'])} tracks together for sale", said["owner"])


def _bought(said: Said, token: Token) -> Sentence:
    return Sentence(
        f"{{who}} bought {{track}} for {_price(said, token, 'amount')}", said["buyer"], track=said["item"]
    )


def _delivered(said: Said, _token: Token) -> Sentence:
    return Sentence("{who} got the key of {track}, and its payees the money", said["buyer"], track=said["item"])


def _given(said: Said, _token: Token) -> Sentence:
    return Sentence("{who} was given {track}", said["buyer"], track=said["item"])


def _refunded(said: Said, _token: Token) -> Sentence:
    form = "{who} got the money for {track} back: its key did not come in time"
    return Sentence(form, said["buyer"], track=said["item"], is_bad=True)


def _appointed(said: Said, _token: Token) -> Sentence:
    form = (
        "{who} lets {other} deliver its keys"
        if said["is_appointed"]
        else "{who} lets {other} deliver no keys any more"
    )
    return Sentence(form, said["owner"], said["vault"])


def _pass_set(said: Said, token: Token) -> Sentence:
    whole = (
        f"{said['duration_s'] // DAY_S} days"
        if said["duration_s"] >= 2 * DAY_S
        else f"{said['duration_s'] / HOUR_S:.4g} h"
    )
    return Sentence(f"{{who}} sells passes: {_price(said, token)} for {whole}", said["issuer"])


def _pass_ended(said: Said, _token: Token) -> Sentence:
    return Sentence("{who} sells no passes any more", said["issuer"])


def _pass_bought(said: Said, _token: Token) -> Sentence:
    return Sentence(
        f"{{who}} has a pass of {{other}} until {day(said['until'])}", said["account"], said["issuer"]
    )


SALES_TELLERS: dict[str, Callable[[Said, Token], Sentence]] = {
    "OfferSet": _offered,
    "OfferEnded": _ended,
    "AlbumSet": _album,
    "Purchased": _bought,
    "PurchasedP256": _bought,
    "KeyDelivered": _delivered,
    "KeyGiven": _given,
    "Refunded": _refunded,
    "VaultAppointed": _appointed,
    "PassSet": _pass_set,
    "PassEnded": _pass_ended,
    "PassBought": _pass_bought,
    "PassGiven": _pass_bought,
}
