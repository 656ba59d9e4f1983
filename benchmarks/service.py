"""What the service costs: 5-way 1-shot images of 28x28, adapted and asked over HTTP.

    python -m benchmarks.service                                   # a table
    python -m benchmarks.service --clients 64 --requests 10000 --json
    python -m benchmarks.service --overload                        # ten times what may wait
    python -m benchmarks.service --minutes 60                      # mixed load, and what it leaves

Starts a service of its own on a free port of this machine, with an untrained ProtoNet on the usual
backbone (what it has learned does not change what it costs), and stops it at the end. The bare
learner's throughput is measured in this process, before and after, by as many threads as the
service has; the clients share the cores with the service.
"""

import argparse
import asyncio
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

WAYS, SIDE, ALONE, BARE_SECONDS = 5, 28, 300, 3.0
QUEUE, LIVE = 256, 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=10_000, help="adaptations, and predictions")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--overload", action="store_true")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        learner = save_model(Path(folder) / "model")
        told = ["--limit", f"adapted={4 * args.clients}", "--threads", str(args.threads)]
        told += ["--limit", f"live={LIVE}"] if args.minutes else []
        with service(Path(folder), told) as (host, port, process):
            if args.overload:
                figures = asyncio.run(overload(host, port, process))
            elif args.minutes:
                figures = asyncio.run(endurance(host, port, process, 60 * args.minutes))
            else:
                figures = measure(learner, host, port, process, args)
    print(json.dumps(figures, indent=None if args.json else 1))


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
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
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
        process.wait(60)


def measure(
    learner: Any, host: str, port: int, process: subprocess.Popen, args: argparse.Namespace
) -> dict[str, Any]:
    """All figures of one service."""
    bare = [bare_rate(learner, args.threads)]
    asyncio.run(turns(host, port, 1, 30))  # what is made once is made now
    alone, _, _ = asyncio.run(turns(host, port, 1, ALONE))
    before = cpu_seconds(process.pid)
    many, statuses, seconds = asyncio.run(turns(host, port, args.clients, args.requests))
    cpu = cpu_seconds(process.pid) - before
    bare.append(bare_rate(learner, args.threads))
    rate = args.requests / seconds
    both = [a + p for a, p in alone]
    return {
        "errors": sum(n for status, n in statuses.items() if status not in (200, 201)),
        "statuses": {str(status): n for status, n in sorted(statuses.items())},
        "clients": args.clients,
        "requests": args.requests,
        **percentiles("adapt", [a for a, _ in many]),
        **percentiles("predict", [p for _, p in many]),
        **percentiles("alone", both),
        "tasks_per_s": round(rate, 1),
        "bare_tasks_per_s": round(statistics.mean(bare), 1),
        "share_of_bare": round(rate / statistics.mean(bare), 3),
        "service_cpu_ms_per_task": round(1000 * cpu / args.requests, 2),
        "memory_mb": memory_mb(process.pid),
        "threads": args.threads,
        "cores": os.cpu_count(),
    }


def percentiles(name: str, seconds: list[float]) -> dict[str, float]:
    """Median and 99th percentile in milliseconds."""
    p50, p99 = np.percentile(seconds, [50, 99])
    return {f"{name}_p50_ms": round(1000 * p50, 2), f"{name}_p99_ms": round(1000 * p99, 2)}


def bare_rate(learner: Any, threads: int) -> float:
    """Tasks a second that the learner adapts to and answers in this process."""
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
        until = time.perf_counter() + BARE_SECONDS
        return sum(pool.map(work, [until] * threads)) / BARE_SECONDS


