"""What the service costs: 5-way 1-shot images of 28x28, adapted and asked over HTTP.

    python -m benchmarks.service                                   # a table
    python -m benchmarks.service --clients 64 --requests 10000 --json
    python -m benchmarks.service --overload                        # ten times what may wait
    python -m benchmarks.service --minutes 60                      # mixed load, and what it leaves
    python -m benchmarks.service --record                          # and into docs/serving.md

Starts a service of its own on a free port of this machine, with an untrained ProtoNet on the usual
backbone (what it has learned does not change what it costs), and stops it at the end. The bare
learner's throughput and CPU are measured in this process, by as many threads as the service has,
one task after another; the service embeds together what waits together, which pays for part of what
it adds, so that its CPU is also measured where adaptations come one by one. Service and bare
learner take turns, and the figures are medians of rounds: what else the machine does meets both.
The clients share the cores with the service. /health is asked from a process of its own, at moments
that were fixed before, every other time on a new connection. What is printed holds the figures to
reach, "wanted", and the names of those that are not reached, "missed"; any is exit status 1.
"""

import argparse
import asyncio
import json
import math
import multiprocessing
import operator
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.service_endurance import ENDURANCE, LIVE, UNLIMITED, endurance
from benchmarks.service_line import SIDE, WAYS, Line, Wanted, cpu_seconds, memory_mb, task_of
from benchmarks.service_page import record

Taken = list[tuple[float, float]]
"""Seconds of adaptations and of their predictions."""
ALONE, BARE_SECONDS, ROUNDS = 60, 1.0, 10
QUEUE, OVERLOAD_SECONDS, EVERY_SECONDS = 256, 10.0, 0.02
CONNECTION_MB = 2 * (65_536 + 12_000) / 1e6
"""What one client more may cost in memory. For each connection uvicorn holds 64 KiB at most that
nobody has read yet, and a request here has 12 KB; as much again is for what holds them together and
for the allocator. More than this, and it is not by connections that memory grows."""

SIGNS = {"<=": operator.le, "<": operator.lt, ">=": operator.ge}
LOAD: Wanted = {
    "errors": ("<=", 0),
    "alone_p50_ms": ("<=", 15),
    "share_of_bare": (">=", 0.7),
    "adapt_added_cpu_ms": ("<=", 2),
}
OVERLOAD: Wanted = {
    "other_statuses": ("<=", 0),
    "refused": (">=", 1),  # or it was no overload
    "health_p99_ms": ("<", 100),
    "memory_mb_per_client": ("<=", CONNECTION_MB),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=10_000, help="adaptations, and predictions")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--overload", action="store_true")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--record", action="store_true", help="write it into docs/serving.md")
    args = parser.parse_args()
    for name in ("clients", "requests", "threads"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(args, name)}")
    load_before = os.getloadavg()[0]
    adapted = UNLIMITED if args.minutes else 4 * args.clients
    told = ["--threads", str(args.threads), "--limit", f"adapted={adapted}"]
    told += ["--limit", f"queue={QUEUE}"] + (["--limit", f"live={LIVE}"] if args.minutes else [])
    with tempfile.TemporaryDirectory() as folder:
        learner = save_model(Path(folder) / "model")
        with service(Path(folder), told) as (host, port, process):
            if args.overload:
                kind, wanted = "overload", OVERLOAD
                made = asyncio.run(overload(host, port, process))
            elif args.minutes:
                kind, wanted = "endurance", ENDURANCE
                made = asyncio.run(endurance(host, port, process, 60 * args.minutes))
            else:
                kind, wanted = "load", LOAD
                made = measure(learner, host, port, process, args)
    figures = judged(made, wanted)
    print(json.dumps(figures, indent=None if args.json else 1))
    if args.record:
        record(kind, figures, load_before)
    sys.exit(1 if figures["missed"] else 0)


def judged(figures: Mapping[str, Any], wanted: Wanted) -> dict[str, Any]:
    """The figures, those to reach, and the names of those that are not reached."""
    missed = [name for name, (sign, edge) in wanted.items() if not SIGNS[sign](figures[name], edge)]
    told = {name: f"{sign} {edge:g}" for name, (sign, edge) in wanted.items()}
    return {**figures, "wanted": told, "missed": missed}


def save_model(folder: Path) -> Any:
    """A ProtoNet that reads images as Omniglot's models do."""
    import torch

    from quickstudy import Conv4, ProtoNet, save

    torch.manual_seed(0)
    learner = ProtoNet(Conv4(channels=1, size=SIDE)).eval()
    reading = {"size": SIDE, "channels": 1, "polarity": "ink"}
    save(folder, learner, input_shape=[1, SIDE, SIDE], preprocessing=reading)
    return learner


