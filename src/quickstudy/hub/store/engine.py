"""Connections to the hub's database, and its schema brought up to date by whoever comes first."""

import fcntl
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs
from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from quickstudy.artefacts.atomic import reported
from quickstudy.errors import RunError, StoreError

VARIABLE = "QUICKSTUDY_STORE"
"""The environment variable that names the database."""
BUSY_SECONDS = 30
"""How long a writer waits for the others."""
LOCK_NUMBER = 0x71756963
"""Of PostgreSQL's advisory lock that one migrates under."""
HASTY_SECONDS = 0.1
"""The same of one who can do without."""
HASTY = "quickstudy_hasty"
"""The execution option of a connection whose writing may as well not happen."""
READING = "quickstudy_reading"
"""The execution option of a connection that writes nothing, and so waits for no writer."""
HEAD = "0004"
"""The newest revision in `migrations/versions`."""
_MIGRATIONS = Path(__file__).parent / "migrations"


def store_url(given: str | None = None) -> URL:
    """Where the database is: as given, as $QUICKSTUDY_STORE says, or a file of this user's.

    Raises:
        RunError: that is no database's URL.

    Examples:
        >>> store_url("runs.sqlite").database
        'runs.sqlite'
        >>> store_url("postgresql://me@db/hub").drivername
        'postgresql+psycopg'
    """
    told = given or os.environ.get(VARIABLE, "")
    if not told:
        folder = platformdirs.user_data_path("quickstudy", appauthor=False)
        return URL.create("sqlite", database=str(folder / "runs.sqlite"))
    if "://" not in told:
        return URL.create("sqlite", database=str(Path(told).expanduser()))
    try:
        url = make_url(told)
    except ArgumentError:
        raise _no_url(told) from None
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise _no_url(told)
    return url


def _no_url(told: str) -> RunError:
    shown = re.sub(r"(://[^/@]*:)[^/@]*@", r"\1***@", told)
    return RunError(
        f"the store must be a file, sqlite:///FILE or postgresql://USER@HOST/NAME, got {shown!r}"
    )


def make_engine(url: URL) -> Engine:
    """Connections to a database, whose schema is the newest when this returns.

    Raises:
        RunError: it cannot be reached or written, or a newer release has made it.
    """
    try:
        engine = create_engine(url, **_options(url))
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise RunError(
            f"{url.get_backend_name()} needs a driver: pip install 'quickstudy[postgres]' ({error})"
        ) from None
    if url.get_backend_name() == "sqlite":
        _settle_sqlite(engine, url)
    try:
        with store_errors(url):
            _migrate(engine, url)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _options(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_SECONDS}}
    return {"pool_pre_ping": True, "connect_args": {"connect_timeout": 5}}


def _settle_sqlite(engine: Engine, url: URL) -> None:
    """A file that many processes write to at once: readers beside a writer, writers in a row."""
    if url.database and url.database != ":memory:":
        file = Path(url.database).absolute()
        with reported("write", file.parent):
            file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():  # it will hold what clients send, which is nobody else's
            with reported("write", file):
                file.touch(mode=0o600)

    @event.listens_for(engine, "connect")
    def connect(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions begin as said below, not as the driver's
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # One that reads first and then writes would meet "database is locked" without a wait.
        options = connection.get_execution_options()
        wait = HASTY_SECONDS if options.get(HASTY) else BUSY_SECONDS
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {1000 * wait:.0f}")
        connection.exec_driver_sql("BEGIN" if options.get(READING) else "BEGIN IMMEDIATE")


@contextmanager
def store_errors(url: URL) -> Iterator[None]:
    """What a database refuses, in one line.

    Raises:
        RunError: in place of it.
    """
    try:
        yield
    except SQLAlchemyError as error:
        said = " ".join(str(getattr(error, "orig", None) or error).split())
        shown = url.render_as_string(hide_password=True)
        raise StoreError(f"the store {shown} cannot be used: {said}") from error


def _migrate(engine: Engine, url: URL) -> None:
    """Bring the schema up to date; of many that begin at once one does it and the others wait."""
    if _revision(engine) == HEAD:
        return
    with _alone(engine, url):
        found = _revision(engine)
        if found == HEAD:
            return
        _refuse_newer(found, url)
        if url.get_backend_name() == "sqlite":
            with engine.connect() as connection:  # it stays with the file
                connection.connection.cursor().execute("PRAGMA journal_mode = WAL")
        _upgrade(engine)


def _revision(engine: Engine) -> str | None:
    with engine.connect().execution_options(**{READING: True}) as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return found


def _refuse_newer(found: str | None, url: URL) -> None:
    known = {path.stem.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("*.py")}
    if found is not None and found not in known:
        shown = url.render_as_string(hide_password=True)
        raise RunError(f"a newer quickstudy made the store {shown} (its schema is {found})")


def _upgrade(engine: Engine) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def _alone(engine: Engine, url: URL) -> Iterator[None]:
    if url.get_backend_name() == "postgresql":
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": LOCK_NUMBER})
            yield
        return
    if not url.database or url.database == ":memory:":
        yield
        return
    lock = Path(f"{url.database}.lock")
    with reported("write", lock), lock.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
