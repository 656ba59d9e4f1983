"""Sessions on the hub's database: some read and wait for nobody, others write, one by one."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from quickstudy.hub.store.engine import (
    HASTY,
    HASTY_SECONDS,
    READING,
    make_engine,
    store_errors,
    store_url,
)


class Sessions:
    """What all who keep something in the store have in common; threads may share one.

    Args:
        url: as `store_url` takes it.

    Attributes:
        url: of the database.

    Raises:
        RunError: it cannot be used.
    """

    def __init__(self, url: str | None = None) -> None:
        self.url = store_url(url)
        self._engine = make_engine(self.url)
        self._writers = sessionmaker(self._engine, expire_on_commit=False)
        self._hasty = sessionmaker(self._engine.execution_options(**{HASTY: True}))
        self._readers = sessionmaker(self._engine.execution_options(**{READING: True}))

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """To look only; it waits for no writer.

        Raises:
            RunError: the store cannot be used.
        """
        with store_errors(self.url), self._readers() as session:
            yield session

    @contextmanager
    def noting(self) -> Iterator[Session]:
        """To write what may as well not be written: it waits for nobody for long.

        Raises:
            RunError: the store cannot be used, or is too busy.
        """
        with store_errors(self.url), self._hasty.begin() as session:
            if self._engine.dialect.name == "postgresql":
                session.execute(text(f"SET LOCAL lock_timeout = '{1000 * HASTY_SECONDS:.0f}ms'"))
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """All of it happens when this ends, or nothing does.

        Raises:
            RunError: the store cannot be used.
        """
        with store_errors(self.url), self._writers.begin() as session:
            yield session
