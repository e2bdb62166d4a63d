"""The widget on somebody else's page, in a frame that may run scripts and nothing else."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.browser.conftest import Recording
from tests.browser.player_page import PlayerPage
from tests.browser.stack import Stack


@pytest.fixture
def blog(stack: Stack, recordings: dict[str, Recording]) -> Iterator[str]:
    """Another origin with the widget in a sandboxed frame; its URL."""
    widget = f"{stack.url}/embed/{recordings['flac'].track_root}"
    body = f'<!doctype html><iframe sandbox="allow-scripts" allow="autoplay" src="{widget}"></iframe>'.encode()

    class Blog(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Blog)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_the_widget_plays_in_a_sandboxed_frame_on_another_origin(
    blog: str, stack: Stack, player_page: PlayerPage
) -> None:
    requested: list[str] = []
    player_page.page.on("request", lambda request: requested.append(request.url))
    await player_page.page.goto(blog)
    player_page.view = player_page.page.frames[1]
    await player_page.until("the invitation", lambda state: state["status"])
    assert await player_page.view.evaluate("origin") == "null"
    big = [url for url in requested if "/dist/" in url and "/digm-player-" not in url]
    assert not [url for url in big if not url.endswith("assets.js")]
    assert not [url for url in requested if "/api/" in url], "nothing is asked for before a click"
    await player_page.play()
    state = await player_page.until_time(2)
    assert state["errors"] == []
    assert player_page.crashes == []
    kept = await player_page.view.evaluate(
        f"async () => (await import('{stack.url}/static/digm-cache.js')).cacheState()"
    )
    assert kept == {"bytes": 0, "limit": 0, "isPersistent": False}, "an opaque origin has memory only"
