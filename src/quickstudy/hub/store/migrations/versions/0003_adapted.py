"""What services have adapted, so that a restart loses none."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Up."""
    op.create_table(
        "adapted",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("labels", sa.JSON()),
        sa.Column("examples", sa.LargeBinary(), nullable=False),
        sa.Column("made", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_adapted"),
    )
    op.create_index("ix_adapted_owner", "adapted", ["owner", "made"])
    op.create_index("ix_adapted_expires", "adapted", ["expires"])


def downgrade() -> None:
    """Down."""
    op.drop_table("adapted")
