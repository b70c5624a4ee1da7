"""Corrections, and articles pulled in mid-send"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None


def upgrade() -> None:
    json, moment = postgresql.JSONB(astext_type=sa.Text()), sa.DateTime(timezone=True)
    kinds = sa.Enum('pulled', 'replaced', 'corrected', name='changekind', native_enum=False, create_constraint=True, length=None)
    carried = sa.Enum('own', 'all', 'none', name='carriedcorrections', native_enum=False, create_constraint=True, length=None)
    op.add_column('newsletters', sa.Column('carries_corrections', carried, server_default='own', nullable=False))
    op.add_column('issues', sa.Column('revision', sa.Integer(), server_default='0', nullable=False))
    op.add_column('variants', sa.Column('content', json, nullable=True))
    op.add_column('variants', sa.Column('replaced_by', sa.BigInteger(), nullable=True))
    op.create_foreign_key(op.f('fk_variants_replaced_by'), 'variants', 'variants', ['replaced_by'], ['id'])
    op.add_column('variants', sa.Column('withdrawn_at', moment, nullable=True))
    op.add_column('deferrals', sa.Column('variant_id', sa.BigInteger(), nullable=True))
    op.create_table('corrections',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('article_id', sa.BigInteger(), nullable=False),
    sa.Column('note', sa.Text(), nullable=False),
    sa.Column('by', sa.Text(), nullable=False),
    sa.Column('at', moment, nullable=False),
    sa.CheckConstraint("note <> ''", name=op.f('ck_corrections_says_something')),
    sa.ForeignKeyConstraint(['article_id'], ['articles.id'], name=op.f('fk_corrections_article_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_corrections'))
    )
    op.create_index(op.f('ix_corrections_article_id'), 'corrections', ['article_id'], unique=False)
    op.create_table('variant_corrections',
    sa.Column('variant_id', sa.BigInteger(), nullable=False),
    sa.Column('correction_id', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['variant_id'], ['variants.id'], name=op.f('fk_variant_corrections_variant_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['correction_id'], ['corrections.id'], name=op.f('fk_variant_corrections_correction_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('variant_id', 'correction_id', name=op.f('pk_variant_corrections'))
    )
    op.create_index(op.f('ix_variant_corrections_correction_id'), 'variant_corrections', ['correction_id'], unique=False)
    op.create_table('issue_changes',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('issue_id', sa.BigInteger(), nullable=False),
    sa.Column('article_id', sa.BigInteger(), nullable=False),
    sa.Column('kind', kinds, nullable=False),
    sa.Column('note', sa.Text(), server_default='', nullable=False),
    sa.Column('had', sa.Integer(), nullable=True),
    sa.Column('by', sa.Text(), nullable=False),
    sa.Column('at', moment, nullable=False),
    sa.ForeignKeyConstraint(['issue_id'], ['issues.id'], name=op.f('fk_issue_changes_issue_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['article_id'], ['articles.id'], name=op.f('fk_issue_changes_article_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_issue_changes'))
    )
    op.create_index(op.f('ix_issue_changes_issue_id'), 'issue_changes', ['issue_id'], unique=False)
    op.create_index(op.f('ix_issue_changes_article_id'), 'issue_changes', ['article_id'], unique=False)
