"""While and after sending"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0022'
down_revision = '0021'
branch_labels = None
depends_on = None

STATES = ('draft', 'scheduled', 'sending', 'paused', 'sent', 'cancelled', 'failed')
REASONS = (
    'by_hand', 'too_many_refused', 'sender_refused', 'login_refused', 'tls_refused', 'message_too_big', 'signing_failed',
    'blocked', 'complaints', 'ledger_mismatch', 'template_invalid', 'nothing_to_send', 'checks_failed', 'feeds_stale',
    'server_unreachable', 'server_slow', 'quota_reached', 'not_approved',
)


def upgrade() -> None:
    _create_tallies()
    _create_totals()
    _create_reports()
    op.create_index(
        'ix_subscriptions_ended',
        'subscriptions',
        ['newsletter_id', 'ended_at'],
        postgresql_where=sa.text("state = 'ended'"),
    )
    op.create_index(
        'ix_outcomes_trouble', 'outcomes', ['delivery_id'], postgresql_where=sa.text("outcome <> 'accepted'")
    )
    op.create_index('ix_consents_at', 'consents', ['at'], postgresql_using='brin')


def _count(name: str, **options: Any) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False, **options)


def _issue(table: str) -> tuple[sa.Column[int], sa.ForeignKeyConstraint]:
    return (
        sa.Column('issue_id', sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ['issue_id'], ['issues.id'], name=op.f(f'fk_{table}_issue_id'), ondelete='CASCADE'
        ),
    )


def _newsletter(table: str) -> tuple[sa.Column[int], sa.ForeignKeyConstraint]:
    return (
        sa.Column('newsletter_id', sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ['newsletter_id'], ['newsletters.id'], name=op.f(f'fk_{table}_newsletter_id'), ondelete='CASCADE'
        ),
    )


def _create_tallies() -> None:
    counts = ('accepted', 'refused', 'skipped', 'uncertain', 'deferred', 'recovered')
    op.create_table(
        'tallies',
        sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column('issue_id', sa.BigInteger(), nullable=False),
        sa.Column('at', sa.DateTime(timezone=True), nullable=False),
        *(_count(name, server_default='0') for name in counts),
        sa.Column('providers', postgresql.JSONB(), server_default='{}', nullable=False),
        sa.Column('replies', postgresql.JSONB(), server_default='{}', nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_tallies')),
    )
    op.create_index('ix_tallies_issue_id_id', 'tallies', ['issue_id', 'id'])
    op.create_table(
        'issue_events',
        sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
        *_issue('issue_events'),
        sa.Column('at', sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            'state',
            sa.Enum(*STATES, name='issuestate', native_enum=False, create_constraint=True, length=None),
            nullable=False,
        ),
        sa.Column(
            'code',
            sa.Enum(*REASONS, name='pausereason', native_enum=False, create_constraint=True, length=None),
            nullable=True,
        ),
        sa.Column('words', sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_issue_events')),
    )
    op.create_index('ix_issue_events_issue_id_id', 'issue_events', ['issue_id', 'id'])


def _create_totals() -> None:
    op.create_table(
        'provider_totals',
        *_issue('provider_totals'),
        sa.Column('provider', sa.Text(), nullable=False),
        *(_count(name) for name in ('accepted', 'refused', 'deferred', 'recovered')),
        sa.PrimaryKeyConstraint('issue_id', 'provider', name=op.f('pk_provider_totals')),
    )
    op.create_table(
        'reply_totals',
        *_issue('reply_totals'),
        sa.Column('said', sa.Text(), nullable=False),
        _count('count'),
        sa.PrimaryKeyConstraint('issue_id', 'said', name=op.f('pk_reply_totals')),
    )


def _create_reports() -> None:
    op.create_table(
        'issue_reports',
        *_issue('issue_reports'),
        *(_count(name) for name in ('accepted', 'refused', 'clicks', 'left', 'complained')),
        sa.Column('hourly', postgresql.JSONB(), nullable=False),
        sa.Column('counted_at', sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint('jsonb_array_length(hourly) = 48', name=op.f('ck_issue_reports_hours')),
        sa.PrimaryKeyConstraint('issue_id', name=op.f('pk_issue_reports')),
    )
    op.create_table(
        'reader_days',
        *_newsletter('reader_days'),
        sa.Column('day', sa.Date(), nullable=False),
        *(_count(name) for name in ('joined', 'left', 'readers')),
        sa.PrimaryKeyConstraint('newsletter_id', 'day', name=op.f('pk_reader_days')),
    )
    op.create_table(
        'reader_mixes',
        *_newsletter('reader_mixes'),
        sa.Column('rhythm', sa.Text(), nullable=False),
        sa.Column('language', sa.Text(), nullable=False),
        _count('readers'),
        sa.PrimaryKeyConstraint('newsletter_id', 'rhythm', 'language', name=op.f('pk_reader_mixes')),
    )
