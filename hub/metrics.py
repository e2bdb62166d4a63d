"""Prometheus metrics of one process. Names are stable; labels never hold ids, titles or addresses."""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

HTTP_REQUESTS = Counter("digm_http_requests", "Requests answered.", ["route", "method", "status"])
HTTP_SECONDS = Histogram(
    "digm_http_seconds",
    "Time from request to the end of the answer.",
    ["route"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
GRANTS = Counter("digm_grants", "Requests for a listening grant, by what came of them.", ["result"])
VAULT_LINKS = Gauge("digm_vault_links", "Artist processes connected to this hub.")
GATEWAY_BYTES = Counter("digm_gateway_bytes", "Bytes of chunks and manifests sent.")
GATEWAY_CACHE = Counter("digm_gateway_cache", "Reads of the gateway's cache.", ["result"])
INBOX_FILES = Counter("digm_inbox_files", "Files and folders taken from the inbox.", ["result"])


def metrics_text() -> bytes:
    """Everything this process counts, in Prometheus' text format."""
    return generate_latest()


def metrics_response() -> web.Response:
    """The same as an HTTP answer."""
    return web.Response(body=metrics_text(), headers={"Content-Type": CONTENT_TYPE_LATEST})
