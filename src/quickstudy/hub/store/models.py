"""Named models: which folders hold their versions, and which version is in production.

The folder holds the model, the store remembers which one lay there when it was promoted. A folder
whose model is another by now, or is gone, is not handed out.
"""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, delete, select, text, update
from sqlalchemy.orm import Session

from quickstudy.artefacts.manifest import MANIFEST, Manifest, read_manifest, read_weights
from quickstudy.errors import ArtefactError, RunError
from quickstudy.hub.runs import CONFIG, Run, check_ended, open_run
from quickstudy.hub.store.sessions import Sessions
from quickstudy.hub.store.tables import ModelRow

READY, MISSING, CHANGED, DAMAGED = "ready", "missing", "changed", "damaged"
"""What a version's folder holds: its model; none, or it is gone; another model; half of it."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What models are called, in the store and in a service's addresses."""


class ModelIndex:
    """The named models in a store.

    Args:
        url: as `store_url` takes it.

    Raises:
        RunError: it cannot be used.

    Examples:
        >>> index = ModelIndex(":memory:")
        >>> index.resolve("chars")
        Traceback (most recent call last):
        ...
        quickstudy.errors.RunError: there is no model called 'chars'; ...
        >>> index.close()
    """

    def __init__(self, url: str | None = None) -> None:
        self._sessions = Sessions(url)

    def close(self) -> None:
        """Let go of the connections."""
        self._sessions.close()

    def promote(self, folder: Path | str, name: str) -> ModelRow:
        """Put a folder's model in production, as the next version of a name.

        A model that is a version already, from the same folder, gets no second number.

        Args:
            folder: of a run that has ended, or of a stored model; every byte of it is checked.
            name: letters, digits, dots, hyphens and underscores, 64 at most.

        Raises:
            ArtefactError: there is no model, or it is damaged.
            RunError: the run has not ended, the name cannot be, or the store cannot be used.
        """
        if not NAME.fullmatch(name):
            raise RunError(
                "a model's name must be letters, digits, dots, hyphens and underscores, 64 at "
                f"most, and begin with a letter or digit; got {name!r}"
            )
        check_ended(folder)
        manifest, _ = read_weights(folder)
        made = _row(Path(folder).absolute(), name, manifest)
        with self._sessions.writing() as session:
            _alone(session)
            versions = list(session.scalars(_versions(name)))
            for known in versions:
                if (known.folder, known.digest) == (made.folder, made.digest):
                    return _into_production(session, known)
            made.version = 1 + max((known.version for known in versions), default=0)
            return _into_production(session, made)

    def go_back(self, name: str, version: int) -> ModelRow:
        """Put a version that is there in production, an earlier one say.

        Raises:
            RunError: there is none, or its model is not there as it was, or the store cannot be
                used.
        """
        refuse_lost(self.find(name, version))
        with self._sessions.writing() as session:
            _alone(session)
            row = session.scalars(_versions(name, ModelRow.version == version)).one()
            return _into_production(session, row)

    def remove(self, name: str, version: int | None = None) -> list[ModelRow]:
        """Forget a version, or a name with all of them; the folders stay.

        Returns:
            What was forgotten, the newest version first.

        Raises:
            RunError: there is none; or it is in production and others would be left without; or the
                store cannot be used.
        """
        gone = self.versions(name) if version is None else [self.find(name, version)]
        with self._sessions.writing() as session:
            _alone(session)
            left = [row for row in session.scalars(_versions(name)) if row.version != version]
            if version is not None and left and not any(row.production for row in left):
                raise RunError(
                    f"{name} version {version} is in production; put another there before, "
                    f"quickstudy models promote {name} --version N, or remove all of {name}"
                )
            one = [ModelRow.version == version] if version is not None else []
            session.execute(delete(ModelRow).where(ModelRow.name == name, *one))
        return gone

    def in_production(self, folder: Path | str) -> ModelRow | None:
        """The version in production whose model lies in a folder; None where there is none.

        Raises:
            RunError: the store cannot be used.
        """
        of = select(ModelRow).where(
            ModelRow.folder == str(Path(folder).absolute()), ModelRow.production
        )
        with self._sessions.reading() as session:
            return session.scalars(of.limit(1)).first()

    def all(self) -> list[ModelRow]:
        """Every version of every name, by name, the newest version first.

        Raises:
            RunError: the store cannot be used.
        """
        with self._sessions.reading() as session:
            order = (ModelRow.name, ModelRow.version.desc())
            return list(session.scalars(select(ModelRow).order_by(*order)))

    def versions(self, name: str) -> list[ModelRow]:
        """All versions of a name, the newest first.

        Raises:
            RunError: there is none, or the store cannot be used.
        """
        found: list[ModelRow] = []
        if NAME.fullmatch(name):
            with self._sessions.reading() as session:
                found = list(session.scalars(_versions(name)))
        if not found:
            raise RunError(
                f"there is no model called {name!r}; `quickstudy models list` names those there "
                "are, and `quickstudy models promote RUN --name NAME` adds one"
            )
        return found

    def find(self, name: str, version: int | None = None) -> ModelRow:
        """A version of a name; the one in production where None.

        Raises:
            RunError: there is none, or the store cannot be used.
        """
        rows = self.versions(name)
        for row in rows:
            if row.version == version or (version is None and row.production):
                return row
        there = ", ".join(str(row.version) for row in reversed(rows))
        raise RunError(f"{name} has no version {version}; it has {there}")

    def resolve(self, name: str, version: int | None = None) -> Path:
        """The folder of a version's model, which is there and is the one that was promoted.

        Whoever loads it compares the digest with `find(...).digest`, as it may change meanwhile.

        Args:
            name: of the model.
            version: the one in production where None.

        Raises:
            RunError: there is none; or its folder is gone or holds another model by now; or the
                store cannot be used.
        """
        row = self.find(name, version)
        refuse_lost(row)
        return Path(row.folder)


