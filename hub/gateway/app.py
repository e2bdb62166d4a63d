"""The gateway as an ASGI application: routes, bodies that nobody asked for, failures, its own health.

It knows no secret: what it serves is ciphertext and signed documents, so anyone may ask, from any page. What
there is to serve is in `hub.gateway.content`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from typing import Any

import structlog
from prometheus_client import CONTENT_TYPE_LATEST

from digm.errors import CallerFault, DigmError, Unavailable
from digm.ids import is_hex_id
from hub.gateway.budget import SendingBudget, longest_send_s
from hub.gateway.content import Content
from hub.gateway.replies import CORS, METHODS, PREFLIGHT, Reply, failure_reply, json_reply
from hub.gateway.shelf import Shelf
from hub.metrics import GATEWAY_BYTES, HTTP_REQUESTS, metrics_text
from hub.storage.chunk_store import ChunkStore

log = structlog.get_logger()
Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

# Nothing here wants a body. But an answer that overtakes one is lost when the connection ends with the rest of
# the body unread, so that a body is read and forgotten, up to this.
MAX_BODY_BYTES = 16 * 1024 * 1024
BODY_WITHIN_S = 15.0
UNCOUNTED_BYTES = 4_096
PIECE_BYTES = 32 * 1024


class Gateway:
    """Serves one store.

    Args:
        store: verifies its reads or does not, as it was made.
        cache_bytes: chunks and documents kept in memory.
        alt_svc: sent with what goes over TLS, to tell of HTTP/3 (RFC 7838).
        shelf: from which a server in front of this one sends chunks when it is told to.
        in_pieces: give bodies bit by bit to the server, which takes whatever it is given.
    """

    def __init__(
        self,
        store: ChunkStore,
        cache_bytes: int,
        alt_svc: str | None = None,
        shelf: Shelf | None = None,
        in_pieces: bool = False,
    ) -> None:
        self._in_pieces = in_pieces
        self._store = store
        self._alt_svc = {"alt-svc": alt_svc} if alt_svc else {}
        self._content = Content(store, cache_bytes, shelf)
        self._budget = SendingBudget()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection event of ASGI 3."""
        if scope["type"] == "lifespan":
            await _follow_lifespan(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if scope["http_version"] == "3":
            headers.pop("x-digm-shelf", None)  # nobody is in front of it there
        method, path = scope["method"], scope["path"]
        try:
            await _forget_body(receive)
            route, reply = await self._route(method, path, scope["query_string"].decode("latin-1"), headers)
        except DigmError as error:
            route, reply = "failure", failure_reply(error)
            if reply.status >= 500:
                log.error("read_failed", code=error.code, reason=str(error))
        except Exception:
            log.exception("request_crashed", path=path)
            route, reply = "failure", failure_reply(DigmError("internal", "Something broke on our side."))
        with ExitStack() as counted:
            if len(reply.body) > UNCOUNTED_BYTES and method != "HEAD":
                try:
                    counted.enter_context(self._budget.take(_address(scope), len(reply.body)))
                except Unavailable as busy:
                    route, reply = "failure", failure_reply(busy)
            await self._send(scope, route, reply, receive, send)

    async def _send(self, scope: Scope, route: str, reply: Reply, receive: Receive, send: Send) -> None:
        method = scope["method"]
        known = method if method in ("GET", "HEAD", "OPTIONS") else "other"
        if "x-accel-redirect" not in reply.headers:  # else it is counted where it is sent
            HTTP_REQUESTS.labels(route, known, reply.status).inc()
        # An answer without content must not announce a length (RFC 9110 §8.6).
        length = {} if reply.status in (204, 304) else {"content-length": str(len(reply.body))}
        fields = {**CORS, **length, **reply.headers}
        if scope["http_version"] in ("2", "3"):
            fields.pop("connection", None)  # RFC 9113 §8.2.2, RFC 9114 §4.2
        if scope["scheme"] == "https":
            fields.update(self._alt_svc)
        await send(
            {
                "type": "http.response.start",
                "status": reply.status,
                "headers": [(name.encode(), value.encode("latin-1")) for name, value in fields.items()],
            }
        )
        body = b"" if method == "HEAD" else reply.body
        if reply.status in (200, 206) and route not in ("health", "metrics"):
            GATEWAY_BYTES.inc(len(body))
        try:
            async with asyncio.timeout(longest_send_s(len(body))):
                if scope["http_version"] == "2" and body:
                    await _unless_the_client_goes(_in_pieces(send, body), receive)
                elif self._in_pieces and body:
                    await _in_pieces(send, body)
                else:
                    await send({"type": "http.response.body", "body": body})
        except TimeoutError:
            # An answer that ends before its length closes the connection, or resets the stream.
            log.info("slow_reader_dropped", bytes=len(body), http_version=scope["http_version"])
            if scope["http_version"] == "3":
                raise

    async def _route(self, method: str, path: str, query: str, headers: dict[str, str]) -> tuple[str, Reply]:
        if method == "OPTIONS":
            return "preflight", Reply(204, headers={**PREFLIGHT, "allow": METHODS})
        if method not in ("GET", "HEAD"):
            raise CallerFault("method_not_allowed", "The gateway answers GET, HEAD and OPTIONS.")
        name, _, rest = path.removeprefix("/").partition("/")
        if is_hex_id(name):
            if not rest and not path.endswith("/"):
                return "chunk", await self._content.chunk(name, method, headers, query)
            document = await self._content.document(name, rest, headers)
            if document is not None:
                return "manifest" if rest == "manifest.json" else "playlist", document
        if name == "ipfs":
            return "block", await self._content.block(rest, method, headers, query)
        if path == "/healthz":
            return "health", json_reply(200, {"status": "ok"})
        if path == "/readyz":
            return "health", await self._readiness()
        if path == "/metrics":
            return "metrics", Reply(
                200, metrics_text(), {"content-type": CONTENT_TYPE_LATEST, "cache-control": "no-store"}
            )
        raise Unavailable("not_found", "Ask for a chunk by its hash, or for a manifest by its track root.")

    async def _readiness(self) -> Reply:
        is_readable = await asyncio.to_thread(self._store.data.is_dir)
        return json_reply(
            200 if is_readable else 503, {"ready": is_readable, "conditions": {"store_readable": is_readable}}
        )


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


async def _forget_body(receive: Receive) -> None:
    """Read the request to its end.

    Raises:
        CallerFault: `body_too_slow`, `body_too_large`.
    """
    seen_bytes = 0
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect" or not message["more_body"]:
                    return
                seen_bytes += len(message["body"])
                if seen_bytes > MAX_BODY_BYTES:
                    raise CallerFault("body_too_large", "The request is too large; the gateway needs no body.")
    except TimeoutError as error:
        raise CallerFault("body_too_slow", f"The request took longer than {BODY_WITHIN_S:g} s.") from error


async def _in_pieces(send: Send, body: bytes) -> None:
    """Send a body bit by bit: Hypercorn 0.18 copies what it is given, however little the client takes of it."""
    for start in range(0, len(body), PIECE_BYTES):
        end = start + PIECE_BYTES
        await send({"type": "http.response.body", "body": body[start:end], "more_body": end < len(body)})


async def _unless_the_client_goes(sending: Awaitable[None], receive: Receive) -> None:
    """Send a body, or give up when the client has gone.

    Hypercorn 0.18 never wakes an answer that waits for the flow-control window of a connection that was lost:
    the task and its body would stay for ever.
    """

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    tasks = [asyncio.ensure_future(sending), asyncio.ensure_future(gone())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _follow_lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
