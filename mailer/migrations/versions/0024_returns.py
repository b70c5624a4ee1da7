"""What comes back of deliveries, and reasons for suppressions"""

import sqlalchemy as sa
from alembic import op

revision = '0024'
down_revision = '0023'
branch_labels = None
depends_on = None


def upgrade() -> None:
    kinds = sa.Enum('hard', 'soft', 'ours', 'complaint', name='returnkind', native_enum=False, create_constraint=True, length=None)
    op.create_table(
        'returns',
        sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column('key', sa.LargeBinary(), nullable=False),
        sa.Column('delivery_id', sa.BigInteger(), nullable=True),
        sa.Column('kind', kinds, nullable=False),
        sa.Column('reason', sa.Text(), nullable=False),
        sa.Column('status', sa.Text(), nullable=True),
        sa.Column('words', sa.Text(), nullable=True),
        sa.Column('via', sa.Text(), nullable=False),
        sa.Column('at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('received_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('handled_at', sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint('length(words) <= 400', name=op.f('ck_returns_words_length')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_returns')),
        sa.UniqueConstraint('key', name=op.f('uq_returns_key')),
    )
    op.create_index('ix_returns_delivery_id', 'returns', ['delivery_id'], postgresql_where=sa.text('delivery_id IS NOT NULL'))
    op.create_index('ix_returns_waiting', 'returns', ['id'], postgresql_where=sa.text('handled_at IS NULL'))
    op.create_index('ix_returns_received_at', 'returns', ['received_at'])
    reasons = "reason IN ('erased', 'bounced', 'complained', 'removed')"
    op.execute(f"UPDATE suppressions SET reason = 'removed' WHERE NOT ({reasons})")
    op.alter_column('suppressions', 'reason', type_=sa.String(), existing_type=sa.Text(), existing_nullable=False)
    op.create_check_constraint(op.f('ck_suppressions_suppressedbecause'), 'suppressions', reasons)
    events = ('review', 'checks_held', 'issue_held', 'unreviewed', 'not_made', 'feed_silent', 'issue_paused', 'issue_failed', 'webhook_off', 'blocked', 'complaints')
    op.drop_constraint(op.f('ck_desk_mails_deskevent'), 'desk_mails')
    op.create_check_constraint(op.f('ck_desk_mails_deskevent'), 'desk_mails', f'event IN {events}')
