"""What the service's benchmark found, kept, and told on the page of docs/serving.md.

python -m benchmarks.service_page            # writes the stored figures into the docs
"""

import datetime
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.pages import machine_of, write_between

RESULTS = Path(__file__).parent / "results" / "service.json"
PAGE = Path(__file__).parents[1] / "docs" / "serving.md"
KINDS = ("load", "overload", "endurance")


def record(kind: str, figures: Mapping[str, Any], load_before: float) -> None:
    """Keep the figures of one kind, with where and when they were taken, and tell all."""
    import torch

    found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    taken = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
        "load_before": round(load_before, 1),
    }
    found[kind] = {**taken, **figures}
    ordered = {kind: found[kind] for kind in KINDS if kind in found}
    RESULTS.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    write()


def write() -> None:
    """Put what is stored on the page."""
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    write_between(PAGE, {"service": told(found)})


def told(found: Mapping[str, Mapping[str, Any]]) -> str:
    """A table of all that was measured, and where."""
    rows = [row for kind in KINDS if kind in found for row in LINES[kind](found[kind])]
    lines = ["| | reached | wanted |", "|---|---|---|"]
    lines += [f"| {what} | {reached} | {wanted} |" for what, reached, wanted in rows]
    where = [f"{kind.capitalize()}: {machine_of(found[kind])}" for kind in KINDS if kind in found]
    return "\n".join([*lines, "", *where])


Lines = list[tuple[str, str, str]]


def _load(found: Mapping[str, Any]) -> Lines:
    wanted = found["wanted"]
    return [
        (
            "one client: adapt and predict",
            f"{found['alone_p50_ms']:.1f} ms, 99 of 100 within {found['alone_p99_ms']:.1f} ms",
            f"{wanted['alone_p50_ms']} ms",
        ),
        (
            f"{found['clients']} clients, {found['requests']:,} tasks: errors",
            f"{found['errors']}",
            wanted["errors"],
        ),
        (
            "– tasks a second",
            f"{found['tasks_per_s']:.0f}, {found['share_of_bare']:.2f} "
            f"({_range(found, 'share_of_bare', '.2f')}) of the learner's alone on "
            f"{found['threads']} threads",
            f"{wanted['share_of_bare']} of it",
        ),
        (
            "CPU of an adaptation that comes alone, beyond the learner's",
            f"{found['adapt_added_cpu_ms']:.1f} ms ({_range(found, 'adapt_added_cpu_ms', '.1f')})",
            f"{wanted['adapt_added_cpu_ms']} ms",
        ),
    ]


def _range(found: Mapping[str, Any], name: str, form: str) -> str:
    rounds = found["rounds"][name]
    return f"{min(rounds):{form}} to {max(rounds):{form}} in {len(rounds)} rounds"


def _overload(found: Mapping[str, Any]) -> Lines:
    wanted = found["wanted"]
    return [
        (
            f"{found['clients']:,} clients, ten times what may wait: answers",
            ", ".join(f"{n:,} x {status}" for status, n in found["statuses"].items()),
            "200, 201, 429 and 503 alone",
        ),
        (
            "– `/health`",
            f"{found['health_p50_ms']:.1f} ms, 99 of 100 within {found['health_p99_ms']:.0f} ms, "
            f"all within {found['health_max_ms']:.0f} ms",
            f"{wanted['health_p99_ms']} ms for 99 of 100",
        ),
        (
            "– memory",
            f"from {found['memory_before_mb']:.0f} to {found['memory_peak_mb']:.0f} MB at most, "
            f"{found['memory_mb_per_client']:.2f} MB a client",
            f"{wanted['memory_mb_per_client']} MB a client",
        ),
    ]


def _endurance(found: Mapping[str, Any]) -> Lines:
    wanted = found["wanted"]
    return [
        (
            f"{found['minutes']:g} minutes of mixed load: requests answered otherwise than they "
            "should be",
            f"{found['errors']} of {sum(found['statuses'].values()):,}",
            wanted["errors"],
        ),
        (
            "– growth of memory",
            f"{100 * found['memory_growth']:.1f} %, from {found['memory_first_mb']:.0f} to "
            f"{found['memory_last_mb']:.0f} MB",
            "< 5 %",
        ),
        (
            "– states past their time",
            f"{found['states_past_their_time']} of {found['states_asked']:,} asked for",
            wanted["states_past_their_time"],
        ),
    ]


LINES = {"load": _load, "overload": _overload, "endurance": _endurance}

if __name__ == "__main__":
    write()
