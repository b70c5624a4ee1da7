"""People and reports: saved filters of readers, and what finds readers by the start or the domain of their address"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0023'
down_revision = '0022'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('segments',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('chosen', postgresql.JSONB(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint('length(name) BETWEEN 1 AND 80', name=op.f('ck_segments_name_length')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_segments')),
    sa.UniqueConstraint('name', name=op.f('uq_segments_name'))
    )
    op.create_index('ix_subscribers_address_start', 'subscribers', ['address_key', 'id'], postgresql_ops={'address_key': 'COLLATE "C"'})
    op.create_index('ix_subscribers_domain', 'subscribers', [sa.text("split_part(address_key, '@', 2)"), 'id'])
    op.create_index('ix_subscriptions_others', 'subscriptions', ['state', 'id'], postgresql_where=sa.text("state <> 'confirmed'"))
    op.create_index('ix_subscriptions_paused', 'subscriptions', ['paused_until', 'id'], postgresql_where=sa.text('paused_until IS NOT NULL'))
    op.create_index('ix_subscriptions_source', 'subscriptions', ['source', 'id'])
