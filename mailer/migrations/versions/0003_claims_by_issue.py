"""Batches are claimed issue by issue, each from an index of its own"""

from alembic import op
from sqlalchemy import text
revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index('ix_batches_waiting', table_name='batches')
    op.create_index('ix_batches_waiting', 'batches', ['issue_id', 'due_at', 'id'], postgresql_where=text("state <> 'done'"))
    op.create_index('ix_batches_urgent', 'batches', ['due_at', 'id'], postgresql_where=text("state = 'queued' AND issue_id IS NULL"))
    op.create_index('ix_batches_claimed', 'batches', ['lease_until'], postgresql_where=text("state = 'claimed'"))
