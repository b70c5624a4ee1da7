"""The hour and time zone that a reader chose"""

import sqlalchemy as sa
from alembic import op

revision = '0011'
down_revision = '0010'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        'newsletters', sa.Column('offers_hour', sa.Boolean(), server_default=sa.text('false'), nullable=False)
    )
    op.add_column('subscriptions', sa.Column('hour', sa.SmallInteger(), nullable=True))
    op.add_column('subscriptions', sa.Column('timezone', sa.Text(), nullable=True))
    op.create_check_constraint('hour_has_zone', 'subscriptions', '(hour IS NULL) = (timezone IS NULL)')
    op.create_check_constraint('hour_of_day', 'subscriptions', 'hour BETWEEN 0 AND 23')
    op.create_index(
        'ix_subscriptions_hour', 'subscriptions', ['newsletter_id', 'id'], postgresql_where=sa.text('hour IS NOT NULL')
    )
