"""Which hub to connect to next: sans-IO, for whoever knows several.

    choice = HubChoice(details["signal_urls"])
    loop:  connect to choice.url
           on `peers`:           choice.settled()
           on `redirect {url}`:  choice.redirected(url), then close the socket
           socket is gone:       choice.failed()              # unless we closed it to follow a redirect

The pause before the next connection is SignallingClient.disconnected's.
"""

from collections.abc import Sequence

MAX_REDIRECTS = 4  # hubs that disagree must not send us in circles


class HubChoice:
    """One swarm's hubs.

    Args:
        urls: `/signal` addresses, the swarm's home first; at least one.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = list(dict.fromkeys(urls))
        self._at = 0
        self._elsewhere: str | None = None
        self._redirects = 0
        self._failed: set[str] = set()

    @property
    def url(self) -> str:
        """Where to connect now."""
        return self._elsewhere or self._urls[self._at]

    def failed(self) -> None:
        """The hub could not be reached, or the connection ended: the next one in the order."""
        self._failed.add(self.url)
        if self._elsewhere is None:
            self._at = (self._at + 1) % len(self._urls)
        self._elsewhere = None

    def redirected(self, url: str) -> bool:
        """A hub says where the swarm lives. False when it is not worth following: stay here, and ask again."""
        if url in self._failed:
            # We know better for now: the hub here will notice, and take over. Next time we try.
            self._failed.discard(url)
            return False
        if self._redirects >= MAX_REDIRECTS or url == self.url:
            return False
        self._redirects += 1
        if url in self._urls:
            self._at, self._elsewhere = self._urls.index(url), None
        else:
            self._elsewhere = url
        return True

    def settled(self) -> None:
        """The hub let us into the swarm."""
        self._redirects = 0
        self._failed.clear()
