"""Who may talk to the studio: the browser that was given the address with its token, and no other page in it.

Four locks, because each has a gap that another one closes:

* It listens on loopback, and answers only under the two names of that (a name that somebody's DNS points at
  127.0.0.1 gets nothing: DNS rebinding).
* The token in the address opens the page once and becomes a cookie: SameSite=Strict, HttpOnly.
* A cookie knows no ports: any other server of this machine that the same browser visits would see it. So it
  opens only the empty page, and recordings by names that nobody can guess. Everything else needs the *page
  key*, which comes in the fragment of the address, stays in the tab's sessionStorage and is sent as a header.
  Other origins can neither read it nor send the header without being asked for leave (CORS), which nobody
  gets.
* Requests that a browser says were made by another site are refused, whatever else they carry (Fetch
  Metadata).
"""

import hmac
import secrets

from aiohttp import hdrs, web

from digm.errors import CallerFault, Unavailable

TOKEN = "token"  # noqa: S105 - the name of the parameter
KEY_HEADER = "X-DIGM-Studio"
_SECRET_BYTES = 32
_COOKIE_AGE_S = 7 * 86_400
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "media-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    hdrs.CONTENT_SECURITY_POLICY: POLICY,
    hdrs.X_FRAME_OPTIONS: "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


class Door:
    """Checks requests. Its secrets live as long as the process.

    Attributes:
        port: that it listens on; set when it is known.
    """

    def __init__(self) -> None:
        self.port = 0
        self._token, self._cookie, self._page_key = (secrets.token_urlsafe(_SECRET_BYTES) for _ in range(3))

    @property
    def url(self) -> str:
        """What the artist opens."""
        return f"http://127.0.0.1:{self.port}/?{TOKEN}={self._token}"

    @property
    def _cookie_name(self) -> str:
        return f"digm-studio-{self.port}"

    def check_address(self, request: web.Request) -> None:
        """For every request. Raises CallerFault `bad_host`, `other_origin`."""
        host = request.headers.get(hdrs.HOST, "")
        if host not in (f"127.0.0.1:{self.port}", f"localhost:{self.port}"):
            raise CallerFault("bad_host", "The studio answers only under its own address on this machine.")
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        origin = request.headers.get(hdrs.ORIGIN, f"http://{host}")
        if site not in ("same-origin", "none") or origin != f"http://{host}":
            raise CallerFault("other_origin", "Another page asked for this: the studio answers its own only.")

    def check_cookie(self, request: web.Request) -> None:
        """For the page itself and what it shows. Raises Unavailable `no_token`."""
        if not _same(request.cookies.get(self._cookie_name, ""), self._cookie):
            raise Unavailable("no_token", "Open the studio by the address that digm studio printed.")

    def check_page(self, request: web.Request) -> None:
        """For everything that shows or changes something. Raises Unavailable `no_token`."""
        self.check_cookie(request)
        if not _same(request.headers.get(KEY_HEADER, ""), self._page_key):
            raise Unavailable("no_token", "Open the studio again by the address that digm studio printed.")

    def let_in(self, request: web.Request) -> web.Response | None:
        """Take the token of an address: the answer goes on to the page without it.

        Returns:
            None where there is no token.
        Raises:
            Unavailable: `no_token`, it is another one, such as of an earlier start.
        """
        token = request.query.get(TOKEN)
        if token is None:
            return None
        if not _same(token, self._token):
            raise Unavailable("no_token", "This address is of an earlier start: open the one printed last.")
        response = web.Response(status=303, headers={hdrs.LOCATION: f"/#{self._page_key}"})
        response.set_cookie(
            self._cookie_name, self._cookie, max_age=_COOKIE_AGE_S, httponly=True, samesite="Strict", path="/"
        )
        return response


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(), right.encode())
