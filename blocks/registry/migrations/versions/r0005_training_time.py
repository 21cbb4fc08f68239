"""How long a training did not run between its attempts, and when its workers were last seen."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """From 0004 to 0005."""
    op.add_column("training", sa.Column("paused_us", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("training", sa.Column("seen_us", sa.BigInteger(), nullable=True))
