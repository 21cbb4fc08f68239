"""What Alembic runs: the migrations, on the connection and in the transaction that the caller has begun."""

from alembic import context

from blocks.registry.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    # SQLite can do it in one transaction as PostgreSQL can; Alembic does not rely on that by itself.
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
