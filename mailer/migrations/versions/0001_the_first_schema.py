"""The first schema"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
revision = '0001'
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('accounts',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('email', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('password_hash', sa.Text(), nullable=False),
    sa.Column('language', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('signed_in_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('disabled_at', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_accounts')),
    sa.UniqueConstraint('email', name=op.f('uq_accounts_email'))
    )
    op.create_table('deferrals',
    sa.Column('delivery_id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('attempt', sa.SmallInteger(), nullable=False),
    sa.Column('reply', sa.Text(), nullable=False),
    sa.Column('recorded_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('retry_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('delivery_id', 'attempt', name=op.f('pk_deferrals'))
    )
    op.create_table('feeds',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('url', sa.Text(), nullable=False),
    sa.Column('title', sa.Text(), nullable=True),
    sa.Column('etag', sa.Text(), nullable=True),
    sa.Column('last_modified', sa.Text(), nullable=True),
    sa.Column('last_read_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('last_success_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('next_read_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('failures', sa.Integer(), server_default='0', nullable=False),
    sa.Column('error', sa.Text(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_feeds')),
    sa.UniqueConstraint('url', name=op.f('uq_feeds_url'))
    )
    op.create_index(op.f('ix_feeds_next_read_at'), 'feeds', ['next_read_at'], unique=False)
    op.create_table('newsletters',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('slug', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('description', sa.Text(), server_default='', nullable=False),
    sa.Column('language', sa.Text(), nullable=False),
    sa.Column('site_url', sa.Text(), nullable=False),
    sa.Column('sender_name', sa.Text(), nullable=False),
    sa.Column('sender_address', sa.Text(), nullable=False),
    sa.Column('reply_to', sa.Text(), nullable=True),
    sa.Column('publisher', sa.Text(), nullable=False),
    sa.Column('postal_address', sa.Text(), nullable=False),
    sa.Column('brand_color', sa.Text(), server_default='#0F5C5C', nullable=False),
    sa.Column('brand_color_dark', sa.Text(), server_default='#7CC7BD', nullable=False),
    sa.Column('introduction', sa.Text(), server_default='', nullable=False),
    sa.Column('signature', sa.Text(), nullable=True),
    sa.Column('cron', sa.Text(), nullable=True),
    sa.Column('timezone', sa.Text(), nullable=False),
    sa.Column('scheduled_since', sa.DateTime(timezone=True), nullable=False),
    sa.Column('is_paused', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('min_articles', sa.SmallInteger(), server_default='1', nullable=False),
    sa.Column('max_articles', sa.SmallInteger(), server_default='12', nullable=False),
    sa.Column('max_age_days', sa.SmallInteger(), server_default='30', nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("brand_color ~ '^#[0-9A-Fa-f]{6}$' AND brand_color_dark ~ '^#[0-9A-Fa-f]{6}$'", name=op.f('ck_newsletters_colors')),
    sa.CheckConstraint("slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name=op.f('ck_newsletters_slug_form')),
    sa.CheckConstraint('min_articles BETWEEN 1 AND max_articles', name=op.f('ck_newsletters_article_bounds')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_newsletters')),
    sa.UniqueConstraint('slug', name=op.f('uq_newsletters_slug'))
    )
    op.create_table('outcomes',
    sa.Column('delivery_id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('outcome', sa.Enum('accepted', 'refused', 'skipped', 'uncertain', name='outcome', native_enum=False, create_constraint=True, length=None), nullable=False),
    sa.Column('reply', sa.Text(), nullable=True),
    sa.Column('recorded_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('delivery_id', name=op.f('pk_outcomes'))
    )
    op.create_table('subscribers',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('address', sa.Text(), nullable=False),
    sa.Column('address_key', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint('length(address) <= 320', name=op.f('ck_subscribers_address_length')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_subscribers')),
    sa.UniqueConstraint('address_key', name=op.f('uq_subscribers_address_key'))
    )
    op.create_table('suppressions',
    sa.Column('address_hash', sa.LargeBinary(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('strikes', sa.SmallInteger(), server_default='1', nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('address_hash', name=op.f('pk_suppressions'))
    )
    op.create_table('account_sessions',
    sa.Column('token_hash', sa.LargeBinary(), nullable=False),
    sa.Column('account_id', sa.BigInteger(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['account_id'], ['accounts.id'], name=op.f('fk_account_sessions_account_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('token_hash', name=op.f('pk_account_sessions'))
    )
    op.create_index(op.f('ix_account_sessions_account_id'), 'account_sessions', ['account_id'], unique=False)
    op.create_index(op.f('ix_account_sessions_expires_at'), 'account_sessions', ['expires_at'], unique=False)
    op.create_table('articles',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('feed_id', sa.BigInteger(), nullable=False),
    sa.Column('guid', sa.Text(), nullable=False),
    sa.Column('url', sa.Text(), nullable=False),
    sa.Column('canonical_url', sa.Text(), nullable=False),
    sa.Column('title', sa.Text(), nullable=False),
    sa.Column('excerpt', sa.Text(), server_default='', nullable=False),
    sa.Column('html', sa.Text(), server_default='', nullable=False),
    sa.Column('author', sa.Text(), nullable=True),
    sa.Column('topics', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('language', sa.Text(), nullable=True),
    sa.Column('image_url', sa.Text(), nullable=True),
    sa.Column('image_alt', sa.Text(), nullable=True),
    sa.Column('image_credit', sa.Text(), nullable=True),
    sa.Column('minutes', sa.SmallInteger(), server_default='0', nullable=False),
    sa.Column('published_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('first_seen_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['feed_id'], ['feeds.id'], name=op.f('fk_articles_feed_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_articles')),
    sa.UniqueConstraint('feed_id', 'guid', name=op.f('uq_articles_feed_id_guid'))
    )
    op.create_index('ix_articles_canonical_url', 'articles', ['canonical_url'], unique=False)
    op.create_index('ix_articles_feed_id_first_seen_at', 'articles', ['feed_id', 'first_seen_at'], unique=False)
    op.create_table('issues',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('newsletter_id', sa.BigInteger(), nullable=False),
    sa.Column('number', sa.Integer(), nullable=True),
    sa.Column('state', sa.Enum('draft', 'scheduled', 'sending', 'paused', 'sent', 'cancelled', 'failed', name='issuestate', native_enum=False, create_constraint=True, length=None), nullable=False),
    sa.Column('state_reason', sa.Text(), nullable=True),
    sa.Column('subject', sa.Text(), nullable=False),
    sa.Column('preview_text', sa.Text(), nullable=False),
    sa.Column('introduction', sa.Text(), server_default='', nullable=False),
    sa.Column('web_html', sa.Text(), nullable=True),
    sa.Column('window_start', sa.DateTime(timezone=True), nullable=True),
    sa.Column('window_end', sa.DateTime(timezone=True), nullable=True),
    sa.Column('scheduled_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('recipients', sa.Integer(), server_default='0', nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("state <> 'scheduled' OR scheduled_at IS NOT NULL", name=op.f('ck_issues_scheduled_has_time')),
    sa.CheckConstraint("state NOT IN ('sending', 'sent') OR started_at IS NOT NULL", name=op.f('ck_issues_sending_has_time')),
    sa.ForeignKeyConstraint(['newsletter_id'], ['newsletters.id'], name=op.f('fk_issues_newsletter_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_issues')),
    sa.UniqueConstraint('newsletter_id', 'number', name=op.f('uq_issues_newsletter_id_number'))
    )
    op.create_index('ix_issues_active', 'issues', ['state'], unique=False, postgresql_where=sa.text("state IN ('scheduled', 'sending')"))
    op.create_index('ix_issues_newsletter_id_id', 'issues', ['newsletter_id', 'id'], unique=False)
    op.create_table('newsletter_feeds',
    sa.Column('newsletter_id', sa.BigInteger(), nullable=False),
    sa.Column('feed_id', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['feed_id'], ['feeds.id'], name=op.f('fk_newsletter_feeds_feed_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['newsletter_id'], ['newsletters.id'], name=op.f('fk_newsletter_feeds_newsletter_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('newsletter_id', 'feed_id', name=op.f('pk_newsletter_feeds'))
    )
    op.create_index(op.f('ix_newsletter_feeds_feed_id'), 'newsletter_feeds', ['feed_id'], unique=False)
    op.create_table('subscriptions',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('subscriber_id', sa.BigInteger(), nullable=False),
    sa.Column('newsletter_id', sa.BigInteger(), nullable=False),
    sa.Column('state', sa.Enum('pending', 'confirmed', 'ended', name='subscriptionstate', native_enum=False, create_constraint=True, length=None), nullable=False),
    sa.Column('language', sa.Text(), nullable=False),
    sa.Column('source', sa.Text(), nullable=True),
    sa.Column('requested_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('confirmed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('ended_reason', sa.Enum('unsubscribed', 'one_click', 'complained', 'bounced', 'removed', name='endedreason', native_enum=False, create_constraint=True, length=None), nullable=True),
    sa.CheckConstraint("(state = 'ended') = (ended_at IS NOT NULL)", name=op.f('ck_subscriptions_ended_has_time')),
    sa.CheckConstraint("(state = 'ended') = (ended_reason IS NOT NULL)", name=op.f('ck_subscriptions_ended_has_reason')),
    sa.CheckConstraint("state <> 'confirmed' OR confirmed_at IS NOT NULL", name=op.f('ck_subscriptions_confirmed_has_time')),
    sa.ForeignKeyConstraint(['newsletter_id'], ['newsletters.id'], name=op.f('fk_subscriptions_newsletter_id')),
    sa.ForeignKeyConstraint(['subscriber_id'], ['subscribers.id'], name=op.f('fk_subscriptions_subscriber_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_subscriptions')),
    sa.UniqueConstraint('subscriber_id', 'newsletter_id', name=op.f('uq_subscriptions_subscriber_id_newsletter_id'))
    )
    op.create_index('ix_subscriptions_confirmed', 'subscriptions', ['newsletter_id', 'id'], unique=False, postgresql_where=sa.text("state = 'confirmed'"))
    op.create_table('batches',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('issue_id', sa.BigInteger(), nullable=True),
    sa.Column('first_id', sa.BigInteger(), nullable=False),
    sa.Column('last_id', sa.BigInteger(), nullable=False),
    sa.Column('size', sa.Integer(), nullable=False),
    sa.Column('state', sa.Enum('queued', 'claimed', 'done', name='batchstate', native_enum=False, create_constraint=True, length=None), server_default='queued', nullable=False),
    sa.Column('due_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('owner', sa.Text(), nullable=True),
    sa.Column('lease_until', sa.DateTime(timezone=True), nullable=True),
    sa.Column('fence', sa.Integer(), server_default='0', nullable=False),
    sa.Column('accepted', sa.Integer(), server_default='0', nullable=False),
    sa.Column('refused', sa.Integer(), server_default='0', nullable=False),
    sa.Column('skipped', sa.Integer(), server_default='0', nullable=False),
    sa.Column('uncertain', sa.Integer(), server_default='0', nullable=False),
    sa.CheckConstraint("(state = 'claimed') = (lease_until IS NOT NULL)", name=op.f('ck_batches_claimed_has_lease')),
    sa.CheckConstraint("state <> 'done' OR accepted + refused + skipped + uncertain = size", name=op.f('ck_batches_done_is_complete')),
    sa.CheckConstraint('accepted + refused + skipped + uncertain <= size', name=op.f('ck_batches_equation')),
    sa.CheckConstraint('first_id <= last_id AND size > 0', name=op.f('ck_batches_range')),
    sa.ForeignKeyConstraint(['issue_id'], ['issues.id'], name=op.f('fk_batches_issue_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_batches'))
    )
    op.create_index(op.f('ix_batches_issue_id'), 'batches', ['issue_id'], unique=False)
    op.create_index('ix_batches_single', 'batches', ['first_id'], unique=False, postgresql_where=sa.text('issue_id IS NULL'))
    op.create_index('ix_batches_waiting', 'batches', ['due_at', 'id'], unique=False, postgresql_where=sa.text("state <> 'done'"))
    op.create_table('consents',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('subscription_id', sa.BigInteger(), nullable=False),
    sa.Column('event', sa.Enum('requested', 'confirmed', 'imported', 'changed', 'ended', 'resumed', name='consentevent', native_enum=False, create_constraint=True, length=None), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('source', sa.Text(), nullable=True),
    sa.Column('form_version', sa.Text(), nullable=True),
    sa.Column('network', sa.Text(), nullable=True),
    sa.Column('detail', sa.Text(), nullable=True),
    sa.ForeignKeyConstraint(['subscription_id'], ['subscriptions.id'], name=op.f('fk_consents_subscription_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_consents'))
    )
    op.create_index(op.f('ix_consents_subscription_id'), 'consents', ['subscription_id'], unique=False)
    op.create_table('deliveries',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('issue_id', sa.BigInteger(), nullable=True),
    sa.Column('variant_id', sa.BigInteger(), nullable=False),
    sa.Column('subscription_id', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['subscription_id'], ['subscriptions.id'], name=op.f('fk_deliveries_subscription_id'), ondelete='SET NULL'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_deliveries'))
    )
    op.create_index('uq_deliveries_subscription_id_issue_id', 'deliveries', ['subscription_id', 'issue_id'], unique=True)
    op.create_table('issue_articles',
    sa.Column('issue_id', sa.BigInteger(), nullable=False),
    sa.Column('article_id', sa.BigInteger(), nullable=False),
    sa.Column('position', sa.SmallInteger(), nullable=False),
    sa.Column('layout', sa.Enum('lead', 'card', 'brief', name='layout', native_enum=False, create_constraint=True, length=None), nullable=False),
    sa.ForeignKeyConstraint(['article_id'], ['articles.id'], name=op.f('fk_issue_articles_article_id')),
    sa.ForeignKeyConstraint(['issue_id'], ['issues.id'], name=op.f('fk_issue_articles_issue_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('issue_id', 'article_id', name=op.f('pk_issue_articles'))
    )
    op.create_index(op.f('ix_issue_articles_article_id'), 'issue_articles', ['article_id'], unique=False)
    op.create_table('signup_requests',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('newsletter_id', sa.BigInteger(), nullable=False),
    sa.Column('address', sa.Text(), nullable=False),
    sa.Column('language', sa.Text(), nullable=False),
    sa.Column('source', sa.Text(), nullable=True),
    sa.Column('form_version', sa.Text(), nullable=False),
    sa.Column('network', sa.Text(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('handled_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('subscription_id', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['newsletter_id'], ['newsletters.id'], name=op.f('fk_signup_requests_newsletter_id')),
    sa.ForeignKeyConstraint(['subscription_id'], ['subscriptions.id'], name=op.f('fk_signup_requests_subscription_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_signup_requests'))
    )
    op.create_index(op.f('ix_signup_requests_subscription_id'), 'signup_requests', ['subscription_id'], unique=False)
    op.create_index('ix_signup_requests_waiting', 'signup_requests', ['created_at'], unique=False, postgresql_where=sa.text('handled_at IS NULL'))
    op.create_table('slots',
    sa.Column('newsletter_id', sa.BigInteger(), nullable=False),
    sa.Column('slot_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('result', sa.Enum('issued', 'empty', 'missed', 'failed', name='slotresult', native_enum=False, create_constraint=True, length=None), nullable=False),
    sa.Column('note', sa.Text(), nullable=False),
    sa.Column('issue_id', sa.BigInteger(), nullable=True),
    sa.Column('decided_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['issue_id'], ['issues.id'], name=op.f('fk_slots_issue_id'), ondelete='SET NULL'),
    sa.ForeignKeyConstraint(['newsletter_id'], ['newsletters.id'], name=op.f('fk_slots_newsletter_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('newsletter_id', 'slot_at', name=op.f('pk_slots'))
    )
    op.create_table('variants',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('newsletter_id', sa.BigInteger(), nullable=False),
    sa.Column('issue_id', sa.BigInteger(), nullable=True),
    sa.Column('kind', sa.Enum('issue', 'confirm', 'already', name='mailkind', native_enum=False, create_constraint=True, length=None), nullable=False),
    sa.Column('language', sa.Text(), nullable=False),
    sa.Column('digest', sa.LargeBinary(), nullable=False),
    sa.Column('nonce', sa.Text(), nullable=False),
    sa.Column('headers', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('subject', sa.Text(), nullable=False),
    sa.Column('html', sa.Text(), nullable=False),
    sa.Column('text', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("(kind = 'issue') = (issue_id IS NOT NULL)", name=op.f('ck_variants_issue_kind')),
    sa.ForeignKeyConstraint(['issue_id'], ['issues.id'], name=op.f('fk_variants_issue_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['newsletter_id'], ['newsletters.id'], name=op.f('fk_variants_newsletter_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_variants')),
    sa.UniqueConstraint('issue_id', 'language', name=op.f('uq_variants_issue_id_language'))
    )
    op.create_index('uq_variants_digest', 'variants', ['digest'], unique=True, postgresql_where=sa.text('issue_id IS NULL'))
    # The consent log is append-only: an entry goes only with its subscription (erasure), and is never changed.
    op.execute("""
        CREATE FUNCTION forbid_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'entries of % are never changed', TG_TABLE_NAME; END $$
    """)
    op.execute("CREATE TRIGGER consents_append_only BEFORE UPDATE ON consents FOR EACH ROW EXECUTE FUNCTION forbid_change()")
