"""The studio's door: who has the address gets in; every other page, name and program gets nothing."""

import pytest
from yarl import URL

from tests.hub.studio.conftest import Studio, cookie_of

EVERYTHING = ("/", "/api/desk", "/api/music", f"/desk/{'0' * 32}/audio", f"/covers/{'0' * 64}")


async def test_without_the_token_there_is_a_sentence_and_nothing_else(studio: Studio) -> None:
    for path in EVERYTHING:
        status, said = await studio.ask("GET", path)
        assert status == (401 if path == "/" else 503), (path, said)
    async with studio.session.get(studio.url + "/?token=guessed", allow_redirects=False) as answer:
        assert answer.status == 401
        assert "digm studio" in await answer.text()
        assert "Set-Cookie" not in answer.headers


async def test_the_address_opens_it_and_the_token_is_in_no_later_address(studio: Studio) -> None:
    await studio.enter()
    assert len(studio.page_key) >= 43
    status, page = await studio.ask("GET", "/")
    assert status == 200 and studio.page_key.encode() not in page
    status, state = await studio.ask("GET", "/api/desk")
    assert status == 200 and state["tracks"] == []
    (cookie,) = studio.session.cookie_jar
    assert cookie["samesite"] == "Strict" and cookie["httponly"] and cookie["path"] == "/"


async def test_a_cookie_that_another_port_has_seen_shows_and_changes_nothing(studio: Studio) -> None:
    await studio.enter()
    cookie = cookie_of(studio).partition(" ")[2] or cookie_of(studio)
    assert "digm-studio" in cookie
    studio.page_key = ""
    assert (await studio.ask("GET", "/api/desk"))[0] == 503
    assert (await studio.ask("PUT", "/api/desk/files?name=song.wav", b"RIFF"))[0] == 503
    assert (await studio.ask("POST", "/api/publish", {}))[0] == 503
    assert studio.room.desk.tracks == []


@pytest.mark.parametrize(
    "host", ["studio.attacker.example", "attacker.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}"]
)
async def test_a_name_that_somebodys_dns_points_here_gets_nothing(studio: Studio, host: str) -> None:
    await studio.enter()
    host = host.format(port=studio.door.port)
    for path in ("/", "/api/desk", "/static/digm.css", f"/?token={URL(studio.door.url).query['token']}"):
        status, said = await studio.ask("GET", path, Host=host)
        assert status == 400 and said["error"]["code"] == "bad_host", path


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://attacker.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8080"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_what_another_page_asks_is_refused_even_with_everything_right(
    studio: Studio, headers: dict[str, str]
) -> None:
    await studio.enter()
    for method, path in (("GET", "/api/desk"), ("POST", "/api/publish"), ("PUT", "/api/desk/files?name=a.wav")):
        status, said = await studio.ask(method, path, b"RIFF" if method == "PUT" else None, **headers)
        assert status == 400 and said["error"]["code"] == "other_origin", (method, path)
    assert studio.room.desk.tracks == []


async def test_no_answer_can_be_framed_read_by_others_or_load_from_others(studio: Studio) -> None:
    await studio.enter()
    for path in ("/", "/api/desk", "/static/studio.js", "/nothing", f"/covers/{'0' * 64}"):
        async with studio.session.get(studio.url + path) as answer:
            headers = answer.headers
            policy = headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
            assert "connect-src 'self'" in policy and "http" not in policy and "unsafe" not in policy
            assert headers["X-Frame-Options"] == "DENY"
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert "Access-Control-Allow-Origin" not in headers, path
    async with studio.session.options(
        studio.url + "/api/desk",
        headers={"Origin": "https://attacker.example", "Access-Control-Request-Headers": "x-digm-studio"},
    ) as answer:
        assert answer.status >= 400 and "Access-Control-Allow-Headers" not in answer.headers
