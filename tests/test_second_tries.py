"""Which tests are tried once more, and that nobody overlooks it (tests/conftest.py, decision 39)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FAILS_AT_FIRST = """
from pathlib import Path

def test_fails_at_first(tmp_path_factory):
    been_here = Path(__file__).with_suffix(".was-run")
    if not been_here.exists():
        been_here.touch()
        raise AssertionError("no mesh this time")
"""
FAILS_ALWAYS = """
def test_fails_always():
    raise AssertionError("never a mesh")
"""
# The limit is for each try: the first one fails, the second one would wait for ever.
HANGS_THEN = """
import time
from pathlib import Path
import pytest

@pytest.mark.timeout(1)
def test_hangs_when_it_is_tried_again():
    been_here = Path(__file__).with_suffix(".was-run")
    if not been_here.exists():
        been_here.touch()
        raise AssertionError("too early")
    time.sleep(60)
"""
MANY = """
import pytest

@pytest.mark.parametrize("number", range(6))
def test_fails_always(number):
    raise AssertionError("never")
"""


def suite(folder: Path, files: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run those tests by themselves, with this suite's own rules."""
    shutil.copy(ROOT / "pyproject.toml", folder / "pyproject.toml")
    for name, text in {"tests/conftest.py": (ROOT / "tests/conftest.py").read_text(), **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_real_time_is_tried_again_with_a_time_limit_of_its_own_and_the_first_failure_is_printed(
    tmp_path: Path,
) -> None:
    files = {f"tests/{room}/test_it.py": FAILS_AT_FIRST for room in ("browser", "net", "hub/backbone", "digm")}
    files |= {"tests/browser/test_twice.py": FAILS_ALWAYS, "tests/net/test_hangs.py": HANGS_THEN}
    run = suite(tmp_path, files, "--max-suite-reruns=9")
    assert run.returncode == 1
    assert "3 failed, 3 passed, 5 rerun" in run.stdout
    for room in ("browser", "net", "hub/backbone"):
        assert f"RERUN tests/{room}/test_it.py::test_fails_at_first" in run.stdout
    assert run.stdout.count("AssertionError: no mesh this time") >= 4, "three second tries, and one failure"
    # What gives the same answer each time is not tried again, and a second failure is a failure.
    failures = ("digm/test_it.py::test_fails_at_first", "browser/test_twice.py::test_fails_always")
    assert all(f"FAILED tests/{test}" in run.stdout for test in failures)
    assert "Timeout (>1.0s)" in run.stdout


def test_there_are_a_few_second_tries_in_a_run_of_all_workers_and_no_more(tmp_path: Path) -> None:
    files = {"tests/browser/test_many.py": MANY, "tests/hub/backbone/test_many.py": MANY}
    run = suite(tmp_path, files, "-n2")
    assert run.returncode == 1
    assert "12 failed, 4 rerun" in run.stdout
