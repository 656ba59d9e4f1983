"""What the hub's database holds, as SQLAlchemy's classes."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Double, Index, LargeBinary, MetaData, String, Text, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

NAMES = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""Constraints have the same names on every database, so that migrations can speak of them."""


class Moment(TypeDecorator[datetime]):
    """A moment in UTC; SQLite keeps no time zone, so it is put back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        """A moment without a zone is a mistake."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a moment needs a time zone, got {value}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        """As it was, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """What all tables have in common."""

    metadata = MetaData(naming_convention=NAMES)


class RunRow(Base):
    """A run, as its folder tells it: an index, which can be made again from the folders.

    Attributes:
        id: of its origin.
        folder: absolute.
        learner: its name.
        data: what it is trained on.
        recipe: its name, where there is one.
        config: every option, resolved.
        origin: see `hub.origin`.
        began: when.
        updated: when this row was last written.
        step: how many steps are done.
        steps: of how many.
        seconds: of training so far.
        loss: of the last step; None where it is not finite.
        metric: "accuracy" or "squared_error".
        validation: the best so far.
        control: the same of the no-learning control, once the run has ended.
        state: "running", "stopped", "failed" or "finished".
        said: why it failed.
    """

    __tablename__ = "runs"
    __table_args__ = (Index("ix_runs_began", "began"), Index("ix_runs_folder", "folder"))

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    folder: Mapped[str] = mapped_column(Text)
    learner: Mapped[str] = mapped_column(Text)
    data: Mapped[str] = mapped_column(Text)
    recipe: Mapped[str | None] = mapped_column(Text)
    config: Mapped[dict[str, Any]] = mapped_column(JSON)
    origin: Mapped[dict[str, Any]] = mapped_column(JSON)
    began: Mapped[datetime] = mapped_column(Moment)
    updated: Mapped[datetime] = mapped_column(Moment)
    step: Mapped[int] = mapped_column(default=0)
    steps: Mapped[int]
    seconds: Mapped[float] = mapped_column(default=0.0)
    loss: Mapped[float | None]
    metric: Mapped[str | None] = mapped_column(Text)
    validation: Mapped[float | None]
    control: Mapped[float | None]
    state: Mapped[str] = mapped_column(Text)
    said: Mapped[str | None] = mapped_column(Text)


class KeyRow(Base):
    """A key to the service: all of it but the secret.

    Attributes:
        id: public; it stands in the key.
        name: who or what holds it. Keys that are not revoked have different ones.
        hash: SHA-256 of the secret, 64 hexadecimal digits.
        scopes: what it opens.
        created: when.
        last_used: when, to the minute.
        revoked: when.
        expires: when it opens nothing any more.
    """

    __tablename__ = "keys"
    __table_args__ = (
        Index(
            "uq_keys_name",
            "name",
            unique=True,
            sqlite_where=text("revoked IS NULL"),
            postgresql_where=text("revoked IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    hash: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[str]] = mapped_column(JSON)
    created: Mapped[datetime] = mapped_column(Moment)
    last_used: Mapped[datetime | None] = mapped_column(Moment)
    revoked: Mapped[datetime | None] = mapped_column(Moment)
    expires: Mapped[datetime | None] = mapped_column(Moment)


class ModelRow(Base):
    """A version of a named model: a folder, and which model lay in it.

    Attributes:
        name: of the model.
        version: from 1.
        folder: absolute.
        digest: of its manifest; another one there is another model.
        learner: its name.
        data: what it was trained on, where that is known.
        metrics: what the manifest says it scored.
        run_id: of the run that trained it, where the folder is a run's.
        origin: of that run; see `hub.origin`.
        created: when it became a version.
        promoted: when it was last put in production.
        production: whether it is; of each name at most one version.
    """

    __tablename__ = "models"
    __table_args__ = (
        Index(
            "uq_models_production",
            "name",
            unique=True,
            sqlite_where=text("production"),
            postgresql_where=text("production"),
        ),
    )

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    folder: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(String(64))
    learner: Mapped[str] = mapped_column(Text)
    data: Mapped[str | None] = mapped_column(Text)
    metrics: Mapped[dict[str, Any]] = mapped_column(JSON)
    run_id: Mapped[str | None] = mapped_column(String(32))
    origin: Mapped[dict[str, Any]] = mapped_column(JSON)
    created: Mapped[datetime] = mapped_column(Moment)
    promoted: Mapped[datetime] = mapped_column(Moment)
    production: Mapped[bool]


class AdaptedRow(Base):
    """What a service has adapted for somebody: the examples, from which the state is made again.

    Attributes:
        id: hard to guess.
        owner: the key it belongs to.
        model: the name of the model.
        digest: of the model.
        labels: of the classes; None for numbers.
        counts: examples of each class, or of all for numbers; None of what was written before
            they were.
        examples: inputs and targets, as a safetensors file.
        made: seconds since 1970, when it was adapted or last extended.
        expires: likewise.
    """

    __tablename__ = "adapted"
    __table_args__ = (
        Index("ix_adapted_owner", "owner", "made"),
        Index("ix_adapted_expires", "expires"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str] = mapped_column(String(32))
    model: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64))
    labels: Mapped[list[str | int] | None] = mapped_column(JSON(none_as_null=True))
    counts: Mapped[list[int] | None] = mapped_column(JSON(none_as_null=True))
    examples: Mapped[bytes] = mapped_column(LargeBinary)
    made: Mapped[float] = mapped_column(Double)
    expires: Mapped[float] = mapped_column(Double)
