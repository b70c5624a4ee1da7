"""Findings about an issue are kept"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('issues', sa.Column('findings', postgresql.JSONB(), server_default='[]', nullable=False))
    op.add_column('issues', sa.Column('checked_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('issues', sa.Column('allowed_findings', postgresql.JSONB(), server_default='[]', nullable=False))
    op.add_column('issues', sa.Column('held_since', sa.DateTime(timezone=True), nullable=True))
    op.drop_constraint(op.f('ck_issues_pausereason'), 'issues')
    op.create_check_constraint(op.f('ck_issues_pausereason'), 'issues', """state_code IN (
        'by_hand', 'too_many_refused', 'sender_refused', 'login_refused', 'tls_refused', 'message_too_big', 'signing_failed', 'blocked', 'complaints',
        'ledger_mismatch', 'template_invalid', 'nothing_to_send', 'checks_failed', 'server_unreachable', 'server_slow', 'quota_reached')""")
    op.drop_constraint(op.f('ck_slots_slotresult'), 'slots')
    op.create_check_constraint(op.f('ck_slots_slotresult'), 'slots', "result IN ('issued', 'empty', 'missed', 'failed', 'held')")
