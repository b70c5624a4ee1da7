"""What may be wrong with an article is known

mailer.models.intake.ArticleStatus; Article.status is ready | held | withdrawn; Article.status_reason (English words, None when ready) says why. Only ready
ones belong into an issue. baselines.counted_from(newsletter_id) is the SQL for the moment from which an article counts
as new for a newsletter: its first_seen_at, or, for what its feed already had when it was added, when the baseline let it
in; NULL when it did not ("it was there before the feed was added"). Article.is_locked: for paying readers, show a mark.
"""

import sqlalchemy as sa
from alembic import op
revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    statuses = sa.Enum('ready', 'held', 'withdrawn', name='articlestatus', native_enum=False, create_constraint=True, length=None)
    codes = sa.Enum(
        'known_title', 'held_by_hand', 'page_gone', 'page_says_gone', 'withdrawn_by_site', 'withdrawn_by_hand',
        name='statuscode', native_enum=False, create_constraint=True, length=None,
    )
    op.add_column('articles', sa.Column('status', statuses, server_default='ready', nullable=False))
    op.add_column('articles', sa.Column('status_code', codes, nullable=True))
    op.add_column('articles', sa.Column('is_locked', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.add_column('articles', sa.Column('revision', sa.Integer(), server_default='0', nullable=False))
    op.add_column('articles', sa.Column('page_read_at', sa.DateTime(timezone=True), nullable=True))
    sources = sa.Enum('feed', 'page', 'text', name='imagesource', native_enum=False, create_constraint=True, length=None)
    op.add_column('articles', sa.Column('image_source', sources, nullable=True))
    op.create_check_constraint(op.f('ck_articles_status_has_code'), 'articles', "(status = 'ready') = (status_code IS NULL)")
    op.create_table('article_revisions',
    sa.Column('article_id', sa.BigInteger(), nullable=False),
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('url', sa.Text(), nullable=False),
    sa.Column('title', sa.Text(), nullable=False),
    sa.Column('excerpt', sa.Text(), nullable=False),
    sa.Column('html', sa.Text(), nullable=False),
    sa.Column('replaced_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['article_id'], ['articles.id'], name=op.f('fk_article_revisions_article_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('article_id', 'number', name=op.f('pk_article_revisions'))
    )
    op.add_column('feeds', sa.Column('is_pushed', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.add_column('feeds', sa.Column('silent_since', sa.DateTime(timezone=True), nullable=True))
    baselines = sa.Enum('none', 'last', 'since', name='baseline', native_enum=False, create_constraint=True, length=None)
    op.add_column('newsletter_feeds', sa.Column('baseline', baselines, nullable=True))
    op.add_column('newsletter_feeds', sa.Column('baseline_count', sa.SmallInteger(), nullable=True))
    op.add_column('newsletter_feeds', sa.Column('baseline_since', sa.DateTime(timezone=True), nullable=True))
    op.add_column('newsletter_feeds', sa.Column('stock_until', sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint(op.f('ck_newsletter_feeds_last_has_count'), 'newsletter_feeds', "baseline <> 'last' OR coalesce(baseline_count, 0) > 0")
    op.create_check_constraint(op.f('ck_newsletter_feeds_since_has_day'), 'newsletter_feeds', "baseline <> 'since' OR baseline_since IS NOT NULL")
    op.create_table('admitted_articles',
    sa.Column('newsletter_id', sa.BigInteger(), nullable=False),
    sa.Column('article_id', sa.BigInteger(), nullable=False),
    sa.Column('admitted_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['newsletter_id'], ['newsletters.id'], name=op.f('fk_admitted_articles_newsletter_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['article_id'], ['articles.id'], name=op.f('fk_admitted_articles_article_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('newsletter_id', 'article_id', name=op.f('pk_admitted_articles'))
    )
    op.create_index(op.f('ix_admitted_articles_article_id'), 'admitted_articles', ['article_id'], unique=False)
    # Feeds that were read before had no baseline: everything of theirs counts from its first sight, as it did.
    op.execute("""
        UPDATE newsletter_feeds SET stock_until = '1970-01-01 00:00:00+00' FROM feeds
        WHERE feeds.id = newsletter_feeds.feed_id AND feeds.last_success_at IS NOT NULL
    """)
