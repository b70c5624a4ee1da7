"""What Alembic runs: online only, one transaction, one migrator at a time."""

from alembic import context
from sqlalchemy import text

from mailer.models import Base

# Two containers that start together must not both migrate.
_LOCK = 746_120_511

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=Base.metadata, transaction_per_migration=False, compare_type=True
)
with context.begin_transaction():
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    context.run_migrations()
