"""Tokens with scopes, idempotent requests, webhooks"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = '0019'
down_revision = '0018'
branch_labels = None
depends_on = None

SCOPES = '["read", "subscribers", "issues", "send", "articles", "admin"]'
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column('access_tokens', sa.Column('prefix', sa.Text(), server_default='', nullable=False))
    op.add_column('access_tokens', sa.Column('scopes', JSONB(), server_default='["articles"]', nullable=False))
    op.alter_column('access_tokens', 'scopes', server_default=None)
    op.add_column('access_tokens', sa.Column('created_by', sa.Text(), server_default='', nullable=False))
    op.add_column('access_tokens', sa.Column('expires_at', MOMENT, nullable=True))
    op.alter_column('access_tokens', 'newsletter_id', nullable=True)
    op.drop_column('access_tokens', 'scope')
    op.create_check_constraint(
        op.f('ck_access_tokens_scopes'),
        'access_tokens',
        f"jsonb_array_length(scopes) > 0 AND scopes <@ '{SCOPES}'::jsonb",
    )
    op.create_table(
        'kept_answers',
        sa.Column('token_id', sa.BigInteger(), nullable=False),
        sa.Column('key', sa.Text(), nullable=False),
        sa.Column('request_hash', sa.LargeBinary(), nullable=False),
        sa.Column('status', sa.SmallInteger(), nullable=False),
        sa.Column('sealed', sa.LargeBinary(), nullable=False),
        sa.Column('created_at', MOMENT, nullable=False),
        sa.CheckConstraint('length(key) BETWEEN 1 AND 200', name=op.f('ck_kept_answers_key_length')),
        sa.ForeignKeyConstraint(
            ['token_id'], ['access_tokens.id'], name=op.f('fk_kept_answers_token_id'), ondelete='CASCADE'
        ),
        sa.PrimaryKeyConstraint('token_id', 'key', name=op.f('pk_kept_answers')),
    )
    op.create_index(op.f('ix_kept_answers_created_at'), 'kept_answers', ['created_at'])
    _webhooks()
    _messages()
    _calls()
    op.drop_constraint(op.f('ck_desk_mails_deskevent'), 'desk_mails')
    events = (
        'review', 'checks_held', 'issue_held', 'unreviewed', 'not_made', 'feed_silent', 'issue_paused', 'issue_failed'
    )
    told = ', '.join(f"'{one}'" for one in (*events, 'webhook_off'))
    op.create_check_constraint(op.f('ck_desk_mails_deskevent'), 'desk_mails', f'event IN ({told})')


def _webhooks() -> None:
    off = sa.Enum('by_hand', 'failing', 'gone', name='webhookoff', native_enum=False, create_constraint=True, length=None)
    op.create_table(
        'webhooks',
        sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column('url', sa.Text(), nullable=False),
        sa.Column('events', JSONB(), server_default='[]', nullable=False),
        sa.Column('newsletter_id', sa.BigInteger(), nullable=True),
        sa.Column('seed', sa.LargeBinary(), nullable=False),
        sa.Column('old_seed', sa.LargeBinary(), nullable=True),
        sa.Column('old_until', MOMENT, nullable=True),
        sa.Column('created_by', sa.Text(), nullable=False),
        sa.Column('created_at', MOMENT, nullable=False),
        sa.Column('failing_since', MOMENT, nullable=True),
        sa.Column('quiet_until', MOMENT, nullable=True),
        sa.Column('off_since', MOMENT, nullable=True),
        sa.Column('off_because', off, nullable=True),
        sa.CheckConstraint('(off_since IS NULL) = (off_because IS NULL)', name=op.f('ck_webhooks_off_has_reason')),
        sa.CheckConstraint('(old_seed IS NULL) = (old_until IS NULL)', name=op.f('ck_webhooks_old_has_end')),
        sa.ForeignKeyConstraint(
            ['newsletter_id'], ['newsletters.id'], name=op.f('fk_webhooks_newsletter_id'), ondelete='CASCADE'
        ),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_webhooks')),
    )
    op.create_index(op.f('ix_webhooks_newsletter_id'), 'webhooks', ['newsletter_id'])


def _messages() -> None:
    event = sa.Enum(
        'subscriber.confirmed',
        'subscriber.unsubscribed',
        'subscriber.bounced',
        'issue.scheduled',
        'issue.sending',
        'issue.paused',
        'issue.sent',
        'issue.cancelled',
        'webhook.test',
        name='webhookevent',
        native_enum=False,
        create_constraint=True,
        length=None,
    )
    op.create_table(
        'webhook_messages',
        sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column('event', event, nullable=False),
        sa.Column('newsletter_id', sa.BigInteger(), nullable=True),
        sa.Column('subscription_id', sa.BigInteger(), nullable=True),
        sa.Column('values', JSONB(), nullable=False),
        sa.Column('happened_at', MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ['newsletter_id'], ['newsletters.id'], name=op.f('fk_webhook_messages_newsletter_id'), ondelete='CASCADE'
        ),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_webhook_messages')),
    )
    for name in ('newsletter_id', 'subscription_id', 'happened_at'):
        op.create_index(op.f(f'ix_webhook_messages_{name}'), 'webhook_messages', [name])


def _calls() -> None:
    state = sa.Enum(
        'waiting', 'answered', 'given_up', name='callstate', native_enum=False, create_constraint=True, length=None
    )
    trouble = sa.Enum(
        'status',
        'redirect',
        'private_address',
        'name_unknown',
        'timeout',
        'unreachable',
        'switched_off',
        name='calltrouble',
        native_enum=False,
        create_constraint=True,
        length=None,
    )
    op.create_table(
        'webhook_calls',
        sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column('message_id', sa.BigInteger(), nullable=False),
        sa.Column('webhook_id', sa.BigInteger(), nullable=False),
        sa.Column('state', state, server_default='waiting', nullable=False),
        sa.Column('attempts', sa.Integer(), server_default='0', nullable=False),
        sa.Column('due_at', MOMENT, nullable=False),
        sa.Column('trouble', trouble, nullable=True),
        sa.Column('status', sa.SmallInteger(), nullable=True),
        sa.Column('milliseconds', sa.Integer(), nullable=True),
        sa.Column('last_at', MOMENT, nullable=True),
        sa.ForeignKeyConstraint(
            ['message_id'], ['webhook_messages.id'], name=op.f('fk_webhook_calls_message_id'), ondelete='CASCADE'
        ),
        sa.ForeignKeyConstraint(
            ['webhook_id'], ['webhooks.id'], name=op.f('fk_webhook_calls_webhook_id'), ondelete='CASCADE'
        ),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_webhook_calls')),
    )
    op.create_index(op.f('ix_webhook_calls_message_id'), 'webhook_calls', ['message_id'])
    op.create_index('ix_webhook_calls_webhook_id_id', 'webhook_calls', ['webhook_id', 'id'])
    waiting = sa.text("state = 'waiting'")
    op.create_index('ix_webhook_calls_due', 'webhook_calls', ['due_at', 'id'], postgresql_where=waiting)
