"""What readers change, take with them and have erased"""

import sqlalchemy as sa
from alembic import op

revision = '0014'
down_revision = '0013'
branch_labels = None
depends_on = None


def upgrade() -> None:
    _allow('variants', 'kind', 'mailkind',
           'issue', 'confirm', 'already', 'review', 'alert', 'manage', 'change_address', 'address_changed')
    _allow('consents', 'event', 'consentevent',
           'requested', 'confirmed', 'imported', 'changed', 'moved', 'ended', 'resumed')
    _allow('subscriptions', 'ended_reason', 'endedreason',
           'unsubscribed', 'one_click', 'complained', 'bounced', 'removed', 'moved')
    reasons = sa.Enum('too_many', 'not_interested', 'never_asked', 'other', name='leftbecause', native_enum=False,
                      create_constraint=True, length=None)
    op.add_column('subscriptions', sa.Column('left_because', reasons, nullable=True))
    op.create_check_constraint(op.f('ck_subscriptions_left_is_ended'), 'subscriptions',
                               "left_because IS NULL OR state = 'ended'")
    _link_requests()
    _address_changes()
    # An entry goes with its subscription (erasure deletes in a cascade, from inside another trigger), never by itself.
    op.execute("""
        CREATE FUNCTION forbid_removal() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF pg_trigger_depth() < 2 THEN RAISE EXCEPTION 'entries of % go with their subscription only', TG_TABLE_NAME; END IF;
            RETURN OLD;
        END $$
    """)
    op.execute("CREATE TRIGGER consents_stay BEFORE DELETE ON consents FOR EACH ROW EXECUTE FUNCTION forbid_removal()")


def _allow(table: str, column: str, name: str, *values: str) -> None:
    constraint = op.f(f'ck_{table}_{name}')
    op.drop_constraint(constraint, table)
    listed = ', '.join(f"'{value}'" for value in values)
    op.create_check_constraint(constraint, table, f'{column} IN ({listed})')


def _link_requests() -> None:
    op.create_table('link_requests',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('address', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_link_requests'))
    )
    op.create_index(op.f('ix_link_requests_created_at'), 'link_requests', ['created_at'], unique=False)


def _address_changes() -> None:
    op.create_table('address_changes',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('subscriber_id', sa.BigInteger(), nullable=False),
    sa.Column('old_address', sa.Text(), nullable=False),
    sa.Column('new_address', sa.Text(), nullable=False),
    sa.Column('confirmation_id', sa.BigInteger(), nullable=False),
    sa.Column('notice_id', sa.BigInteger(), nullable=True),
    sa.Column('asked_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('done_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint('(done_at IS NULL) = (notice_id IS NULL)', name=op.f('ck_address_changes_done_is_told')),
    sa.ForeignKeyConstraint(['subscriber_id'], ['subscribers.id'], name=op.f('fk_address_changes_subscriber_id'),
                            ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_address_changes')),
    sa.UniqueConstraint('confirmation_id', name=op.f('uq_address_changes_confirmation_id')),
    sa.UniqueConstraint('notice_id', name=op.f('uq_address_changes_notice_id'))
    )
    op.create_index(op.f('ix_address_changes_subscriber_id'), 'address_changes', ['subscriber_id'], unique=False)
    op.create_index(op.f('ix_address_changes_asked_at'), 'address_changes', ['asked_at'], unique=False)
