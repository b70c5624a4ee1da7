"""Readers choose topics and rhythm, and what every variant held is kept"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None


def upgrade() -> None:
    json, moment = postgresql.JSONB(astext_type=sa.Text()), sa.DateTime(timezone=True)
    rhythms = sa.Enum('each', 'daily', 'weekly', 'monthly', name='rhythm', native_enum=False, create_constraint=True, length=None)
    overflows = sa.Enum('listed', 'carried', name='overflow', native_enum=False, create_constraint=True, length=None)
    places = sa.Enum('given', 'listed', 'carried', name='place', native_enum=False, create_constraint=True, length=None)
    op.add_column('newsletters', sa.Column('max_wait_days', sa.SmallInteger(), server_default='14', nullable=False))
    op.add_column('newsletters', sa.Column('overflow', overflows, server_default='listed', nullable=False))
    op.add_column('newsletters', sa.Column('include_categories', json, server_default='[]', nullable=False))
    op.add_column('newsletters', sa.Column('exclude_categories', json, server_default='[]', nullable=False))
    op.add_column('issues', sa.Column('readers_not_due', sa.Integer(), server_default='0', nullable=False))
    op.add_column('issues', sa.Column('readers_without_news', sa.Integer(), server_default='0', nullable=False))
    op.add_column('subscriptions', sa.Column('topics', json, server_default='[]', nullable=False))
    op.add_column('subscriptions', sa.Column('rhythm', rhythms, server_default='each', nullable=False))
    op.add_column('subscriptions', sa.Column('paused_until', moment, nullable=True))
    op.add_column('subscriptions', sa.Column('watermark', moment, nullable=True))
    op.create_table('topics',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('newsletter_id', sa.BigInteger(), nullable=False),
    sa.Column('slug', sa.Text(), nullable=False),
    sa.Column('names', json, nullable=False),
    sa.Column('categories', json, nullable=False),
    sa.Column('include', json, nullable=False),
    sa.Column('exclude', json, nullable=False),
    sa.Column('position', sa.SmallInteger(), nullable=False),
    sa.CheckConstraint("slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name=op.f('ck_topics_slug_form')),
    sa.ForeignKeyConstraint(['newsletter_id'], ['newsletters.id'], name=op.f('fk_topics_newsletter_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_topics')),
    sa.UniqueConstraint('newsletter_id', 'slug', name=op.f('uq_topics_newsletter_id_slug'))
    )
    op.create_table('pins',
    sa.Column('newsletter_id', sa.BigInteger(), nullable=False),
    sa.Column('article_id', sa.BigInteger(), nullable=False),
    sa.Column('priority', sa.SmallInteger(), nullable=False),
    sa.Column('until', moment, nullable=False),
    sa.ForeignKeyConstraint(['newsletter_id'], ['newsletters.id'], name=op.f('fk_pins_newsletter_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['article_id'], ['articles.id'], name=op.f('fk_pins_article_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('newsletter_id', 'article_id', name=op.f('pk_pins'))
    )
    op.create_index(op.f('ix_pins_article_id'), 'pins', ['article_id'], unique=False)
    op.create_table('issue_exclusions',
    sa.Column('issue_id', sa.BigInteger(), nullable=False),
    sa.Column('article_id', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['issue_id'], ['issues.id'], name=op.f('fk_issue_exclusions_issue_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['article_id'], ['articles.id'], name=op.f('fk_issue_exclusions_article_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('issue_id', 'article_id', name=op.f('pk_issue_exclusions'))
    )
    op.create_index(op.f('ix_issue_exclusions_article_id'), 'issue_exclusions', ['article_id'], unique=False)
    op.drop_constraint('uq_variants_issue_id_language', 'variants', type_='unique')
    op.create_index('ix_variants_issue_id', 'variants', ['issue_id'], unique=False)
    op.add_column('variants', sa.Column('is_edition', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.create_table('variant_articles',
    sa.Column('variant_id', sa.BigInteger(), nullable=False),
    sa.Column('article_id', sa.BigInteger(), nullable=False),
    sa.Column('place', places, nullable=False),
    sa.ForeignKeyConstraint(['variant_id'], ['variants.id'], name=op.f('fk_variant_articles_variant_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['article_id'], ['articles.id'], name=op.f('fk_variant_articles_article_id')),
    sa.PrimaryKeyConstraint('variant_id', 'article_id', name=op.f('pk_variant_articles'))
    )
    op.create_index(op.f('ix_variant_articles_article_id'), 'variant_articles', ['article_id'], unique=False)
    # Until now every variant held the whole issue.
    op.execute("UPDATE variants SET is_edition = true WHERE issue_id IS NOT NULL")
    op.execute("""
        INSERT INTO variant_articles (variant_id, article_id, place)
        SELECT v.id, a.article_id, 'given' FROM variants v JOIN issue_articles a ON a.issue_id = v.issue_id
    """)
