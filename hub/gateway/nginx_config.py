"""The text of nginx.conf: nginx carries TCP, and the application behind it keeps every decision.

Chunks that lie on the shelf (hub/gateway/shelf.py) nginx sends by itself. For every other request it asks the
application; for a plain request for a chunk with `X-Digm-Shelf`, to which the application may answer with
`X-Accel-Redirect` once the chunk lies there. What is a plain request is decided by a `map`: any condition, any
Range that is not as simple as can be, any wish for an IPFS block goes to the application, so that there is one
reading of those headers and not two.

The same bounds as in hub/gateway/tcp.py, budget.py and server.py, as far as nginx has them.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from hub.gateway import app, budget, nginx_log, server, tcp
from hub.gateway.replies import CORS, IMMUTABLE, METHODS
from hub.gateway.shelf import SHELF_URI

HEAD_BYTES = 8 * 1024
MOST_BODY_BYTES = 64 * 1024
MOST_REQUESTS = 1_024
MOST_ASKED_AT_ONCE = 256
# Connections that stand idle are closed, the longest idle first, when these run out.
WORKER_CONNECTIONS = 8_192
STREAMS = 128
REFUSED_URI = "/refused/"
PASSED_ON = ("Accept", "Accept-Encoding", "Cache-Control", "If-None-Match", "If-Range", "Range")

# What nginx refuses by itself, in the application's words.
REFUSALS = (
    ("400", 400, "bad_request", "The request cannot be read."),
    ("404", 404, "not_found", "Ask for a chunk by its hash, or for a manifest by its track root."),
    ("405", 405, "method_not_allowed", "The gateway answers GET, HEAD and OPTIONS."),
    ("408", 408, "body_too_slow", "The request took too long."),
    ("413", 413, "body_too_large", "The request is too large; the gateway needs no body."),
    ("414", 414, "bad_request", "The path is too long."),
    ("494", 431, "bad_request", "The request head is too long."),
    ("416", 416, "range_not_satisfiable", "The range begins behind the end of the chunk."),
    ("500 502 503 504", 503, "gateway_busy", "Too much is on its way already: ask again in a second."),
)


@dataclass(frozen=True)
class Front:
    """What nginx listens on, and what is behind it.

    Attributes:
        folder: for its temporary files; `shelf/` in it, the certificate as `cert.pem` and `key.pem`. A path
            without characters that mean something to nginx.
        user: whom its workers run as; None: as whoever starts it.
        plain, tls: addresses as nginx writes them, such as `127.0.0.1:8081` or `[::]:443`.
        backends: Unix sockets of the application's processes.
        alt_svc: told over TLS.
    """

    folder: Path
    user: str | None
    plain: str | None
    tls: str | None
    backends: tuple[Path, ...]
    alt_svc: str | None
    open_files: int


def configuration(front: Front) -> str:
    """The text of nginx.conf."""
    folder = front.folder
    lines = [
        *("daemon off;", f"worker_processes {len(front.backends)};", f"pid {folder}/nginx.pid;"),
        *([f"user {front.user};"] if front.user else []),
        f"error_log stderr warn;\nworker_rlimit_nofile {front.open_files};",
        f"worker_shutdown_timeout {_ms(server.DRAIN_S)};\npcre_jit on;",
        f"events {{ worker_connections {min(WORKER_CONNECTIONS, front.open_files)}; }}",
        "http {",
        *_http(front),
        *_maps(front),
        "upstream digm {",
        "    zone digm_backends 128k;",
        *(f"    server unix:{path} max_conns={MOST_ASKED_AT_ONCE};" for path in front.backends),
        "    keepalive 32;",
        "}",
        "server {",
        *_listen(front),
        *_locations(front),
        "}\n}",
    ]
    return "\n".join(lines) + "\n"


def _http(front: Front) -> list[str]:
    idle = _ms(server.IDLE_WITHIN_S)
    return [
        *(f"{kind}_temp_path {front.folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi")),
        f"scgi_temp_path {front.folder}/scgi;",
        f"log_format digm '{nginx_log.FORMAT}'; access_log off; server_tokens off;"
        " types {} default_type application/octet-stream;",
        "sendfile on; tcp_nodelay on; sendfile_max_chunk 512k; output_buffers 2 32k;",
        # The application's ETag, and its conditions: nginx would make one of time and size.
        "etag off; if_modified_since off; max_ranges 1; merge_slashes off;",
        # No disable_symlinks: a third of the time of a small answer, and only we write into the shelf.
        f"client_header_timeout {idle}; keepalive_timeout {idle}; keepalive_requests 100000;",
        f"client_body_timeout {_ms(app.BODY_WITHIN_S)}; send_timeout {_ms(budget.GRACE_S)};",
        "reset_timedout_connection on; lingering_close on; lingering_time 15s; lingering_timeout 2s;",
        f"client_header_buffer_size 1k; large_client_header_buffers 4 {HEAD_BYTES};",
        f"client_max_body_size {MOST_BODY_BYTES}; client_body_buffer_size {MOST_BODY_BYTES};",
        f"http2_max_concurrent_streams {STREAMS}; http2_recv_buffer_size 128k;",
        "limit_conn_zone $digm_client zone=digm_clients:4m; limit_conn_zone all zone=digm_all:64k;",
        "limit_conn_status 503; limit_conn_log_level info;",
    ]


def _maps(front: Front) -> list[str]:
    """Addresses of this machine are not counted one by one: a proxy stands for many clients."""
    return [
        'map $remote_addr $digm_client { "~^127\\." ""; "::1" ""; "~^::ffff:127\\." "";',
        "    default $binary_remote_addr; }",
        'map $http_range $digm_range { "" plain; "~^bytes=[0-9]{1,15}-([0-9]{1,15})?\\z" plain;',
        '    "~^bytes=-[0-9]{1,15}\\z" plain; default other; }',
        "map $http_if_none_match$http_if_match$http_if_unmodified_since$args $digm_condition {",
        '    "" plain; default other; }',
        'map $http_accept $digm_accept { "~*application/vnd\\.ip" other; default plain; }',
        'map "$request_method $digm_range $digm_condition $digm_accept" $digm_shelf {',
        '    "GET plain plain plain" 1; "HEAD plain plain plain" 1; default ""; }',
        'map $digm_shelf $digm_folder { 1 shelf; default nowhere; }',
        f"map $https $digm_alt_svc {{ on '{front.alt_svc}'; default \"\"; }}" if front.alt_svc else
        'map $https $digm_alt_svc { default ""; }',
    ]  # fmt: skip


def _listen(front: Front) -> list[str]:
    lines = []
    for address, kind in ((front.plain, ""), (front.tls, " ssl http2")):
        if address is not None:
            dual = " ipv6only=off" if address.startswith("[") else ""
            lines.append(f"    listen {address}{kind} default_server backlog=512{dual};")
    if front.tls is not None:
        lines += [
            f"    ssl_certificate {front.folder}/cert.pem; ssl_certificate_key {front.folder}/key.pem;",
            "    ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:digm_tls:4m; ssl_session_tickets off;",
        ]
    return lines


def _locations(front: Front) -> list[str]:
    chunk = {
        **CORS,
        "etag": '\\"$digm_name\\"',
        "cache-control": IMMUTABLE,
        "vary": "accept",
        "last-modified": "",
        "alt-svc": "$digm_alt_svc",
    }
    root = f"root {front.folder}; access_log {front.folder}/sent.log digm buffer=64k flush=1s;"
    return [
        f"    limit_conn digm_clients {tcp.MOST_PER_ADDRESS}; limit_conn digm_all {MOST_REQUESTS};",
        '    location ~ "^/(?<digm_name>[0-9a-f]{64})\\z" {',
        f"        {root} try_files /$digm_folder/$digm_name @asked;",
        *_headers(chunk),
        "    }",
        f'    location ~ "^{SHELF_URI}(?<digm_name>[0-9a-f]{{64}})\\z" {{',
        # The chunk made room for others in the same moment: then the application sends it.
        f"        internal; {root} log_not_found off;",
        "        error_page 404 = @sent;",
        *_error_pages(besides=404),
        *_headers(chunk),
        "    }",
        *_proxied("/", ""),
        *_proxied("@asked", "$digm_shelf"),
        *_proxied("@sent", ""),
        *_error_pages(),
        *(line for _, status, code, message in REFUSALS for line in _refused(status, code, message)),
    ]


def _proxied(location: str, shelf: str) -> list[str]:
    return [
        f"    location {location} {{",
        # As it came: what a path means is decided in one place.
        "        proxy_pass http://digm$request_uri; proxy_http_version 1.1;",
        "        proxy_pass_request_headers off; proxy_pass_request_body off;",
        "        proxy_set_header Content-Length ''; proxy_set_header Connection '';",
        "        proxy_set_header Host gateway;",
        *(f"        proxy_set_header {name} $http_{name.lower().replace('-', '_')};" for name in PASSED_ON),
        f'        proxy_set_header X-Digm-Shelf "{shelf}";',
        "        proxy_buffers 8 8k; proxy_buffer_size 8k; proxy_busy_buffers_size 16k;",
        "        proxy_max_temp_file_size 0; proxy_connect_timeout 5s; proxy_read_timeout 60s;",
        "        add_header alt-svc $digm_alt_svc always;",
        "    }",
    ]


def _error_pages(besides: int = 0) -> list[str]:
    return [
        f"    error_page {statuses} ={status} {REFUSED_URI}{status};"
        for statuses, status, _, _ in REFUSALS
        if status != besides
    ]


def _refused(status: int, code: str, message: str) -> list[str]:
    body = json.dumps({"error": {"code": code, "message": message}}, separators=(",", ":"))
    more = {"allow": METHODS} if status == 405 else {"retry-after": "1"} if status == 503 else {}
    fields = _headers({**CORS, "cache-control": "no-store", "alt-svc": "$digm_alt_svc", **more})
    if status == 416:
        # nginx sees last that a range cannot be had: what belongs to a chunk is on the answer already. This
        # only takes away that it may be kept.
        fields = _headers({"cache-control": "no-store"})
    return [
        f"    location = {REFUSED_URI}{status} {{",
        "        internal; default_type application/json; client_max_body_size 0;",
        *fields,
        f"        return {status} '{body}';",
        "    }",
    ]


def _ms(seconds: float) -> str:
    return f"{round(1000 * seconds)}ms"


def _headers(fields: dict[str, str]) -> list[str]:
    return [f'        add_header {name} "{value}" always;' for name, value in fields.items()]
