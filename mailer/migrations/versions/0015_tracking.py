"""Tracking, by consent"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0015'
down_revision = '0014'
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ('tracks_clicks', 'tracks_opens', 'tracks_readers', 'is_indexable'):
        op.add_column('newsletters', sa.Column(name, sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.add_column('variants', sa.Column('tracks', postgresql.JSONB(), server_default='[]', nullable=False))
    op.add_column('subscriptions', sa.Column('tracking_agreed_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('signup_requests', sa.Column('agrees_to_tracking', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.create_table('variant_links',
    sa.Column('variant_id', sa.BigInteger(), nullable=False),
    sa.Column('number', sa.SmallInteger(), nullable=False),
    sa.Column('url', sa.Text(), nullable=False),
    sa.ForeignKeyConstraint(['variant_id'], ['variants.id'], name=op.f('fk_variant_links_variant_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('variant_id', 'number', name=op.f('pk_variant_links'))
    )
    op.create_table('events',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('variant_id', sa.BigInteger(), nullable=False),
    sa.Column('link', sa.SmallInteger(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('subscription_id', sa.BigInteger(), nullable=True),
    sa.Column('machine', sa.Enum('head', 'proxy', 'scanner', 'at_once', 'burst', name='machinereason', native_enum=False, create_constraint=True, length=None), nullable=True),
    sa.Column('is_head', sa.Boolean(), nullable=False),
    sa.Column('agent', sa.Text(), nullable=True),
    sa.Column('network', sa.Text(), nullable=True),
    sa.Column('seconds_after', sa.Integer(), nullable=True),
    sa.CheckConstraint('length(agent) <= 200', name=op.f('ck_events_agent_length')),
    sa.CheckConstraint('link >= 0', name=op.f('ck_events_link_number')),
    sa.ForeignKeyConstraint(['subscription_id'], ['subscriptions.id'], name=op.f('fk_events_subscription_id'), ondelete='SET NULL'),
    sa.ForeignKeyConstraint(['variant_id'], ['variants.id'], name=op.f('fk_events_variant_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_events'))
    )
    op.create_index('ix_events_at', 'events', ['at'], unique=False)
    op.create_index('ix_events_subscription_id', 'events', ['subscription_id'], unique=False, postgresql_where=sa.text('subscription_id IS NOT NULL'))
    op.create_index('ix_events_variant_id_at', 'events', ['variant_id', 'at'], unique=False)
    op.create_table('event_totals',
    sa.Column('variant_id', sa.BigInteger(), nullable=False),
    sa.Column('link', sa.SmallInteger(), nullable=False),
    sa.Column('day', sa.Date(), nullable=False),
    sa.Column('is_machine', sa.Boolean(), nullable=False),
    sa.Column('count', sa.Integer(), nullable=False),
    sa.ForeignKeyConstraint(['variant_id'], ['variants.id'], name=op.f('fk_event_totals_variant_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('variant_id', 'link', 'day', 'is_machine', name=op.f('pk_event_totals'))
    )
    op.create_table('spools',
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('last_segment', sa.BigInteger(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_spools'))
    )
