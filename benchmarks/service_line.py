"""What the service's benchmarks speak through and look at: a connection, bodies, a process."""

import asyncio
import json
import os
import re
import resource
from collections.abc import Mapping
from pathlib import Path

import numpy as np

WAYS, SIDE = 5, 28
Wanted = Mapping[str, tuple[str, float]]
"""Figures to reach: a sign, and what is on its other side."""


class Line:
    """A connection that costs little, so that the service is what is measured."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.host = "{}:{}".format(*writer.get_extra_info("peername")[:2])

    @classmethod
    async def to(cls, host: str, port: int) -> "Line":
        return cls(*await asyncio.open_connection(host, port))

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        return await self.send("POST", path, body)

    async def send(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        told = f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\n"
        if body:
            told += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self.writer.write(told.encode() + b"\r\n" + body)
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
