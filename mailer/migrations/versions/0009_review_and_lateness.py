"""What the desk decides before an issue leaves, and what happens when it is late"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None


def enum(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=None)


def upgrade() -> None:
    json, moment = postgresql.JSONB(astext_type=sa.Text()), sa.DateTime(timezone=True)
    for column in (
        sa.Column('desk_addresses', json, server_default='[]', nullable=False),
        sa.Column('review_hours', sa.SmallInteger(), server_default='0', nullable=False),
        sa.Column('on_silence', enum('onsilence', 'send', 'hold'), server_default='send', nullable=False),
        sa.Column('when_late', enum('whenlate', 'send', 'hold', 'merge'), server_default='merge', nullable=False),
        sa.Column('late_after_minutes', sa.Integer(), nullable=True),
        sa.Column('stale_percent', sa.SmallInteger(), nullable=True),
        sa.Column('stale_hours', sa.SmallInteger(), server_default='24', nullable=False),
        sa.Column('when_stale', enum('whenstale', 'send', 'hold'), server_default='hold', nullable=False),
    ):
        op.add_column('newsletters', column)
    op.create_check_constraint('review_hours', 'newsletters', 'review_hours BETWEEN 0 AND 168')
    op.create_check_constraint('late_after_minutes', 'newsletters', 'late_after_minutes BETWEEN 1 AND 10080')
    op.create_check_constraint('stale', 'newsletters', 'stale_percent BETWEEN 0 AND 99 AND stale_hours BETWEEN 1 AND 720')
    codes = enum(
        'slotcode', 'in_review', 'approved', 'held_by_desk', 'dropped_by_desk', 'silence_sent', 'silence_held', 'pause_held', 'unreviewed_sent',
        'unreviewed_held', 'late_sent', 'late_held', 'late_merged', 'stale_sent', 'stale_held')
    op.add_column('slots', sa.Column('code', codes, nullable=True))
    op.add_column('slots', sa.Column('values', json, server_default=sa.text("'{}'"), nullable=False))
    op.drop_constraint(op.f('ck_slots_slotresult'), 'slots')
    op.create_check_constraint(op.f('ck_slots_slotresult'), 'slots',
        "result IN ('issued', 'empty', 'missed', 'failed', 'held', 'review', 'dropped')")
    op.drop_constraint(op.f('ck_issues_pausereason'), 'issues')
    op.create_check_constraint(op.f('ck_issues_pausereason'), 'issues', """state_code IN (
        'by_hand', 'too_many_refused', 'sender_refused', 'login_refused', 'tls_refused', 'message_too_big', 'signing_failed', 'blocked', 'complaints',
        'ledger_mismatch', 'template_invalid', 'nothing_to_send', 'checks_failed', 'feeds_stale', 'server_unreachable', 'server_slow', 'quota_reached')""")
    op.drop_constraint(op.f('ck_variants_mailkind'), 'variants')
    op.create_check_constraint(op.f('ck_variants_mailkind'), 'variants', "kind IN ('issue', 'confirm', 'already', 'review', 'alert')")
    op.add_column('deliveries', sa.Column('address', sa.Text(), nullable=True))
    op.create_check_constraint('newsroom_only', 'deliveries', 'address IS NULL OR (issue_id IS NULL AND subscription_id IS NULL)')
    op.create_table('desk_mails',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('newsletter_id', sa.BigInteger(), nullable=False),
    sa.Column('issue_id', sa.BigInteger(), nullable=True),
    sa.Column('event', enum('deskevent', 'review', 'checks_held', 'issue_held', 'unreviewed', 'not_made', 'feed_silent', 'issue_paused', 'issue_failed'), nullable=False),
    sa.Column('about', sa.Text(), nullable=False),
    sa.Column('values', json, nullable=False),
    sa.Column('address', sa.Text(), nullable=False),
    sa.Column('created_at', moment, nullable=False),
    sa.Column('delivery_id', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['newsletter_id'], ['newsletters.id'], name=op.f('fk_desk_mails_newsletter_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['issue_id'], ['issues.id'], name=op.f('fk_desk_mails_issue_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_desk_mails')),
    sa.UniqueConstraint('newsletter_id', 'event', 'about', 'address', name='uq_desk_mails_once')
    )
    op.create_index(op.f('ix_desk_mails_issue_id'), 'desk_mails', ['issue_id'], unique=False)
    op.create_index('ix_desk_mails_waiting', 'desk_mails', ['id'], unique=False, postgresql_where=sa.text('delivery_id IS NULL'))
    op.create_table('issue_acts',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('issue_id', sa.BigInteger(), nullable=False),
    sa.Column('act', enum('reviewact', 'send', 'hold', 'drop'), nullable=False),
    sa.Column('by', sa.Text(), nullable=False),
    sa.Column('at', moment, nullable=False),
    sa.ForeignKeyConstraint(['issue_id'], ['issues.id'], name=op.f('fk_issue_acts_issue_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_issue_acts'))
    )
    op.create_index(op.f('ix_issue_acts_issue_id'), 'issue_acts', ['issue_id'], unique=False)
