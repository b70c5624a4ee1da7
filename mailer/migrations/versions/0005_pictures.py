"""Pictures of articles are kept"""

import sqlalchemy as sa
from alembic import op
revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None


def upgrade() -> None:
    states = sa.Enum('waiting', 'ready', 'refused', name='picturestate', native_enum=False, create_constraint=True, length=None)
    uses = sa.Enum('lead', 'card', name='pictureuse', native_enum=False, create_constraint=True, length=None)
    kinds = sa.Enum('jpg', 'png', name='picturekind', native_enum=False, create_constraint=True, length=None)
    op.create_table(
        'pictures',
        sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column('url', sa.Text(), nullable=False),
        sa.Column('state', states, server_default='waiting', nullable=False),
        sa.Column('reason', sa.Text(), nullable=True),
        sa.Column('digest', sa.Text(), nullable=True),
        sa.Column('tries', sa.SmallInteger(), server_default='0', nullable=False),
        sa.Column('due_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('used_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(state = 'ready') = (digest IS NOT NULL)", name=op.f('ck_pictures_ready_has_digest')),
        sa.CheckConstraint("state <> 'refused' OR reason IS NOT NULL", name=op.f('ck_pictures_refused_has_reason')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_pictures')),
        sa.UniqueConstraint('url', name=op.f('uq_pictures_url')),
    )
    op.create_index('ix_pictures_digest', 'pictures', ['digest'])
    op.create_index('ix_pictures_due_at', 'pictures', ['due_at'], postgresql_where=sa.text("state = 'waiting'"))
    op.create_table(
        'renditions',
        sa.Column('picture_id', sa.BigInteger(), nullable=False),
        sa.Column('use', uses, nullable=False),
        sa.Column('width', sa.SmallInteger(), nullable=False),
        sa.Column('height', sa.SmallInteger(), nullable=False),
        sa.Column('kind', kinds, nullable=False),
        sa.Column('size_bytes', sa.BigInteger(), nullable=False),
        sa.Column('content', sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(['picture_id'], ['pictures.id'], name=op.f('fk_renditions_picture_id_pictures'), ondelete='CASCADE'),
        sa.PrimaryKeyConstraint('picture_id', 'use', name=op.f('pk_renditions')),
    )
    op.create_index('ix_articles_first_seen_at', 'articles', ['first_seen_at'], postgresql_where=sa.text('image_url IS NOT NULL'))
    # JPEG and PNG can't be compressed further: PostgreSQL need not try.
    op.execute('ALTER TABLE renditions ALTER COLUMN content SET STORAGE EXTERNAL')