def looked_at(row: ModelRow) -> tuple[str, str | None]:
    """Whether a version's model is in its folder, as it was promoted; no bytes are compared.

    Returns:
        READY, MISSING, CHANGED or DAMAGED; and what is wrong, if anything is.
    """
    folder = Path(row.folder)
    if not (folder / MANIFEST).is_file():
        return MISSING, f"there is no model in {folder} any more"
    try:
        manifest = read_manifest(folder)
    except ArtefactError as error:
        return DAMAGED, str(error)
    if manifest.digest != row.digest:
        return CHANGED, (
            f"{folder} holds another model now: its digest begins {manifest.digest[:12]}, that of "
            f"the one promoted {row.digest[:12]}"
        )
    weights = folder / manifest.weights.file
    if not weights.is_file() or weights.stat().st_size != manifest.weights.bytes:
        return DAMAGED, f"{weights} is gone or was cut"
    return READY, None


def refuse_lost(row: ModelRow) -> None:
    """Refuse a version whose model is not in its folder as it was promoted.

    Raises:
        RunError: says what became of it.
    """
    state, said = looked_at(row)
    if state != READY:
        raise RunError(
            f"{row.name} version {row.version} is {state}: {said}; promote a model anew, or "
            f"another version: quickstudy models promote {row.name} --version N"
        )


def _row(folder: Path, name: str, manifest: Manifest) -> ModelRow:
    """A version that has no number yet."""
    run, config = _run_in(folder), manifest.training.get("config")
    data: Any = config.get("data") if isinstance(config, dict) else None
    return ModelRow(
        name=name,
        folder=str(folder),
        digest=manifest.digest,
        learner=str(manifest.learner.get("name") or manifest.learner.get("own")),
        data=data if isinstance(data, str) else None,
        metrics=manifest.metrics,
        run_id=run and run.id,
        origin=run.origin if run else {},
        created=datetime.now(UTC),
    )


def _run_in(folder: Path) -> Run | None:
    if not (folder / CONFIG).is_file():
        return None
    try:
        return open_run(folder)
    except RunError:  # a file of another program that has the same name
        return None


def _versions(name: str, *conditions: ColumnElement[bool]) -> Any:
    wanted = select(ModelRow).where(ModelRow.name == name, *conditions)
    return wanted.order_by(ModelRow.version.desc())


def _alone(session: Session) -> None:
    """Of many that promote at once, one after another; on SQLite whoever writes is alone anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("LOCK TABLE models IN SHARE ROW EXCLUSIVE MODE"))


def _into_production(session: Session, row: ModelRow) -> ModelRow:
    # The other one leaves first, by a statement of its own: two at a time are refused.
    session.execute(update(ModelRow).where(ModelRow.name == row.name).values(production=False))
    row.production, row.promoted = True, datetime.now(UTC)
    session.add(row)
    return row