async def turns(
    host: str, port: int, clients: int, tasks: int
) -> tuple[list[tuple[float, float]], Counter[int], float]:
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
    """Ten times as many clients as may wait, for ten seconds, and how /health does meanwhile."""
    until, statuses, health = time.perf_counter() + 10, Counter(), []
    before = memory_mb(process.pid)

    async def client(number: int) -> None:
        line = await Line.to(host, port)
        support, _ = task_of(number % 8)
        while time.perf_counter() < until:
            status, _ = await line.post("/v1/models/chars/adapt", support)
            statuses[status] += 1
            if status != 201:
                await asyncio.sleep(0.2)
        line.close()

    async def watch() -> None:
        line = await Line.to(host, port)
        while time.perf_counter() < until:
            start = time.perf_counter()
            status, _ = await line.ask(f"GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            health.append(time.perf_counter() - start)
            statuses[status] += 1
            await asyncio.sleep(0.02)
        line.close()

    await asyncio.gather(watch(), *(client(number) for number in range(10 * QUEUE)))
    return {
        "clients": 10 * QUEUE,
        "statuses": {str(status): n for status, n in sorted(statuses.items())},
        **percentiles("health", health),
        "memory_before_mb": before,
        "memory_after_mb": memory_mb(process.pid),
    }


async def endurance(
    host: str, port: int, process: subprocess.Popen, seconds: float
) -> dict[str, Any]:
    """All that clients do, right and wrong, for a long time: memory, and what outlives its time."""
    begin, statuses, memory = time.perf_counter(), Counter(), []
    made: list[tuple[float, str]] = []
    outlived = 0

    async def client(number: int) -> None:
        line, turn = await Line.to(host, port), 0
        support, query = task_of(number)
        while time.perf_counter() < begin + seconds:
            turn += 1
            status, body = await line.post("/v1/models/chars/adapt", support)
            statuses[status] += 1
            if status != 201:
                continue
            id = json.loads(body)["adapted_id"]
            made.append((time.perf_counter(), id))
            for path, sent in (("predict", query), ("extend", support), ("predict", b"{")):
                statuses[(await line.post(f"/v1/adapted/{id}/{path}", sent))[0]] += 1
            if turn % 3 == 0:
                gone = f"DELETE /v1/adapted/{id} HTTP/1.1\r\nHost: {line.host}\r\n\r\n"
                statuses[(await line.ask(gone.encode()))[0]] += 1
        line.close()

    async def watch() -> None:
        nonlocal outlived
        line = await Line.to(host, port)
        while time.perf_counter() < begin + seconds:
            memory.append(memory_mb(process.pid))
            await asyncio.sleep(min(5.0, seconds / 20))
            old = [one for one in made if one[0] < time.perf_counter() - LIVE - 5]
            made[:] = made[len(old) :]
            for _, id in old[:: max(1, len(old) // 20)]:
                asked = f"GET /v1/adapted/{id} HTTP/1.1\r\nHost: {line.host}\r\n\r\n"
                outlived += (await line.ask(asked.encode()))[0] != 404
        line.close()

    await asyncio.gather(watch(), *(client(number) for number in range(16)))
    settled = memory[len(memory) // 5 :]
    tenth = max(1, len(settled) // 10)
    first, last = statistics.median(settled[:tenth]), statistics.median(settled[-tenth:])
    return {
        "minutes": round(seconds / 60, 1),
        "statuses": {str(status): n for status, n in sorted(statuses.items())},
        "memory_first_mb": first,
        "memory_last_mb": last,
        "memory_growth": round(last / first - 1, 4),
        "states_past_their_time": outlived,
    }


class Line:
    """A connection that costs little, so that the service is what is measured."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.host = "{}:{}".format(*writer.get_extra_info("peername")[:2])

    @classmethod
    async def to(cls, host: str, port: int) -> "Line":
        return cls(*await asyncio.open_connection(host, port))

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return await self.ask(head.encode() + body)

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        body = await self.reader.readexactly(int(found[1]) if found else 0)
        return int(head.split(None, 2)[1]), body

    def close(self) -> None:
        self.writer.close()


def task_of(seed: int) -> tuple[bytes, bytes]:
    """The bodies of an adaptation and of a question."""
    pixels = np.random.default_rng(seed).integers(0, 2, (WAYS + 1, 1, SIDE, SIDE)).tolist()
    support = {"x": pixels[:WAYS], "labels": [f"class {way}" for way in range(WAYS)]}
    return json.dumps(support).encode(), json.dumps({"x": pixels[WAYS:]}).encode()


def cpu_seconds(pid: int) -> float:
    """What a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """What a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * resource.getpagesize() / 1e6, 1)


if __name__ == "__main__":
    main()
