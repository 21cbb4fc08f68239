"""How the control loop of a tuning wants a trial to end that it is about to stop."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """From 0006 to 0007."""
    op.add_column("trial", sa.Column("verdict", sa.Text(), nullable=True))
