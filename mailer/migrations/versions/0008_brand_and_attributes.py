"""Brands and readers' attributes"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None


def upgrade() -> None:
    fonts = sa.Enum('serif', 'sans', 'system', name='font', native_enum=False, create_constraint=True, length=None)
    op.add_column('newsletters', sa.Column('logo_url', sa.Text(), nullable=True))
    op.add_column('newsletters', sa.Column('logo_width', sa.SmallInteger(), server_default='160', nullable=False))
    op.add_column('newsletters', sa.Column('font', fonts, server_default='serif', nullable=False))
    op.create_check_constraint('logo_width', 'newsletters', 'logo_width BETWEEN 24 AND 536')
    op.add_column(
        'subscribers',
        sa.Column('attributes', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    )
    op.create_check_constraint('attributes_object', 'subscribers', "jsonb_typeof(attributes) = 'object'")
