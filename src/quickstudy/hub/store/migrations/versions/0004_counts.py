"""How many examples what was adapted has, so that a list of it needs not read them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Up."""
    op.add_column("adapted", sa.Column("counts", sa.JSON()))


def downgrade() -> None:
    """Down."""
    op.drop_column("adapted", "counts")
