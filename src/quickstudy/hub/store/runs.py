"""The index of runs: what their folders hold, where it can be listed and compared quickly."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, delete, select, update

from quickstudy.errors import RunError
from quickstudy.hub.runs import CONFIG, Run, open_run
from quickstudy.hub.store.sessions import Sessions
from quickstudy.hub.store.tables import RunRow

SHORTEST = 4
"""Letters of an id that name a run."""
RUNNING, STOPPED, FAILED, FINISHED = "running", "stopped", "failed", "finished"


class RunIndex:
    """The runs in a store.

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

    def put(self, row: RunRow) -> None:
        """Add a run, or replace what is known of it; one that had its folder before is gone.

        Raises:
            RunError: the store cannot be used.
        """
        with self._sessions.writing() as session:
            others = delete(RunRow).where(RunRow.folder == row.folder, RunRow.id != row.id)
            session.execute(others)
            session.merge(row)

    def update(self, id: str, values: Mapping[str, Any]) -> None:
        """Change some columns of a run that is there.

        Raises:
            RunError: the store cannot be used.
        """
        with self._sessions.writing() as session:
            session.execute(update(RunRow).where(RunRow.id == id).values(**values))

    def remove(self, ids: Sequence[str]) -> None:
        """Forget runs; their folders stay.

        Raises:
            RunError: the store cannot be used.
        """
        with self._sessions.writing() as session:
            session.execute(delete(RunRow).where(RunRow.id.in_(ids)))

    def all(self) -> list[RunRow]:
        """Every run, the newest first.

        Raises:
            RunError: the store cannot be used.
        """
        return self._where()

    def find(self, name: str) -> RunRow:
        """The run of that folder, or whose id begins so.

        Raises:
            RunError: there is none, or there are several.
        """
        folder = str(Path(name).absolute())
        found = self._where(RunRow.folder == folder)
        if not found and len(name) >= SHORTEST:
            found = self._where(RunRow.id.startswith(name, autoescape=True))
        if len(found) != 1:
            said = "no run" if not found else f"{len(found)} runs"
            raise RunError(f"{said} in the store with the folder or id {name!r}")
        return found[0]

    def read(self, run: Run) -> RunRow:
        """Put in what a run's folder says; that it failed, and why, the store alone remembers.

        Raises:
            RunError: the store cannot be used.
        """
        row = row_of_run(run)
        for known in self._where(RunRow.id == run.id):
            if (known.state, known.step, row.state) == (FAILED, row.step, STOPPED):
                row.state, row.said = FAILED, known.said
        self.put(row)
        (kept,) = self._where(RunRow.id == run.id)
        return kept

    def rebuild(self, roots: Sequence[Path]) -> list[Run]:
        """Read every run below these folders anew; which ones were found.

        Raises:
            RunError: the store cannot be used.
        """
        found = list(runs_below(roots))
        for run in found:
            self.read(run)
        return found

    def _where(self, *conditions: ColumnElement[bool]) -> list[RunRow]:
        with self._sessions.reading() as session:
            wanted = select(RunRow).where(*conditions)
            return list(session.scalars(wanted.order_by(RunRow.began.desc(), RunRow.id)))


def runs_below(roots: Sequence[Path]) -> Iterator[Run]:
    """The runs in these folders and below them; what is no run is passed over."""
    for root in roots:
        for path in sorted({root / CONFIG, *root.rglob(CONFIG)}):
            try:
                yield open_run(path.parent)
            except RunError:
                continue


def row_of_run(run: Run) -> RunRow:
    """What the index holds of a run, from its folder alone."""
    rows = run.metrics()
    last: Mapping[str, Any] = rows[-1] if rows else {}
    looks = [row["validation"] for row in rows if row.get("validation")]
    best = next((look for look in reversed(looks) if look.get("best")), None)
    control = run.report().get("control") if run.finished else None
    began = run.origin.get("began")
    return RunRow(
        id=run.id,
        folder=str(run.folder.absolute()),
        learner=run.config.learner,
        data=run.config.data,
        recipe=run.config.recipe,
        config=run.config.model_dump(mode="json"),
        origin=run.origin,
        began=datetime.fromisoformat(began) if isinstance(began, str) else _made(run),
        updated=datetime.now(UTC),
        step=int(last.get("step") or 0),
        steps=run.config.steps,
        seconds=float(last.get("seconds") or 0.0),
        loss=last.get("loss"),
        metric=looks[-1]["metric"] if looks else None,
        validation=best["mean"] if best else None,
        control=control["mean"] if control else None,
        state=state_of(run),
        said=None,
    )


def state_of(run: Run) -> str:
    """Whether a run has ended, is at work, or waits to be resumed."""
    if run.finished:
        return FINISHED
    return RUNNING if run.busy else STOPPED


def _made(run: Run) -> datetime:
    return datetime.fromtimestamp((run / CONFIG).stat().st_mtime, UTC)
