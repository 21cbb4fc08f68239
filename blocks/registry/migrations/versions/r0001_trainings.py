"""Experiments, trainings, metrics, the journal and the index of connections."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """From nothing to 0001."""
    op.create_table(
        "connection",
        sa.Column("name", KEY, nullable=False),
        sa.Column("endpoint", KEY, nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_connection"),
    )
    op.create_index("ix_connection_endpoint", "connection", ["endpoint"], unique=False)
    op.create_table(
        "experiment",
        sa.Column("id", KEY, nullable=False),
        sa.Column("name", KEY, nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("status", KEY, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("changed_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_experiment"),
        sa.UniqueConstraint("name", name="uq_experiment_name"),
    )
    op.create_index("ix_experiment_changed_us_id", "experiment", ["changed_us", "id"], unique=False)
    op.create_index("ix_experiment_created_us_id", "experiment", ["created_us", "id"], unique=False)
    op.create_index("ix_experiment_status_created_us_id", "experiment", ["status", "created_us", "id"], unique=False)
    op.create_table(
        "flow_run",
        sa.Column("id", KEY, nullable=False),
        sa.Column("started_us", sa.BigInteger(), nullable=False),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.Column("exported_us", sa.BigInteger(), nullable=True),
        sa.Column("record", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_flow_run"),
    )
    op.create_index("ix_flow_run_exported_us_started_us", "flow_run", ["exported_us", "started_us"], unique=False)
    op.create_table(
        "status_move",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("resource_id", KEY, nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("source", KEY, nullable=False),
        sa.Column("target", KEY, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_status_move"),
    )
    op.create_index("ix_status_move_resource_id_id", "status_move", ["resource_id", "id"], unique=False)
    op.create_table(
        "training",
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
        sa.ForeignKeyConstraint(["experiment_id"], ["experiment.id"], name="fk_training_experiment_id"),
        sa.PrimaryKeyConstraint("id", name="pk_training"),
        sa.UniqueConstraint("name", name="uq_training_name"),
    )
    op.create_index("ix_training_changed_us_id", "training", ["changed_us", "id"], unique=False)
    op.create_index("ix_training_created_us_id_name", "training", ["created_us", "id", "name"], unique=False)
    op.create_index(
        "ix_training_experiment_id_created_us_id", "training", ["experiment_id", "created_us", "id"], unique=False
    )
    op.create_index("ix_training_status_created_us_id", "training", ["status", "created_us", "id"], unique=False)
    op.create_index("ix_training_status_id", "training", ["status", "id"], unique=False)
    op.create_table(
        "metric_series",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("training_id", KEY, nullable=False),
        sa.Column("name", KEY, nullable=False),
        sa.Column("stride", sa.BigInteger(), nullable=False),
        sa.Column("kept", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("not_finite", sa.BigInteger(), nullable=False),
        sa.Column("first_value", sa.Float(), nullable=True),
        sa.Column("first_step", sa.BigInteger(), nullable=False),
        sa.Column("last_value", sa.Float(), nullable=True),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("last_text", sa.Text(), nullable=False),
        sa.Column("last_at_us", sa.BigInteger(), nullable=False),
        sa.Column("last_rank", sa.BigInteger(), nullable=False),
        sa.Column("min_value", sa.Float(), nullable=True),
        sa.Column("min_step", sa.BigInteger(), nullable=True),
        sa.Column("max_value", sa.Float(), nullable=True),
        sa.Column("max_step", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["training_id"], ["training.id"], name="fk_metric_series_training_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_metric_series"),
        sa.UniqueConstraint("training_id", "name", name="uq_metric_series_training_id"),
    )
    op.create_table(
        "training_document",
        sa.Column("training_id", KEY, nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("planned_us", sa.BigInteger(), nullable=True),
        sa.Column("plan", sa.Text(), nullable=True),
        sa.Column("handle", sa.Text(), nullable=True),
        sa.Column("event_cursor", sa.BigInteger(), nullable=False),
        sa.Column("log_cursors", sa.Text(), nullable=False),
        sa.Column("reader_states", sa.Text(), nullable=False),
        sa.Column("uploaded", sa.Text(), nullable=False),
        sa.Column("logs_uploaded", sa.Boolean(), nullable=False),
        sa.Column("points_refused", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["training_id"], ["training.id"], name="fk_training_document_training_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("training_id", name="pk_training_document"),
    )
    op.create_table(
        "training_tag",
        sa.Column("training_id", KEY, nullable=False),
        sa.Column("name", KEY, nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("value_hash", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["training_id"], ["training.id"], name="fk_training_tag_training_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("training_id", "name", name="pk_training_tag"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_training_tag_name_value_hash_training_id",
        "training_tag",
        ["name", "value_hash", "training_id"],
        unique=False,
    )
    op.create_table(
        "metric_point",
        sa.Column("series_id", SERIAL, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("rank", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["series_id"], ["metric_series.id"], name="fk_metric_point_series_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("series_id", "position", name="pk_metric_point"),
        sqlite_with_rowid=False,
    )
