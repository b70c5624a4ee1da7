"""Uncertain deliveries are settled, and why an issue waits is a code"""

import sqlalchemy as sa
from alembic import op
revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    reasons = sa.Enum(
        'by_hand', 'too_many_refused', 'sender_refused', 'login_refused', 'tls_refused', 'message_too_big', 'signing_failed', 'blocked', 'complaints',
        'ledger_mismatch', 'template_invalid', 'nothing_to_send', 'server_unreachable', 'server_slow', 'quota_reached',
        name='pausereason', native_enum=False, create_constraint=True, length=None,
    )
    policies = sa.Enum('leave', 'resend', name='whenuncertain', native_enum=False, create_constraint=True, length=None)
    op.add_column('issues', sa.Column('state_code', reasons, nullable=True))
    op.add_column('issues', sa.Column('when_uncertain', policies, server_default='leave', nullable=False))
    op.create_table('settlements',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('issue_id', sa.BigInteger(), nullable=False),
    sa.Column('how', sa.Enum('resend', 'accepted', 'refused', name='settledas', native_enum=False, create_constraint=True, length=None), nullable=False),
    sa.Column('count', sa.Integer(), nullable=False),
    sa.Column('by', sa.Text(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint('count > 0', name=op.f('ck_settlements_settles_something')),
    sa.ForeignKeyConstraint(['issue_id'], ['issues.id'], name=op.f('fk_settlements_issue_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_settlements'))
    )
    op.create_index(op.f('ix_settlements_issue_id'), 'settlements', ['issue_id'], unique=False)
    # What the first version told in a sentence of its own; other words stay without a code.
    op.execute("""
        UPDATE issues SET state_code = CASE
            WHEN state_reason LIKE 'the ledger does not add up%' THEN 'ledger_mismatch'
            WHEN state_reason LIKE 'paused by %' OR state_reason = 'paused from the command line' THEN 'by_hand'
            WHEN state_reason LIKE 'Issue % has no article.' OR state_reason LIKE '%has no confirmed readers yet.' THEN 'nothing_to_send'
            WHEN state = 'failed' THEN 'template_invalid'
            END
        WHERE state IN ('paused', 'failed')
    """)
