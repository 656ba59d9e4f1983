"""What services have adapted, kept so that a restart loses none and several processes share it."""

from collections.abc import Collection

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session, defer

from quickstudy.hub.store.sessions import Sessions
from quickstudy.hub.store.tables import AdaptedRow

CHANGED = ("labels", "counts", "examples", "made", "expires")
"""What another adaptation of the same id changes."""


class AdaptedStore:
    """The adapted models in a store; threads may share one.

    Args:
        url: as `store_url` takes it.

    Raises:
        RunError: it cannot be used.
    """

    def __init__(self, url: str | None = None) -> None:
        self._sessions = Sessions(url)

    def close(self) -> None:
        """Let go of the connections."""
        self._sessions.close()

    def put(self, row: AdaptedRow, most: int) -> None:
        """Add one; of its owner's others, those made first go until it is one of `most`.

        Raises:
            RunError: the store cannot be used.
        """
        with self._sessions.writing() as session:
            _alone(session, row.owner)
            session.add(row)
            session.flush()
            # Not this one, though another's clock may be ahead of ours.
            others = (AdaptedRow.owner == row.owner, AdaptedRow.id != row.id)
            mine = select(AdaptedRow.id).where(*others)
            newest = mine.order_by(AdaptedRow.made.desc(), AdaptedRow.id)
            gone = session.scalars(newest.offset(most - 1)).all()
            if gone:
                session.execute(delete(AdaptedRow).where(AdaptedRow.id.in_(gone)))

    def replace(self, row: AdaptedRow, made: float) -> bool:
        """Change one that was made then; False where it is gone, or another has changed it.

        Raises:
            RunError: the store cannot be used.
        """
        values = {name: getattr(row, name) for name in CHANGED}
        same = (AdaptedRow.id == row.id, AdaptedRow.made == made)
        with self._sessions.writing() as session:
            changed = session.execute(
                update(AdaptedRow).where(*same).values(**values).returning(AdaptedRow.id)
            )
            return changed.first() is not None

    def get(self, id: str) -> AdaptedRow | None:
        """The one of that id; None where there is none.

        Raises:
            RunError: the store cannot be used.
        """
        with self._sessions.reading() as session:
            return session.get(AdaptedRow, id)

    def made(self, id: str) -> float | None:
        """When the one of that id was made; None where there is none.

        Raises:
            RunError: the store cannot be used.
        """
        with self._sessions.reading() as session:
            return session.scalar(select(AdaptedRow.made).where(AdaptedRow.id == id))

    def of(
        self, owner: str | None, now: float, digests: Collection[str], most: int
    ) -> list[AdaptedRow]:
        """An owner's, or everybody's, of these models, without their examples.

        Args:
            owner: whose; None for everybody's.
            now: those that have expired are left out.
            digests: of the models.
            most: how many.

        Returns:
            As many as `most`, those made last first.

        Raises:
            RunError: the store cannot be used.
        """
        lives = AdaptedRow.expires > now, AdaptedRow.digest.in_(digests)
        wanted = select(AdaptedRow).where(*lives)
        if owner is not None:
            wanted = wanted.where(AdaptedRow.owner == owner)
        newest = wanted.order_by(AdaptedRow.made.desc(), AdaptedRow.id).limit(most)
        with self._sessions.reading() as session:
            return list(session.scalars(newest.options(defer(AdaptedRow.examples))))

    def drop(self, id: str) -> None:
        """Remove one.

        Raises:
            RunError: the store cannot be used.
        """
        with self._sessions.writing() as session:
            session.execute(delete(AdaptedRow).where(AdaptedRow.id == id))

    def purge(self, now: float) -> None:
        """Remove those whose time is over.

        Raises:
            RunError: the store cannot be used.
        """
        with self._sessions.writing() as session:
            session.execute(delete(AdaptedRow).where(AdaptedRow.expires <= now))


def _alone(session: Session, owner: str) -> None:
    """Of several that put for one owner at once, one after another, so that each counts all."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtext(owner))))
