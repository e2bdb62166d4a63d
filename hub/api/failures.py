"""Errors as HTTP answers: the one place where a `DigmError` gets a status."""

import time
from collections.abc import Callable

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from digm.errors import CallerFault, DigmError, PeerFault, Unavailable
from hub.granting.refusals import WORDS
from hub.metrics import HTTP_REQUESTS, HTTP_SECONDS

log = structlog.get_logger()
STATUS_BY_CODE = {
    "receipts_off": 404,
    "receipts_not_yours": 403,
    "bad_id": 404,  # in a path, a name that cannot exist
    "not_found": 404,
    "track_not_found": 404,
    "track_withdrawn": 410,
    "track_not_held": 404,
    "release_not_found": 404,
    "chunk_not_held": 404,
    "cover_not_found": 404,
    "grant_refused": 403,
    **dict.fromkeys(WORDS, 403),
    "pin_order_forged": 403,
    "pin_order_mismatch": 403,
    "pin_order_replayed": 409,
    "pin_order_conflict": 409,
    "order_book_full": 503,
    "too_many_requests": 429,
    "too_many_sessions": 429,
    "body_too_large": 413,
    "body_too_slow": 408,
}
STATUS_BY_KIND: tuple[tuple[type[DigmError], int], ...] = (
    (CallerFault, 400),
    (PeerFault, 400),
    (Unavailable, 503),
    (DigmError, 500),
)
PUBLIC_DATA = ("track_root", "retry_after_s", "field")
CLIENT_GONE = 499  # nginx's number for an answer that nobody waits for; it is only counted
HtmlProblem = Callable[[web.Request, int, str], web.Response]


def status_of(error: DigmError) -> int:
    """The HTTP status of a failure: by its code, else by whose fault it is."""
    if error.code in STATUS_BY_CODE:
        return STATUS_BY_CODE[error.code]
    return next(status for kind, status in STATUS_BY_KIND if isinstance(error, kind))


def problem(error: DigmError) -> web.Response:
    """The JSON answer for a failure."""
    body = {"code": error.code, "message": error.message}
    body |= {name: str(error.data[name]) for name in PUBLIC_DATA if name in error.data}
    headers = {hdrs.CACHE_CONTROL: "no-store", hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*"}
    if "retry_after_s" in error.data:
        headers[hdrs.RETRY_AFTER] = str(error.data["retry_after_s"])
    return web.json_response({"error": body}, status=status_of(error), headers=headers)


def _as_digm_error(error: web.HTTPException) -> DigmError:
    sentences = {
        404: Unavailable("not_found", "There is nothing at this address."),
        405: CallerFault("method_not_allowed", "This address does not answer that method."),
        413: CallerFault("body_too_large", "The request is too large."),
    }
    return sentences.get(error.status, CallerFault("bad_request", "The request could not be understood."))


def failures_middleware(html_problem: HtmlProblem | None = None) -> Middleware:
    """Turn failures into answers: a page for people, JSON for programs. Counts every request.

    Args:
        html_problem: makes the page from status and sentence; None: this server has no pages.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.perf_counter()
        response = await _answered(request, handler, html_problem)
        route = request.match_info.route.resource
        name = route.canonical if route is not None else "none"
        HTTP_REQUESTS.labels(name, _method(request), response.status).inc()
        if response.status != 101:  # a WebSocket's life is not a latency
            HTTP_SECONDS.labels(name).observe(time.perf_counter() - began)
        return response

    return middleware


def _method(request: web.Request) -> str:
    return request.method if request.method in hdrs.METH_ALL else "other"


async def _answered(
    request: web.Request, handler: Handler, html_problem: HtmlProblem | None
) -> web.StreamResponse:
    allow = None
    try:
        return await handler(request)
    except DigmError as error:
        failure = error
        if status_of(error) >= 500:
            log.warning("request_failed", path=request.path, code=error.code, reason=str(error))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        failure, allow = _as_digm_error(error), error.headers.get(hdrs.ALLOW)
        status = error.status
        response = problem(failure)
        response.set_status(status)
        if html_problem is not None and wants_page(request):
            response = html_problem(request, status, failure.message)
        if allow:
            response.headers[hdrs.ALLOW] = allow
        return response
    except web.RequestPayloadError:
        failure = CallerFault("bad_body", "The body of the request could not be decoded.")
    except Exception as error:
        if isinstance(error, ConnectionError) and _is_gone(request):
            log.debug("client_gone", path=request.path)
            return web.Response(status=CLIENT_GONE)
        log.exception("request_crashed", path=request.path)
        failure = DigmError("internal", "Something broke on our side. It is in the hub's log.")
    if html_problem is not None and wants_page(request):
        return html_problem(request, status_of(failure), failure.message)
    response = problem(failure)
    if failure.code == "body_too_slow":
        response.force_close()
    return response


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def wants_page(request: web.Request) -> bool:
    """True where a person looks: a page address, asked for by something that shows HTML."""
    return not request.path.startswith(
        ("/api/", "/static/", "/covers/")
    ) and "text/html" in request.headers.get(hdrs.ACCEPT, "")
