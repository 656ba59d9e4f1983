"""The keys to the service, and the models that it serves."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Up."""
    op.create_table(
        "keys",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used", sa.DateTime(timezone=True)),
        sa.Column("revoked", sa.DateTime(timezone=True)),
        sa.Column("expires", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_keys"),
    )
    _unique_where("uq_keys_name", "keys", "revoked IS NULL")
    op.create_table(
        "models",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("learner", sa.Text(), nullable=False),
        sa.Column("data", sa.Text()),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("run_id", sa.String(32)),
        sa.Column("origin", sa.JSON(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("promoted", sa.DateTime(timezone=True), nullable=False),
        sa.Column("production", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("name", "version", name="pk_models"),
    )
    _unique_where("uq_models_production", "models", "production")


def _unique_where(index: str, table: str, condition: str) -> None:
    where = sa.text(condition)
    op.create_index(index, table, ["name"], unique=True, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Down."""
    op.drop_table("models")
    op.drop_table("keys")