@contextmanager
def service(folder: Path, told: list[str]) -> Iterator[tuple[str, int, subprocess.Popen]]:
    """Host, port and process of a service."""
    command = [sys.executable, "-m", "quickstudy", "serve", "--model", f"chars={folder / 'model'}",
               "--port", "0", "--store", str(folder / "store.sqlite"), "--json", *told]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.search(r"http://([\d.]+):(\d+)", line):
                    break
            else:
                raise SystemExit("the service did not begin")
            yield found[1], int(found[2]), process
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def measure(
    learner: Any, host: str, port: int, process: subprocess.Popen, args: argparse.Namespace
) -> dict[str, Any]:
    """All figures of one service, in rounds that alternate with the bare learner."""
    asyncio.run(turns(host, port, 1, 30))  # what is made once is made now
    alone, many, statuses, rounds = [], [], Counter(), []
    for part in np.array_split(range(args.requests), min(ROUNDS, args.requests)):
        one_by_one, answered, counted, costs = measure_once(
            learner, host, port, process.pid, args, len(part)
        )
        alone += one_by_one
        many += answered
        statuses += counted
        rounds.append(costs)
    return {
        "errors": sum(n for status, n in statuses.items() if status not in (200, 201)),
        "statuses": {str(status): n for status, n in sorted(statuses.items())},
        "clients": args.clients,
        "requests": args.requests,
        **percentiles("adapt", [a for a, _ in many]),
        **percentiles("predict", [p for _, p in many]),
        **percentiles("alone", [a + p for a, p in alone]),
        **{name: round(statistics.median(r[name] for r in rounds), 3) for name in rounds[0]},
        "rounds": {name: [round(r[name], 3) for r in rounds] for name in rounds[0]},
        "memory_mb": memory_mb(process.pid),
        "threads": args.threads,
        "cores": os.cpu_count(),
    }


def measure_once(
    learner: Any, host: str, port: int, pid: int, args: argparse.Namespace, requests: int
) -> tuple[Taken, Taken, Counter[int], dict[str, float]]:
    """What one client alone and many waited, their statuses, and rates and CPU of one round."""
    bare_adapt = bare_adaptation(learner)
    before = cpu_seconds(pid)
    asyncio.run(adaptations(host, port, ALONE))
    adapt = (cpu_seconds(pid) - before) / ALONE
    alone, _, _ = asyncio.run(turns(host, port, 1, ALONE))
    bare_rate, bare_cpu = bare_costs(learner, args.threads)
    before = cpu_seconds(pid)
    many, statuses, seconds = asyncio.run(turns(host, port, args.clients, requests))
    cpu, rate = (cpu_seconds(pid) - before) / requests, requests / seconds
    costs = {
        "tasks_per_s": rate,
        "bare_tasks_per_s": bare_rate,
        "share_of_bare": rate / bare_rate,
        "service_cpu_ms_per_task": 1000 * cpu,
        "bare_cpu_ms_per_task": 1000 * bare_cpu,
        "added_cpu_ms_per_task": 1000 * (cpu - bare_cpu),
        "adapt_cpu_ms": 1000 * adapt,
        "bare_adapt_cpu_ms": 1000 * bare_adapt,
        "adapt_added_cpu_ms": 1000 * (adapt - bare_adapt),
    }
    return alone, many, statuses, costs


def percentiles(name: str, seconds: list[float]) -> dict[str, float]:
    """Median and 99th percentile in milliseconds; no numbers where nothing was answered."""
    p50, p99 = np.percentile(seconds or [math.nan], [50, 99])
    return {f"{name}_p50_ms": round(1000 * p50, 2), f"{name}_p99_ms": round(1000 * p99, 2)}


def bare_costs(learner: Any, threads: int) -> tuple[float, float]:
    """Tasks a second that the learner adapts to and answers in this process, and CPU of each."""
    import torch

    from quickstudy import examples

    x = torch.rand(WAYS, 1, SIDE, SIDE)
    support = examples(x, torch.arange(WAYS), WAYS)

    def work(until: float) -> int:
        torch.set_num_threads(1)
        done = 0
        with torch.no_grad():
            while time.perf_counter() < until:
                learner.probabilities(learner.adapt(support), x[:1])
                done += 1
        return done

    with ThreadPoolExecutor(threads) as pool:
        start, before = time.perf_counter(), time.process_time()
        done = sum(pool.map(work, [start + BARE_SECONDS] * threads))
        seconds, cpu = time.perf_counter() - start, time.process_time() - before
    return done / seconds, cpu / done


def bare_adaptation(learner: Any) -> float:
    """CPU seconds of an adaptation in this process, one after another on one thread."""
    import torch

    from quickstudy import examples

    x = torch.rand(WAYS, 1, SIDE, SIDE)
    support = examples(x, torch.arange(WAYS), WAYS)
    torch.set_num_threads(1)
    with torch.no_grad():
        learner.adapt(support)
        before = time.process_time()
        for _ in range(ALONE):
            learner.adapt(support)
    return (time.process_time() - before) / ALONE


