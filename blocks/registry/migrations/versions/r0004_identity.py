"""The registry's own id, by which runs on a cluster tell whose they are."""

import sqlalchemy as sa
from alembic import op

from blocks.registry.identity import new_id, now_us

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """From 0003 to 0004."""
    registry = op.create_table(
        "registry",
        sa.Column("id", KEY, nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_registry"),
    )
    op.execute(registry.insert().values(id=new_id("reg"), created_us=now_us()))
