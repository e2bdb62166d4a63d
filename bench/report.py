"""How a benchmark speaks: tables for people, one JSON object a line with `--json`, the summary last."""

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def arguments(about: str, **options: Any) -> argparse.Namespace:
    """Read the command line: `--json` and, for each keyword, an option with its default (False: a switch)."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--json", action="store_true", help="one JSON object a line, the summary last")
    for name, default in options.items():
        if default is False:
            parser.add_argument(f"--{name.replace('_', '-')}", action="store_true")
            continue
        kind = type(default) if default is not None else str
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default)
    return parser.parse_args()


def machine() -> dict[str, Any]:
    """What the figures were taken on, and how busy it was."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "load_1_min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
    }


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def quantile(values: Sequence[float], q: float) -> float:
    """The q-quantile by linear interpolation; of one value, itself."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * q
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def spread(values: Sequence[float], digits: int = 1) -> dict[str, float]:
    """p50, p90, minimum and maximum."""
    return {
        "p50": round(statistics.median(values), digits),
        "p90": round(quantile(values, 0.9), digits),
        "min": round(min(values), digits),
        "max": round(max(values), digits),
    }


class Report:
    """Prints rows as they come and the summary at the end."""

    def __init__(self, name: str, as_json: bool) -> None:
        self.name = name
        self.as_json = as_json
        facts = machine()
        if as_json:
            self._line({"bench": name, "machine": facts})
        else:
            print(f"{name}: {facts['cpu']}, {facts['cores']} cores, load {facts['load_1_min']}, "
                  f"Python {facts['python']}")  # fmt: skip

    def row(self, **facts: Any) -> None:
        """One measured case."""
        if self.as_json:
            self._line({"bench": self.name, **facts})
        else:
            print("  " + "  ".join(f"{key}={_shown(value)}" for key, value in facts.items()))

    def summary(self, **facts: Any) -> None:
        """The last line: figures, ratios, and whether the aim was met."""
        if self.as_json:
            self._line({"bench": self.name, "summary": True, **facts})
        else:
            print("summary")
            for key, value in facts.items():
                print(f"  {key}: {_shown(value)}")

    def note(self, text: str) -> None:
        """Something said while it runs; never on standard output."""
        print(text, file=sys.stderr)

    @staticmethod
    def _line(facts: dict[str, Any]) -> None:
        print(json.dumps(facts), flush=True)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1 else f"{value:.1f}"
    if isinstance(value, dict):
        return " ".join(f"{key} {_shown(item)}" for key, item in value.items())
    return str(value)
