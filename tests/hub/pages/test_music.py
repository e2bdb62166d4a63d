"""The page of what a listener owns: the same for everybody, and nobody's frame."""

from pathlib import Path

from tests.hub.house import hub_over
from tests.hub.pages.test_pages import Outline, fetch, policy_of


async def test_my_music_is_the_same_page_for_everybody_and_in_nobodys_frame(tmp_path: Path) -> None:
    async with hub_over(tmp_path) as hub:
        answer, page = await fetch(hub.make_url("/music"))
        _, again = await fetch(hub.make_url("/music"), Cookie="a=b")
        _, catalogue = await fetch(hub.make_url("/"))
    assert answer.status == 200
    assert page == again
    assert policy_of(answer)["frame-ancestors"] == "'none'"
    assert [script for script in Outline(page).named("script") if "src" not in script] == []
    assert "/music" in [link["href"] for link in Outline(catalogue).named("a")]


async def test_its_worker_may_fetch_and_nothing_else_and_is_asked_for_again(tmp_path: Path) -> None:
    async with hub_over(tmp_path) as hub:
        answer, script = await fetch(hub.make_url("/music-worker.js"))
    assert answer.headers["Content-Type"].startswith("text/javascript")
    assert answer.headers["Cache-Control"] == "no-cache"
    assert policy_of(answer) == {"default-src": "'none'", "connect-src": "'self' http: https:"}
    assert "addEventListener('fetch'" in script
