"""Pages: what people see, and what strangers' titles cannot do to it."""

import json
from html.parser import HTMLParser
from pathlib import Path

import aiohttp
import pytest

from tests.hub.house import hub_over, publish_track, static_folder

HOSTILE = """<script>alert(1)</script>"'><img src=x onerror=alert(2)>{{ 7 * 7 }}</title>&amp;"""
HTML = {"Accept": "text/html"}


class Outline(HTMLParser):
    """Elements with their attributes, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


async def fetch(url: object, **headers: str) -> tuple[aiohttp.ClientResponse, str]:
    async with aiohttp.ClientSession() as session, session.get(str(url), headers=headers or HTML) as answer:
        return answer, await answer.text()


def policy_of(answer: aiohttp.ClientResponse) -> dict[str, str]:
    directives = answer.headers["Content-Security-Policy"].split("; ")
    return dict(directive.split(" ", 1) for directive in directives)


async def test_an_empty_catalogue_invites_to_publish(tmp_path: Path) -> None:
    async with hub_over(tmp_path) as hub:
        answer, page = await fetch(hub.make_url("/"))
    assert answer.status == 200
    assert "No music here yet" in page
    assert "digm publish" in page


async def test_a_long_catalogue_has_pages_and_so_has_its_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("hub.pages.views", "hub.api.tracks"):
        monkeypatch.setattr(f"{module}.PER_PAGE", 2)
    tracks = [publish_track(tmp_path, title=f"No. {number}", seed=number) for number in range(3)]
    async with hub_over(tmp_path) as hub:
        seen = []
        for number in (1, 2):
            _, page = await fetch(hub.make_url(f"/?page={number}"))
            seen += [link["href"] for link in Outline(page).named("a") if link.get("class") == "track"]
            assert ("Older" in page, "Newer" in page) == (number == 1, number == 2)
        assert seen == [f"/tracks/{track.root}" for track in reversed(tracks)]
        assert "Nothing further" in (await fetch(hub.make_url("/?page=3")))[1]
        for wrong in ("0", "-1", "x", "1" * 30, "٣"):
            answer, _ = await fetch(hub.make_url("/").with_query(page=wrong))
            assert answer.status == 400
        first = json.loads((await fetch(hub.make_url("/api/tracks")))[1])
        last = json.loads((await fetch(hub.make_url("/api/tracks?page=2")))[1])
    assert (len(first["tracks"]), first["next_page"]) == (2, 2)
    assert (len(last["tracks"]), last["next_page"]) == (1, None)


async def test_the_catalogue_lists_each_track_with_its_page(tmp_path: Path) -> None:
    first = publish_track(tmp_path, title="First")
    async with hub_over(tmp_path) as hub:
        second = publish_track(tmp_path, title="Second, from another process", seed=2, preview_s=5)
        _, page = await fetch(hub.make_url("/"))
    links = [link["href"] for link in Outline(page).named("a")]
    assert links.index(f"/tracks/{second.root}") < links.index(f"/tracks/{first.root}")
    assert "0:16" in page
    assert "5 s free" in page


async def test_a_track_page_has_exactly_one_player_and_its_parts_on_their_way(tmp_path: Path) -> None:
    track = publish_track(tmp_path / "data")
    async with hub_over(tmp_path / "data", static_folder(tmp_path / "static")) as hub:
        _, page = await fetch(hub.make_url(f"/tracks/{track.root}"))
    outline = Outline(page)
    assert [player["track"] for player in outline.named("digm-player")] == [track.root]
    assert {"type": "module", "src": "/static/digm-player.js", "crossorigin": None} in outline.named("script")
    hrefs = {link["href"] for link in outline.named("link") if "preload" in str(link["rel"])}
    assert {"/static/digm-player.js", "/static/dist/assets.js"} <= hrefs
    assert not [href for href in hrefs if "pyodide" in str(href)], (
        "Python must not compete with the first sound"
    )
    (player,) = outline.named("digm-player")
    details = json.loads(str(player["data-details"]))
    assert details["track_root"] == track.root
    assert details["manifest_url"] in hrefs
    assert outline.named("noscript")
    assert f"/embed/{track.root}" in outline.text  # the code to copy


@pytest.mark.parametrize("path", ["/", "/tracks/{root}", "/embed/{root}"])
async def test_a_hostile_title_stays_text(tmp_path: Path, path: str) -> None:
    track = publish_track(tmp_path / "data", title=HOSTILE, artist=HOSTILE)
    async with hub_over(tmp_path / "data", static_folder(tmp_path / "static")) as hub:
        _, page = await fetch(hub.make_url(path.format(root=track.root)))
    outline = Outline(page)
    # HTMLParser ends a title at the first </title>; an unescaped one would leave the script behind it.
    assert HOSTILE in outline.text
    assert [script for script in outline.named("script") if "src" not in script] == []
    assert not [image for image in outline.named("img") if image.get("src") == "x"]
    assert not [True for _, attributes in outline.elements for name in attributes if name.startswith("on")]
    assert not [True for _, attributes in outline.elements if "style" in attributes]
    assert outline.named("style") == []


async def test_pages_allow_nothing_from_third_parties_and_nothing_inline(tmp_path: Path) -> None:
    track = publish_track(tmp_path)
    async with hub_over(tmp_path, gateway_url="https://chunks.example") as hub:
        origin = str(hub.make_url("")).rstrip("/")
        answer, _ = await fetch(hub.make_url(f"/tracks/{track.root}"))
        embedded, _ = await fetch(hub.make_url(f"/embed/{track.root}"))
        others = [(await fetch(hub.make_url(path)))[0] for path in ("/", "/nowhere")]
    policy = policy_of(answer)
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == f"'self' {origin} 'wasm-unsafe-eval'"
    assert policy["style-src"] == f"'self' {origin}"
    sockets = origin.replace("http", "ws")
    known = {"'self'", origin, sockets, "data:"}
    assert set(policy["connect-src"].split()) == {*known, "https://chunks.example", "http:", "https:"}
    for other in map(policy_of, others):  # without a player they fetch from nobody else
        assert set(other["connect-src"].split()) == known
    assert policy["media-src"] == "blob:"
    assert policy["frame-ancestors"] == "'none'"
    assert policy_of(embedded)["frame-ancestors"] == "*"
    assert "unsafe-inline" not in answer.headers["Content-Security-Policy"]
    for name in ("X-Content-Type-Options", "Referrer-Policy", "Permissions-Policy"):
        assert name in answer.headers


async def test_a_page_with_tls_asks_no_gateway_without(tmp_path: Path) -> None:
    track = publish_track(tmp_path)
    urls = {"public_url": "https://hub.example", "gateway_url": "https://chunks.example"}
    async with hub_over(tmp_path, **urls) as hub:
        answer, _ = await fetch(hub.make_url(f"/tracks/{track.root}"))
    sources = set(policy_of(answer)["connect-src"].split())
    own = {"'self'", "https://hub.example", "wss://hub.example", "https://chunks.example"}
    assert sources == {*own, "https:", "data:"}


async def test_a_missing_track_is_a_page_with_a_sentence(tmp_path: Path) -> None:
    async with hub_over(tmp_path) as hub:
        for path in ("/tracks/" + "0" * 64, "/tracks/..%2f..%2fetc", "/nowhere"):
            answer, page = await fetch(hub.make_url("/").join(hub.make_url(path)))
            assert answer.status == 404
            assert "Content-Security-Policy" in answer.headers
            assert "There is no" in page or "There is nothing" in page


async def test_a_host_header_that_is_no_host_is_refused_and_never_echoed(tmp_path: Path) -> None:
    async with hub_over(tmp_path) as hub:
        for host in ("evil.example; script-src *", "a b", "<script>", "x" * 300):
            answer, page = await fetch(hub.make_url("/"), Host=host, Accept="text/html")
            assert answer.status == 400
            assert host not in page
            assert host not in str(answer.headers)


async def test_forwarded_headers_are_believed_from_trusted_proxies_only(tmp_path: Path) -> None:
    publish_track(tmp_path)
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "music.example", "Accept": "text/html"}
    async with hub_over(tmp_path) as hub:
        answer, _ = await fetch(hub.make_url("/"), **forwarded)
        assert "music.example" not in answer.headers["Content-Security-Policy"]
    async with hub_over(tmp_path / "b", trusted_proxies=("127.0.0.0/8",)) as hub:
        answer, _ = await fetch(hub.make_url("/"), **forwarded)
        assert "wss://music.example" in answer.headers["Content-Security-Policy"]


async def test_an_unbuilt_player_is_said_on_the_page(tmp_path: Path) -> None:
    track = publish_track(tmp_path / "data")
    (tmp_path / "static").mkdir()
    async with hub_over(tmp_path / "data", tmp_path / "static") as hub:
        _, page = await fetch(hub.make_url(f"/tracks/{track.root}"))
    assert "npm run build" in page
    assert Outline(page).named("script") == []


async def test_a_release_page_has_one_player_with_all_its_tracks_and_a_row_for_each(tmp_path: Path) -> None:
    release = "ab" * 32
    first = publish_track(tmp_path / "data", title="Opening", release=release)
    second = publish_track(tmp_path / "data", title=HOSTILE, seed=2, release=release)
    async with hub_over(tmp_path / "data", static_folder(tmp_path / "static")) as hub:
        _, page = await fetch(hub.make_url(f"/releases/{release}"))
        _, catalogue = await fetch(hub.make_url("/"))
        answer, missing = await fetch(hub.make_url(f"/releases/{'cd' * 32}"))
    outline = Outline(page)
    (player,) = outline.named("digm-player")
    assert player["tracks"] == f"{first.root} {second.root}"
    rows = [button for button in outline.named("button") if "data-plays" in button]
    assert [row["data-plays"] for row in rows] == ["0", "1"]
    assert not [image for image in outline.named("img") if "onerror" in image]
    assert {f"/tracks/{first.root}", f"/tracks/{second.root}"} <= {a["href"] for a in outline.named("a")}
    assert f"/releases/{release}" in {a["href"] for a in Outline(catalogue).named("a")}
    assert answer.status == 404
    assert "There is no such release here." in missing
