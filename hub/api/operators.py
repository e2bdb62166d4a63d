"""Who may see what is for the operator alone: a page's door, for the pages and JSON behind it.

That is a browser on the hub's own machine, or whoever knows DIGM_OPERATOR_TOKEN (as the password of HTTP Basic,
any user name, or as a Bearer token). Everybody else is told that there is nothing here.
"""

import base64
import binascii
import hmac
import ipaddress

from aiohttp import hdrs, web

from digm.errors import Unavailable
from hub.api.addresses import client_address
from hub.config import Settings
from hub.services import SERVICES

_FORWARDED = ("X-Forwarded-For", "Forwarded", "X-Real-IP")


def refusal(request: web.Request) -> web.Response | None:
    """None for whoever may see it.

    Raises:
        Unavailable: `not_found`, for everybody else where no token is set.
    """
    settings = request.app[SERVICES].settings
    if _is_local(request, settings):
        return None
    if not settings.operator_token:
        raise Unavailable("not_found", "There is nothing at this address.")
    if hmac.compare_digest(_password(request).encode(), settings.operator_token.encode()):
        return None
    headers = {hdrs.WWW_AUTHENTICATE: 'Basic realm="DIGM operator", charset="UTF-8"'}
    return web.Response(status=401, text="This is for the operator of this hub.", headers=headers)


def _is_local(request: web.Request, settings: Settings) -> bool:
    """Asked from this machine, by its own name, and not through a proxy that nobody told us about."""
    is_forwarded = any(name in request.headers for name in _FORWARDED) and not settings.trusted_proxies
    # A name that somebody else's DNS points at 127.0.0.1 must not open it (DNS rebinding).
    host = request.headers.get(hdrs.HOST, "").rpartition("@")[2]
    name = host.partition("]")[0].strip("[") if host.startswith("[") else host.partition(":")[0]
    is_own_name = name == "localhost" or _is_loopback(name)
    return not is_forwarded and is_own_name and _is_loopback(client_address(request, settings))


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _password(request: web.Request) -> str:
    scheme, _, value = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
