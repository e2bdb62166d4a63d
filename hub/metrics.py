"""Prometheus metrics of one process. Names are stable; labels never hold ids, titles or addresses."""

import os

from aiohttp import web
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

# A folder in which processes that do one thing together count (prometheus_client's multiprocess mode); read
# once, when prometheus_client is imported.
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

HTTP_REQUESTS = Counter("digm_http_requests", "Requests answered.", ["route", "method", "status"])
HTTP_SECONDS = Histogram(
    "digm_http_seconds",
    "Time from request to the end of the answer.",
    ["route"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
GRANTS = Counter("digm_grants", "Requests for a listening grant, by what came of them.", ["result"])
VAULT_LINKS = Gauge("digm_vault_links", "Artist processes connected to this hub.", multiprocess_mode="livesum")
GATEWAY_BYTES = Counter("digm_gateway_bytes", "Bytes of chunks and manifests sent.")
GATEWAY_CACHE = Counter("digm_gateway_cache", "Reads of the gateway's cache.", ["result"])
INBOX_FILES = Counter("digm_inbox_files", "Files and folders taken from the inbox.", ["result"])


def metrics_text() -> bytes:
    """Everything this process and those that share its folder count, in Prometheus' text format."""
    if not os.environ.get(SHARED_FOLDER):
        return generate_latest()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def metrics_response() -> web.Response:
    """The same as an HTTP answer."""
    return web.Response(body=metrics_text(), headers={"Content-Type": CONTENT_TYPE_LATEST})
