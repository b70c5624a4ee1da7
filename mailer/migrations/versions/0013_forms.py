"""The sign-up form"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0013'
down_revision = '0012'
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("asks_topics", "asks_rhythm", "sends_welcome"):
        op.add_column("newsletters", sa.Column(name, sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("newsletters", sa.Column("form_sites", postgresql.JSONB(), server_default="[]", nullable=False))
    op.add_column("signup_requests", sa.Column("topics", postgresql.JSONB(), server_default="[]", nullable=False))
    rhythms = sa.Enum(
        "each", "daily", "weekly", "monthly", name="rhythm", native_enum=False, create_constraint=True, length=None
    )
    op.add_column("signup_requests", sa.Column("rhythm", rhythms, server_default="each", nullable=False))
    op.create_index("ix_signup_requests_created_at", "signup_requests", ["created_at"])
    op.create_index(
        "ix_deliveries_single", "deliveries", ["variant_id"], postgresql_where=sa.text("issue_id IS NULL")
    )