async def adaptations(host: str, port: int, count: int) -> None:
    """One client that adapts again and again."""
    line, (support, _) = await Line.to(host, port), task_of(0)
    for _ in range(count):
        status, _ = await line.post("/v1/models/chars/adapt", support)
        assert status == HTTPStatus.CREATED
    line.close()


async def turns(
    host: str, port: int, clients: int, tasks: int
) -> tuple[Taken, Counter[int], float]:
    """Seconds of each adaptation and its prediction, statuses, and seconds in all."""
    left, taken, statuses = iter(range(tasks)), [], Counter()

    async def client(number: int) -> None:
        line = await Line.to(host, port)
        bodies = [task_of(100 * number + i) for i in range(4)]
        for task in left:
            support, query = bodies[task % len(bodies)]
            start = time.perf_counter()
            status, body = await line.post("/v1/models/chars/adapt", support)
            middle = time.perf_counter()
            statuses[status] += 1
            if status != 201:
                continue
            id = json.loads(body)["adapted_id"]
            asked = time.perf_counter()
            status, body = await line.post(f"/v1/adapted/{id}/predict", query)
            taken.append((middle - start, time.perf_counter() - asked))
            statuses[status] += 1
        line.close()

    start = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(clients)))
    return taken, statuses, time.perf_counter() - start


async def overload(host: str, port: int, process: subprocess.Popen) -> dict[str, Any]:
    """Ten times as many clients as may wait, for some seconds, and how /health does meanwhile."""
    await turns(host, port, 1, 30)  # what is made once is made now
    before, clients = memory_mb(process.pid), 10 * QUEUE
    lines = [await Line.to(host, port) for _ in range(clients)]
    bodies, statuses = [task_of(number)[0] for number in range(8)], Counter[int]()
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    pool.submit(os.getpid).result()  # it is there before it is needed
    until = time.perf_counter() + OVERLOAD_SECONDS

    async def client(line: Line, support: bytes) -> None:
        await asyncio.sleep(random.uniform(0.0, 1.0))  # nor do they all come at once
        while time.perf_counter() < until:
            status, _ = await line.post("/v1/models/chars/adapt", support)
            statuses[status] += 1
            if status != 201:  # as the answer asks for, not all at the same moment
                await asyncio.sleep(random.uniform(0.5, 1.5))
        line.close()

    async def remember() -> float:
        peak = 0.0
        while time.perf_counter() < until:
            peak = max(peak, memory_mb(process.pid))
            await asyncio.sleep(0.1)
        return max(peak, memory_mb(process.pid))

    # A process of its own: what this one takes for its many clients is not the service's doing.
    watch = asyncio.wrap_future(pool.submit(ask_health, host, port, OVERLOAD_SECONDS))
    pairs = [(line, bodies[number % len(bodies)]) for number, line in enumerate(lines)]
    (health, said), peak, *_ = await asyncio.gather(
        watch, remember(), *(client(*pair) for pair in pairs)
    )
    pool.shutdown()
    return overload_figures(clients, statuses + said, health, before, peak)


def overload_figures(
    clients: int, statuses: Counter[int], health: list[float], before: float, peak: float
) -> dict[str, Any]:
    """What is told of an overload; memory in MB, before it and at most."""
    return {
        "clients": clients,
        "statuses": {str(status): n for status, n in sorted(statuses.items())},
        "other_statuses": sum(n for s, n in statuses.items() if s not in (200, 201, 429, 503)),
        "refused": statuses[429] + statuses[503],
        "health_asked": len(health),
        **percentiles("health", health),
        "health_max_ms": round(1000 * max(health, default=math.nan), 2),
        "memory_before_mb": before,
        "memory_peak_mb": peak,
        "memory_mb_per_client": round((peak - before) / clients, 4),
    }


def ask_health(host: str, port: int, seconds: float) -> tuple[list[float], Counter[int]]:
    """Seconds of each answer of /health, from the moment it was to be asked, and statuses.

    Those moments are fixed before: a stall counts for each that falls into it.
    """
    http, health, statuses = HTTPConnection(host, port), [], Counter[int]()
    begin = time.perf_counter()
    for number in range(round(seconds / EVERY_SECONDS)):
        planned = begin + number * EVERY_SECONDS
        time.sleep(max(0.0, planned - time.perf_counter()))
        if number % 2:
            http.close()  # the next is on a new connection
        http.request("GET", "/health")
        answer = http.getresponse()
        answer.read()
        health.append(time.perf_counter() - planned)
        statuses[answer.status] += 1
    http.close()
    return health, statuses


if __name__ == "__main__":
    main()
