"""A long run of all that clients do: what it leaves in memory, and what outlives its time."""

import asyncio
import json
import re
import statistics
import subprocess
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from benchmarks.service_line import Line, Wanted, memory_mb, task_of

LIVE = 20.0
"""Seconds that a state lives in such a run."""
UNLIMITED = 1_000_000
"""A quota that nobody reaches in `LIVE` seconds: time alone is to end the states of a long run."""
ENDURANCE: Wanted = {
    "errors": ("<=", 0),
    "memory_growth": ("<", 0.05),
    "states_past_their_time": ("<=", 0),
    "states_left": ("<=", 0),
    "states_asked": (">=", 1),  # these two: or nothing was learned of their time
    "states_evicted": ("<=", 0),
}


@dataclass
class Seen:
    """What a long run counts.

    Attributes:
        statuses: of all answers.
        errors: answers with another status than the request was to get.
        memory: when, and how much of it.
        made: when a state's time began, at the latest, and its name; those that may still live.
        asked: states that were asked for when their time was over.
        outlived: those that were still there.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    errors: int = 0
    memory: list[tuple[float, float]] = field(default_factory=list)
    made: deque[tuple[float, str]] = field(default_factory=deque)
    asked: int = 0
    outlived: int = 0


async def endurance(
    host: str, port: int, process: subprocess.Popen, seconds: float
) -> dict[str, Any]:
    """All that clients do, right and wrong, for a long time: memory, and what outlives its time."""
    begin, seen = time.perf_counter(), Seen()
    lines = [await Line.to(host, port) for _ in range(16)]
    clients = asyncio.gather(
        *(mixed(line, number, begin + seconds, seen) for number, line in enumerate(lines))
    )
    line = await Line.to(host, port)
    while seen.made or not clients.done():
        if not clients.done():
            seen.memory.append((time.perf_counter() - begin, memory_mb(process.pid)))
        await asyncio.sleep(min(5.0, seconds / 20))
        await ask_old(line, seen)
    await clients
    left, evicted = await left_over(line)
    line.close()
    first, last = memory_ends(seen.memory, seconds)
    return {
        "minutes": round(seconds / 60, 1),
        "statuses": {str(status): n for status, n in sorted(seen.statuses.items())},
        "errors": seen.errors,
        "memory_first_mb": first,
        "memory_last_mb": last,
        "memory_growth": round(last / first - 1, 4),
        "states_asked": seen.asked,
        "states_past_their_time": seen.outlived,
        "states_left": left,
        "states_evicted": evicted,
    }


async def mixed(line: Line, number: int, until: float, seen: Seen) -> None:
    """What one client does, over and over."""

    async def say(method: str, path: str, body: bytes, wanted: int) -> bytes:
        status, answer = await line.send(method, path, body)
        seen.statuses[status] += 1
        seen.errors += status != wanted
        return answer if status == wanted else b"{}"

    (support, query), turn = task_of(number), 0
    while time.perf_counter() < until:
        turn += 1
        answer = await say("POST", "/v1/models/chars/adapt", support, 201)
        if (id := json.loads(answer).get("adapted_id")) is None:
            continue
        await say("POST", f"/v1/adapted/{id}/predict", query, 200)
        await say("POST", f"/v1/adapted/{id}/extend", support, 200)  # its time begins again
        extended = time.perf_counter()
        await say("POST", f"/v1/adapted/{id}/predict", b"{", 400)
        if turn % 3 == 0:
            await say("DELETE", f"/v1/adapted/{id}", b"", 204)
        else:
            seen.made.append((extended, id))
    line.close()


async def ask_old(line: Line, seen: Seen) -> None:
    """Ask for some of the states whose time is over."""
    old = []
    while seen.made and seen.made[0][0] < time.perf_counter() - LIVE - 1:  # clocks may differ
        old.append(seen.made.popleft()[1])
    for id in old[:: max(1, len(old) // 20)]:
        seen.asked += 1
        seen.outlived += (await line.send("GET", f"/v1/adapted/{id}"))[0] != 404


async def left_over(line: Line) -> tuple[int, int]:
    """States that are counted though all have expired, and those that went before their time.

    Asking for a state forgets it where its time is over; this sees what nobody asks for.
    """
    from quickstudy.hub.service.adaptations import PURGE_SECONDS

    until = time.perf_counter() + PURGE_SECONDS + 2
    while (counts := await metrics(line))["adapted"] and time.perf_counter() < until:
        await asyncio.sleep(0.5)
    return int(counts["adapted"]), int(counts["forgotten_quota"] + counts["forgotten_memory"])


async def metrics(line: Line) -> dict[str, float]:
    """What /metrics counts as a whole, by name."""
    _, body = await line.send("GET", "/metrics")
    found = re.findall(r"^quickstudy_(\w+) (\S+)$", body.decode(), re.MULTILINE)
    return {name: float(value) for name, value in found}


def memory_ends(memory: list[tuple[float, float]], seconds: float) -> tuple[float, float]:
    """Memory once warm, and at the end: medians of a tenth of what was seen.

    It is warm after a fifth of the time, and not before the first states have expired; of a run
    that is too short for that, the second half is taken.
    """
    warm = max(seconds / 5, min(2 * LIVE, seconds / 2))
    settled = [mb for when, mb in memory if when >= warm] or [memory[-1][1]]
    tenth = max(1, len(settled) // 10)
    return statistics.median(settled[:tenth]), statistics.median(settled[-tenth:])
