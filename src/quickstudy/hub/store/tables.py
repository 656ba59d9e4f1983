"""What the hub's database holds, as SQLAlchemy's classes."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Index, MetaData, String, Text
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
