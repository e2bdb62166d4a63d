"""What is to be fetched and where to begin to look, from what people paste: a track root or an address."""

import re
from dataclasses import dataclass, replace
from urllib.parse import SplitResult, urlsplit

from digm.errors import CallerFault
from digm.ids import is_hex_id

# Pages and answers of a hub (docs/protocol.md).
_OF_HUB = re.compile(r"(?P<base>.*?)(?:/api)?/(?:tracks|embed)/(?P<root>[0-9a-f]{64})(?:/[a-z]*)?/?")
_OF_GATEWAY = re.compile(r"(?P<base>.*)/(?P<root>[0-9a-f]{64})/(?:manifest\.json|manifest\.mpd|index\.m3u8)")


@dataclass(frozen=True)
class Target:
    """One track and the places that are asked first.

    Attributes:
        track_root: 64 hex digits.
        hubs, gateways: URLs without a slash at the end.
        bootstrap: multiaddrs with /p2p/.
    """

    track_root: str
    hubs: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    bootstrap: tuple[str, ...] = ()

    @property
    def has_places(self) -> bool:
        """Whether there is anybody to ask."""
        return bool(self.hubs or self.gateways or self.bootstrap)

    def with_places(
        self, hubs: tuple[str, ...], gateways: tuple[str, ...], bootstrap: tuple[str, ...]
    ) -> "Target":
        """The same track, and more places; each is asked once."""
        return replace(
            self,
            hubs=_each_once(self.hubs, hubs),
            gateways=_each_once(self.gateways, gateways),
            bootstrap=tuple(dict.fromkeys(self.bootstrap + bootstrap)),
        )


def read_target(text: str) -> Target:
    """Read a track root, the address of a track's page, or that of its manifest or playlist at a gateway.

    Raises:
        CallerFault: `bad_track`.
    """
    text = text.strip()
    if is_hex_id(text):
        return Target(text)
    if (parts := _web_address(text)) is not None:
        address = f"{parts.scheme}://{parts.netloc}{parts.path}"
        if found := _OF_HUB.fullmatch(address):
            return Target(found["root"], hubs=(found["base"],))
        if found := _OF_GATEWAY.fullmatch(address):
            return Target(found["root"], gateways=(found["base"],))
    raise CallerFault(
        "bad_track",
        f"{text!r:.120} names no track: give its root (64 hex digits), the address of its page, or that of its "
        "manifest.json.",
    )


def checked_url(url: str, option: str) -> str:
    """An http(s) URL as it was given to an option, without a slash at the end.

    Raises:
        CallerFault: `bad_option`.
    """
    if _web_address(url) is None:
        raise CallerFault(
            "bad_option", f"{option} takes a URL that begins with http:// or https://, not {url!r:.80}."
        )
    return url.rstrip("/")


def _web_address(text: str) -> SplitResult | None:
    try:
        parts = urlsplit(text)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if is_one else None


def _each_once(known: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(url.rstrip("/") for url in known + more))
