"""Issues written by hand"""

import sqlalchemy as sa
from alembic import op

revision = '0012'
down_revision = '0011'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('issues', sa.Column('body', sa.Text(), nullable=True))
    op.add_column(
        'issues', sa.Column('respects_rhythm', sa.Boolean(), server_default=sa.text('true'), nullable=False)
    )
