"""A PostgreSQL of the tests' own, on loopback, gone when they end; and words with any database."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text

from quickstudy.hub.store.engine import store_url


def programs() -> Path | None:
    """The folder of the newest PostgreSQL server that is installed."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    places += [Path(found).parent] if found else []
    return next((place for place in places if (place / "initdb").exists()), None)


@contextmanager
def running(place: Path) -> Iterator[str]:
    """The address of a server, without a database's name."""
    folder = Path(tempfile.mkdtemp(prefix="quickstudy-postgres-"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    as_: dict[str, str] = {}
    if os.getuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        as_ = {"user": "postgres", "group": "postgres"}
    make = [place / "initdb", "-D", folder / "data", "-U", "tests", "-A", "trust", "--no-sync"]
    serve = [place / "postgres", "-D", folder / "data", "-k", folder, "-c", "fsync=off"]
    serve += ["-h", "127.0.0.1", "-p", str(port)]
    try:
        subprocess.run(make, check=True, capture_output=True, cwd="/", **as_)
        server = subprocess.Popen(serve, cwd="/", stderr=subprocess.DEVNULL, **as_)
        try:
            _wait(server, port)
            yield f"postgresql://tests@127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGQUIT)  # nothing of it is to stay
            server.wait(60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(server: subprocess.Popen, port: int, seconds: float = 120) -> None:
    import psycopg

    start = time.monotonic()
    while True:
        try:
            psycopg.connect(host="127.0.0.1", port=port, user="tests", dbname="postgres").close()
            return
        except psycopg.OperationalError:
            assert server.poll() is None
            assert time.monotonic() - start < seconds
            time.sleep(0.05)


def say(url, statement):
    """A statement past the store, as another release might have left its traces."""
    engine = create_engine(store_url(url))
    try:
        with engine.begin() as connection:
            result = connection.execute(text(statement))
            return [tuple(row) for row in result.fetchall()] if result.returns_rows else []
    finally:
        engine.dispose()
