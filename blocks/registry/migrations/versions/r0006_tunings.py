"""Tunings and their trials."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """From 0005 to 0006."""
    op.add_column("training", sa.Column("tuning_id", KEY, nullable=True))
    op.create_index("ix_training_tuning_id_created_us_id", "training", ["tuning_id", "created_us", "id"], unique=False)
    _create_tuning()
    _create_document()
    _create_trial()


def _create_tuning() -> None:
    op.create_table(
        "tuning",
        sa.Column("id", KEY, nullable=False),
        sa.Column("name", KEY, nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("experiment_id", KEY, nullable=False),
        sa.Column("status", KEY, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("changed_us", sa.BigInteger(), nullable=False),
        sa.Column("started_us", sa.BigInteger(), nullable=True),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.Column("paused_us", sa.BigInteger(), nullable=False),
        sa.Column("best_number", sa.BigInteger(), nullable=True),
        sa.Column("best_value", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["experiment_id"], ["experiment.id"], name="fk_tuning_experiment_id"),
        sa.PrimaryKeyConstraint("id", name="pk_tuning"),
        sa.UniqueConstraint("name", name="uq_tuning_name"),
    )
    for columns in (("created_us", "id"), ("changed_us", "id")):
        op.create_index(f"ix_tuning_{'_'.join(columns)}", "tuning", list(columns), unique=False)
    for first in ("status", "experiment_id"):
        op.create_index(f"ix_tuning_{first}_created_us_id", "tuning", [first, "created_us", "id"], unique=False)


def _create_document() -> None:
    op.create_table(
        "tuning_document",
        sa.Column("tuning_id", KEY, nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("planned_us", sa.BigInteger(), nullable=True),
        sa.Column("plan", sa.Text(), nullable=True),
        sa.Column("learned", sa.Text(), nullable=False),
        sa.Column("template", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["tuning_id"], ["tuning.id"], name="fk_tuning_document_tuning_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tuning_id", name="pk_tuning_document"),
    )


def _create_trial() -> None:
    op.create_table(
        "trial",
        sa.Column("tuning_id", KEY, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("training_id", KEY, nullable=False),
        sa.Column("status", KEY, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("objective", sa.Float(), nullable=True),
        sa.Column("objective_step", sa.BigInteger(), nullable=True),
        sa.Column("runs", sa.BigInteger(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("changed_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tuning_id"], ["tuning.id"], name="fk_trial_tuning_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["training_id"], ["training.id"], name="fk_trial_training_id"),
        sa.PrimaryKeyConstraint("tuning_id", "number", name="pk_trial"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_trial_tuning_id_status", "trial", ["tuning_id", "status"], unique=False)
    op.create_index("ix_trial_training_id", "trial", ["training_id"], unique=False)
