"""Plays are counted by track and day, over restarts, and by nothing else."""

import asyncio
import json
from pathlib import Path

from hub.granting.plays import FILE_NAME, KEPT_DAYS, Plays, load_plays

ROOT, OTHER = "ab" * 32, "cd" * 32
DAY_S = 86_400.0


async def stopped(plays: Plays) -> None:
    """Run for a moment, and end, as the artist process does."""
    task = asyncio.create_task(plays.run())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_they_are_counted_by_track_and_day_over_a_restart(tmp_path: Path) -> None:
    now_s = [10 * DAY_S]
    plays = Plays(tmp_path, lambda: now_s[0])
    for root in (ROOT, ROOT, OTHER):
        plays.count(root)
    await stopped(plays)
    now_s[0] += DAY_S
    plays = Plays(tmp_path, lambda: now_s[0])
    plays.count(ROOT)
    await stopped(plays)
    counted = json.loads((tmp_path / FILE_NAME).read_bytes())
    assert counted[ROOT] == {"total": 3, "days": {"1970-01-11": 2, "1970-01-12": 1}}
    assert load_plays(tmp_path)[OTHER].total == 1


async def test_old_days_are_forgotten_and_the_sum_is_not(tmp_path: Path) -> None:
    now_s = [0.0]
    plays = Plays(tmp_path, lambda: now_s[0])
    for day in range(KEPT_DAYS + 5):
        now_s[0] = day * DAY_S
        plays.count(ROOT)
    await stopped(plays)
    counted = load_plays(tmp_path)[ROOT]
    assert (counted.total, len(counted.days)) == (KEPT_DAYS + 5, KEPT_DAYS)


async def test_a_damaged_file_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b'{"ab": [')
    plays = Plays(tmp_path)
    plays.count(ROOT)
    await stopped(plays)
    assert load_plays(tmp_path)[ROOT].total == 1
    await stopped(Plays(tmp_path / "not there"))
    assert not (tmp_path / "not there").exists()
