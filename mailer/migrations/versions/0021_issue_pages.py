"""Issues before they are sent"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0021'
down_revision = '0020'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('newsletters', sa.Column('paused_until', sa.DateTime(timezone=True), nullable=True))
    op.add_column('newsletters', sa.Column('skip_dates', postgresql.JSONB(), server_default='[]', nullable=False))
    op.add_column('issues', sa.Column('is_leaving', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.add_column('issues', sa.Column('changed_by', sa.Text(), nullable=True))
    op.add_column('issues', sa.Column('for_others_of', sa.BigInteger(), nullable=True))
    op.create_foreign_key(op.f('fk_issues_for_others_of'), 'issues', 'issues', ['for_others_of'], ['id'], ondelete='SET NULL')
    op.create_check_constraint(op.f('ck_issues_leaving_is_scheduled'), 'issues', "state = 'scheduled' OR NOT is_leaving")
    op.create_table('trials',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('issue_id', sa.BigInteger(), nullable=False),
    sa.Column('address', sa.Text(), nullable=False),
    sa.Column('by', sa.Text(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('verdict', sa.Enum('accepted', 'deferred', 'refused', 'blocked', 'uncertain', 'waiting', name='trialverdict', native_enum=False, create_constraint=True, length=None), nullable=True),
    sa.Column('reply', sa.Text(), server_default='', nullable=False),
    sa.Column('server', sa.Text(), server_default='', nullable=False),
    sa.Column('seconds', sa.Float(), server_default='0', nullable=False),
    sa.ForeignKeyConstraint(['issue_id'], ['issues.id'], name=op.f('fk_trials_issue_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_trials'))
    )
    op.create_index(op.f('ix_trials_at'), 'trials', ['at'], unique=False)
    op.create_index(op.f('ix_trials_issue_id'), 'trials', ['issue_id'], unique=False)
