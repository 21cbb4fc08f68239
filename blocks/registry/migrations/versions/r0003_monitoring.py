"""What the workers of trainings used."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """From 0002 to 0003."""
    op.create_table(
        "usage_worker",
        sa.Column("training_id", KEY, nullable=False),
        sa.Column("rank", sa.BigInteger(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("stride", sa.BigInteger(), nullable=False),
        sa.Column("samples", sa.BigInteger(), nullable=False),
        sa.Column("sampled_us", sa.BigInteger(), nullable=False),
        sa.Column("figures", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["training_id"], ["training.id"], name="fk_usage_worker_training_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("training_id", "rank", name="pk_usage_worker"),
    )
    op.create_table(
        "usage_bucket",
        sa.Column("training_id", KEY, nullable=False),
        sa.Column("rank", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("means", sa.Text(), nullable=False),
        sa.Column("maxima", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["training_id"], ["training.id"], name="fk_usage_bucket_training_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("training_id", "rank", "position", name="pk_usage_bucket"),
        sqlite_with_rowid=False,
    )
